//! The operator's and the analyst's commands, first forms: token, lag, sim, replay.

use crate::{config, lag};
use chassis::{clock::Clock, kafka::Cluster, settings::Environment, signals};
use schemas::time::Timestamp;
use std::{
    io::{BufWriter, Write},
    time::Duration,
};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub(crate) fn token(environment: &Environment, user: &str, scopes: &[String], ttl: Duration) -> Outcome {
    let auth = ingress::config::auth(environment)?;
    let now = Timestamp(Clock::system().now_millis());
    println!("{}", ingress::auth::mint(&auth, user, scopes, now, ttl)?);
    Ok(())
}

pub(crate) async fn lag(environment: &Environment, json: bool) -> Outcome {
    let audit = config::database(environment, "audit");
    let rows = lag::read(&Cluster::from_environment(environment), &audit).await?;
    if json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        print!("{}", lag::table(&rows));
    }
    Ok(())
}

/// Many histories, in memory. Nothing is connected to.
pub(crate) fn sim(seed: Option<u64>, histories: u64, orders: u8, faults: simulator::Faults) -> Outcome {
    let seed = seed.unwrap_or_else(|| chassis::ids::random().as_u64_pair().0);
    println!("seed {seed}: {histories} histories of {orders} orders");
    let begun = std::time::Instant::now();
    simulator::run(&simulator::Plan { seed, histories, orders, faults })?;
    println!("every invariant held; {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

pub(crate) async fn replay(
    environment: &Environment,
    topics: &[String],
    since: Option<Duration>,
    key: Option<String>,
) -> Outcome {
    let config = ::replay::ReplayConfig {
        cluster: Cluster::from_environment(environment),
        topics: ::replay::topics_by_name(topics.iter().map(String::as_str))?,
        since,
        now: Timestamp(Clock::system().now_millis()),
        key,
    };
    let stop = signals::stop_on_signal()?;
    let report = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let report = ::replay::run(&config, &mut out, &stop)?;
        out.flush()?;
        Ok::<_, ::replay::ReplayError>(report)
    })
    .await??;
    if report.unreadable > 0 {
        eprintln!(
            "{} of {} records could not be read; their lines say why",
            report.unreadable, report.records
        );
    }
    Ok(())
}
