//! The idempotency key of a request: 1 to 255 visible ASCII bytes, under either of two header names.

use crate::problem::{FieldError, Kind, Problem};
use axum::{extract::FromRequestParts, http::request::Parts};

/// The two names a key may come under.
pub const HEADERS: [&str; 2] = ["idempotency-key", "x-idempotency-key"];
/// Longest key, in bytes.
pub const MAX_KEY: usize = 255;

/// The key, compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key of that text; `None` when it is none.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let is_key = (1..=MAX_KEY).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        is_key.then(|| Self(String::from_utf8_lossy(text).into_owned()))
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut found: Option<&[u8]> = None;
        for value in HEADERS.iter().flat_map(|name| parts.headers.get_all(*name)) {
            if found.is_some_and(|other| other != value.as_bytes()) {
                return Err(bad("two different keys were given"));
            }
            found = Some(value.as_bytes());
        }
        let key = found.ok_or_else(|| bad("an Idempotency-Key header is required"))?;
        Self::read(key).ok_or_else(|| bad("the key must be 1 to 255 visible ASCII characters"))
    }
}

fn bad(detail: &str) -> Problem {
    Problem { errors: vec![FieldError::new("Idempotency-Key", detail)], ..Problem::new(Kind::BadKey, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, Request};

    async fn read(headers: &[(&'static str, &[u8])]) -> Result<String, Kind> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let mut parts = request.into_parts().0;
        let key = IdempotencyKey::from_request_parts(&mut parts, &()).await;
        key.map(|key| key.0).map_err(|problem| problem.kind)
    }

    #[tokio::test]
    async fn either_name_will_do_but_not_two_keys() {
        assert_eq!(read(&[("idempotency-key", b"a")]).await.as_deref(), Ok("a"));
        assert_eq!(read(&[("x-idempotency-key", b"\"a\"")]).await.as_deref(), Ok("\"a\""));
        assert_eq!(read(&[("idempotency-key", b"a"), ("x-idempotency-key", b"a")]).await.as_deref(), Ok("a"));
        assert_eq!(read(&[("idempotency-key", b"a"), ("x-idempotency-key", b"b")]).await, Err(Kind::BadKey));
        assert_eq!(read(&[("idempotency-key", b"a"), ("idempotency-key", b"A")]).await, Err(Kind::BadKey));
    }

    #[tokio::test]
    async fn bad_keys_are_refused() {
        let long = [b'k'; MAX_KEY + 1];
        let bad: [&[u8]; 6] = [b"", b"a b", b"a\tb", "ключ".as_bytes(), "а".as_bytes(), &long];
        for key in bad {
            assert_eq!(read(&[("idempotency-key", key)]).await, Err(Kind::BadKey), "{key:?}");
        }
        assert_eq!(read(&[]).await, Err(Kind::BadKey));
        assert!(read(&[("idempotency-key", &long[1..])]).await.is_ok());
    }
}
