//! `POST /api/webhooks/{id}/secret`: a new secret for an endpoint. For a while both sign what is sent there, so that its owner
//! can take the new one into use without refusing an event.

use crate::{
    routes::{self, Webhooks, about_one},
    store,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    api::{About, Answer, example, headers, shape},
    auth::Caller,
    problem::Problem,
};
use schemas::{time::Timestamp, view::rfc3339};
use serde::Serialize;
use uuid::Uuid;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replaced {
    id: Uuid,
    secret: String,
    previous_until: String,
}

pub(crate) fn about() -> About {
    let made = shape::object()
        .must("id", shape::uuid())
        .must("secret", shape::text().says("Signs what is sent there. It is shown this once."))
        .must("previousUntil", shape::time().says("Until then the previous secret signs as well."));
    let shown = Replaced {
        id: example::EFFECT,
        secret: example(),
        previous_until: rfc3339(Timestamp(1_767_312_000_000)),
    };
    let told = Answer::json("Replaced.", made, serde_json::to_value(shown).unwrap_or_default());
    about_one("replaceWebhookSecret", "Replace the secret of an endpoint")
        .says(
            "Until `previousUntil` `Mambogo-Signature` holds a `v1` of each of the two; one that fits is enough. Called again, \
             the secret before the last signs no more.",
        )
        .answers(StatusCode::OK, told.with(headers::cache_control()))
}

pub(crate) async fn replace(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (id, secret, both) = (routes::id(&id)?, random(), webhooks.config.both_secrets);
    let new = secret.clone();
    let until = webhooks
        .ask(move |pool| async move { store::replace_secret(&pool, id, &caller.owner, &new, both).await })
        .await?
        .ok_or_else(routes::absent)?;
    let replaced = Replaced { id, secret, previous_until: rfc3339(until) };
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], Json(replaced)).into_response())
}

/// 244 random bits.
pub(crate) fn random() -> String {
    format!("whsec_{}{}", chassis::ids::random().simple(), chassis::ids::random().simple())
}

/// The secret of all examples.
pub(crate) fn example() -> String {
    format!("whsec_{}", "0123456789abcdef".repeat(4))
}
