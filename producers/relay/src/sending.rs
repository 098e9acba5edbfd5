//! One producer and its plan, from the first record to the first failure.

use crate::plan::{Limits, Parcel, Plan};
use chassis::crash::{self, CrashPoint};
use publisher::{
    Destination, OutboundRecord, PublishError, Publisher, PublisherConfig, Refusal, Report, Reports,
};
use schemas::{
    envelope::{self, Envelope},
    ids::LaneId,
};
use tokio::sync::mpsc;

/// How produce batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batching {
    /// As many records as there are.
    Full,
    /// One record each: then a broker that refuses a batch as too large has named the record.
    Single,
}

/// A record that Kafka refused after it was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) lane: LaneId,
    pub(crate) seq: i64,
    pub(crate) cause: Refusal,
    pub(crate) detail: String,
}

/// Why a producer is given up.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// Records that were refused for good, and are perhaps why.
    pub(crate) refused: Vec<Refused>,
}

impl Failure {
    fn new(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), refused: Vec::new() }
    }
}

pub(crate) struct Sending {
    publisher: Publisher,
    reports: Reports,
    reported: mpsc::UnboundedReceiver<Report>,
    pub(crate) plan: Plan,
    pub(crate) batching: Batching,
    /// Nothing more is handed over.
    pub(crate) closed: bool,
}

impl Sending {
    /// # Errors
    /// When librdkafka refuses the settings.
    pub(crate) fn start(
        config: &PublisherConfig,
        limits: Limits,
        batching: Batching,
    ) -> Result<Self, PublishError> {
        let (reports, reported) = mpsc::unbounded_channel();
        let publisher = Publisher::start(PublisherConfig {
            // a record that is given up leaves a hole: it waits for Kafka as long as it takes
            delivery_timeout: None,
            // a producer put in its place unseen would send on behind the hole
            heal: false,
            batch_records: match batching {
                Batching::Full => config.batch_records,
                Batching::Single => 1,
            },
            // the plan bounds what is in flight; the queue must hold at least that
            queue_messages: config.queue_messages.max(u32::try_from(limits.records * 2).unwrap_or(u32::MAX)),
            ..config.clone()
        })?;
        Ok(Self { publisher, reports, reported, plan: Plan::new(limits), batching, closed: false })
    }

    pub(crate) fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Hands over what the plan allows.
    ///
    /// # Errors
    /// [`Failure`] when the producer takes nothing more.
    pub(crate) fn hand_over(&mut self) -> Result<(), Failure> {
        while !self.closed
            && let Some(mut parcel) = self.plan.next_parcel()
        {
            let outbound = outbound(&mut parcel);
            crash::point(CrashPoint::SendBefore);
            let Err(error) = self.publisher.send_tagged(&outbound, parcel.tag, &self.reports) else {
                crash::point(CrashPoint::SendHanded);
                continue;
            };
            let parcel = restored(parcel, outbound);
            match error {
                PublishError::Refused { cause, detail } => {
                    self.plan.refuse(parcel, format!("{cause}: {detail}"));
                }
                // the next report makes room
                PublishError::QueueFull if self.plan.in_flight() > 1 => {
                    self.plan.take_back(parcel);
                    return Ok(());
                }
                error => return Err(Failure::new(error)),
            }
        }
        Ok(())
    }

    /// Waits for reports and takes up to 1,000. Safe to drop.
    pub(crate) async fn reports(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        self.reported.recv_many(&mut reports, 1_000).await;
        reports
    }

    /// Records what was reported; returns how many records were acknowledged.
    ///
    /// # Errors
    /// [`Failure`] at the first record that failed, or was acknowledged in another order. All that was reported
    /// with it has been recorded.
    pub(crate) fn settle(&mut self, reports: Vec<Report>) -> Result<u64, Failure> {
        let mut acknowledged = 0;
        let mut failure = None;
        for report in reports {
            match report.outcome {
                Ok(delivered) => match self.plan.acked(report.tag, delivered.offset) {
                    Ok(()) => {
                        crash::point(CrashPoint::SendAfter);
                        acknowledged += 1;
                    }
                    Err(stop) => {
                        failure.get_or_insert_with(|| Failure::new(stop));
                    }
                },
                Err(error) => {
                    let failure = failure.get_or_insert_with(|| Failure::new(&error));
                    if let PublishError::Refused { cause, detail } = error
                        && let Some((lane, seq)) = self.plan.place(report.tag)
                    {
                        failure.refused.push(Refused { lane, seq, cause, detail });
                    }
                }
            }
        }
        failure.map_or(Ok(acknowledged), Err)
    }

    /// Gives up what is queued or in flight. The producer itself ends when this is dropped, on a thread of its own.
    pub(crate) fn purge(&self) {
        self.publisher.purge();
    }
}

/// The record as Kafka gets it: the envelope names its source, other headers follow.
fn outbound(parcel: &mut Parcel) -> OutboundRecord {
    let record = &mut parcel.record;
    let envelope = Envelope { source: Some(parcel.source), ..record.envelope };
    let mut headers = Vec::with_capacity(1 + record.headers.len());
    headers.push((envelope::HEADER.to_owned(), envelope.to_bytes()));
    headers.append(&mut record.headers);
    OutboundRecord {
        topic: record.topic,
        destination: Destination::Partition(record.partition),
        key: std::mem::take(&mut record.key),
        payload: std::mem::take(&mut record.payload),
        headers,
    }
}

/// The parcel that `outbound` was made of.
fn restored(mut parcel: Parcel, outbound: OutboundRecord) -> Parcel {
    parcel.record.key = outbound.key;
    parcel.record.payload = outbound.payload;
    parcel.record.headers = outbound.headers.into_iter().skip(1).collect();
    parcel
}
