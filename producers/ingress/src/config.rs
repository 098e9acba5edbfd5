//! Settings of the parts that all HTTP services share.

use crate::{
    auth::{AuthConfig, Keys, MIN_SECRET, PublishedConfig},
    background::BackgroundLimits,
    limit::{LimitConfig, Rate, Trusted},
    redis_link::RedisConfig,
    response_cache::CacheConfig,
    serve::ServeLimits,
    shed::ShedConfig,
};
use chassis::{
    postgres::{PoolLimits, Session, SessionLimits},
    settings::{Environment, Secret, SettingError},
};
use sqlx::PgPool;
use std::time::Duration;
use uuid::Uuid;

/// Key of the local stack's tokens; a cluster sets its own.
const LOCAL_SECRET: &str = "local-development-only-this-is-no-secret";
/// Namespace of the local stack's order ids; a deployment draws its own once, and keeps it.
const LOCAL_NAMESPACE: Uuid = Uuid::from_u128(0x6d61_6d62_6f67_4f6c_8f63_616c_0000_0001);

/// Reads `JWT_ISSUER` and `JWT_AUDIENCE`, and either `JWT_SECRET` or `JWKS_URL` with `JWKS_REFRESH` (10m), `JWKS_REST`
/// (10s), `JWKS_TIMEOUT` (3s), `JWKS_KEEP` (24h), `JWKS_MAX_BYTES` (65536) and `JWKS_MAX_KEYS` (32).
///
/// # Errors
/// [`SettingError`] for a secret that is too short for HS256, and for a secret beside published keys.
pub fn auth(environment: &Environment) -> Result<AuthConfig, SettingError> {
    let keys = match environment.text("JWKS_URL") {
        Some(url) => Keys::Published(published(environment, url)?),
        None => Keys::Shared(shared_secret(environment)?),
    };
    Ok(AuthConfig {
        keys,
        issuer: environment.text_or("JWT_ISSUER", "mambogo-local"),
        audience: environment.text_or("JWT_AUDIENCE", "mambogo"),
    })
}

fn shared_secret(environment: &Environment) -> Result<Secret, SettingError> {
    let secret = environment.secret_or("JWT_SECRET", LOCAL_SECRET);
    if secret.expose().len() < MIN_SECRET {
        return Err(SettingError::Invalid {
            key: "JWT_SECRET",
            value: "***".to_owned(),
            expected: "a secret of at least 32 bytes",
        });
    }
    Ok(secret)
}

fn published(environment: &Environment, url: String) -> Result<PublishedConfig, SettingError> {
    if environment.text("JWT_SECRET").is_some() {
        return Err(SettingError::Invalid {
            key: "JWT_SECRET",
            value: "***".to_owned(),
            expected: "to be set beside JWKS_URL: tokens are signed in one way or the other",
        });
    }
    let default = PublishedConfig::at(url);
    Ok(PublishedConfig {
        refresh: environment.duration_or("JWKS_REFRESH", default.refresh)?,
        rest: environment.duration_or("JWKS_REST", default.rest)?,
        timeout: environment.duration_or("JWKS_TIMEOUT", default.timeout)?,
        keep: environment.duration_or("JWKS_KEEP", default.keep)?,
        most_bytes: environment.parse_or("JWKS_MAX_BYTES", "a number of bytes", default.most_bytes)?,
        most_keys: environment.parse_or("JWKS_MAX_KEYS", "a number of keys", default.most_keys)?,
        url: default.url,
    })
}

/// Reads `DEPLOYMENT_NAMESPACE`, a UUID from which all ids of orders derive. Never changed in a deployment's life.
///
/// # Errors
/// [`SettingError`] when it is no UUID.
pub fn namespace(environment: &Environment) -> Result<Uuid, SettingError> {
    environment.parse_or("DEPLOYMENT_NAMESPACE", "a UUID", LOCAL_NAMESPACE)
}

/// Reads `REDIS_URL`, `REDIS_RESPONSE_TIMEOUT` (1s) and `REDIS_CONNECT_TIMEOUT` (250ms). A server that is gone is known at
/// once, without a time-out; one that is only slow must not pass for gone, for a new connection costs every submit the
/// proof of its claim for a lease.
///
/// # Errors
/// [`SettingError`].
pub fn redis(environment: &Environment) -> Result<RedisConfig, SettingError> {
    Ok(RedisConfig {
        url: environment.secret_or("REDIS_URL", "redis://127.0.0.1:26379/0"),
        response_timeout: environment.duration_or("REDIS_RESPONSE_TIMEOUT", Duration::from_secs(1))?,
        connect_timeout: environment.duration_or("REDIS_CONNECT_TIMEOUT", Duration::from_millis(250))?,
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

/// Reads `RATE_LIMITS` (on), `RATE_LIMIT_READS` (1000/s,2000), `RATE_LIMIT_WRITES` (200/s,400), `RATE_LIMIT_BULK` (20/s,40),
/// `RATE_LIMIT_ANONYMOUS` (100/s,200), `RATE_LIMIT_SIGNED` (1000/s,2000), `RATE_LIMIT_PATIENCE` (50ms) and `TRUSTED_PROXIES` (nobody). `None` for off.
///
/// # Errors
/// [`SettingError`].
pub fn limits(environment: &Environment) -> Result<Option<LimitConfig>, SettingError> {
    let expected = "a rate such as 200/s,400: calls a second, and at one moment";
    let rate = |key, a_second, capacity| environment.parse_or(key, expected, Rate { a_second, capacity });
    let config = LimitConfig {
        reads: rate("RATE_LIMIT_READS", 1_000, 2_000)?,
        writes: rate("RATE_LIMIT_WRITES", 200, 400)?,
        bulk: rate("RATE_LIMIT_BULK", 20, 40)?,
        anonymous: rate("RATE_LIMIT_ANONYMOUS", 100, 200)?,
        signed: rate("RATE_LIMIT_SIGNED", 1_000, 2_000)?,
        patience: environment.duration_or("RATE_LIMIT_PATIENCE", Duration::from_millis(50))?,
        trusted: environment.parse_or(
            "TRUSTED_PROXIES",
            "addresses or networks such as 10.0.0.0/8, with commas between",
            Trusted::default(),
        )?,
    };
    Ok(is_on(environment, "RATE_LIMITS", true)?.then_some(config))
}

/// Reads `SHED` (on), `SHED_IN_FLIGHT` (4000-8000), `SHED_QUEUED` (25000-45000), `SHED_BEHIND` (200000-1000000) and
/// `SHED_LOOK` (2s). `None` for off.
///
/// # Errors
/// [`SettingError`].
pub fn shedding(environment: &Environment) -> Result<Option<ShedConfig>, SettingError> {
    let expected = "a ramp such as 4000-8000: where refusing begins, and where it is complete";
    let default = ShedConfig::default();
    let config = ShedConfig {
        in_flight: environment.parse_or("SHED_IN_FLIGHT", expected, default.in_flight)?,
        queued: environment.parse_or("SHED_QUEUED", expected, default.queued)?,
        behind: environment.parse_or("SHED_BEHIND", expected, default.behind)?,
        look: environment.duration_or("SHED_LOOK", default.look)?,
    };
    Ok(is_on(environment, "SHED", true)?.then_some(config))
}

/// Reads `RESPONSE_CACHE` (on), `RESPONSE_CACHE_FRESH` (250ms), `RESPONSE_CACHE_STALE` (1s), `RESPONSE_CACHE_IF_ERROR` (1m)
/// and `RESPONSE_CACHE_BYTES` (16777216). `None` for off.
///
/// # Errors
/// [`SettingError`].
pub fn response_cache(environment: &Environment) -> Result<Option<CacheConfig>, SettingError> {
    let default = CacheConfig::default();
    let config = CacheConfig {
        fresh: environment.duration_or("RESPONSE_CACHE_FRESH", default.fresh)?,
        stale: environment.duration_or("RESPONSE_CACHE_STALE", default.stale)?,
        if_error: environment.duration_or("RESPONSE_CACHE_IF_ERROR", default.if_error)?,
        bytes: environment.parse_or("RESPONSE_CACHE_BYTES", "a number of bytes", default.bytes)?,
    };
    Ok(is_on(environment, "RESPONSE_CACHE", true)?.then_some(config))
}

/// Reads `BACKGROUND_HANDS` (10), `BACKGROUND_HANDS_MAX` (50) and `BACKGROUND_QUEUE` (100).
///
/// # Errors
/// [`SettingError`].
pub fn background(environment: &Environment) -> Result<BackgroundLimits, SettingError> {
    let default = BackgroundLimits::default();
    Ok(BackgroundLimits {
        hands: environment.parse_or("BACKGROUND_HANDS", "a number of tasks at once", default.hands)?,
        most: environment.parse_or("BACKGROUND_HANDS_MAX", "a number of tasks at once", default.most)?,
        queue: environment.parse_or("BACKGROUND_QUEUE", "a number of waiting tasks", default.queue)?,
    })
}

fn is_on(environment: &Environment, key: &'static str, default: bool) -> Result<bool, SettingError> {
    match environment.text(key).as_deref() {
        None => Ok(default),
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(value) => Err(SettingError::Invalid { key, value: value.to_owned(), expected: "on or off" }),
    }
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
    let url = environment.text("EDGE_DATABASE_URL").ok_or(SettingError::Missing {
        key: "EDGE_DATABASE_URL",
        hint: "postgres://mambogo_edge:PASSWORD@HOST/DATABASE",
    })?;
    Ok(PoolConfig { url: Secret::new(url), limits: pool_limits(environment)? })
}

/// Reads the sizes and times of [`pool`] alone.
///
/// # Errors
/// [`SettingError`].
pub fn pool_limits(environment: &Environment) -> Result<PoolLimits, SettingError> {
    let default = PoolLimits::default();
    Ok(PoolLimits {
        max: environment.parse_or("EDGE_POOL_MAX", "a number of connections", default.max)?,
        min: environment.parse_or("EDGE_POOL_MIN", "a number of connections", default.min)?,
        acquire: environment.duration_or("EDGE_POOL_ACQUIRE", default.acquire)?,
        idle: environment.duration_or("EDGE_POOL_IDLE", default.idle)?,
        lifetime: environment.duration_or("EDGE_POOL_LIFETIME", default.lifetime)?,
    })
}

impl PoolConfig {
    /// The pool; it connects when first used.
    ///
    /// # Errors
    /// When the URL does not read.
    pub fn open(&self) -> sqlx::Result<PgPool> {
        self.open_with(&[])
    }

    /// A pool whose sessions are told that as well.
    ///
    /// # Errors
    /// When the URL does not read.
    pub fn open_with(&self, settings: &[(&'static str, &str)]) -> sqlx::Result<PgPool> {
        let session = Session::new(self.url.expose(), "mambogo-edge", SessionLimits::EDGE)?;
        Ok(session.with(settings).pool(self.limits))
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
    fn tokens_are_signed_in_one_way_or_the_other() {
        let url = ("JWKS_URL", "https://issuer.example/keys");
        assert!(matches!(auth(&of(&[url])).unwrap().keys, Keys::Published(_)));
        let secret = ("JWT_SECRET", "a-secret-that-is-long-enough-for-hs256");
        assert!(matches!(auth(&of(&[secret])).unwrap().keys, Keys::Shared(_)));
        let error = auth(&of(&[url, secret])).unwrap_err().to_string();
        assert!(error.contains("JWT_SECRET") && !error.contains(secret.1), "{error}");
    }

    #[test]
    fn a_short_secret_is_refused_and_not_shown() {
        let error = auth(&of(&[("JWT_SECRET", "short")])).unwrap_err().to_string();
        assert!(error.contains("JWT_SECRET") && !error.contains("short"), "{error}");
    }
}
