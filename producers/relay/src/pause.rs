//! A pause that grows with each failure and ends with the first success.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) struct Pause {
    longest: Duration,
    delays: ExponentialBackoff,
    until: Option<Instant>,
}

impl Pause {
    /// From 100 ms to `longest`, each with jitter.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { longest, delays: Self::delays(longest), until: None }
    }

    fn delays(longest: Duration) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// Begins a pause, longer than the one before.
    pub(crate) fn begin(&mut self) {
        self.until = Some(Instant::now() + self.delays.next().unwrap_or(self.longest));
    }

    /// Something worked: there is none, and the next will be short again.
    pub(crate) fn end(&mut self) {
        if self.until.take().is_some() {
            self.delays = Self::delays(self.longest);
        }
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }
}
