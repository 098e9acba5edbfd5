//! Ways of which a fault cuts one and leaves the others: between one gateway and Redis, one worker and Postgres, and all
//! workers and the payment provider.

use crate::{
    Failure,
    fault::{Stage, Struck},
    instance::Instance,
};
use std::time::{Duration, Instant};
use testbed::Proxy;

/// The databases of a worker.
const DATABASES: [&str; 3] = ["ORDERS_DATABASE_URL", "INVENTORY_DATABASE_URL", "PAYMENTS_DATABASE_URL"];
/// Between one way to be cut off and the next.
const BREATH: Duration = Duration::from_secs(1);

/// The proxies, gone with this value.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) redis: Proxy,
    pub(crate) postgres: Proxy,
    pub(crate) provider: Proxy,
}

impl Lines {
    /// To the parts of the instance, and to the provider at `provider`.
    ///
    /// # Errors
    /// When the instance does not say where its parts are.
    pub(crate) async fn lay(instance: &Instance, provider: &str) -> Result<Self, Failure> {
        Ok(Self {
            redis: Proxy::to(host(instance.setting("REDIS_URL")?)).await,
            postgres: Proxy::to(host(instance.setting("ORDERS_DATABASE_URL")?)).await,
            provider: Proxy::to(provider).await,
        })
    }

    /// Settings of the gateway that reaches Redis this way.
    ///
    /// # Errors
    /// When the instance does not say where Redis is.
    pub(crate) fn of_gateway(&self, instance: &Instance) -> Result<Vec<(String, String)>, Failure> {
        Ok(vec![("REDIS_URL".to_owned(), self.redis.in_url(instance.setting("REDIS_URL")?))])
    }

    /// Settings of the worker that reaches Postgres this way.
    ///
    /// # Errors
    /// When the instance does not say where Postgres is.
    pub(crate) fn of_worker(&self, instance: &Instance) -> Result<Vec<(String, String)>, Failure> {
        let through = |key: &str| Ok((key.to_owned(), self.postgres.in_url(instance.setting(key)?)));
        DATABASES.into_iter().map(through).collect()
    }
}

impl Stage<'_> {
    /// Connections closed and refused; then nothing moves; then those that are there fall silent for good. Some seconds each.
    pub(crate) async fn cut_off(&mut self, who: &str, way: &Proxy) -> Struck {
        let broken = Instant::now();
        for cut in [Proxy::cut, Proxy::hold, Proxy::silence] {
            cut(way);
            tokio::time::sleep(self.time(3_000..5_000)).await;
            way.open();
            tokio::time::sleep(BREATH).await;
        }
        Struck { broken, healed: Instant::now(), what: format!("{who}: cut, held, silent") }
    }
}

/// `host:port` of a URL.
fn host(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found_with_and_without_a_user() {
        assert_eq!(host("redis://127.0.0.1:6379/0"), "127.0.0.1:6379");
        assert_eq!(host("postgres://mambogo_orders:mambogo@127.0.0.1:5432/mambogo"), "127.0.0.1:5432");
    }
}
