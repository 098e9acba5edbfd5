//! The whole surface of the carts, and what its endpoints share.

use crate::{
    add_item::add_item, checkout::checkout, clear::clear, config::CartConfig, get::get_cart, link::CartLink,
    merge::merge, remove_item::remove_item, set_item::set_item, store::Store,
};
use chassis::clock::Clock;
use ingress::surface::{Rule, Surface};
use orders_api::Orders;

/// The routes of the carts: guests have carts too, and buy as users.
#[must_use]
pub fn surface() -> Surface<Carts> {
    Surface::new()
        .get("/api/cart", Rule::public(), get_cart)
        .delete("/api/cart", Rule::public(), clear)
        .post("/api/cart/items", Rule::public(), add_item)
        .put("/api/cart/items/{productId}", Rule::public(), set_item)
        .delete("/api/cart/items/{productId}", Rule::public(), remove_item)
        .post("/api/cart/merge", Rule::caller(), merge)
        .post("/api/cart/checkout", Rule::caller(), checkout)
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
