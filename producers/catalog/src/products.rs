//! One product by its id: from this process, else from Redis, else from Postgres; one read an id at a time.

use crate::{
    databases::Lsn,
    level2::{Kept, Level2},
    metrics::Levels,
    placed::ByPlace,
    product::Product,
    shelf::{Boarding, Held, Known, Shelf},
};
use chassis::clock::Clock;
use ingress::coalesce::Unanswered;
use schemas::{ids::ProductId, time::Timestamp};
use std::{sync::Arc, time::Instant};

/// Neither level could say whether there is such a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The reader. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Products {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) level2: Level2,
    pub(crate) database: ByPlace<ProductId, Option<Product>>,
    pub(crate) clock: Clock,
    pub(crate) counts: Levels,
}

impl Products {
    /// What there is under `id`, perhaps as of some seconds ago.
    pub(crate) async fn get(&self, id: ProductId) -> Result<Known, Unreadable> {
        let now = Instant::now();
        if let Some(known) = self.shelf.look(id, now) {
            self.counts.l1_hit.increment(1);
            return Ok(known);
        }
        self.counts.l1_miss.increment(1);
        let mut end = match self.shelf.board(id, now) {
            Boarding::There(known) => return Ok(known),
            Boarding::Join(end) => {
                self.counts.shared.increment(1);
                end
            }
            Boarding::Fly(end) => {
                self.clone().fly(id);
                end
            }
        };
        let ended = end.wait_for(Option::is_some).await.map_err(|_| Unreadable)?;
        ended.clone().flatten().ok_or(Unreadable)
    }

    /// What there is under `id` once the write at `after` is known.
    pub(crate) async fn get_after(&self, id: ProductId, after: Lsn) -> Result<Known, Unreadable> {
        let found = self.ask(id, Some(after)).await.map_err(|_| Unreadable)?;
        let Some(product) = self.keep(id, found).await else { return Ok(None) };
        self.shelf.take_in(&product, Timestamp(self.clock.now_millis()));
        let body = serde_json::to_vec(&product.shown()).map_err(|_| Unreadable)?;
        Ok(Some(Arc::new(Held { tag: product.tag(), body: body.into(), product })))
    }

    /// Reads in tasks of their own: a client that goes away ends no read that others wait for, and one that panics
    /// leaves nobody waiting.
    fn fly(self, id: ProductId) {
        tokio::spawn(async move {
            let shelf = self.shelf.clone();
            let found = tokio::spawn(async move { self.read(id).await }).await;
            shelf.land(id, found.ok().and_then(Result::ok), Instant::now());
        });
    }

    async fn read(&self, id: ProductId) -> Result<Option<Product>, Unanswered> {
        match self.level2.get(id).await {
            Ok(Kept::Product(product)) => {
                self.counts.l2_hit.increment(1);
                return Ok(Some(product));
            }
            Ok(Kept::Absent) => {
                self.counts.l2_hit.increment(1);
                return Ok(None);
            }
            Ok(Kept::Nothing) => self.counts.l2_miss.increment(1),
            Err(_) => self.counts.l2_away.increment(1),
        }
        let found = self.ask(id, None).await?;
        Ok(self.keep(id, found).await)
    }

    async fn ask(&self, id: ProductId, after: Option<Lsn>) -> Result<Option<Product>, Unanswered> {
        let found = self.database.ask((id, after)).await;
        match &found {
            Ok(Some(_)) => self.counts.l3_hit.increment(1),
            Ok(None) => self.counts.l3_miss.increment(1),
            Err(_) => self.counts.l3_away.increment(1),
        }
        found
    }

    /// Leaves what was found in Redis. A change may have come there since it was read, or before, if it was read from
    /// a replica: what stands there in the end is what counts.
    async fn keep(&self, id: ProductId, found: Option<Product>) -> Option<Product> {
        match self.level2.merge(id, found.as_ref()).await {
            Ok(Kept::Product(kept)) => Some(kept),
            Ok(Kept::Absent | Kept::Nothing) | Err(_) => found,
        }
    }
}
