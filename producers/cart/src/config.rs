//! Settings of the carts.

use chassis::settings::{Environment, Secret, SettingError};
use ingress::redis_link::RedisConfig;
use std::time::Duration;

/// Where carts are kept.
#[derive(Debug, Clone)]
pub enum CartRedis {
    /// Where the edge keeps its claims.
    Shared,
    /// A server of their own.
    One(Secret),
    /// A Redis Cluster, known by some of its nodes.
    Cluster(Vec<Secret>),
}

/// Settings of the carts.
#[derive(Debug, Clone)]
pub struct CartConfig {
    /// Where carts are kept.
    pub redis: CartRedis,
    /// Longest waits for Redis; its URL is not used.
    pub link: RedisConfig,
    /// How long a user's cart stays that nobody touches.
    pub ttl: Duration,
    /// How long a guest's cart stays that nobody touches. Anybody may make one.
    pub guest_ttl: Duration,
}

impl CartConfig {
    /// Reads `CART_REDIS_URL` (where the edge's Redis is), `CART_REDIS_CLUSTER_URLS` (nodes of a Redis Cluster, separated
    /// by commas), `CART_TTL` (720h), `CART_GUEST_TTL` (168h), and the waits of [`ingress::config::redis`].
    ///
    /// # Errors
    /// [`SettingError`], also when both a server and a cluster are named, or a time to live is below a second.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let nodes = environment.text("CART_REDIS_CLUSTER_URLS");
        let redis = match (environment.text("CART_REDIS_URL"), nodes) {
            (None, None) => CartRedis::Shared,
            (Some(url), None) => CartRedis::One(Secret::new(url)),
            (None, Some(nodes)) => {
                CartRedis::Cluster(nodes.split(',').map(|url| Secret::new(url.trim())).collect())
            }
            (Some(_), Some(_)) => {
                return Err(SettingError::Invalid {
                    key: "CART_REDIS_URL",
                    value: "***".to_owned(),
                    expected: "to be left away where CART_REDIS_CLUSTER_URLS is set",
                });
            }
        };
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        Ok(Self {
            redis,
            link: ingress::config::redis(environment)?,
            ttl: lasting("CART_TTL", environment.duration_or("CART_TTL", days(30))?)?,
            guest_ttl: lasting("CART_GUEST_TTL", environment.duration_or("CART_GUEST_TTL", days(7))?)?,
        })
    }
}

fn lasting(key: &'static str, ttl: Duration) -> Result<Duration, SettingError> {
    if ttl < Duration::from_secs(1) {
        return Err(SettingError::Invalid { key, value: format!("{ttl:?}"), expected: "at least 1s" });
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<CartConfig, SettingError> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        CartConfig::from_environment(&Environment::of(pairs))
    }

    #[test]
    fn carts_are_kept_where_the_claims_are_unless_told_otherwise() {
        assert!(matches!(of(&[]).unwrap().redis, CartRedis::Shared));
        assert_eq!(of(&[]).unwrap().ttl, Duration::from_secs(2_592_000));
        assert!(matches!(of(&[("CART_REDIS_URL", "redis://x")]).unwrap().redis, CartRedis::One(_)));
        let nodes = [("CART_REDIS_CLUSTER_URLS", "redis://a, redis://b")];
        assert!(matches!(of(&nodes).unwrap().redis, CartRedis::Cluster(nodes) if nodes.len() == 2));
        assert!(of(&[nodes[0], ("CART_REDIS_URL", "redis://x")]).is_err());
        assert!(of(&[("CART_TTL", "10ms")]).unwrap_err().to_string().contains("CART_TTL"));
    }
}
