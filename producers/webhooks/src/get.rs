//! `GET /api/webhooks/{id}`: one of the caller's endpoints, and how it fares.

use crate::{
    answer::{self, Endpoint},
    routes::{self, Webhooks, about_one},
    store,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use ingress::{
    api::{About, Answer},
    auth::Caller,
    problem::Problem,
};

pub(crate) fn about() -> About {
    let example = serde_json::to_value(answer::example()).unwrap_or_default();
    about_one("getWebhook", "One of your endpoints, and how it fares")
        .answers(StatusCode::OK, Answer::json("The endpoint.", answer::endpoint(), example))
}

pub(crate) async fn get(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Endpoint>, Problem> {
    let id = routes::id(&id)?;
    let found = webhooks.ask(move |pool| async move { store::one(&pool, id, &caller.owner).await }).await?;
    found.map(Json).ok_or_else(routes::absent)
}
