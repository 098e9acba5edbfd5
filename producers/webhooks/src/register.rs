//! `POST /api/webhooks` `{url}`: registers an endpoint. The answer holds the secret that signs what is sent there, once.

use crate::{
    answer::{self, URL},
    routes::Webhooks,
    secret,
    store::{self, New},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chassis::egress::{Egress, Refused};
use ingress::{
    api::{About, Answer, example, headers, shape},
    auth::Caller,
    body::{Json as Body, JsonBody},
    form::{Findings, Form},
    problem::{FieldError, Problem},
};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// What is made of a registration.
#[derive(Serialize)]
struct Registered {
    id: Uuid,
    url: String,
    secret: String,
}

pub(crate) fn about() -> About {
    let made = shape::object()
        .must("id", shape::uuid())
        .must("url", answer::url())
        .must("secret", shape::text().says("Signs what is sent there. It is shown this once."));
    let shown = Registered { id: example::EFFECT, url: URL.to_owned(), secret: secret::example() };
    let told = Answer::json("Registered.", made, serde_json::to_value(shown).unwrap_or_default());
    About::of("registerWebhook", "Register an endpoint for the events of your orders")
        .says(
            "Each event of each of your orders is sent there from now on, as `POST` of `{id, type, order}`, the order as \
             `getOrder` shows it at that version; of one order in order, and again with growing pauses until the answer is \
             2xx. Redirects are not followed. A repeat has the same `id`, which is also in the header `Mambogo-Event-Id`. \
             `Mambogo-Signature` is `t=<seconds>,v1=<hex>`: HMAC-SHA256 by the secret over `<seconds>.<body>`; refuse what is \
             older than five minutes. While a secret is being replaced there is a `v1` of each of the two. An endpoint that does not take an event for a day is disabled.",
        )
        .body(shape::object().must("url", answer::url()).closed(), json!({ "url": URL }))
        .answers(StatusCode::CREATED, told.with(headers::location()).with(headers::cache_control()))
}

pub(crate) async fn register(
    State(webhooks): State<Webhooks>,
    caller: Caller,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let (url, most) = (read(json, &webhooks.config.egress)?, webhooks.config.most);
    let made = Registered { id: chassis::ids::random(), url, secret: secret::random() };
    let row = New { id: made.id, owner: caller.owner, url: made.url.clone(), secret: made.secret.clone() };
    if !webhooks.ask(move |pool| async move { store::add(&pool, &row, most).await }).await? {
        let message = format!("is one more than the {most} that you may have; remove one first");
        return Err(Problem::invalid(vec![FieldError::new("url", message)]));
    }
    let headers = [
        (header::LOCATION, format!("/api/webhooks/{}", made.id)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, Json(made)).into_response())
}

fn read(json: Body, egress: &Egress) -> Result<String, Problem> {
    let mut findings = Findings::default();
    let url = Form::open(json, "", &mut findings).and_then(|mut form| {
        let url = form.text("url", &mut findings);
        form.done(&mut findings);
        let url = url?;
        if let Err(Refused(why)) = egress.check(&url) {
            findings.add("url", why);
        }
        Some(url)
    });
    findings.finish(url)
}
