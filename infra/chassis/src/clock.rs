//! The one place that reads the wall clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time: the system's, or a test's.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    fixed: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `millis` until it is set.
    #[must_use]
    pub fn fixed(millis: i64) -> Self {
        Self { fixed: Some(Arc::new(AtomicI64::new(millis))) }
    }

    /// Sets a fixed clock; the system's is left alone.
    pub fn set(&self, millis: i64) {
        if let Some(fixed) = &self.fixed {
            fixed.store(millis, Ordering::Relaxed);
        }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the edge of the process")]
    pub fn now_millis(&self) -> i64 {
        match &self.fixed {
            Some(fixed) => fixed.load(Ordering::Relaxed),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}
