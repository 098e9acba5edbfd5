//! `POST /api/inventory/reserve`: another system holds units until a deadline. It waits for the verdict, up to a time
//! limit. Every answer says with `success` whether the units are held.
//!
//! When the service does not answer, the answer is the fallback (`fallbackUsed`), and then nothing stays held: what may have
//! been asked for is released at once, and where even that cannot be said, the deadline releases it.

use crate::{
    desk::Word,
    metrics,
    read::{Hold, HoldState},
    reservation::{MAX_LINES, MAX_NAME, MAX_QUANTITY, Reservation},
    routes::Inventory,
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    api::{
        self, About, example,
        shape::{self, Shape},
    },
    auth::Caller,
    body::JsonBody,
    log::Command,
    problem::{Kind, Problem},
    trace,
};
use schemas::{
    ids::{self, EffectId, OrderId},
    messages::{ReserveStock, SettleStock, Settlement},
    time::Timestamp,
    view::rfc3339,
};
use serde::Serialize;
use serde_json::json;

/// The message of a reserve that was granted.
const HELD: &str = "the units are held";

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    success: bool,
    owner_id: String,
    reservation_id: OrderId,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
    message: &'static str,
    fallback_used: bool,
}

pub(crate) fn about() -> About {
    let line = shape::object()
        .must("productId", shape::uuid())
        .must("quantity", shape::whole(1, MAX_QUANTITY))
        .closed();
    let body = shape::object()
        .must("ownerId", owner_id())
        .must("deadline", shape::time().says("Until when the units are held: at most 15 minutes ahead."))
        .must("items", shape::list(line, 1, MAX_LINES).says("Each product once."))
        .closed();
    let answer = shape::object()
        .must("success", shape::flag().says("Whether the units are held."))
        .must("ownerId", owner_id())
        .must("reservationId", shape::uuid())
        .may("deadline", shape::time())
        .must("message", shape::text())
        .must(
            "fallbackUsed",
            shape::flag().says("The service did not answer; nothing is held, or will stay so."),
        );
    let deadline = rfc3339(Timestamp(1_767_225_900_000));
    let held = Answer {
        success: true,
        owner_id: "till-7:4711".to_owned(),
        reservation_id: OrderId(example::ORDER),
        deadline: Some(deadline.clone()),
        message: HELD,
        fallback_used: false,
    };
    About::of("reserveStock", "Hold units for another system until a deadline")
        .says("One reserve an `ownerId`, however often it is asked for. Waits for the verdict up to a time limit.")
        .body(
            body,
            json!({"ownerId": "till-7:4711", "deadline": deadline, "items": [{"productId": example::PRODUCT, "quantity": 2}]}),
        )
        .answers(
            StatusCode::OK,
            api::Answer::json("The verdict, or the fallback.", answer, serde_json::to_value(held).unwrap_or_default()),
        )
        .refuses(&[Kind::KeyReused])
}

/// What callers call their reserves.
pub(crate) fn owner_id() -> Shape {
    shape::matching("^[A-Za-z0-9._:-]+$", 1, MAX_NAME).says("Yours to choose; one reserve has one.")
}

pub(crate) async fn reserve(
    State(inventory): State<Inventory>,
    caller: Caller,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let asked = Reservation::read(json, inventory.now())?;
    let order = asked.owner.reserve_of(&inventory.config.namespace, &caller);
    if !inventory.reserves.stands_for(EffectId(order.0), asked.hash()).await {
        count("key_reused");
        return Err(Problem::new(Kind::KeyReused, "this ownerId stands for another reserve"));
    }
    // in a task of its own: a client that goes away leaves nothing held that nobody gives back
    let reserving = trace::spawn(async move { hold(&inventory, order, asked).await });
    reserving.await.map_err(|error| Problem::internal("reserving", &error))?
}

async fn hold(inventory: &Inventory, order: OrderId, asked: Reservation) -> Result<Response, Problem> {
    let now = inventory.now();
    let Reservation { owner, deadline, lines } = asked;
    let body = ReserveStock { order_id: order, accepted_at: now, deadline, lines: lines.clone() };
    let message = ids::message_id(order.0, "reserve-stock");
    let word = inventory.desk.ask(order, Command::new(order.0, message, now, Some(deadline), &body)?).await;
    let answer = |success: bool, message, fallback_used| {
        let deadline = success.then(|| rfc3339(deadline));
        Answer { success, owner_id: owner.0.clone(), reservation_id: order, deadline, message, fallback_used }
    };
    Ok(match word {
        Word::Decided(held) if held.lines != lines && held.state != HoldState::Ended => {
            count("key_reused");
            return Err(Problem::new(Kind::KeyReused, "this ownerId stands for another reserve"));
        }
        Word::Decided(Hold { state: HoldState::Held, deadline: until, .. }) => {
            count("held");
            let location = [(header::LOCATION, format!("/api/inventory/reserve/{}", owner.0))];
            let held = Answer { deadline: Some(rfc3339(until)), ..answer(true, HELD, false) };
            (StatusCode::OK, location, Json(held)).into_response()
        }
        Word::Decided(Hold { state: HoldState::Rejected, .. }) => {
            count("rejected");
            Json(answer(false, "there are not so many units", false)).into_response()
        }
        Word::Decided(_) => {
            count("ended");
            Json(answer(false, "this reserve has ended; begin another with another ownerId", false))
                .into_response()
        }
        Word::Waiting => {
            give_up(inventory, order, now).await;
            count("given_up");
            Json(answer(false, "the units are held by others at the moment", false)).into_response()
        }
        Word::Silence => {
            give_up(inventory, order, now).await;
            count("fallback");
            Json(answer(false, "Service temporarily unavailable", true)).into_response()
        }
        Word::NotAsked => {
            count("fallback");
            Json(answer(false, "Service temporarily unavailable", true)).into_response()
        }
    })
}

/// Releases what may come to be held. It need not come after the reserve: whichever is first, nothing is held.
async fn give_up(inventory: &Inventory, order: OrderId, now: Timestamp) {
    let Ok(command) = release_of(order, now) else { return };
    if let Err(error) = inventory.desk.send(command).await {
        tracing::warn!(%order, %error, "a reserve that was given up could not be released: its deadline does it");
    }
}

/// The command that ends a reserve without a sale.
pub(crate) fn release_of(order: OrderId, now: Timestamp) -> Result<Command, Problem> {
    let body = SettleStock { order_id: order, outcome: Settlement::Released };
    Command::new(order.0, ids::message_id(order.0, "settle-stock"), now, None, &body)
}

fn count(outcome: &'static str) {
    ::metrics::counter!(metrics::RESERVES, "outcome" => outcome).increment(1);
}
