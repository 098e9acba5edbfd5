//! Which body an adjustment's key stands for. A courtesy to clients: that an adjustment is applied once rests on its
//! id, in the inventory worker; while Redis is away, a key used with another body is not noticed here.

use ingress::redis_link::{RedisAway, RedisLink};
use redis::Script;
use schemas::{ids::EffectId, messages::BodyHash};
use std::sync::Arc;

/// KEYS: the adjustment's key. ARGV: body hash, time to live in ms. Returns the hash that stands there now.
const CLAIM: &str = r"
local known = redis.call('GET', KEYS[1])
if known then return known end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
";

/// As long as `inventory.commands` keeps its records, and a day.
const TTL_MS: u64 = 8 * 24 * 60 * 60 * 1_000;

#[derive(Clone)]
pub(crate) struct Keys {
    link: RedisLink,
    claim: Arc<Script>,
}

impl Keys {
    pub(crate) fn new(link: RedisLink) -> Self {
        Self { link, claim: Arc::new(Script::new(CLAIM)) }
    }

    /// Whether the key stands for `hash`, as far as Redis knows.
    pub(crate) async fn stands_for(&self, adjustment: EffectId, hash: BodyHash) -> bool {
        self.ask(adjustment, hash).await.unwrap_or(true)
    }

    async fn ask(&self, adjustment: EffectId, hash: BodyHash) -> Result<bool, RedisAway> {
        let life = self.link.life()?;
        let hash = hash.to_string();
        let mut script = self.claim.key(format!("adjustment:{{{adjustment}}}"));
        script.arg(&hash).arg(TTL_MS);
        let known: String = self.link.run(&life, &script).await?;
        Ok(known == hash)
    }
}
