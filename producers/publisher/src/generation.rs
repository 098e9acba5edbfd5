//! One librdkafka producer, from its start to its end. A [`crate::Publisher`] has one after the other.

use crate::{
    config::PublisherConfig,
    context::{Context, Receipt},
    error::{self, PublishError, QueryError},
    metrics::Meters,
    producer::{Destination, OutboundRecord},
};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, PurgeConfig},
    types::RDKafkaRespErr,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Longest wait of the polling thread, and so for noticing that it is to end. Reports come at once whatever it is.
/// The client spins through the last millisecond of each wait, so a short one costs: at 100 ms, as the client's own
/// polling thread has it, an idle producer burns one per cent of a core.
const POLL: Duration = Duration::from_secs(2);

/// One producer and its polling thread.
pub(crate) struct Generation {
    /// Always there until it is dropped.
    producer: Option<Arc<BaseProducer<Context>>>,
    ended: Arc<AtomicBool>,
    failed: AtomicBool,
}

impl Generation {
    pub(crate) fn start(config: &PublisherConfig, meters: &Meters) -> Result<Self, PublishError> {
        let context =
            Context { meters: meters.clone(), troubled: AtomicBool::new(false), open: AtomicUsize::new(0) };
        let fatal = |error: &dyn std::fmt::Display| PublishError::Fatal(error.to_string());
        let producer = config
            .producer()
            .create_with_context::<_, BaseProducer<Context>>(context)
            .map_err(|error| fatal(&error))?;
        let (producer, ended) = (Arc::new(producer), Arc::new(AtomicBool::new(false)));
        let (polled, is_over) = (Arc::clone(&producer), Arc::clone(&ended));
        std::thread::Builder::new()
            .name("producer poll".to_owned())
            .spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    polled.poll(POLL);
                }
            })
            .map_err(|error| fatal(&error))?;
        Ok(Self { producer: Some(producer), ended, failed: AtomicBool::new(false) })
    }

    pub(crate) fn send(
        &self,
        topic: &str,
        record: &OutboundRecord,
        receipt: Receipt,
    ) -> Result<(), PublishError> {
        let mut outbound = BaseRecord::with_opaque_to(topic, Box::new(receipt))
            .key(record.key.as_slice())
            .payload(record.payload.as_slice());
        if let Destination::Partition(partition) = record.destination {
            outbound = outbound.partition(partition);
        }
        if !record.headers.is_empty() {
            outbound = outbound.headers(headers(record));
        }
        let producer = self.producer.as_ref().ok_or_else(gone)?;
        let context = producer.client().context();
        // before the hand-over: the report may come before this thread goes on
        context.open.fetch_add(1, Ordering::Relaxed);
        producer.send(outbound).map_err(|(error, _)| {
            context.open.fetch_sub(1, Ordering::Relaxed);
            context.troubled.store(true, Ordering::Release);
            error::at_send(&error)
        })
    }

    /// Whether it has a fatal error and takes no more records.
    pub(crate) fn has_failed(&self) -> bool {
        let Some(producer) = &self.producer else { return true };
        let client = producer.client();
        if client.context().troubled.swap(false, Ordering::AcqRel) && client.fatal_error().is_some() {
            self.failed.store(true, Ordering::Release);
        }
        self.failed.load(Ordering::Acquire)
    }

    /// What the fatal error was.
    pub(crate) fn failure(&self) -> String {
        self.producer
            .as_ref()
            .and_then(|producer| producer.client().fatal_error())
            .map_or_else(String::new, |(code, reason)| format!("{code}: {reason}"))
    }

    pub(crate) fn queued(&self) -> usize {
        self.producer.as_ref().map_or(0, |p| p.client().context().open.load(Ordering::Relaxed))
    }

    /// Blocks until all is reported on, or `deadline`.
    pub(crate) fn flush(&self, deadline: Duration) -> bool {
        self.producer.as_ref().is_none_or(|producer| producer.flush(deadline).is_ok())
    }

    pub(crate) fn purge(&self) {
        if let Some(producer) = &self.producer {
            producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
        }
    }

    /// Blocks up to `timeout`.
    pub(crate) fn partitions(&self, topic: &str, timeout: Duration) -> Result<i32, QueryError> {
        let unanswered = |detail: String| QueryError::Unanswered(detail);
        let producer = self.producer.as_ref().ok_or_else(|| unanswered(gone().to_string()))?;
        let metadata =
            producer.client().fetch_metadata(Some(topic), timeout).map_err(|e| unanswered(e.to_string()))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let found = found.ok_or_else(|| unanswered(format!("nothing on topic {topic}")))?;
        match found.error() {
            None => i32::try_from(found.partitions().len()).map_err(|e| unanswered(e.to_string())),
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            ) => Err(QueryError::NoSuchTopic(topic.to_owned())),
            Some(other) => Err(unanswered(format!("topic {topic}: {other:?}"))),
        }
    }
}

impl Drop for Generation {
    /// Ending a producer waits for its threads, up to half a second: never on a thread that runs tasks. The polling
    /// thread is told only when the producer is its alone, so it ends there.
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
        }
        self.ended.store(true, Ordering::Release);
    }
}

fn gone() -> PublishError {
    PublishError::Fatal("the producer has ended".to_owned())
}

fn headers(record: &OutboundRecord) -> OwnedHeaders {
    record
        .headers
        .iter()
        .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_slice()) })
        })
}
