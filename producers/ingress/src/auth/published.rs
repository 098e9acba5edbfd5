//! The keys that an issuer publishes, kept at hand: fetched anew from time to time, and at once when a token names one
//! that is not known yet, so that an issuer may change its keys without a restart here. How often a stranger's tokens
//! can make us ask is bounded; while the issuer is away, the keys we have go on.

use super::fetch::{Key, KeySet, KeysError, Source};
use crate::metrics;
use arc_swap::ArcSwapOption;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Where the keys are, and how often they are looked at.
#[derive(Debug, Clone)]
pub struct PublishedConfig {
    /// The set's URL: https, or http on loopback.
    pub url: String,
    /// Time between two looks while nothing happens.
    pub refresh: Duration,
    /// Least time between two looks, whatever tokens come.
    pub rest: Duration,
    /// Longest time for one look.
    pub timeout: Duration,
    /// Keys not confirmed for this long are believed no more.
    pub keep: Duration,
    /// Longest answer, in bytes.
    pub most_bytes: usize,
    /// Most keys in it.
    pub most_keys: usize,
}

impl PublishedConfig {
    /// The set at `url`, looked at every ten minutes, not more often than each 10 s, 3 s a look; believed for a day;
    /// 64 KiB, 32 keys.
    #[must_use]
    pub fn at(url: String) -> Self {
        Self {
            url,
            refresh: Duration::from_secs(600),
            rest: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            keep: Duration::from_secs(86_400),
            most_bytes: 64 * 1024,
            most_keys: 32,
        }
    }
}

/// Why there is no key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer does not publish it.
    Unknown,
    /// Nothing is known of what the issuer publishes.
    NotFetched,
}

/// Looks so far, and whether another one may be asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    done: u64,
    is_resting: bool,
}

struct Held {
    set: KeySet,
    at: Instant,
}

struct Shared {
    held: ArcSwapOption<Held>,
    looks: watch::Sender<Looks>,
    wanted: Notify,
    config: PublishedConfig,
}

/// The keys. Cheap to clone.
#[derive(Clone)]
pub(super) struct PublishedKeys {
    shared: Arc<Shared>,
}

impl PublishedKeys {
    /// Begins to fetch, until `stop`. The issuer need not be there yet.
    pub(super) fn start(config: PublishedConfig, stop: CancellationToken) -> Result<Self, KeysError> {
        let source = Source::new(&config)?;
        let shared = Arc::new(Shared {
            held: ArcSwapOption::empty(),
            looks: watch::Sender::new(Looks::default()),
            wanted: Notify::new(),
            config,
        });
        let follow = follow(source, shared.clone());
        tokio::spawn(async move { stop.run_until_cancelled(follow).await });
        Ok(Self { shared })
    }

    /// The key of that id; of one that is not known the issuer is asked, if it may be.
    pub(super) async fn find(&self, kid: &str) -> Result<Arc<Key>, NoKey> {
        if let Ok(key) = self.shared.held(kid) {
            return Ok(key);
        }
        let mut looks = self.shared.looks.subscribe();
        let before = *looks.borrow_and_update();
        // a look may have ended in between
        let found = self.shared.held(kid);
        if found.is_ok() || before.is_resting {
            return found;
        }
        self.shared.wanted.notify_one();
        let looked = looks.wait_for(|now| now.done > before.done);
        let _ = tokio::time::timeout(self.shared.config.timeout, looked).await;
        self.shared.held(kid)
    }
}

impl Shared {
    fn held(&self, kid: &str) -> Result<Arc<Key>, NoKey> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| held.at.elapsed() < self.config.keep);
        held.ok_or(NoKey::NotFetched)?.set.get(kid).cloned().ok_or(NoKey::Unknown)
    }
}

async fn follow(source: Source, shared: Arc<Shared>) {
    let config = &shared.config;
    loop {
        match source.fetch().await {
            Ok(set) => {
                metrics::gauge(metrics::TOKEN_KEYS, set.len() as f64);
                shared.held.store(Some(Arc::new(Held { set, at: Instant::now() })));
            }
            Err(error) => {
                ::metrics::counter!(metrics::TOKEN_KEYS_FAILED).increment(1);
                tracing::warn!(%error, "the keys that tokens are signed with could not be fetched; the old ones go on");
            }
        }
        shared.looks.send_modify(|looks| *looks = Looks { done: looks.done + 1, is_resting: true });
        tokio::time::sleep(config.rest).await;
        shared.looks.send_modify(|looks| looks.is_resting = false);
        // without keys nobody can call: ask again at once
        if shared.held.load().is_some() {
            let idle = config.refresh.saturating_sub(config.rest);
            let _ = tokio::time::timeout(idle, shared.wanted.notified()).await;
        }
    }
}
