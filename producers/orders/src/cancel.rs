//! `POST /api/orders/{id}/cancel`: asks for the order's end, and waits a moment for the verdict.

use crate::{
    get::order_id,
    look::{NO_VERSION, Seen},
    state::Orders,
    submit::Receipt,
    told,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use ingress::{
    api::{About, Answer, shape},
    auth::Caller,
    body::{Json as Body, OptionalJsonBody},
    form::{Findings, Form},
    log::{Command, SendError},
    problem::{Kind, Problem},
};
use schemas::{
    ids::{self, OrderId},
    messages::{CancelOrder, OrderStatus},
};
use serde_json::json;

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

pub(crate) fn about() -> About {
    let reason = shape::words(MAX_REASON).or_null().says("Why, for the order's timeline.");
    let receipt = Receipt::of(told::ORDER, OrderStatus::Cancelled);
    let example = serde_json::to_value(receipt).unwrap_or_default();
    About::of("cancelOrder", "Cancel an order")
        .says(
            "Waits a moment for the verdict. 202 with `CANCELLED`: done. 202 with another status: the request is on the \
             log behind what came before it; read the order for what became of it. Saying it again changes nothing.",
        )
        .path("id", "The order.", shape::uuid())
        .optional_body(shape::object().may("reason", reason).closed(), json!({"reason": "bought twice"}))
        .answers(StatusCode::ACCEPTED, Answer::json("Cancelled, or asked for.", told::receipt(), example))
        .refuses(&[Kind::NotFound, Kind::Conflict])
}

pub(crate) async fn cancel(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJsonBody(json): OptionalJsonBody,
) -> Result<(StatusCode, Json<Receipt>), Problem> {
    let order = order_id(&id)?;
    let reason = json.map(reason).transpose()?.flatten();
    // only the owner's order is found, so nobody else's is ever asked for
    let seen = orders.find(order, &caller.owner, NO_VERSION).await?;
    if seen.status.is_terminal() {
        return verdict(order, &seen);
    }
    orders.ask_to_cancel(order, &caller, reason).await?;
    let patience = orders.shared.config.cancel_patience;
    let seen = orders.find_end(order, &caller.owner, seen.version, patience).await.unwrap_or(seen);
    verdict(order, &seen)
}

impl Orders {
    async fn ask_to_cancel(
        &self,
        order: OrderId,
        caller: &Caller,
        reason: Option<String>,
    ) -> Result<(), Problem> {
        let body = CancelOrder { order_id: order, requested_by: caller.owner.to_string(), reason };
        // the client's cancel means the same however often it is said
        let message = ids::message_id(order.0, "client cancel");
        let command = Command::new(order.0, message, self.now(), None, &body)?;
        self.shared.log.send(command).await.map(drop).map_err(|error| match error {
            SendError::NotSent(_) => Problem::unavailable("the request could not be taken; nothing was done"),
            SendError::Unknown(_) => {
                Problem::unavailable("it is not known whether the request was taken; repeat it")
            }
        })
    }
}

/// An order that ended in another way is told so; one that is still open has the request on its way.
fn verdict(order: OrderId, seen: &Seen) -> Result<(StatusCode, Json<Receipt>), Problem> {
    if seen.status.is_terminal() && seen.status != OrderStatus::Cancelled {
        let detail = format!("the order is {} and can no longer be cancelled", seen.status);
        return Err(Problem::new(Kind::Conflict, detail).with_order_status(seen.status));
    }
    Ok((StatusCode::ACCEPTED, Json(Receipt::of(order, seen.status))))
}

fn reason(json: Body) -> Result<Option<String>, Problem> {
    let mut findings = Findings::default();
    let read = Form::open(json, "", &mut findings).map(|mut form| {
        let reason = form.optional_words("reason", MAX_REASON, &mut findings);
        form.done(&mut findings);
        reason
    });
    findings.finish(read)
}
