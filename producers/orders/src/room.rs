//! Room for the orders that are being accepted: so many at once, as many again wait for a moment. More are refused before
//! their body is parsed: to read fifty orders and say "come again" to each costs half of what taking them in does, and
//! who is refused comes again.

use crate::{accept::busy, metrics};
use ingress::problem::Problem;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of one gateway.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    patience: Duration,
    /// One permit an order; who asked first gets its own first.
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Room {
    /// For `most` orders; who finds no room waits for `patience`.
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        Self { most, patience, free: Arc::new(Semaphore::new(most)), waiting: AtomicUsize::new(0) }
    }

    /// A 503 where as many orders wait as may be under way: nothing has to be known of the call.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.waiting.load(Ordering::Relaxed) >= self.most { Err(busy()) } else { Ok(()) }
    }

    /// Room for so many orders, as soon as there is. One call may be larger than all that may be under way.
    ///
    /// # Errors
    /// A 503 where there is none in time.
    pub(crate) async fn enter(&self, orders: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let permits = u32::try_from(orders.min(self.most)).map_err(|_| busy())?;
        if let Ok(permit) = self.free.clone().try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        self.check()?;
        let _waits = Waits::of(&self.waiting, orders);
        let free = self.free.clone().acquire_many_owned(permits);
        let permit = tokio::time::timeout(self.patience, free).await;
        permit.map_err(|_| busy())?.map_err(|_| busy())
    }
}

/// Orders that wait, counted until dropped: a client may go away.
struct Waits<'a> {
    waiting: &'a AtomicUsize,
    orders: usize,
}

impl<'a> Waits<'a> {
    fn of(waiting: &'a AtomicUsize, orders: usize) -> Self {
        waiting.fetch_add(orders, Ordering::Relaxed);
        ::metrics::gauge!(metrics::WAITING).increment(orders as f64);
        Self { waiting, orders }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.orders, Ordering::Relaxed);
        ::metrics::gauge!(metrics::WAITING).decrement(self.orders as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, pin_mut};

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn who_finds_no_room_waits_in_turn_and_more_are_refused() {
        let room = Room::new(10, LONG);
        let first = room.enter(8).await.unwrap();
        let (second, third) = (room.enter(6), room.enter(4));
        pin_mut!(second, third);
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none(), "nobody overtakes");
        assert!(room.check().is_err(), "as many wait as may be under way");
        let refused = room.enter(1).await.unwrap_err();
        assert_eq!(refused.retry_after_seconds(), Some(1));
        drop(first);
        let both = (second.await.unwrap(), third.await.unwrap());
        assert!(room.check().is_ok());
        drop(both);
        assert!(room.enter(500).await.is_ok(), "a call larger than the room has it for itself");
    }

    #[tokio::test]
    async fn who_goes_away_or_gives_up_waits_no_longer() {
        let room = Room::new(1, LONG);
        let _first = room.enter(1).await.unwrap();
        assert!(room.enter(1).now_or_never().is_none());
        assert!(room.check().is_ok(), "it went away");
        let room = Room::new(1, Duration::from_millis(1));
        let _first = room.enter(1).await.unwrap();
        assert!(room.enter(1).await.is_err(), "nobody made room in time");
        assert!(room.check().is_ok());
    }
}
