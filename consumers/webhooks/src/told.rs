//! An order's event as clients are told it: the order as `GET /api/orders/{id}` would show it at that version.

use schemas::{messages::OrderEvent, view};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// What is told of one version of an order.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) owner: String,
    pub(crate) order: Uuid,
    pub(crate) version: i64,
    /// Follows from order and version: whoever is told twice sees that it is the same.
    pub(crate) id: Uuid,
    pub(crate) body: String,
}

#[derive(Serialize)]
struct Told<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'a str,
    order: &'a RawValue,
}

impl Event {
    /// # Errors
    /// None in practice, as [`view::public_json`].
    pub(crate) fn of(event: &OrderEvent) -> Result<Self, serde_json::Error> {
        let order = event.order();
        let id = schemas::ids::message_id(order.order_id.0, &format!("webhook-{}", order.version)).0;
        let public = RawValue::from_string(view::public_json(order)?)?;
        let body = serde_json::to_string(&Told { id, kind: event.name(), order: &public })?;
        Ok(Self { owner: order.owner.clone(), order: order.order_id.0, version: order.version, id, body })
    }
}
