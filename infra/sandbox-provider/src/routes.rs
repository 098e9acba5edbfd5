//! All that can be asked, on one screen.
//!
//! | call | |
//! |---|---|
//! | `POST /v1/payment_intents`, `POST /v1/refunds` | Stripe's, with `Idempotency-Key` |
//! | `GET /v1/payment_intents/search?query=`, `GET /v1/payment_intents/{id}`, `GET /v1/refunds?payment_intent=` | Stripe's |
//! | `GET`, `PUT /_sandbox/faults` | what goes wrong: [`crate::faults::Faults`] |
//! | `GET /_sandbox/ledger` | every payment and refund, totals, and what befell |

use crate::{
    desk::{Deed, Desk, Sent},
    faults::{Fault, Faults},
    keys::Answer,
    objects,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::stream;
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

/// Longest form, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// Bytes of a huge answer.
const HUGE: usize = 16 * 1024 * 1024;

/// Between two bytes of an answer that drips.
const DRIP: Duration = Duration::from_millis(100);

pub(crate) fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/payment_intents", post(pay))
        .route("/v1/payment_intents/search", get(search))
        .route("/v1/payment_intents/{id}", get(payment))
        .route("/v1/refunds", post(refund).get(refunds))
        .route("/_sandbox/faults", get(faults).put(set_faults))
        .route("/_sandbox/ledger", get(ledger))
        .fallback(async || respond(missing("path")))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(desk)
}

async fn pay(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    deed(desk, Deed::Pay, &headers, &body).await
}

async fn refund(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    deed(desk, Deed::Refund, &headers, &body).await
}

async fn deed(desk: Arc<Desk>, deed: Deed, headers: &HeaderMap, body: &[u8]) -> Response {
    if let Some(refusal) = unauthorized(headers) {
        return respond(refusal);
    }
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).filter(|key| key.len() <= 255);
    let Some(key) = key else { return respond(missing("Idempotency-Key")) };
    let sent = desk.deed(deed, key, body).await;
    spoil(&desk, sent).await
}

async fn search(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    // metadata['name']:'value', the one form that we ask in
    let asked = query.get("query").and_then(|text| {
        let (name, value) = text.strip_prefix("metadata['")?.split_once("']:'")?;
        Some((name.to_owned(), value.strip_suffix('\'')?.to_owned()))
    });
    let Some((name, value)) = asked else { return respond(missing("query")) };
    question(&desk, &headers, &format!("search {name} {value}"), |books, before| {
        let found = books.search(&name, &value, before);
        objects::page("search_result", found.iter().map(objects::payment).collect(), false)
    })
    .await
}

async fn payment(State(desk): State<Arc<Desk>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    question(&desk, &headers, &format!("payment {id}"), |books, _| {
        books.payment(&id).map_or_else(|| missing("id"), |paid| objects::answer(200, &objects::payment(paid)))
    })
    .await
}

async fn refunds(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let Some(payment) = query.get("payment_intent") else { return respond(missing("payment_intent")) };
    let limit = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(10_usize).clamp(1, 100);
    let after = query.get("starting_after");
    question(&desk, &headers, &format!("refunds {payment} {after:?}"), |books, _| {
        let all = books.refunds_of(payment);
        let start =
            after.and_then(|id| all.iter().position(|refund| refund.id == *id)).map_or(0, |at| at + 1);
        let rest = all.get(start..).unwrap_or_default();
        objects::page("list", rest.iter().take(limit).map(objects::refund).collect(), rest.len() > limit)
    })
    .await
}

async fn question(
    desk: &Desk,
    headers: &HeaderMap,
    about: &str,
    ask: impl FnOnce(&crate::ledger::Ledger, i64) -> Answer,
) -> Response {
    if let Some(refusal) = unauthorized(headers) {
        return respond(refusal);
    }
    let sent = desk.question(about, ask).await;
    spoil(desk, sent).await
}

async fn faults(State(desk): State<Arc<Desk>>) -> Json<Faults> {
    Json(desk.faults())
}

async fn set_faults(State(desk): State<Arc<Desk>>, Json(faults): Json<Faults>) -> Response {
    match desk.set_faults(faults) {
        Ok(()) => Json(desk.faults()).into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
    }
}

async fn ledger(State(desk): State<Arc<Desk>>) -> Response {
    Json(desk.ledger()).into_response()
}

/// What becomes of an answer on its way.
async fn spoil(desk: &Desk, Sent { answer, fault }: Sent) -> Response {
    match fault {
        Some(Fault::Lost | Fault::LostDone) => {
            let hang = Duration::from_millis(desk.faults().hang_ms());
            let _ = tokio::time::timeout(hang, desk.stop.cancelled()).await;
            broken_off()
        }
        Some(Fault::Malformed) => {
            let half = answer.body.get(..answer.body.len() / 2).unwrap_or_default();
            respond(Answer { body: half.into(), ..answer })
        }
        Some(Fault::Huge) => respond(Answer { body: format!("\"{}\"", "x".repeat(HUGE)).into(), ..answer }),
        Some(Fault::Drip) => dripping(desk, &answer),
        _ => respond(answer),
    }
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], answer.body.to_string()).into_response()
}

/// A connection that is closed before there is a body.
fn broken_off() -> Response {
    Body::from_stream(stream::once(async { Err::<Bytes, _>(io::Error::other("broken off")) })).into_response()
}

fn dripping(desk: &Desk, answer: &Answer) -> Response {
    let (bytes, stop) = (Bytes::copy_from_slice(answer.body.as_bytes()), desk.stop.clone());
    let drops = stream::unfold((bytes, stop), async |(mut rest, stop)| {
        if rest.is_empty() {
            return None;
        }
        let is_over = tokio::time::timeout(DRIP, stop.cancelled()).await.is_ok();
        let drop = if is_over { Err(io::Error::other("stopping")) } else { Ok(rest.split_to(1)) };
        Some((drop, (rest, stop)))
    });
    let body = Body::from_stream(drops);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn unauthorized(headers: &HeaderMap) -> Option<Answer> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_known =
        bearer.is_some_and(|text| text.starts_with("Bearer sk_") || text.starts_with("Bearer rk_"));
    let message = "A secret key is needed: any that begins with sk_ or rk_.";
    (!is_known).then(|| objects::error(401, "invalid_request_error", "api_key_missing", message))
}

fn missing(what: &str) -> Answer {
    let status = if matches!(what, "path" | "id") { 404 } else { 400 };
    objects::error(status, "invalid_request_error", "resource_missing", &format!("There is no such {what}."))
}
