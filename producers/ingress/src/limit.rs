//! How much one caller may ask of us: a token bucket a caller and class of calls, kept in Redis for all gateways together,
//! and by each process for itself while Redis is away. Checks of one moment are one script run; a caller whose bucket is
//! known to be empty is refused without asking.
//!
//! A caller is the token's subject, whatever token it holds, or, without one, the address that the nearest trusted hop
//! names: nothing that a client can make up anew for each request.

mod address;
mod bucket;
mod known;
mod shared;

pub use address::{Peer, Trusted};
pub use bucket::{Rate, Reading};

use crate::{
    auth::Caller,
    downstream::Downstream,
    metrics,
    problem::{Kind, Problem},
    redis_link::RedisLink,
    surface::Class,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use known::Known;
use shared::SharedBuckets;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What a policy allows (draft-ietf-httpapi-ratelimit-headers-10).
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of it (the same draft).
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Whoever has this scope is not counted: load generators, and systems that are trusted to hold back by themselves.
pub const EXEMPT: &str = "limits:exempt";

/// The policies: one for each class of calls with a token, and those without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Reads with a token.
    Reads,
    /// Writes with a token.
    Writes,
    /// Calls of hundreds of records.
    Bulk,
    /// Calls without a token, or with one that does not hold, by address.
    Anonymous,
    /// Calls that are signed instead, by address.
    Signed,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 5] = [Self::Reads, Self::Writes, Self::Bulk, Self::Anonymous, Self::Signed];

    /// Its name, in headers, keys and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Bulk => "bulk",
            Self::Anonymous => "anonymous",
            Self::Signed => "signed",
        }
    }
}

impl From<Class> for Policy {
    fn from(class: Class) -> Self {
        match class {
            Class::Read => Self::Reads,
            Class::Write => Self::Writes,
            Class::Bulk => Self::Bulk,
        }
    }
}

/// The rates, and who may say where a request comes from.
#[derive(Debug, Clone)]
pub struct LimitConfig {
    /// Calls that read, by subject.
    pub reads: Rate,
    /// Calls that write, by subject.
    pub writes: Rate,
    /// Calls of hundreds of records, by subject.
    pub bulk: Rate,
    /// Calls without a token, by address.
    pub anonymous: Rate,
    /// Signed calls, by address.
    pub signed: Rate,
    /// Longest wait for Redis; then this process counts by itself.
    pub patience: Duration,
    /// Hops whose `X-Forwarded-For` is believed.
    pub trusted: Trusted,
}

impl LimitConfig {
    fn rate(&self, policy: Policy) -> Rate {
        match policy {
            Policy::Reads => self.reads,
            Policy::Writes => self.writes,
            Policy::Bulk => self.bulk,
            Policy::Anonymous => self.anonymous,
            Policy::Signed => self.signed,
        }
    }
}

/// Whose bucket, of which policy: the key in Redis.
pub(crate) type Key = Arc<str>;

/// Counts calls. Cheap to clone.
#[derive(Clone)]
pub struct Limiter {
    inner: Arc<Inner>,
}

struct Inner {
    config: LimitConfig,
    shared: SharedBuckets,
    known: Known,
    began: Instant,
}

impl Limiter {
    /// A limiter on the buckets in Redis; while `downstream`, its breaker, is open, each process counts by itself.
    #[must_use]
    pub fn start(config: LimitConfig, redis: RedisLink, downstream: Downstream) -> Self {
        let shared = SharedBuckets::start(redis, downstream, config.patience);
        Self { inner: Arc::new(Inner { config, shared, known: Known::default(), began: Instant::now() }) }
    }

    /// Counts one call under `policy`.
    pub async fn count(&self, policy: Policy, whose: Whose<'_>) -> Counted {
        let rate = self.inner.config.rate(policy);
        let reading = self.take(&whose.key(policy, &self.inner.config.trusted), rate).await;
        if !reading.is_granted {
            ::metrics::counter!(metrics::RATE_LIMIT_REFUSED, "policy" => policy.name()).increment(1);
        }
        Counted { policy, rate, reading }
    }

    async fn take(&self, key: &Key, rate: Rate) -> Reading {
        let now = self.inner.began.elapsed();
        if let Some(reading) = self.inner.known.empty(key, rate, now) {
            return reading;
        }
        match self.inner.shared.take(key.clone(), rate).await {
            Some(reading) => {
                if !reading.is_granted {
                    self.inner.known.is_empty_until(key, now.saturating_add(reading.full_in), now);
                }
                reading
            }
            None => {
                ::metrics::counter!(metrics::RATE_LIMIT_LOCAL).increment(1);
                self.inner.known.take(key, rate, now)
            }
        }
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// The subject of a token.
    Subject(&'a Caller),
    /// Where the request comes from.
    Address(Option<Peer>, &'a HeaderMap),
}

impl Whose<'_> {
    fn key(&self, policy: Policy, trusted: &Trusted) -> Key {
        let policy = policy.name();
        match self {
            Self::Subject(caller) => format!("limit:{policy}:subject:{}", caller.owner).into(),
            Self::Address(peer, headers) => {
                format!("limit:{policy}:address:{}", trusted.origin(*peer, headers)).into()
            }
        }
    }
}

/// A call that was counted.
#[derive(Debug)]
pub struct Counted {
    policy: Policy,
    rate: Rate,
    reading: Reading,
}

impl Counted {
    /// Whether the call may go on.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.reading.is_granted
    }

    /// What a client reads of a call too many.
    pub(crate) fn problem(&self) -> Problem {
        let name = self.policy.name();
        let next = self.rate.until_next(self.reading.full_in).max(Duration::from_millis(1));
        let detail = format!("more calls than the policy {name:?} allows; see RateLimit-Policy");
        Problem::new(Kind::TooMany, detail).with_retry_after(next)
    }

    /// Tells the client where it stands.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let name = self.policy.name();
        let policy = format!("\"{name}\";q={};w={}", self.rate.capacity, self.rate.window().as_secs().max(1));
        let left = format!("\"{name}\";r={};t={}", self.reading.left, whole_seconds(self.reading.full_in));
        for (header, value) in [(POLICY, policy), (LEFT, left)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(header, value);
            }
        }
    }
}

fn whole_seconds(time: Duration) -> u128 {
    time.as_millis().div_ceil(1_000)
}
