//! `POST /api/orders/{id}/cancel`: asks for the order's end, and waits a moment for the verdict.

use crate::{get::order_id, look::Seen, state::Orders};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use ingress::{
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
use serde::Serialize;

/// Longest reason, in characters.
const MAX_REASON: usize = 200;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    order_id: OrderId,
    status: &'static str,
    status_url: String,
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
    let seen = orders.find(order, &caller.owner).await?;
    if seen.status.is_terminal() {
        return verdict(order, &seen);
    }
    orders.ask_to_cancel(order, &caller, reason).await?;
    let patience = orders.shared.config.cancel_patience;
    let seen = orders.find_end(order, &caller.owner, patience).await.unwrap_or(seen);
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
    let status_url = format!("/api/orders/{order}");
    Ok((StatusCode::ACCEPTED, Json(Receipt { order_id: order, status: seen.status.as_str(), status_url })))
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
