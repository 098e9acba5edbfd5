//! What one batch of records comes to: the newest state of each order, and what could not be read.

use follower::Record;
use schemas::{
    ids::OrderId,
    messages::{OrderEvent, OrderState},
    time::Timestamp,
    view::packed,
    wire::WireError,
};
use std::collections::{BTreeMap, HashMap};

/// Most records in a batch.
const MAX_RECORDS: u64 = 1_000;
/// Most payload bytes in a batch.
const MAX_BYTES: usize = 4 << 20;

/// Records that could not be read, of one cause.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) count: u64,
    /// `partition/offset: what was wrong` of the first.
    pub(crate) first: String,
}

/// An order's view, ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    version: i64,
    /// As [`packed::WRITE`] takes it.
    pub(crate) packed: Vec<u8>,
}

/// A batch as it grows.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    newest: HashMap<OrderId, Newest>,
    skipped: BTreeMap<&'static str, Skipped>,
    oldest: Option<Timestamp>,
    records: u64,
    bytes: usize,
}

impl Batch {
    /// Takes one record. One that cannot be read is noted and passed over: nothing can be parked here, and the
    /// order's next event rebuilds the view.
    pub(crate) fn add(&mut self, record: &Record<'_>) {
        let Record { logged, payload, .. } = *record;
        self.oldest = Some(self.oldest.map_or(logged, |oldest| oldest.min(logged)));
        self.records += 1;
        self.bytes += payload.len();
        match OrderEvent::decode(payload) {
            Ok(event) => self.keep_newest(event.order(), payload),
            Err(error) => self.skip(record, &error),
        }
    }

    /// A batch writes each order once, in its newest state. The view is the event as it came.
    fn keep_newest(&mut self, order: &OrderState, payload: &[u8]) {
        let version = order.version;
        if self.newest.get(&order.order_id).is_some_and(|seen| seen.version >= version) {
            return;
        }
        let packed = packed::written(order.body_hash, version, payload);
        self.newest.insert(order.order_id, Newest { version, packed });
    }

    fn skip(&mut self, record: &Record<'_>, error: &WireError) {
        let Record { partition, offset, .. } = *record;
        let cause = match error {
            WireError::UnknownSchema(_) => "unknown_schema",
            WireError::NotOfTopic { .. } => "not_of_topic",
            _ => "decode",
        };
        let first = || Skipped { count: 0, first: format!("{partition}/{offset}: {error}") };
        self.skipped.entry(cause).or_insert_with(first).count += 1;
    }

    /// No room for another record.
    pub(crate) fn is_full(&self) -> bool {
        self.records >= MAX_RECORDS || self.bytes >= MAX_BYTES
    }

    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Log timestamp of the oldest record.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// The orders to write, in no particular order.
    pub(crate) fn orders(&self) -> impl ExactSizeIterator<Item = (&OrderId, &Newest)> {
        self.newest.iter()
    }

    /// What was skipped, by cause.
    pub(crate) fn skipped(&self) -> &BTreeMap<&'static str, Skipped> {
        &self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{
        messages::{BodyHash, OrderAccepted, OrderConfirmed, OrderStatus},
        money::Currency,
        topics::Topic,
        wire,
    };
    use uuid::Uuid;

    fn read(batch: &mut Batch, partition: i32, offset: i64, logged: i64, payload: &[u8]) {
        let (topic, logged) = (Topic::OrderEvents, Timestamp(logged));
        batch.add(&Record { topic, partition, offset, logged, payload });
    }

    fn state(id: u128, version: i64, status: OrderStatus) -> OrderState {
        OrderState {
            order_id: OrderId(Uuid::from_u128(id)),
            owner: "issuer\nuser".to_owned(),
            body_hash: BodyHash([7; 32]),
            version,
            status,
            reason: None,
            currency: Currency::USD,
            total: 100,
            refunded: 0,
            lines: Vec::new(),
            shipping_address: String::new(),
            payment_method: String::new(),
            accepted_at: Timestamp(1),
            deadline: Timestamp(2),
            updated_at: Timestamp(1),
            timeline: Vec::new(),
        }
    }

    #[test]
    fn each_order_stands_once_in_its_newest_version_whatever_comes_last() {
        let confirmed = wire::encode(&OrderConfirmed { order: state(1, 3, OrderStatus::Confirmed) }).unwrap();
        let accepted = wire::encode(&OrderAccepted { order: state(1, 1, OrderStatus::Pending) }).unwrap();
        let other = wire::encode(&OrderAccepted { order: state(2, 1, OrderStatus::Pending) }).unwrap();
        let mut batch = Batch::default();
        read(&mut batch, 0, 10, 5, &accepted);
        read(&mut batch, 0, 11, 6, &confirmed);
        read(&mut batch, 0, 12, 7, &accepted);
        read(&mut batch, 3, 40, 4, &other);
        let mut orders: Vec<_> =
            batch.orders().map(|(id, newest)| (id.0.as_u128(), newest.version)).collect();
        orders.sort_unstable();
        assert_eq!(orders, [(1, 3), (2, 1)]);
        assert_eq!((batch.records(), batch.oldest()), (4, Some(Timestamp(4))));
    }

    #[test]
    fn what_cannot_be_read_is_counted_by_cause_and_passed_over() {
        let mut batch = Batch::default();
        read(&mut batch, 1, 7, 1, b"");
        read(&mut batch, 1, 8, 1, &[0, 0, 0, 0x27, 0x0f, 1]);
        read(&mut batch, 1, 9, 1, &[0, 0, 0, 0x27, 0x0f, 1]);
        let of = |cause: &str| batch.skipped().get(cause).unwrap();
        assert_eq!((of("decode").count, of("unknown_schema").count), (1, 2));
        assert_eq!(of("unknown_schema").first, "1/8: schema id 9999 is not known to this release");
        assert_eq!(batch.orders().len(), 0);
    }

    #[test]
    fn a_batch_is_bounded_by_count_and_by_bytes() {
        let mut batch = Batch::default();
        (0..MAX_RECORDS).for_each(|offset| read(&mut batch, 0, i64::try_from(offset).unwrap(), 1, b""));
        assert!(batch.is_full());
        let mut batch = Batch::default();
        (0..5).for_each(|offset| read(&mut batch, 0, offset, 1, &vec![1; 1 << 20]));
        assert!(batch.is_full());
    }
}
