//! Where reading goes on after a record: in memory, no lane is written.

use super::toy::{Step, Toy, payload};
use crate::{attempt::take_in, lane::Lane, record::Record};
use schemas::{
    envelope::{Envelope, Source},
    ids::{LaneId, MessageId},
    time::Timestamp,
    topics::{self, Topic},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use uuid::Uuid;

fn lane() -> Lane {
    Lane {
        id: LaneId(Uuid::from_u128(1)),
        partition: 0,
        epoch: 1,
        next_offset: 0,
        last_read: None,
        outbox_seq: 0,
        due_mark: Timestamp(0),
        heard: BTreeMap::new(),
        ended: Arc::default(),
        sent: BTreeMap::new(),
        parked: Arc::default(),
        gap_checked: None,
    }
}

fn record(offset: i64, n: u64) -> Record {
    let message = MessageId(Uuid::from_u128(u128::from(n)));
    Record {
        topic: Topic::OrderCommands,
        partition: 0,
        offset,
        timestamp: Timestamp(offset),
        key: topics::key(Uuid::from_u128(7)).to_vec(),
        envelope: Ok(Envelope {
            message,
            causation: message,
            occurred_at: Timestamp(0),
            deadline: None,
            source: Some(Source { lane: LaneId(Uuid::from_u128(9)), n, floor: 0 }),
        }),
        header: None,
        payload: payload(Step::To(1)),
        traceparent: None,
    }
}

#[test]
fn successors_that_lie_before_a_record_are_sought_even_if_nothing_comes_after_it() {
    let held = BTreeMap::from([(0, lane())]);
    // the first copy of 1 has expired; 2 lies before the second, which is the last of its partition
    let taken = take_in(
        &Toy::default(),
        &held,
        false,
        vec![Arc::new(record(0, 2)), Arc::new(record(1, 1))],
        &HashMap::new(),
        None,
    );
    assert_eq!(taken.batch.to_decide().len(), 1, "1 is taken, 2 waits for it");
    assert_eq!(taken.lanes[&0].next_offset, 0);
    assert_eq!(taken.seeks, BTreeMap::from([(0, 0)]));
}

#[test]
fn a_record_in_turn_seeks_nothing() {
    let held = BTreeMap::from([(0, lane())]);
    let taken = take_in(&Toy::default(), &held, false, vec![Arc::new(record(0, 1))], &HashMap::new(), None);
    assert_eq!(taken.lanes[&0].next_offset, 1);
    assert_eq!(taken.seeks, BTreeMap::new());
}
