//! Headers that more than one call has, each told in one way.

use super::shape::{self, Shape};
use crate::{idempotency::MAX_KEY, prefer::MAX_WAIT};

/// A header of a request.
#[derive(Clone)]
pub struct HeaderParameter {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) says: String,
    pub(super) shape: Shape,
}

/// `Idempotency-Key`, required.
#[must_use]
pub fn idempotency_key() -> HeaderParameter {
    HeaderParameter {
        name: "Idempotency-Key",
        required: true,
        says: format!(
            "Stands for this request: 1 to {MAX_KEY} visible ASCII characters, compared byte by byte. A repeat with the \
             same key and body has the same effect once, and the same answer; another body is refused. Also read as \
             `X-Idempotency-Key`."
        ),
        shape: shape::matching("^[!-~]+$", 1, MAX_KEY).example("order-2026-11-22-0001"),
    }
}

/// `Prefer: wait=N`.
#[must_use]
pub fn prefer_wait() -> HeaderParameter {
    HeaderParameter {
        name: "Prefer",
        required: false,
        says: format!(
            "`wait=N`: answer when the order has ended, or after N seconds, at most {} (RFC 7240). What does not read \
             is ignored.",
            MAX_WAIT.as_secs()
        ),
        shape: shape::text().example("wait=10"),
    }
}

/// `If-None-Match`.
#[must_use]
pub fn if_none_match() -> HeaderParameter {
    HeaderParameter {
        name: "If-None-Match",
        required: false,
        says: "The `ETag` of an earlier answer: 304 while nothing has changed.".to_owned(),
        shape: shape::text().example("\"3\""),
    }
}

/// A header of another name.
#[must_use]
pub fn header(name: &'static str, required: bool, says: &str, shape: Shape) -> HeaderParameter {
    HeaderParameter { name, required, says: says.to_owned(), shape }
}

/// A header of an answer: its name, what it says, and its shape.
pub type AnswerHeader = (&'static str, &'static str, Shape);

/// `Location`.
#[must_use]
pub fn location() -> AnswerHeader {
    ("Location", "Where what was made can be read.", shape::text())
}

/// `Preference-Applied`.
#[must_use]
pub fn preference_applied() -> AnswerHeader {
    ("Preference-Applied", "The wait that was granted; only where one was asked for.", shape::text())
}

/// `ETag`.
#[must_use]
pub fn etag() -> AnswerHeader {
    ("ETag", "Changes with the content; for `If-None-Match`.", shape::text())
}

/// `Cache-Control`.
#[must_use]
pub fn cache_control() -> AnswerHeader {
    ("Cache-Control", "Who may keep the answer, and for how long.", shape::text())
}

/// `Retry-After`.
#[must_use]
pub(super) fn retry_after() -> AnswerHeader {
    ("Retry-After", "When to come again, in seconds.", shape::whole(1, 86_400))
}

/// `WWW-Authenticate`.
#[must_use]
pub(super) fn challenge() -> AnswerHeader {
    ("WWW-Authenticate", "What a token must have (RFC 6750).", shape::text())
}

/// What every answer has, or may have.
#[must_use]
pub(super) fn on_every_answer() -> [AnswerHeader; 3] {
    let request_id = "Names this request in our logs; give it with a complaint.";
    let policy = "How many calls of this kind are allowed in how many seconds, e.g. `\"reads\";q=100;w=10`. Absent where calls \
        are not counted.";
    let left = "What is left of it, and when it is full again, e.g. `\"reads\";r=99;t=1`.";
    [
        ("X-Request-Id", request_id, shape::matching("^[0-9a-f]{32}$", 32, 32)),
        ("RateLimit-Policy", policy, shape::text()),
        ("RateLimit", left, shape::text()),
    ]
}
