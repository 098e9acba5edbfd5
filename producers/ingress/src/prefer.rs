//! `Prefer: wait=N` (RFC 7240): how long the client would wait for the end.

use axum::{extract::FromRequestParts, http::request::Parts};
use std::{convert::Infallible, time::Duration};

/// Longest wait, whatever was asked.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// How long to wait; zero when nothing was asked. What does not read is ignored, as the RFC has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreferWait(pub Duration);

impl PreferWait {
    /// Value for `Preference-Applied`, when a wait was asked for.
    #[must_use]
    pub fn applied(self) -> Option<String> {
        (!self.0.is_zero()).then(|| format!("wait={}", self.0.as_secs()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PreferWait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all("prefer");
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        Ok(Self(texts.flat_map(|text| text.split(',')).find_map(read_wait).unwrap_or_default()))
    }
}

fn read_wait(preference: &str) -> Option<Duration> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    let seconds: u64 = value.trim().trim_matches('"').parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    async fn read(values: &[&'static str]) -> u64 {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append("prefer", value.parse().unwrap());
        }
        let mut parts = request.into_parts().0;
        let Ok(wait) = PreferWait::from_request_parts(&mut parts, &()).await;
        wait.0.as_secs()
    }

    #[tokio::test]
    async fn a_wait_is_read_bounded_or_ignored() {
        assert_eq!(read(&["wait=5"]).await, 5);
        assert_eq!(read(&["respond-async, Wait = \"7\"; x=1"]).await, 7);
        assert_eq!(read(&["respond-async", "wait=99999999999"]).await, 30);
        for bad in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=99999999999999999999999", "await=3"] {
            assert_eq!(read(&[bad]).await, 0, "{bad}");
        }
    }
}
