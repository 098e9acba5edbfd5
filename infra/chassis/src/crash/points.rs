//! The crash points, each with the roles that pass it. One table: what is not in it cannot be named, and the sweep of the
//! whole-system tests takes every line of it.
//!
//! Left out is what one statement does that may be repeated at will, and after which nothing has to follow: the rows of
//! lanes at a worker's first start, topics, the mark in Redis since when it has not forgotten, a view that a read puts back.

use std::{fmt, str::FromStr};

const EDGE: &[&str] = &["gateway"];
const WORKERS: &[&str] = &["orders", "inventory", "payments"];
const CONSUMERS: &[&str] = &["orders", "inventory", "payments", "status"];
const PAYMENTS: &[&str] = &["payments"];
const RELAY: &[&str] = &["relay"];
const STATUS: &[&str] = &["status"];

macro_rules! points {
    ($($(#[$doc:meta])+ $name:ident = $text:literal of $roles:ident;)+) => {
        /// A place next to a durable step.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum CrashPoint { $($(#[$doc])+ $name,)+ }

        impl CrashPoint {
            /// Every one, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name, e.g. `commit.before`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The roles that pass it.
            #[must_use]
            pub const fn roles(self) -> &'static [&'static str] {
                match self { $(Self::$name => $roles,)+ }
            }
        }
    };
}

points! {
    /// The claim of an idempotency key, in Redis.
    ClaimBefore = "claim.before" of EDGE;
    /// Claimed, and nothing said to Kafka.
    ClaimAfter = "claim.after" of EDGE;
    /// A command is about to be handed to the producer.
    ProduceBefore = "produce.before" of EDGE;
    /// Handed over: it may be on the log, or come there.
    ProduceHanded = "produce.handed" of EDGE;
    /// Acknowledged by Kafka, and nobody told.
    ProduceAfter = "produce.after" of EDGE;
    /// A webhook is believed, and nothing said to Kafka.
    WebhookBefore = "webhook.before" of EDGE;
    /// What it tells is on the log, and the provider not answered.
    WebhookAfter = "webhook.after" of EDGE;
    /// The body that a key of a refund or an adjustment stands for, in Redis.
    KeyBefore = "key.before" of EDGE;
    /// Kept, and nothing said to Kafka.
    KeyAfter = "key.after" of EDGE;
    /// The claim's answer, in Redis.
    AnswerBefore = "answer.before" of EDGE;
    /// Stored, and the client not answered.
    AnswerAfter = "answer.after" of EDGE;

    /// The claim of lanes that the group has given.
    LaneBefore = "lane.before" of WORKERS;
    /// Claimed in the database, and nobody told.
    LaneAfter = "lane.after" of WORKERS;
    /// The commit that moves the lanes.
    CommitBefore = "commit.before" of WORKERS;
    /// Committed, and the loop has not heard of it.
    CommitAfter = "commit.after" of WORKERS;
    /// The same, of a batch with a record that is parked.
    ParkBefore = "park.before" of WORKERS;
    /// Parked, and the loop has not heard of it.
    ParkAfter = "park.after" of WORKERS;
    /// A command about parked records has read them, in a transaction of its own.
    RedriveOpened = "redrive.opened" of WORKERS;
    /// The commit of a batch in which parked records ran again, or were given up.
    RedriveBefore = "redrive.before" of WORKERS;
    /// Committed, and the loop has not heard of it.
    RedriveAfter = "redrive.after" of WORKERS;
    /// Something is due, and nothing done about it.
    DueFound = "due.found" of WORKERS;
    /// The commit of a batch that sends commands whose time has come.
    DueBefore = "due.before" of WORKERS;
    /// Committed, and the loop has not heard of it.
    DueAfter = "due.after" of WORKERS;
    /// The commit of positions to Kafka.
    OffsetsBefore = "offsets.before" of CONSUMERS;
    /// Handed over: the group's coordinator may have them. (Nobody is told when it has.)
    OffsetsHanded = "offsets.handed" of CONSUMERS;

    /// The commit of what is about to be called.
    TraceBefore = "trace.before" of PAYMENTS;
    /// Traced, and nothing called.
    TraceAfter = "trace.after" of PAYMENTS;
    /// The calls of a batch are answered, and nothing written of it.
    CallsAfter = "calls.after" of PAYMENTS;
    /// The sandbox provider's own commit of charges.
    ChargeBefore = "charge.before" of PAYMENTS;
    /// Charged, and the caller not answered.
    ChargeAfter = "charge.after" of PAYMENTS;
    /// The sandbox provider's own commit of a refund.
    RefundBefore = "refund.before" of PAYMENTS;
    /// Given back, and the caller not answered.
    RefundAfter = "refund.after" of PAYMENTS;

    /// A record of the outbox is about to be handed to the producer.
    SendBefore = "send.before" of RELAY;
    /// Handed over: it may be on the log, or come there.
    SendHanded = "send.handed" of RELAY;
    /// Acknowledged, and its row still there.
    SendAfter = "send.after" of RELAY;
    /// The delete of rows that are acknowledged.
    DeleteBefore = "delete.before" of RELAY;
    /// Deleted, and the loop has not heard of it.
    DeleteAfter = "delete.after" of RELAY;
    /// The taking and renewing of leases.
    LeaseBefore = "lease.before" of RELAY;
    /// Leased, and the loop has not heard of it.
    LeaseAfter = "lease.after" of RELAY;
    /// A stop gives the leases back.
    LeaveBefore = "leave.before" of RELAY;
    /// Given back, and the process still there.
    LeaveAfter = "leave.after" of RELAY;

    /// The write of a batch's views, in Redis.
    ViewBefore = "view.before" of STATUS;
    /// Written, and the positions not committed.
    ViewAfter = "view.after" of STATUS;
}

/// A point in a role: `orders.commit.before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// One of the point's roles.
    pub role: &'static str,
    /// The point.
    pub point: CrashPoint,
}

impl Place {
    /// Every point in every role that passes it.
    pub fn all() -> impl Iterator<Item = Self> {
        CrashPoint::ALL.iter().flat_map(|point| point.roles().iter().map(|role| Self { role, point: *point }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.role, self.point.name())
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::all().find(|place| place.to_string() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_place_reads_as_it_prints_and_names_are_told_apart() {
        let names: BTreeSet<String> = Place::all().map(|place| place.to_string()).collect();
        assert_eq!(names.len(), Place::all().count());
        for place in Place::all() {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
    }
}
