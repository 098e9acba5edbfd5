//! `mambogo load`: one run of the load generator, from words on the command line.

use crate::{cli::duration, config::ProcessConfig};
use chassis::{clock::Clock, kafka::Cluster, settings::Environment, signals};
use clap::Args;
use loadtest::{Client, Follow, History, Pace, Part, Plan, Spread, Table, Target, Way, measure, page};
use schemas::time::Timestamp;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use uuid::Uuid;

/// Longest that a token of a run is good for.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Most products that are asked for.
const MOST_PRODUCTS: usize = 10_000;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The catalogue did not answer.
    #[error("the products could not be read from {gateway}: {why}; does the gateway run there?")]
    Products {
        /// Where they were asked for.
        gateway: SocketAddr,
        /// What came instead.
        why: String,
    },
}

/// What can be said of a run.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Orders a second, by schedule
    #[arg(long, default_value_t = 100.0, conflicts_with = "clients")]
    rate: f64,
    /// So many clients instead, each of which sends its next order when it is done with its last
    #[arg(long)]
    clients: Option<usize>,
    /// How long orders are sent
    #[arg(long = "for", value_parser = duration, default_value = "30s")]
    length: Duration,
    /// Most orders
    #[arg(long)]
    orders: Option<u64>,
    /// So many orders a call, instead of one
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=500))]
    bulk: Option<u16>,
    /// Which products: uniform, zipf, zipf:EXPONENT, or hot (one product in every order)
    #[arg(long, value_parser = spread, default_value = "uniform")]
    products: Spread,
    /// Lines an order
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=100))]
    lines: u8,
    /// A payment method and its weight, e.g. `SANDBOX_DECLINE=0.1`; repeat for more
    #[arg(long, value_parser = weighted, default_value = "CREDIT_CARD=1")]
    pay: Vec<(String, f64)>,
    /// Share of submits that are sent a second time
    #[arg(long, default_value_t = 0.0)]
    repeats: f64,
    /// Share of keys that are used again with another body
    #[arg(long, default_value_t = 0.0)]
    other_bodies: f64,
    /// Share of orders that are cancelled
    #[arg(long, default_value_t = 0.0)]
    cancels: f64,
    /// What follows an acknowledgement: nothing, read, poll:PAUSE, wait (long poll) or events (server-sent); with a weight,
    /// e.g. `poll:250ms=0.5`; repeat for a mix
    #[arg(long, value_parser = follow, default_value = "wait")]
    follow: Vec<(Follow, f64)>,
    /// See ends on the log (`KAFKA_BROKERS`), without asking anybody
    #[arg(long)]
    on_log: bool,
    /// How long a submit that was not decided is repeated
    #[arg(long, value_parser = duration, default_value = "0s")]
    insist: Duration,
    /// How long the last ends are waited for
    #[arg(long, value_parser = duration, default_value = "30s")]
    settle: Duration,
    /// Most connections
    #[arg(long, default_value_t = 512)]
    connections: usize,
    /// First part of every idempotency key; drawn when it is not given
    #[arg(long)]
    name: Option<String>,
    /// Another seed draws other orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A process whose CPU and memory is measured, as NAME=PID; repeat for more
    #[arg(long, value_parser = part)]
    watch: Vec<Part>,
    /// Most records of the history that are kept (64 bytes each)
    #[arg(long, default_value_t = 4_000_000)]
    keep: usize,
    /// Where the history is written, as JSON lines
    #[arg(long)]
    history: Option<PathBuf>,
    /// Where the result is written as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the result is written as a page with plots
    #[arg(long)]
    html: Option<PathBuf>,
}

pub(crate) async fn run(
    environment: &Environment,
    args: LoadArgs,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let gateway = ProcessConfig::from_environment(environment)?.gateway;
    let plan = args.plan();
    let target = target(environment, gateway, "load").await?;
    println!("run {} against {gateway}, {} products", plan.name, target.products.len());
    let history = match &args.history {
        Some(path) => History::to_file(args.keep, path)?,
        None => History::in_memory(args.keep),
    };
    let stop = signals::stop_on_signal()?;
    let outcome = measure(&plan, target, args.watch, history, stop, |second, _| {
        eprintln!(
            "  {:>4} s  accepted {:>6}  ended {:>6}  open {:>6}  p99 accepted {:>7.1} ms  end {:>7.1} ms",
            second.at, second.accepted, second.ended, second.open, second.submit.p99, second.complete.p99
        );
    })
    .await?;
    println!("{}", Table(&outcome));
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&outcome)?)?;
    }
    let is_clean = outcome.verdict.is_clean();
    if let Some(path) = &args.html {
        std::fs::write(path, page("Mambogo under load", &[(plan.name.clone(), &outcome)]))?;
    }
    if is_clean { Ok(()) } else { Err("the history shows a broken promise; see above".into()) }
}

/// The gateway, with a token for `user`, and what is sold there.
pub(crate) async fn target(
    environment: &Environment,
    gateway: SocketAddr,
    user: &str,
) -> Result<Target, Box<dyn std::error::Error + Send + Sync>> {
    let now = Timestamp(Clock::system().now_millis());
    let scopes = [ingress::limit::EXEMPT.to_owned()];
    let token = ingress::auth::mint(&ingress::config::auth(environment)?, user, &scopes, now, TOKEN_TTL)?;
    let products = products(gateway, &token).await.map_err(|why| LoadError::Products { gateway, why })?;
    Ok(Target { gateway, token, events: Some(Cluster::from_environment(environment)), products })
}

async fn products(gateway: SocketAddr, token: &str) -> Result<Vec<Uuid>, String> {
    let client = Client::new(gateway, token, 1, Duration::from_secs(10)).ok_or("the token is no header")?;
    match client.products(MOST_PRODUCTS).await? {
        none if none.is_empty() => Err("nothing is sold; run mambogo seed".to_owned()),
        products => Ok(products),
    }
}

impl LoadArgs {
    fn plan(&self) -> Plan {
        let drawn = || chassis::ids::random().as_simple().to_string().split_off(20);
        Plan {
            name: self.name.clone().unwrap_or_else(drawn),
            seed: self.seed,
            pace: self.clients.map_or(Pace::Rate(self.rate), Pace::Clients),
            length: self.length,
            orders: self.orders,
            way: self.bulk.map_or(Way::Single, Way::Bulk),
            products: self.products,
            lines: self.lines,
            payments: self.pay.clone(),
            repeats: self.repeats,
            other_bodies: self.other_bodies,
            cancels: self.cancels,
            follow: self.follow.clone(),
            on_log: self.on_log,
            insist: self.insist,
            settle: self.settle,
            connections: self.connections,
            patience: Duration::from_secs(10),
        }
    }
}

fn spread(text: &str) -> Result<Spread, String> {
    match (text, text.strip_prefix("zipf:").map(str::parse)) {
        ("uniform", _) => Ok(Spread::Uniform),
        ("hot", _) => Ok(Spread::Hot),
        ("zipf", _) => Ok(Spread::Zipf(1.0)),
        (_, Some(Ok(exponent))) => Ok(Spread::Zipf(exponent)),
        _ => Err("must be uniform, zipf, zipf:EXPONENT or hot".to_owned()),
    }
}

fn follow(text: &str) -> Result<(Follow, f64), String> {
    let (text, weight) = if text.contains('=') { weighted(text)? } else { (text.to_owned(), 1.0) };
    let follow = match (text.as_str(), text.strip_prefix("poll:").map(duration)) {
        ("nothing", _) => Follow::Nothing,
        ("read", _) => Follow::ReadOnce,
        ("wait", _) => Follow::Wait,
        ("events", _) => Follow::Events,
        (_, Some(pause)) => Follow::Poll(pause?),
        _ => {
            return Err(
                "must be nothing, read, poll:PAUSE, wait or events, and may have a =WEIGHT".to_owned()
            );
        }
    };
    Ok((follow, weight))
}

fn weighted(text: &str) -> Result<(String, f64), String> {
    let read =
        text.split_once('=').and_then(|(method, weight)| Some((method.to_owned(), weight.parse().ok()?)));
    let weight = read.filter(|(_, weight): &(String, f64)| *weight > 0.0 && weight.is_finite());
    weight.ok_or_else(|| format!("{text:?} is not NAME=WEIGHT"))
}

pub(crate) fn part(text: &str) -> Result<Part, String> {
    let read = text.split_once('=').and_then(|(name, pid)| Some((name, pid.parse().ok()?)));
    let (name, pid) = read.ok_or_else(|| format!("{text:?} is not NAME=PID"))?;
    Ok(Part::new(name, pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_they_say() {
        assert_eq!(spread("zipf:1.2"), Ok(Spread::Zipf(1.2)));
        assert_eq!(spread("hot"), Ok(Spread::Hot));
        assert!(spread("zipf:x").is_err() && spread("").is_err());
        assert_eq!(follow("poll:250ms"), Ok((Follow::Poll(Duration::from_millis(250)), 1.0)));
        assert_eq!(follow("events=0.25"), Ok((Follow::Events, 0.25)));
        assert!(follow("poll:x").is_err() && follow("watch").is_err() && follow("wait=0").is_err());
        assert_eq!(weighted("PAYPAL=0.5"), Ok(("PAYPAL".to_owned(), 0.5)));
        assert!(weighted("PAYPAL").is_err() && weighted("PAYPAL=-1").is_err());
        assert_eq!(part("kafka=7").map(|part| (part.name.clone(), part.pid())), Ok(("kafka".to_owned(), 7)));
        assert!(part("kafka").is_err());
    }
}
