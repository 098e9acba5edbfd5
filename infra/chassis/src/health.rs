//! The management port: is this process alive, can it do its job, how is it doing.

use crate::runtime;
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Whether each part of the process can do its job. Cheap to clone; all clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Standing>>>,
}

#[derive(Debug)]
enum Standing {
    Ready,
    /// Said at that time, and believed for that long.
    ReadyFor(Instant, Duration),
    NotReady(String),
}

impl Standing {
    fn now(&self) -> Result<(), String> {
        match self {
            Self::ReadyFor(said, life) if said.elapsed() > *life => {
                Err(format!("stuck: no sign of life for {} s", said.elapsed().as_secs()))
            }
            Self::Ready | Self::ReadyFor(..) => Ok(()),
            Self::NotReady(why) => Err(why.clone()),
        }
    }
}

impl Health {
    /// Adds a part, not ready until it says so.
    #[must_use]
    pub fn part(&self, name: impl Into<String>) -> Part {
        let part = Part { health: self.clone(), name: name.into() };
        part.not_ready("starting");
        part
    }

    /// Every part with `Ok`, or why it is not ready.
    #[must_use]
    pub fn parts(&self) -> BTreeMap<String, Result<(), String>> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(name, state)| (name.clone(), state.now())).collect()
    }

    /// Whether there are parts and all of them are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let parts = self.parts();
        !parts.is_empty() && parts.values().all(Result::is_ok)
    }

    fn set(&self, name: &str, state: Standing) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), state);
    }
}

/// One part's own entry in [`Health`].
#[derive(Debug, Clone)]
pub struct Part {
    health: Health,
    name: String,
}

impl Part {
    /// It can do its job.
    pub fn ready(&self) {
        self.health.set(&self.name, Standing::Ready);
    }

    /// It can do its job, and says so again within `life`. A part that falls silent is not believed any longer.
    pub fn ready_for(&self, life: Duration) {
        self.health.set(&self.name, Standing::ReadyFor(Instant::now(), life));
    }

    /// It cannot, and why.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.health.set(&self.name, Standing::NotReady(why.into()));
    }
}

/// Serves `/health/live`, `/health/ready` and `/metrics` until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    health: Health,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .with_state(health)
        .route("/metrics", get(move || async move { told(&metrics) }));
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn told(metrics: &PrometheusHandle) -> String {
    runtime::sample();
    metrics.render()
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let parts: BTreeMap<String, String> = health
        .parts()
        .into_iter()
        .map(|(name, state)| (name, state.err().unwrap_or_else(|| "ready".to_owned())))
        .collect();
    (status, Json(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_each_of_its_parts_says_so() {
        let health = Health::default();
        assert!(!health.is_ready(), "nobody has said anything");
        let (first, second) = (health.part("first"), health.part("second"));
        first.ready();
        assert_eq!(health.parts()["second"], Err("starting".to_owned()));
        second.ready_for(Duration::from_secs(3_600));
        assert!(health.is_ready());
        first.not_ready("Postgres: away");
        assert_eq!(health.parts()["first"], Err("Postgres: away".to_owned()));
        assert!(!health.is_ready());
    }

    #[test]
    fn a_part_that_falls_silent_is_not_believed_any_longer() {
        let health = Health::default();
        let part = health.part("worker");
        part.ready_for(Duration::ZERO);
        let state = health.parts()["worker"].clone();
        assert!(state.is_err_and(|why| why.contains("no sign of life")));
        part.ready_for(Duration::from_secs(3_600));
        assert!(health.is_ready());
    }
}
