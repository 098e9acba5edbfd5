//! The whole surface of the orders service.

use crate::{batch::submit_batch, cancel::cancel, get::get_order, list::list, state::Orders, submit::submit};
use ingress::surface::{Class, Rule, Surface};

/// The routes of the orders service.
#[must_use]
pub fn surface() -> Surface<Orders> {
    Surface::new()
        .post("/api/orders", Rule::caller(), submit)
        .get("/api/orders", Rule::caller(), list)
        .post("/api/orders/batch", Rule::caller().of(Class::Bulk), submit_batch)
        .get("/api/orders/{id}", Rule::caller(), get_order)
        .post("/api/orders/{id}/cancel", Rule::caller(), cancel)
}
