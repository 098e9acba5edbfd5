//! The whole surface of the carts, and what its endpoints share.

use crate::{
    add_item, checkout, clear, config::CartConfig, get, link::CartLink, merge, remove_item, set_item,
    store::Store,
};
use chassis::clock::Clock;
use ingress::surface::{Rule, Surface};
use orders_api::Orders;

/// The routes of the carts: guests have carts too, and buy as users.
#[must_use]
pub fn surface() -> Surface<Carts> {
    Surface::new()
        .get("/api/cart", Rule::public(), get::get_cart, get::about())
        .delete("/api/cart", Rule::public(), clear::clear, clear::about())
        .post("/api/cart/items", Rule::public(), add_item::add_item, add_item::about())
        .put("/api/cart/items/{productId}", Rule::public(), set_item::set_item, set_item::about())
        .delete("/api/cart/items/{productId}", Rule::public(), remove_item::remove_item, remove_item::about())
        .post("/api/cart/merge", Rule::caller(), merge::merge, merge::about())
        .post("/api/cart/checkout", Rule::caller(), checkout::checkout, checkout::about())
}

/// What the endpoints stand on.
#[derive(Clone)]
pub struct CartParts {
    /// Settings.
    pub config: CartConfig,
    /// Where carts are kept.
    pub link: CartLink,
    /// The time.
    pub clock: Clock,
    /// What a checkout becomes, and what things cost.
    pub orders: Orders,
}

/// The carts. Cheap to clone.
#[derive(Clone)]
pub struct Carts {
    pub(crate) store: Store,
    pub(crate) orders: Orders,
}

impl Carts {
    /// The endpoints on `parts`.
    #[must_use]
    pub fn new(parts: CartParts) -> Self {
        let CartParts { config, link, clock, orders } = parts;
        Self { store: Store::new(link, clock, &config), orders }
    }
}
