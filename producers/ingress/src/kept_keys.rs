//! Which body an idempotency key stands for, where the effect behind it is derived from the key and applied once by
//! its worker. A courtesy to clients: nothing rests on it, and while Redis is away a key used with another body is not
//! noticed here.

use crate::redis_link::{RedisAway, RedisLink};
use chassis::crash::{self, CrashPoint};
use redis::Script;
use schemas::{ids::EffectId, messages::BodyHash};
use std::sync::Arc;

/// KEYS: the effect's key. ARGV: body hash, time to live in ms. Returns the hash that stands there now.
const CLAIM: &str = r"
local known = redis.call('GET', KEYS[1])
if known then return known end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
";

/// As long as the topics of commands keep their records, and a day.
const TTL_MS: u64 = 8 * 24 * 60 * 60 * 1_000;

/// The keys of one endpoint.
#[derive(Clone)]
pub struct KeptKeys {
    link: RedisLink,
    /// In front of every key in Redis.
    what: &'static str,
    claim: Arc<Script>,
}

impl KeptKeys {
    /// Keys of effects called `what`, e.g. `adjustment`.
    #[must_use]
    pub fn new(link: RedisLink, what: &'static str) -> Self {
        Self { link, what, claim: Arc::new(Script::new(CLAIM)) }
    }

    /// Whether the key of `effect` stands for `hash`, as far as Redis knows.
    pub async fn stands_for(&self, effect: EffectId, hash: BodyHash) -> bool {
        self.ask(effect, hash).await.unwrap_or(true)
    }

    async fn ask(&self, effect: EffectId, hash: BodyHash) -> Result<bool, RedisAway> {
        let life = self.link.life()?;
        let hash = hash.to_string();
        let mut script = self.claim.key(format!("{}:{{{effect}}}", self.what));
        script.arg(&hash).arg(TTL_MS);
        crash::point(CrashPoint::KeyBefore);
        let known: String = self.link.run(&life, &script).await?;
        crash::point(CrashPoint::KeyAfter);
        Ok(known == hash)
    }
}
