//! A provider behind a circuit breaker, and with a bound on its calls under way: what neither admits is not begun.

use crate::{
    metrics,
    provider::{CaptureRequest, Found, Outcome, Provider, RefundRequest, Sought},
};
use async_trait::async_trait;
use chassis::breaker::{Admission, Breaker, Position, Ticket};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// How soon to come back when too many calls are under way.
const FULL: Duration = Duration::from_millis(250);

/// A provider that is left alone while it fails too often.
///
/// A call fails for the breaker when it ends as [`Outcome::Unknown`] or is dropped, which is how a time-out ends it.
pub struct Guard {
    provider: Arc<dyn Provider>,
    breaker: Mutex<Breaker>,
    places: Semaphore,
    began: Instant,
}

impl Guard {
    /// Puts `breaker` around `provider`, with at most `in_flight` calls under way, over all batches.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, breaker: Breaker, in_flight: usize) -> Self {
        metrics::breaker_stands(breaker.position());
        let places = Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS));
        Self { provider, breaker: Mutex::new(breaker), places, began: Instant::now() }
    }

    /// Where its breaker stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).position()
    }

    fn admit(&self) -> Result<Call<'_>, Duration> {
        let Ok(place) = self.places.try_acquire() else {
            metrics::put_off("in_flight");
            return Err(FULL);
        };
        match self.with_breaker(Breaker::admit) {
            Admission::Call(ticket) => Ok(Call { guard: self, ticket, worked: false, _place: place }),
            Admission::Wait(wait) => {
                metrics::put_off("breaker");
                Err(wait)
            }
        }
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let now = self.began.elapsed();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.position();
        let result = act(&mut breaker, now);
        let after = breaker.position();
        if before != after {
            changed(after);
        }
        result
    }
}

fn changed(position: Position) {
    metrics::breaker_stands(position);
    match position {
        Position::Open => {
            tracing::warn!("the payment provider fails too often: it is left alone for a while")
        }
        Position::HalfOpen => tracing::info!("the payment provider is tried again with a few calls"),
        Position::Closed => tracing::info!("the payment provider works again"),
    }
}

/// A call under way. Dropped without an answer, it has failed.
struct Call<'a> {
    guard: &'a Guard,
    ticket: Ticket,
    worked: bool,
    _place: SemaphorePermit<'a>,
}

impl Call<'_> {
    fn answered(mut self, outcome: &Outcome) {
        self.worked = !matches!(outcome, Outcome::Unknown { .. });
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.guard.with_breaker(|breaker, now| breaker.answered(&self.ticket, self.worked, now));
    }
}

#[async_trait]
impl Provider for Guard {
    async fn capture(&self, request: &CaptureRequest) -> Outcome {
        let call = match self.admit() {
            Ok(call) => call,
            Err(again_in) => return Outcome::NotBegun { again_in },
        };
        let outcome = self.provider.capture(request).await;
        call.answered(&outcome);
        outcome
    }

    async fn refund(&self, request: &RefundRequest) -> Outcome {
        let call = match self.admit() {
            Ok(call) => call,
            Err(again_in) => return Outcome::NotBegun { again_in },
        };
        let outcome = self.provider.refund(request).await;
        call.answered(&outcome);
        outcome
    }

    async fn lookup(&self, sought: Sought<'_>) -> Found {
        let mut call = match self.admit() {
            Ok(call) => call,
            Err(again_in) => return Found::Known(Outcome::NotBegun { again_in }),
        };
        let found = self.provider.lookup(sought).await;
        match &found {
            Found::Known(outcome) => call.answered(outcome),
            Found::Absent => call.worked = true,
        }
        found
    }
}

#[cfg(test)]
mod tests;
