//! Settings of the parts that all HTTP services share.

use crate::{
    auth::{AuthConfig, MIN_SECRET},
    redis_link::RedisConfig,
    serve::ServeLimits,
};
use chassis::{
    postgres::{self, PoolLimits, SessionLimits},
    settings::{Environment, Secret, SettingError},
};
use std::time::Duration;
use uuid::Uuid;

/// Key of the local stack's tokens; a cluster sets its own.
const LOCAL_SECRET: &str = "local-development-only-this-is-no-secret";
/// Namespace of the local stack's order ids; a deployment draws its own once, and keeps it.
const LOCAL_NAMESPACE: Uuid = Uuid::from_u128(0x6d61_6d62_6f67_4f6c_8f63_616c_0000_0001);

/// Reads `JWT_SECRET`, `JWT_ISSUER` and `JWT_AUDIENCE`.
///
/// # Errors
/// [`SettingError`] for a secret that is too short for HS256.
pub fn auth(environment: &Environment) -> Result<AuthConfig, SettingError> {
    let secret = environment.secret_or("JWT_SECRET", LOCAL_SECRET);
    if secret.expose().len() < MIN_SECRET {
        return Err(SettingError::Invalid {
            key: "JWT_SECRET",
            value: "***".to_owned(),
            expected: "a secret of at least 32 bytes",
        });
    }
    Ok(AuthConfig {
        secret,
        issuer: environment.text_or("JWT_ISSUER", "mambogo-local"),
        audience: environment.text_or("JWT_AUDIENCE", "mambogo"),
    })
}

/// Reads `DEPLOYMENT_NAMESPACE`, a UUID from which all ids of orders derive. Never changed in a deployment's life.
///
/// # Errors
/// [`SettingError`] when it is no UUID.
pub fn namespace(environment: &Environment) -> Result<Uuid, SettingError> {
    environment.parse_or("DEPLOYMENT_NAMESPACE", "a UUID", LOCAL_NAMESPACE)
}

/// Reads `REDIS_URL`, `REDIS_RESPONSE_TIMEOUT` (250ms) and `REDIS_CONNECT_TIMEOUT` (250ms).
///
/// # Errors
/// [`SettingError`].
pub fn redis(environment: &Environment) -> Result<RedisConfig, SettingError> {
    let quarter = Duration::from_millis(250);
    Ok(RedisConfig {
        url: environment.secret_or("REDIS_URL", "redis://127.0.0.1:26379/0"),
        response_timeout: environment.duration_or("REDIS_RESPONSE_TIMEOUT", quarter)?,
        connect_timeout: environment.duration_or("REDIS_CONNECT_TIMEOUT", quarter)?,
    })
}

/// Reads `HTTP_MAX_CONNECTIONS` (10000), `HTTP_HEADER_TIMEOUT` (10s), `HTTP_IDLE_TIMEOUT` (75s) and `HTTP_DRAIN` (15s).
///
/// # Errors
/// [`SettingError`].
pub fn serve(environment: &Environment) -> Result<ServeLimits, SettingError> {
    let default = ServeLimits::default();
    Ok(ServeLimits {
        connections: environment.parse_or("HTTP_MAX_CONNECTIONS", "a number", default.connections)?,
        header_timeout: environment.duration_or("HTTP_HEADER_TIMEOUT", default.header_timeout)?,
        idle_timeout: environment.duration_or("HTTP_IDLE_TIMEOUT", default.idle_timeout)?,
        drain: environment.duration_or("HTTP_DRAIN", default.drain)?,
    })
}

/// The edge's pool: where, and how large.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// `postgres://…` of the role `mambogo_edge`.
    pub url: Secret,
    /// Sizes and times.
    pub limits: PoolLimits,
}

/// Reads `EDGE_DATABASE_URL`, `EDGE_POOL_MAX` (20), `EDGE_POOL_MIN` (5), `EDGE_POOL_ACQUIRE` (30s),
/// `EDGE_POOL_IDLE` (10m) and `EDGE_POOL_LIFETIME` (30m). No request waits as long as `EDGE_POOL_ACQUIRE`: each has
/// a shorter time of its own.
///
/// # Errors
/// [`SettingError`].
pub fn pool(environment: &Environment) -> Result<PoolConfig, SettingError> {
    let default = PoolLimits::default();
    let url = environment.text("EDGE_DATABASE_URL").ok_or(SettingError::Missing {
        key: "EDGE_DATABASE_URL",
        hint: "postgres://mambogo_edge:PASSWORD@HOST/DATABASE",
    })?;
    Ok(PoolConfig {
        url: Secret::new(url),
        limits: PoolLimits {
            max: environment.parse_or("EDGE_POOL_MAX", "a number of connections", default.max)?,
            min: environment.parse_or("EDGE_POOL_MIN", "a number of connections", default.min)?,
            acquire: environment.duration_or("EDGE_POOL_ACQUIRE", default.acquire)?,
            idle: environment.duration_or("EDGE_POOL_IDLE", default.idle)?,
            lifetime: environment.duration_or("EDGE_POOL_LIFETIME", default.lifetime)?,
        },
    })
}

impl PoolConfig {
    /// The pool; it connects when first used.
    ///
    /// # Errors
    /// When the URL does not read.
    pub fn open(&self) -> sqlx::Result<sqlx::PgPool> {
        postgres::pool(self.url.expose(), "mambogo-edge", SessionLimits::EDGE, self.limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Environment {
        Environment::of(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let pool = pool(&of(&[("EDGE_DATABASE_URL", "postgres://x")])).unwrap();
        assert_eq!((pool.limits.max, pool.limits.min), (20, 5));
        let seconds =
            [pool.limits.acquire, pool.limits.idle, pool.limits.lifetime].map(|time| time.as_secs());
        assert_eq!(seconds, [30, 600, 1_800]);
        assert_eq!(serve(&of(&[])).unwrap().header_timeout, Duration::from_secs(10));
    }

    #[test]
    fn a_short_secret_is_refused_and_not_shown() {
        let error = auth(&of(&[("JWT_SECRET", "short")])).unwrap_err().to_string();
        assert!(error.contains("JWT_SECRET") && !error.contains("short"), "{error}");
    }
}
