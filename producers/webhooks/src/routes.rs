//! The whole surface of the webhooks, and what its endpoints share.

use crate::{config::WebhooksApiConfig, enable, get, list, register, remove, secret};
use ingress::{
    api::{About, shape},
    downstream::Downstream,
    problem::{Kind, Problem},
    surface::{Rule, Surface},
};
use sqlx::PgPool;
use uuid::Uuid;

/// The routes of the webhooks.
#[must_use]
pub fn surface() -> Surface<Webhooks> {
    let own = Rule::caller();
    Surface::new()
        .post("/api/webhooks", own, register::register, register::about())
        .get("/api/webhooks", own, list::list, list::about())
        .get("/api/webhooks/{id}", own, get::get, get::about())
        .post("/api/webhooks/{id}/enable", own, enable::enable, enable::about())
        .post("/api/webhooks/{id}/secret", own, secret::replace, secret::about())
        .delete("/api/webhooks/{id}", own, remove::remove, remove::about())
}

/// What the endpoints stand on.
#[derive(Clone)]
pub struct WebhooksParts {
    /// Settings.
    pub config: WebhooksApiConfig,
    /// Postgres's breaker.
    pub postgres: Downstream,
    /// The pool of the role `mambogo_edge`.
    pub pool: PgPool,
}

/// The endpoints of the webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    pub(crate) config: WebhooksApiConfig,
    postgres: Downstream,
    pool: PgPool,
}

impl Webhooks {
    /// Nothing runs beside the endpoints.
    #[must_use]
    pub fn new(parts: WebhooksParts) -> Self {
        let WebhooksParts { config, postgres, pool } = parts;
        Self { config, postgres, pool }
    }

    /// Runs a query in a task of its own: a client that goes away drops none half-way.
    pub(crate) async fn ask<T, F>(&self, query: impl FnOnce(PgPool) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = sqlx::Result<T>> + Send + 'static,
    {
        let asked = query(self.pool.clone());
        let asked = self.postgres.call(async move {
            let ran = tokio::spawn(asked).await.map_err(|error| error.to_string())?;
            ran.map_err(|error| error.to_string())
        });
        asked.await.map_err(|_| Problem::unavailable("webhooks cannot be read or changed at the moment"))
    }
}

/// A call about one endpoint of the caller.
pub(crate) fn about_one(id: &'static str, summary: &'static str) -> About {
    About::of(id, summary)
        .path("id", "As it was given when the endpoint was registered.", shape::uuid())
        .refuses(&[Kind::BadRequest, Kind::NotFound])
}

pub(crate) fn id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::bad_parameter("id", "must be a UUID"))
}

/// Another user's is not there.
pub(crate) fn absent() -> Problem {
    Problem::new(Kind::NotFound, "there is no such webhook")
}
