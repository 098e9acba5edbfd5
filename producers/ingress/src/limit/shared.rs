//! Buckets in Redis, which all gateways share. The calls of one moment are counted by one run of one script: atomic, by
//! Redis's clock, a bucket once however many calls ask for it.

use super::{
    Key,
    bucket::{Rate, Reading},
};
use crate::{
    coalesce::{Bounds, Coalescer},
    downstream::Downstream,
    redis_link::RedisLink,
};
use redis::Script;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::LazyLock,
    time::Duration,
};

/// KEYS: buckets. ARGV: for each, tokens asked for, capacity, microseconds in which one comes back. Returns for each: tokens
/// granted, microseconds until it is full. A bucket is the time at which it is full again; one that is full is not kept.
/// That time is never farther off than an empty bucket's, so that a clock that steps back locks nobody out.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local out = {}
for i, key in ipairs(KEYS) do
    local asked = tonumber(ARGV[3 * i - 2])
    local capacity = tonumber(ARGV[3 * i - 1])
    local interval = tonumber(ARGV[3 * i])
    local full = tonumber(redis.call('GET', key) or now)
    full = math.min(math.max(full, now), now + capacity * interval)
    local granted = math.min(asked, math.floor(capacity - (full - now) / interval + 0.0001))
    if granted > 0 then
        full = full + granted * interval
        redis.call('SET', key, string.format('%.1f', full), 'PX', math.ceil((full - now) / 1000) + 1)
    end
    out[2 * i - 1] = math.max(granted, 0)
    out[2 * i] = math.ceil(full - now)
end
return out
",
    )
});

/// One call.
type Ask = (Key, Rate);

/// Buckets in Redis. Cheap to clone.
#[derive(Clone)]
pub(super) struct SharedBuckets {
    asked: Coalescer<Ask, Reading>,
    downstream: Downstream,
}

impl SharedBuckets {
    pub(super) fn start(redis: RedisLink, downstream: Downstream, patience: Duration) -> Self {
        let bounds = Bounds { batch: 1_000, queue: 20_000, concurrent: 2, patience };
        let called = downstream.clone();
        let asked = Coalescer::start("limits", bounds, move |asked: Vec<Ask>| {
            let (redis, downstream) = (redis.clone(), called.clone());
            async move { downstream.call(run(&redis, asked)).await.map_err(|error| error.to_string()) }
        });
        Self { asked, downstream }
    }

    /// Takes one token; `None` when Redis does not say.
    pub(super) async fn take(&self, key: Key, rate: Rate) -> Option<Reading> {
        if self.downstream.is_left_alone() {
            return None;
        }
        self.asked.ask((key, rate)).await.ok()
    }
}

async fn run(redis: &RedisLink, asked: Vec<Ask>) -> Result<Vec<Reading>, String> {
    let mut buckets: Vec<(Key, Rate, u32)> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::with_capacity(asked.len());
    for (key, rate) in &asked {
        match places.entry(key.clone()) {
            Entry::Occupied(place) => {
                if let Some(bucket) = buckets.get_mut(*place.get()) {
                    bucket.2 += 1;
                }
            }
            Entry::Vacant(place) => {
                place.insert(buckets.len());
                buckets.push((key.clone(), *rate, 1));
            }
        }
    }
    let mut call = TAKE.prepare_invoke();
    for (key, rate, count) in &buckets {
        call.key(&**key).arg(*count).arg(rate.capacity).arg(rate.interval());
    }
    let life = redis.life().map_err(|away| away.to_string())?;
    let answer: Vec<i64> = redis.run(&life, &call).await.map_err(|away| away.to_string())?;
    let mut left: Vec<(i64, Duration)> = answer
        .chunks_exact(2)
        .map(|pair| match pair {
            [granted, full_in] => (*granted, Duration::from_micros(u64::try_from(*full_in).unwrap_or(0))),
            _ => (0, Duration::ZERO),
        })
        .collect();
    let readings = asked.iter().filter_map(|(key, rate)| {
        // who asked first is granted first
        let (granted, full_in) = left.get_mut(*places.get(key)?)?;
        let is_granted = *granted > 0;
        *granted -= 1;
        Some(Reading { is_granted, left: rate.left(*full_in), full_in: *full_in })
    });
    Ok(readings.collect())
}
