//! `GET /api/orders/{id}`: where an order stands, now or at its end.

use crate::{
    look::{NO_VERSION, Seen},
    state::Orders,
    told,
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    api::{About, Answer, headers, shape},
    auth::Caller,
    prefer::PreferWait,
    problem::{Kind, Problem},
};
use schemas::ids::OrderId;

pub(crate) fn about() -> About {
    let dressed = |answer: Answer| {
        answer.with(headers::etag()).with(headers::cache_control()).with(headers::preference_applied())
    };
    let order = Answer::json("The order.", told::order(), told::order_example());
    About::of("getOrder", "Where an order stands")
        .says(
            "Never 404 after its 202, whatever is away: a 404 is a proof that the caller has no such order. With \
             `If-None-Match` an answer is never older than the version it names, whichever gateway told that.",
        )
        .path("id", "The order.", shape::uuid())
        .header(headers::prefer_wait())
        .header(headers::if_none_match())
        .answers(StatusCode::OK, dressed(order))
        .answers(StatusCode::NOT_MODIFIED, dressed(Answer::empty("As it was when its ETag was given.")))
        .refuses(&[Kind::NotFound])
}

pub(crate) async fn get_order(
    State(orders): State<Orders>,
    caller: Caller,
    wait: PreferWait,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = order_id(&id)?;
    let known = known_version(&headers);
    let seen = if wait.0.is_zero() {
        orders.find(order, &caller.owner, known).await?
    } else {
        orders.find_end(order, &caller.owner, known, wait.0).await?
    };
    Ok(answer(seen, wait, &headers))
}

/// An id that is no UUID is no order's: 404, as for every other order that is not there.
pub(crate) fn order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| Problem::no_such_order())
}

fn answer(seen: Seen, wait: PreferWait, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", seen.version);
    let mut response = if is_known(&etag, headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], seen.json).into_response()
    };
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(value) = HeaderValue::from_str(&etag) {
        out.insert(header::ETAG, value);
    }
    if let Some(value) = wait.applied().and_then(|text| HeaderValue::from_str(&text).ok()) {
        out.insert("preference-applied", value);
    }
    response
}

/// RFC 9110 §13.1.2: any of the listed tags, compared weakly, or `*`.
fn is_known(etag: &str, headers: &HeaderMap) -> bool {
    tags(headers).any(|tag| tag == "*" || tag == etag)
}

/// The newest version that the reader says it has.
fn known_version(headers: &HeaderMap) -> i64 {
    tags(headers).filter_map(|tag| tag.trim_matches('"').parse().ok()).max().unwrap_or(NO_VERSION)
}

fn tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|text| text.split(',')).map(|tag| tag.trim().trim_start_matches("W/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let known = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(text));
            is_known("\"3\"", &headers)
        };
        assert!(known("\"3\"") && known("W/\"3\"") && known("\"1\", \"3\"") && known("*"));
        assert!(!known("\"33\"") && !known("3") && !known(""));
        assert!(!is_known("\"3\"", &HeaderMap::new()));
    }

    #[test]
    fn the_newest_of_the_versions_named_is_known() {
        let known = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(text));
            known_version(&headers)
        };
        assert_eq!((known("\"3\""), known("W/\"1\", \"12\", \"x\"")), (3, 12));
        assert_eq!((known("*"), known(""), known_version(&HeaderMap::new())), (-1, -1, -1));
    }
}
