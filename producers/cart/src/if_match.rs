//! `If-Match` (RFC 9110 §13.1.1): the state that a change is meant for, as the ETag of a cart gave it.

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use ingress::problem::{FieldError, Kind, Problem};

/// The state a change is meant for; `None`: whatever it is.
pub(crate) struct IfMatch(pub(crate) Option<String>);

impl IfMatch {
    /// As the scripts take it: empty for any state.
    pub(crate) fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        let state = |text: &str| Some(text.strip_prefix('"')?.strip_suffix('"')?.to_owned());
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => {
                let read = value.to_str().ok().and_then(|text| state(text.trim()));
                let read = read.filter(|text| !text.is_empty() && !text.contains('"'));
                read.map(|text| Self(Some(text))).ok_or_else(bad)
            }
            (Some(_), Some(_)) => Err(bad()),
        }
    }
}

fn bad() -> Problem {
    let expected = "must be the one ETag that a cart came with";
    let errors = vec![FieldError::new("If-Match", expected)];
    Problem { errors, ..Problem::new(Kind::BadRequest, format!("If-Match {expected}")) }
}

/// The cart is not in the state that was named.
pub(crate) fn changed_meanwhile() -> Problem {
    Problem::new(
        Kind::PreconditionFailed,
        "the cart has changed since the state that If-Match names; read it again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    async fn read(values: &[&'static str]) -> Result<Option<String>, Kind> {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(header::IF_MATCH, value.parse().unwrap());
        }
        let mut parts = request.into_parts().0;
        let read = IfMatch::from_request_parts(&mut parts, &()).await;
        read.map(|read| read.0).map_err(|problem| problem.kind)
    }

    #[tokio::test]
    async fn one_strong_tag_is_taken() {
        assert_eq!(read(&[]).await, Ok(None));
        assert_eq!(read(&["\"a.1\""]).await, Ok(Some("a.1".to_owned())));
        for bad in ["", "*", "a.1", "W/\"a.1\"", "\"\"", "\"a\", \"b\""] {
            assert_eq!(read(&[bad]).await, Err(Kind::BadRequest), "{bad}");
        }
        assert_eq!(read(&["\"a\"", "\"b\""]).await, Err(Kind::BadRequest));
    }
}
