//! The management port: is this process alive, can it do its job, how is it doing.

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// Whether each part of the process can do its job. Cheap to clone; all clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
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
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there are parts and all of them are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let parts = self.parts();
        !parts.is_empty() && parts.values().all(Result::is_ok)
    }

    fn set(&self, name: &str, state: Result<(), String>) {
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
        self.health.set(&self.name, Ok(()));
    }

    /// It cannot, and why.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.health.set(&self.name, Err(why.into()));
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
        .route("/metrics", get(move || async move { metrics.render() }));
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
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
