//! The second level: Redis, shared by all gateways. What is written there is merged by version; the answer is what
//! stands there then.

use crate::product::Product;
use ingress::redis_link::{RedisAway, RedisLink};
use redis::Script;
use schemas::{
    ids::ProductId,
    shelf::{self, Stock},
};
use std::{sync::Arc, time::Duration};

/// How long a product is kept; each id has up to a tenth less, so that what came at once does not go at once.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// How long "there is no such product" is kept.
const LIFE_ABSENT: Duration = Duration::from_secs(5);

/// What Redis knows of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    Product(Product),
    Absent,
    /// Nothing, or not all of it.
    Nothing,
}

/// Version and JSON of the facts, version and units of the stock.
type Row = (Option<i64>, Option<String>, Option<i64>, Option<i64>);

#[derive(Clone)]
pub(crate) struct Level2 {
    redis: RedisLink,
    merge: Arc<Script>,
}

impl Level2 {
    pub(crate) fn new(redis: RedisLink) -> Self {
        Self { redis, merge: Arc::new(Script::new(shelf::MERGE)) }
    }

    pub(crate) async fn get(&self, id: ProductId) -> Result<Kept, RedisAway> {
        let life = self.redis.life()?;
        let mut commands = redis::pipe();
        commands.cmd("HMGET").arg(shelf::key(id)).arg(&["v", "f", "sv", "s"]);
        let (row,): (Row,) = self.redis.query(&life, &commands).await?;
        Ok(read(id, row))
    }

    /// Takes in what Postgres said, and returns it with what was newer there.
    pub(crate) async fn merge(&self, id: ProductId, found: Option<&Product>) -> Result<Kept, RedisAway> {
        let life = self.redis.life()?;
        let mut run = self.merge.prepare_invoke();
        run.key(shelf::key(id)).arg(1);
        match found {
            Some(Product { facts, stock }) => {
                let json = serde_json::to_string(facts).unwrap_or_default();
                run.arg(facts.version).arg(json).arg(stock.version).arg(stock.available);
                run.arg(millis(life_of(id)));
            }
            None => {
                run.arg(0).arg("").arg("").arg("").arg(millis(LIFE_ABSENT));
            }
        }
        let (row,): (Row,) = self.redis.run(&life, &run).await?;
        Ok(read(id, row))
    }
}

fn read(id: ProductId, row: Row) -> Kept {
    match row {
        (Some(0), ..) => Kept::Absent,
        (Some(_), Some(json), Some(version), Some(available)) => match serde_json::from_str(&json) {
            Ok(facts) => Kept::Product(Product { facts, stock: Stock { version, available } }),
            Err(error) => {
                tracing::warn!(product = %id, %error, "Redis holds a product that does not read");
                Kept::Nothing
            }
        },
        _ => Kept::Nothing,
    }
}

fn life_of(id: ProductId) -> Duration {
    // ids are spread evenly already: no die has to be thrown
    let share = u32::from(id.0.as_bytes()[15]);
    LIFE - LIFE / 10 * share / 256
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn lives_differ_by_a_tenth() {
        let life = |last: u128| life_of(ProductId(Uuid::from_u128(last))).as_secs();
        assert_eq!((life(0), life(128), life(255)), (1_800, 1_710, 1_620));
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let id = ProductId(Uuid::nil());
        assert_eq!(read(id, (None, None, Some(3), Some(4))), Kept::Nothing);
        assert_eq!(read(id, (Some(1), Some("{}".to_owned()), Some(3), Some(4))), Kept::Nothing);
        assert_eq!(read(id, (Some(0), Some(String::new()), None, None)), Kept::Absent);
    }
}
