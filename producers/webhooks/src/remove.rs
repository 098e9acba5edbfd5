//! `DELETE /api/webhooks/{id}`: removes an endpoint, with all that it was not told.

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
    about_one("removeWebhook", "Remove an endpoint")
        .says("Nothing is sent there any more, but for a call that is under way.")
        .answers(StatusCode::NO_CONTENT, Answer::empty("It is gone."))
}

pub(crate) async fn remove(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = routes::id(&id)?;
    let found =
        webhooks.ask(move |pool| async move { store::remove(&pool, id, &caller.owner).await }).await?;
    found.then_some(StatusCode::NO_CONTENT).ok_or_else(routes::absent)
}
