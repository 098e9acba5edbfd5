//! What becomes of a batch that the database refused. Asked by SQLSTATE, never by prose; the one place.

/// What to do with a failed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Some record's data cannot be stored (classes 22 and 23): find it by ever shorter prefixes and park it.
    Bisect,
    /// Two transactions collided (serialization, deadlock, lock time-out): run the batch again.
    Again,
    /// Everything else, a lost connection above all: wait with backoff, and try the same batch again.
    Pause,
}

/// The fate of a batch whose transaction ended with `error`.
#[must_use]
pub(crate) fn of(error: &sqlx::Error) -> Fate {
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code.starts_with("22") || code.starts_with("23") => Fate::Bisect,
        // serialization_failure, deadlock_detected, lock_not_available
        Some(code) if matches!(code.as_ref(), "40001" | "40P01" | "55P03") => Fate::Again,
        _ => Fate::Pause,
    }
}
