//! Deadlines: which commands those that passed make, and how far the lane has then seen to them. Pure.
//!
//! Every order stands once between a lane's mark and now, settled or not; the mark moves over all of them.

use harness::record::{Outgoing, Rejection};
use schemas::{
    ids::{self, OrderId},
    messages::DeadlinePassed,
    time::Timestamp,
};

/// Most deadlines seen to in one transaction, those of one same millisecond beyond it included.
pub const AT_ONCE: i64 = 1_000;

/// An order whose deadline lies between the mark and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The order.
    pub order: OrderId,
    /// Its deadline.
    pub deadline: Timestamp,
    /// Whether it has reached its end already.
    pub settled: bool,
}

/// The command of a lane to itself: the order's deadline passed.
///
/// # Errors
/// None in practice.
pub fn command(passed: &Passed) -> Result<Outgoing, Rejection> {
    let body = DeadlinePassed { order_id: passed.order, deadline: passed.deadline };
    Outgoing::new(passed.order.0, ids::message_id(passed.order.0, "deadline-passed"), &body)
}

/// The mark's new place after `passed`, read in order of their deadlines: the last one's when there may be more, else
/// now. It never goes back, whatever the clock does.
#[must_use]
pub fn next_mark(mark: Timestamp, now: Timestamp, passed: &[Passed]) -> Timestamp {
    let may_be_more = i64::try_from(passed.len()).is_ok_and(|read| read >= AT_ONCE);
    let seen_to = passed.last().filter(|_| may_be_more).map_or(now, |last| last.deadline);
    mark.max(seen_to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn passed(count: i64) -> Vec<Passed> {
        let one = |n: i64| Passed {
            order: OrderId(Uuid::from_u128(n.unsigned_abs().into())),
            deadline: Timestamp(100 + n),
            settled: false,
        };
        (1..=count).map(one).collect()
    }

    #[test]
    fn the_mark_moves_to_now_when_all_was_read_and_else_to_the_last() {
        let now = Timestamp(5_000);
        assert_eq!(next_mark(Timestamp(7), now, &[]), now);
        assert_eq!(next_mark(Timestamp(7), now, &passed(AT_ONCE - 1)), now);
        assert_eq!(next_mark(Timestamp(7), now, &passed(AT_ONCE)), Timestamp(100 + AT_ONCE));
        assert_eq!(next_mark(Timestamp(7), now, &passed(AT_ONCE + 3)), Timestamp(103 + AT_ONCE));
    }

    #[test]
    fn the_mark_never_goes_back() {
        assert_eq!(next_mark(Timestamp(9_000), Timestamp(5_000), &[]), Timestamp(9_000));
    }

    #[test]
    fn an_order_has_one_deadline_message() {
        let (one, two) = (&passed(2)[0], &passed(2)[1]);
        assert_eq!(command(one).unwrap().message, command(one).unwrap().message);
        assert_ne!(command(one).unwrap().message, command(two).unwrap().message);
    }
}
