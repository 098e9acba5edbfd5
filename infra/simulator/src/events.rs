//! A reader of order.events: by lanes it hears every version of every order once, in order.

use crate::{check::Violation, log::Log};
use harness::lane::{Intake, Lane};
use schemas::{
    ids::{LaneId, OrderId},
    messages::{BodyHash, OrderEvent},
    time::Timestamp,
    topics::Topic,
};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

#[derive(Debug, Clone)]
pub(crate) struct EventReader {
    lanes: Vec<Lane>,
    pub(crate) newest: BTreeMap<OrderId, (i64, BodyHash)>,
}

impl EventReader {
    pub(crate) fn new(partitions: i32) -> Self {
        let lane = |partition| Lane {
            id: LaneId(Uuid::nil()),
            partition,
            epoch: 0,
            next_offset: 0,
            last_read: None,
            outbox_seq: 0,
            due_mark: Timestamp(0),
            heard: BTreeMap::new(),
            ended: Arc::default(),
            sent: BTreeMap::new(),
            parked: Arc::default(),
            gap_checked: None,
        };
        Self { lanes: (0..partitions).map(lane).collect(), newest: BTreeMap::new() }
    }

    /// Reads on to the end.
    pub(crate) fn read(&mut self, log: &Log) -> Result<(), Violation> {
        for lane in &mut self.lanes {
            while let Some(record) = log.read(Topic::OrderEvents, lane.partition, lane.next_offset) {
                let source = record.envelope.as_ref().ok().and_then(|envelope| envelope.source);
                if lane.intake(record.offset, source) != Intake::Take {
                    continue;
                }
                let wrong = |what: String| Violation::new("order per key", what);
                let event = OrderEvent::decode(&record.payload).map_err(|error| wrong(error.to_string()))?;
                let order = event.order();
                let (version, hash) = self.newest.entry(order.order_id).or_insert((0, order.body_hash));
                if order.version != *version + 1 {
                    let (id, new) = (order.order_id, order.version);
                    return Err(wrong(format!("order {id}: version {new} after version {version}")));
                }
                if order.body_hash != *hash {
                    let what = format!("{} has two bodies", order.order_id);
                    return Err(Violation::new("one order per key", what));
                }
                *version = order.version;
            }
        }
        Ok(())
    }
}
