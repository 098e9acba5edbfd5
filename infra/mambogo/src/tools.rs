//! The operator's and the analyst's commands, first forms: token, lag, replay.

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
