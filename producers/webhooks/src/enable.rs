//! `POST /api/webhooks/{id}/enable`: what an endpoint has not taken is sent again, from now on, and what comes is kept for it
//! again. Of one that is active nothing changes.

use crate::{
    routes::{self, Webhooks, about_one},
    store,
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use ingress::{
    api::{About, Answer},
    auth::Caller,
    problem::Problem,
};

pub(crate) fn about() -> About {
    about_one("enableWebhook", "Begin again with an endpoint that failed")
        .says(
            "What it has not taken is sent at once, in order. What happened while it was disabled was not kept for it: read your \
             orders for that.",
        )
        .answers(StatusCode::NO_CONTENT, Answer::empty("It is enabled."))
}

pub(crate) async fn enable(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = routes::id(&id)?;
    let found =
        webhooks.ask(move |pool| async move { store::enable(&pool, id, &caller.owner).await }).await?;
    found.then_some(StatusCode::NO_CONTENT).ok_or_else(routes::absent)
}
