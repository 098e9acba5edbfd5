//! Steady load for many minutes, with a fault each minute: memory stays flat, lags do not grow, and in the end nothing
//! is left behind.

use crate::{
    Failure, arguments::Arguments, buyer::Life, fault::Fault, load::Load, memory, run::World,
    verdict::Invariant,
};
use rand::seq::IndexedRandom;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant},
};

/// The first minutes fill caches and pools: growth is measured after them.
const TO_FILL: f64 = 180.0;
/// Growth of a process that counts as flat: 1 MiB a minute, below which allocators wander.
const FLAT: f64 = 1024.0 * 1024.0 / 60.0;
/// Seconds between two looks at memory that are kept.
const LOOK: usize = 15;
/// The other party keeps its books: what it holds is not ours to keep flat.
const KEEPS_BOOKS: &str = "mambogo-provider";
/// Faults that leave most of the system running.
const FAULTS: [Fault; 12] = [
    Fault::WorkerKilled,
    Fault::WorkerFrozen,
    Fault::RelayKilled,
    Fault::RelayFrozen,
    Fault::GatewayKilled,
    Fault::RedisKilled,
    Fault::RedisFlushed,
    Fault::PostgresKilled,
    Fault::PostgresFrozen,
    Fault::SessionsEnded,
    Fault::BrokerKilled,
    Fault::BrokerFrozen,
];

/// What was seen.
#[derive(Debug, Serialize)]
pub(crate) struct Soak {
    seed: u32,
    minutes: f64,
    orders: usize,
    faults: Vec<String>,
    /// From the end of the load until nothing was under way.
    to_rest_seconds: f64,
    /// MiB in the end, and growth in MiB a minute, of each process that was not killed after its first minutes.
    memory: BTreeMap<String, (u64, Option<f64>)>,
    /// Seconds and KiB, a look every so often.
    looks: BTreeMap<String, Vec<(u64, u64)>>,
    found: BTreeMap<Invariant, Vec<String>>,
}

/// Runs it.
///
/// # Errors
/// When a part does not come back, or a check cannot be made.
pub(crate) async fn soak(arguments: &Arguments, seed: u32, time: Duration) -> Result<Soak, Failure> {
    let mut world = World::begin(arguments, seed).await?;
    let (begun, mut faults) = (Instant::now(), Vec::new());
    let load = Load::begin(&world.shop, &world.shelf, &world.draws, arguments.rate);
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    minute.tick().await;
    while begun.elapsed() + Duration::from_secs(60) < time {
        minute.tick().await;
        let fault = FAULTS.choose(&mut world.random).copied().unwrap_or(Fault::WorkerKilled);
        let struck = world.strike(fault, Duration::ZERO).await?;
        println!("{:>4} s  {}: {}", begun.elapsed().as_secs(), fault.name(), struck.what);
        faults.push(format!("{}: {}", fault.name(), struck.what));
    }
    tokio::time::sleep(time.saturating_sub(begun.elapsed())).await;
    let lives: Vec<Life> = load.end(&mut world.draws).await;
    let samples = world.memory.take();
    let (to_rest, _) = world.check(&lives, begun).await?;
    let memory = growth(&samples);
    for (name, (_, slope)) in memory.iter().filter(|(name, _)| !name.starts_with(KEEPS_BOOKS)) {
        if slope.is_some_and(|slope| slope > FLAT / (1024.0 * 1024.0) * 60.0) {
            let what = format!("{name} grows by {:.2} MiB a minute", slope.unwrap_or_default());
            world.shop.findings.add(Invariant::Bounded, what);
        }
    }
    if memory::most(&samples) > memory::BOUND {
        world.shop.findings.add(Invariant::Bounded, format!("{} MiB", memory::most(&samples) >> 20));
    }
    Ok(Soak {
        seed,
        minutes: begun.elapsed().as_secs_f64() / 60.0,
        orders: lives.iter().filter(|life| life.id.is_some()).count(),
        faults,
        to_rest_seconds: to_rest.as_secs_f64(),
        memory,
        looks: looks(&samples),
        found: world.shop.findings.take(),
    })
}

/// Memory in the end, MiB, and growth in MiB a minute once caches are full; none for a process that lived less long: a
/// restart shows as a fall.
fn growth(samples: &BTreeMap<String, Vec<(f64, u64)>>) -> BTreeMap<String, (u64, Option<f64>)> {
    let of = |samples: &Vec<(f64, u64)>| {
        let last_life = samples
            .windows(2)
            .rposition(|pair| matches!(pair, [a, b] if b.1 < a.1 / 2))
            .map_or(0, |at| at + 1);
        let life = samples.get(last_life..).unwrap_or_default();
        let born = life.first().map_or(0.0, |(at, _)| *at);
        let full: Vec<(f64, u64)> = life.iter().copied().filter(|(at, _)| *at > born + TO_FILL).collect();
        let long_enough = full.len() > 120;
        let a_minute =
            memory::slope(&full).filter(|_| long_enough).map(|slope| slope * 60.0 / (1024.0 * 1024.0));
        (life.last().map_or(0, |(_, bytes)| bytes >> 20), a_minute)
    };
    samples.iter().map(|(name, samples)| (name.clone(), of(samples))).collect()
}

fn looks(samples: &BTreeMap<String, Vec<(f64, u64)>>) -> BTreeMap<String, Vec<(u64, u64)>> {
    let kept = |samples: &Vec<(f64, u64)>| {
        let looks = samples.iter().step_by(LOOK);
        looks.map(|(at, bytes)| (Duration::from_secs_f64(*at).as_secs(), bytes >> 10)).collect()
    };
    samples.iter().map(|(name, samples)| (name.clone(), kept(samples))).collect()
}

impl Soak {
    /// How many violations there are.
    pub(crate) fn violations(&self) -> usize {
        self.found.values().map(Vec::len).sum()
    }

    /// For people.
    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        for (name, (mib, slope)) in &self.memory {
            let slope = slope.map_or_else(
                || "killed too late to tell".to_owned(),
                |slope| format!("{slope:+.2} MiB a minute"),
            );
            let _ = writeln!(text, "{name:<20} {mib:>4} MiB  {slope}");
        }
        for (invariant, found) in &self.found {
            let _ = writeln!(text, "\n✗ {}: {}", invariant.heading(), found.len());
            found.iter().take(10).for_each(|what| {
                let _ = writeln!(text, "    {what}");
            });
        }
        let _ = writeln!(
            text,
            "\nseed {}: {:.0} minutes, {} orders, {} faults, {} violations; at rest {:.1} s after the load",
            self.seed,
            self.minutes,
            self.orders,
            self.faults.len(),
            self.violations(),
            self.to_rest_seconds
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_last_life_after_its_first_minutes() {
        const MIB: u64 = 1 << 20;
        let mut samples: Vec<(f64, u64)> = (0..200).map(|s| (f64::from(s), 300 * MIB)).collect();
        // a new life: it fills for three minutes, then grows by 6 MiB a minute
        samples.extend((200_u32..380).map(|s| (f64::from(s), 40 * MIB + u64::from(s) * 4096)));
        samples.extend((380_u32..620).map(|s| (f64::from(s), 60 * MIB + u64::from(s - 380) * MIB / 10)));
        let grown = growth(&BTreeMap::from([("worker".to_owned(), samples.clone())]));
        let (mib, slope) = grown["worker"];
        assert_eq!(mib, 83);
        assert!((slope.unwrap() - 6.0).abs() < 0.1, "{slope:?}");
        samples.truncate(400);
        assert_eq!(growth(&BTreeMap::from([("worker".to_owned(), samples)]))["worker"].1, None);
    }
}
