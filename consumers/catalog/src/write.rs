//! What comes of changes of products: stock to Postgres first, then both parts to Redis and to the gateways.

use crate::{
    CatalogWorkerError,
    config::CatalogWorkerConfig,
    heard::Heard,
    metrics,
    shelves::{Shelves, WriteError},
    store::Store,
};
use follower::{Effect, Record};
use std::time::{Duration, Instant};

pub(crate) struct Writer {
    shelves: Shelves,
    store: Store,
    window: Duration,
}

impl Writer {
    pub(crate) fn new(config: &CatalogWorkerConfig) -> Result<Self, CatalogWorkerError> {
        let (shelves, store) = (Shelves::new(config)?, Store::new(config.database_url.clone()));
        Ok(Self { shelves, store, window: config.window })
    }
}

impl Effect for Writer {
    type Batch = Heard;
    type Error = WriteError;

    fn add(&mut self, heard: &mut Heard, record: &Record<'_>) {
        if let Err(error) = heard.add(record, Instant::now()) {
            ::metrics::counter!(metrics::SKIPPED).increment(1);
            let Record { partition, offset, .. } = *record;
            let topic = record.topic.name();
            tracing::warn!(topic, partition, offset, %error, "a record that cannot be read; skipped");
        }
    }

    fn is_full(&self, heard: &Heard) -> bool {
        heard.is_full()
    }

    fn is_due(&self, heard: &Heard) -> bool {
        heard.is_due(Instant::now(), self.window)
    }

    async fn write(&mut self, heard: &Heard) -> Result<(), WriteError> {
        let began = Instant::now();
        self.store.write(heard.changes()).await?;
        self.shelves.write(heard.changes()).await?;
        ::metrics::counter!(metrics::RECORDS).increment(heard.records());
        ::metrics::histogram!(metrics::BATCH).record(heard.changes().len() as f64);
        ::metrics::histogram!(metrics::WRITE).record(began.elapsed());
        Ok(())
    }
}
