//! The one place that draws random ids.

use uuid::Uuid;

/// A random id (UUIDv4): a lane's life, a relay's lease, a request.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the edge of the process")]
pub fn random() -> Uuid {
    Uuid::new_v4()
}
