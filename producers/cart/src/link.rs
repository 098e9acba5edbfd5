//! The way to the Redis that keeps carts: one server, or a cluster. Carts rest on nothing but their own scripts, so here,
//! other than for claims, a connection may come back without anybody noticing.

use crate::config::{CartConfig, CartRedis};
use arc_swap::ArcSwapOption;
use backon::{BackoffBuilder, ExponentialBuilder};
use ingress::redis_link::{RedisAway, RedisConfig, RedisLink};
use redis::{
    Cmd, FromRedisValue, Pipeline, RedisError, cluster::ClusterClient, cluster_async::ClusterConnection,
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Runs scripts where carts are kept. Cheap to clone.
#[derive(Clone)]
pub struct CartLink(Kind);

#[derive(Clone)]
enum Kind {
    One(RedisLink),
    Cluster(Arc<ArcSwapOption<ClusterConnection>>),
}

/// One run of a script.
pub(crate) struct Run<'a> {
    pub(crate) script: &'static str,
    pub(crate) key: &'a str,
    pub(crate) arguments: Vec<String>,
}

impl Run<'_> {
    /// With the script's text: which node of a cluster knows it already need not be known. A server compiles a text once.
    fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.script).arg(1).arg(self.key).arg(&self.arguments);
        command
    }
}

impl CartLink {
    /// The way to where `config` keeps carts; `shared` is the edge's own Redis. Nothing need be there yet. Ends with `stop`.
    ///
    /// # Errors
    /// When a URL does not read.
    pub fn start(
        config: &CartConfig,
        shared: RedisLink,
        stop: CancellationToken,
    ) -> Result<Self, RedisError> {
        Ok(Self(match &config.redis {
            CartRedis::Shared => Kind::One(shared),
            CartRedis::One(url) => {
                let config = RedisConfig { url: url.clone(), ..config.link.clone() };
                Kind::One(RedisLink::start(config, stop)?)
            }
            CartRedis::Cluster(nodes) => {
                let client = ClusterClient::builder(nodes.iter().map(|node| node.expose()))
                    .connection_timeout(config.link.connect_timeout)
                    .response_timeout(config.link.response_timeout)
                    // a slot that has moved, a node that is asked for the first time, one that comes back
                    .retries(3)
                    .min_retry_wait(10)
                    .max_retry_wait(100)
                    .overall_response_timeout(Some(config.link.response_timeout * 4))
                    .build()?;
                let connection = Arc::new(ArcSwapOption::empty());
                let connecting = connect(client, connection.clone());
                tokio::spawn(async move { stop.run_until_cancelled(connecting).await });
                Kind::Cluster(connection)
            }
        }))
    }

    /// Runs a script. It may be run twice where an answer is late, so it must bear that.
    pub(crate) async fn run<T: FromRedisValue>(&self, run: Run<'_>) -> Result<T, RedisAway> {
        match &self.0 {
            Kind::One(link) => {
                let mut once = Pipeline::with_capacity(1);
                once.add_command(run.command());
                let (answer,) = link.query(&*link.life()?, &once).await?;
                Ok(answer)
            }
            Kind::Cluster(connection) => {
                let connection = connection.load_full().ok_or(RedisAway)?;
                let answer = run.command().query_async(&mut (*connection).clone()).await;
                answer.map_err(|error| {
                    tracing::warn!(%error, "the carts' cluster failed a command");
                    RedisAway
                })
            }
        }
    }
}

/// Connects once; from then on the connection follows the cluster by itself, over lost nodes and moved slots.
async fn connect(client: ClusterClient, connection: Arc<ArcSwapOption<ClusterConnection>>) {
    let backoff = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times();
    let mut delays = backoff.build();
    loop {
        match client.get_async_connection().await {
            Ok(made) => return connection.store(Some(Arc::new(made))),
            Err(error) => tracing::debug!(%error, "the carts' cluster does not answer"),
        }
        tokio::time::sleep(delays.next().unwrap_or(Duration::from_secs(1))).await;
    }
}
