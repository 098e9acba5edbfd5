//! The whole surface of the orders service.

use crate::{batch::submit_batch, cancel::cancel, get::get_order, list::list, state::Orders, submit::submit};
use axum::{
    Router,
    routing::{get, post},
};

/// The routes of the orders service.
pub fn router(orders: Orders) -> Router {
    Router::new()
        .route("/api/orders", post(submit).get(list))
        .route("/api/orders/batch", post(submit_batch))
        .route("/api/orders/{id}", get(get_order))
        .route("/api/orders/{id}/cancel", post(cancel))
        .with_state(orders)
}
