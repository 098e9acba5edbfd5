//! What librdkafka calls back: delivery reports, errors, log lines.

use crate::{
    error,
    error::PublishError,
    metrics::Meters,
    producer::{Delivered, Report},
};
use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
};
use schemas::topics::Topic;
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};

/// Who waits for a record's report.
pub(crate) enum Waiter {
    One(oneshot::Sender<Result<Delivered, PublishError>>),
    Many { reports: mpsc::UnboundedSender<Report>, tag: u64 },
}

/// Travels with a record through librdkafka.
pub(crate) struct Receipt {
    pub(crate) topic: Topic,
    pub(crate) waiter: Waiter,
    pub(crate) handed_over: Instant,
}

/// The context of one producer.
pub(crate) struct Context {
    pub(crate) meters: Meters,
    /// An error was reported since the producer was last looked at: it may have been a fatal one.
    pub(crate) troubled: AtomicBool,
    /// Records handed over and not reported on. librdkafka's own count has its other events in it.
    pub(crate) open: AtomicUsize,
}

impl Context {
    fn settle(&self, receipt: Receipt, outcome: Result<Delivered, PublishError>) {
        self.meters.queued.decrement(1.0);
        self.open.fetch_sub(1, Ordering::Relaxed);
        match &outcome {
            Ok(_) => {
                self.meters.delivered(receipt.topic);
                self.meters.ack_time.record(receipt.handed_over.elapsed().as_secs_f64());
            }
            Err(error) => self.meters.failed(error.kind()),
        }
        // who no longer waits has said that it does not mind
        match receipt.waiter {
            Waiter::One(waiter) => drop(waiter.send(outcome)),
            Waiter::Many { reports, tag } => drop(reports.send(Report { tag, outcome })),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        let outcome = match result {
            Ok(message) => Ok(Delivered { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(error::at_delivery(error)),
        };
        self.settle(*receipt, outcome);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // which errors are fatal only the client itself can tell
        self.troubled.store(true, Ordering::Release);
        tracing::warn!(%error, reason, "kafka client");
    }
}

/// The context of a client that only asks.
pub(crate) struct Asking;

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Asking {}

fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, line, "librdkafka"),
    }
}
