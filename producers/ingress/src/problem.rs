//! Problem details (RFC 9457): every error a client sees, and the one place that gives it a status.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemas::messages::OrderStatus;
use serde::Serialize;
use std::{fmt, time::Duration};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, as clients tell problems apart. Each has one status: [`Kind::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be read: broken JSON, a bad header, a bad parameter.
    BadRequest,
    /// The idempotency key is missing or not 1 to 255 visible ASCII bytes.
    BadKey,
    /// No token, or none that holds.
    Unauthenticated,
    /// The token lacks a scope.
    Forbidden,
    /// No such resource, or not the caller's.
    NotFound,
    /// The resource has no such method.
    MethodNotAllowed,
    /// The request came too slowly.
    TooSlow,
    /// The order has ended, or is in another state than the call needs.
    Conflict,
    /// The first request with this key is still in flight.
    InFlight,
    /// The resource is not in the state that the request names.
    PreconditionFailed,
    /// The body is larger than its limit.
    TooLarge,
    /// The body is not plain JSON.
    UnsupportedMediaType,
    /// Fields are wrong; `errors` names them.
    Invalid,
    /// The key was used with another body.
    KeyReused,
    /// More calls than the caller's limit allows.
    TooMany,
    /// Part of the system is away or full: try again after `Retry-After`.
    Unavailable,
    /// A fault of ours.
    Internal,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 17] = [
        Self::BadRequest,
        Self::BadKey,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooSlow,
        Self::Conflict,
        Self::InFlight,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::KeyReused,
        Self::TooMany,
        Self::Unavailable,
        Self::Internal,
    ];

    /// Status, the last part of the `type` URN, and title.
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read"),
            Self::BadKey => {
                (StatusCode::BAD_REQUEST, "bad-idempotency-key", "The idempotency key is not usable")
            }
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid bearer token is required")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token does not allow this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such resource"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The resource has no such method")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The request came too slowly"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "The order is in another state"),
            Self::InFlight => {
                (StatusCode::CONFLICT, "in-flight", "The first request with this key is still in flight")
            }
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed meanwhile")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not plain JSON")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Fields of the request are wrong"),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The key was used with another body",
            ),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many-calls", "Too many calls"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Please try again"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of ours"),
        }
    }

    /// The HTTP status of this kind.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().0
    }

    /// The last part of its URN.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What it is called.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The `type` of its problems.
    #[must_use]
    pub fn urn(self) -> String {
        format!("urn:mambogo:problem:{}", self.name())
    }

    /// Whether its problems may say when to come again.
    #[must_use]
    pub fn comes_again(self) -> bool {
        matches!(self, Self::InFlight | Self::TooMany | Self::Unavailable)
    }

    /// The kind that fits an error status which a framework chose.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::TooSlow,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PRECONDITION_FAILED => Self::PreconditionFailed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::Invalid,
            StatusCode::TOO_MANY_REQUESTS => Self::TooMany,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::Internal,
        }
    }
}

/// One wrong field: where, and what is expected there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field as the client wrote it, e.g. `items[2].quantity`; empty for the body itself.
    pub field: String,
    /// What is expected.
    pub message: String,
}

impl FieldError {
    /// `field` is wrong: `message` says what is expected.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What went wrong.
    pub kind: Kind,
    /// What happened here, for a person. Never a secret, never another user's data.
    pub detail: String,
    /// The wrong fields, all at once.
    pub errors: Vec<FieldError>,
    /// Where the order stands, where that is the reason.
    pub order_status: Option<OrderStatus>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// The `WWW-Authenticate` challenge.
    pub challenge: Option<String>,
}

impl Problem {
    /// A problem of that kind.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            order_status: None,
            retry_after: None,
            challenge: None,
        }
    }

    /// Wrong fields.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.field.is_empty() => one.message.clone(),
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields are wrong; see errors", many.len()),
        };
        Self { errors, ..Self::new(Kind::Invalid, detail) }
    }

    /// One wrong parameter of the query.
    #[must_use]
    pub fn bad_parameter(name: &str, expected: &str) -> Self {
        let errors = vec![FieldError::new(name, expected)];
        Self { errors, ..Self::new(Kind::BadRequest, format!("{name}: {expected}")) }
    }

    /// Part of the system is away or full.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::new(Kind::Unavailable, detail) }
    }

    /// A fault of ours: the cause is logged, the client sees none of it.
    #[must_use]
    pub fn internal(doing: &str, cause: &dyn fmt::Display) -> Self {
        tracing::error!(doing, cause = %cause, "a request failed by a fault of ours");
        Self::new(Kind::Internal, "The fault is logged with this request's id")
    }

    /// A problem of that kind as the document shows it.
    #[must_use]
    pub fn example(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::invalid(vec![
                FieldError::new("items[0].quantity", "must be a whole number from 1 to 10000"),
                FieldError::new("shippingAddress", "must not be empty"),
            ]),
            Kind::Conflict => Self::new(kind, "the order is CONFIRMED and can no longer be cancelled")
                .with_order_status(OrderStatus::Confirmed),
            _ => Self::new(kind, kind.title()),
        }
    }

    /// No such order, or not the caller's: both look the same.
    #[must_use]
    pub fn no_such_order() -> Self {
        Self::new(Kind::NotFound, "There is no such order")
    }

    /// What a client reads of it, where it is a part of an answer and not the answer.
    #[must_use]
    pub fn body(&self) -> impl Serialize {
        Body {
            kind: self.kind.urn(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            order_status: self.order_status.map(OrderStatus::as_str),
            errors: &self.errors,
        }
    }

    /// When to come again, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = self.retry_after?.as_millis().div_ceil(1_000).max(1);
        u64::try_from(seconds).ok()
    }

    /// The same with the order's status.
    #[must_use]
    pub fn with_order_status(self, status: OrderStatus) -> Self {
        Self { order_status: Some(status), ..self }
    }

    /// The same with a time to come again, rounded up to whole seconds.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_status: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let json = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = (self.kind.status(), [(header::CONTENT_TYPE, MEDIA_TYPE)], json).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(value) = self.challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_error_status_and_a_name_of_its_own() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.row().1).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
            assert_eq!(Kind::of_status(kind.status()).status(), kind.status(), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn a_problem_has_the_standard_members_and_ours() {
        let problem = Problem::new(Kind::Conflict, "too late")
            .with_order_status(OrderStatus::Confirmed)
            .with_retry_after(Duration::from_millis(1_001));
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:mambogo:problem:conflict", "title": "The order is in another state",
                "status": 409, "detail": "too late", "orderStatus": "CONFIRMED"
            })
        );
    }
}
