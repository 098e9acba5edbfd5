//! What comes of order events: a batch in one pipeline, and what is counted of it.

use crate::{
    StatusError,
    batch::Batch,
    config::StatusConfig,
    metrics,
    views::{Views, Written},
};
use chassis::{
    clock::Clock,
    crash::{self, CrashPoint},
};
use follower::{Effect, Record};
use redis::{RedisError, RedisResult};
use schemas::time::Timestamp;
use std::time::Instant;

pub(crate) struct Writer {
    views: Views,
    clock: Clock,
}

impl Effect for Writer {
    type Batch = Batch;
    type Error = RedisError;

    fn add(&mut self, batch: &mut Batch, record: &Record<'_>) {
        batch.add(record);
    }

    fn is_full(&self, batch: &Batch) -> bool {
        batch.is_full()
    }

    async fn write(&mut self, batch: &Batch) -> RedisResult<()> {
        let began = Instant::now();
        crash::point(CrashPoint::ViewBefore);
        let written = self.views.write(batch.orders()).await?;
        crash::point(CrashPoint::ViewAfter);
        self.count(batch, &written, began);
        report_skipped(batch);
        Ok(())
    }

    async fn look(&mut self) -> RedisResult<()> {
        self.views.ping().await
    }
}

impl Writer {
    pub(crate) fn new(config: &StatusConfig) -> Result<Self, StatusError> {
        Ok(Self { views: Views::new(config)?, clock: Clock::system() })
    }

    fn count(&self, batch: &Batch, written: &Written, began: Instant) {
        ::metrics::counter!(metrics::RECORDS).increment(batch.records());
        ::metrics::counter!(metrics::VIEWS, "result" => "written").increment(written.newer);
        ::metrics::counter!(metrics::VIEWS, "result" => "older").increment(written.older);
        ::metrics::histogram!(metrics::WRITE).record(began.elapsed());
        ::metrics::histogram!(metrics::BATCH).record(batch.records() as f64);
        if let Some(oldest) = batch.oldest() {
            ::metrics::histogram!(metrics::AGE).record(Timestamp(self.clock.now_millis()).since(oldest));
        }
    }
}

fn report_skipped(batch: &Batch) {
    for (cause, skipped) in batch.skipped() {
        ::metrics::counter!(metrics::SKIPPED, "cause" => *cause).increment(skipped.count);
        let (count, first) = (skipped.count, &skipped.first);
        if *cause == "unknown_schema" {
            tracing::error!(
                count,
                first,
                "order events of a newer release: this one must be upgraded; skipped"
            );
        } else {
            tracing::warn!(cause, count, first, "order events that cannot be read; skipped");
        }
    }
}
