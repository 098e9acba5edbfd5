//! `GET /api/webhooks`: the caller's endpoints, and how they fare.

use crate::{
    answer::{self, Endpoint},
    routes::Webhooks,
    store,
};
use axum::{Json, extract::State, http::StatusCode};
use ingress::{
    api::{About, Answer, shape},
    auth::Caller,
    problem::Problem,
};
use serde::Serialize;

/// Most that are told at once: as many as a user may ever have.
const MOST: usize = 32_767;

#[derive(Serialize)]
pub(crate) struct Endpoints {
    items: Vec<Endpoint>,
}

pub(crate) fn about() -> About {
    let shape = shape::object().must("items", shape::list(answer::endpoint(), 0, MOST));
    let example = serde_json::to_value(Endpoints { items: vec![answer::example()] }).unwrap_or_default();
    About::of("listWebhooks", "Your endpoints, oldest first")
        .answers(StatusCode::OK, Answer::json("All of them.", shape, example))
}

pub(crate) async fn list(
    State(webhooks): State<Webhooks>,
    caller: Caller,
) -> Result<Json<Endpoints>, Problem> {
    let items = webhooks.ask(move |pool| async move { store::of_owner(&pool, &caller.owner).await }).await?;
    Ok(Json(Endpoints { items }))
}
