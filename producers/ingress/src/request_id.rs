//! A request's id: drawn here, on every response and log line, so that a client's complaint finds its log line.

use axum::http::HeaderName;
use std::fmt;
use uuid::Uuid;

/// The response header that carries it.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id. Always ours: what a client sends under that name is not believed, and never reaches a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A new id.
    #[must_use]
    pub fn draw() -> Self {
        Self(chassis::ids::random())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}
