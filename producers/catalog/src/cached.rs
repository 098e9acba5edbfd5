//! Answers that a browser and a CDN may keep: entity tags, `Cache-Control`, 304.

use crate::read_after;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    api::{About, Answer, headers},
    problem::Kind,
};
use sha2::{Digest, Sha256};

/// Fresh for five seconds; for thirty more it may be told while it is fetched anew, and for a day while we are away.
const KEEP: HeaderValue =
    HeaderValue::from_static("public, max-age=5, stale-while-revalidate=30, stale-if-error=86400");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer that may be kept, as the document tells of it.
pub(crate) fn told(answer: Answer) -> Answer {
    answer.with(headers::etag()).with(headers::cache_control())
}

/// What is told of asking for it again.
pub(crate) fn told_again(about: About) -> About {
    let unchanged = told(Answer::empty("As it was when its ETag was given."));
    about
        .header(headers::if_none_match())
        .header(read_after::told())
        .refuses(&[Kind::BadRequest])
        .answers(StatusCode::NOT_MODIFIED, unchanged)
}

/// A tag of what the body holds.
pub(crate) fn tag_of(body: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// `body`, or 304 where the client has it already.
pub(crate) fn answer(asked: &HeaderMap, tag: &str, body: Bytes) -> Response {
    let mut response = if holds(asked, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, JSON)], Body::from(body)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, KEEP);
    // who has just written is told another answer than who has not
    headers.insert(header::VARY, HeaderValue::from_static("read-after"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Whether `If-None-Match` names the tag (RFC 9110 §13.1.2: weakly compared).
fn holds(asked: &HeaderMap, tag: &str) -> bool {
    let named = asked.get_all(header::IF_NONE_MATCH);
    named.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_holds_is_not_sent_again() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            answer(&headers, "\"2-7\"", Bytes::from_static(b"{}")).status().as_u16()
        };
        assert_eq!(["\"2-7\"", "W/\"2-7\"", "\"x\", \"2-7\"", "*"].map(asked), [304; 4]);
        assert_eq!(["\"2-8\"", "2-7", ""].map(asked), [200; 3]);
    }
}
