//! The whole surface of the orders service.

use crate::{batch, cancel, events, get, list, state::Orders, submit};
use ingress::surface::{Class, Rule, Surface};

/// The routes of the orders service.
#[must_use]
pub fn surface() -> Surface<Orders> {
    Surface::new()
        .post("/api/orders", Rule::caller(), submit::submit, submit::about())
        .get("/api/orders", Rule::caller(), list::list, list::about())
        .post("/api/orders/batch", Rule::caller().of(Class::Bulk), batch::submit_batch, batch::about())
        .get("/api/orders/{id}", Rule::caller(), get::get_order, get::about())
        .get("/api/orders/{id}/events", Rule::caller(), events::events, events::about())
        .post("/api/orders/{id}/cancel", Rule::caller(), cancel::cancel, cancel::about())
}
