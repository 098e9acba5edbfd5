//! The public facts: `order.events`, `inventory.events`, `payment.events`, `catalog.events`.

use super::OrderState;
use crate::{
    ids::{EffectId, OrderId, ProductId},
    money::Currency,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

macro_rules! order_event {
    ($(#[$doc:meta])* $name:ident, $id:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The order's whole public state after it.
            pub order: OrderState,
        }
        message!($name, $id, OrderEvents);
    };
}

order_event!(
    /// The order is known.
    OrderAccepted,
    1301
);
order_event!(
    /// Its stock is held.
    OrderReserved,
    1302
);
order_event!(
    /// It is paid and sold.
    OrderConfirmed,
    1303
);
order_event!(
    /// It was refused.
    OrderRejected,
    1304
);
order_event!(
    /// It was given up.
    OrderCancelled,
    1305
);
order_event!(
    /// Its deadline passed.
    OrderExpired,
    1306
);
order_event!(
    /// Any other change of its public state: a refund, a refused cancel.
    OrderAmended,
    1307
);

/// A product's stock after a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockChanged {
    /// The product.
    pub product_id: ProductId,
    /// Units free to reserve.
    pub available: i64,
    /// Units held by open orders.
    pub held: i64,
    /// Units sold so far.
    pub sold: i64,
    /// Grows with every change; the newest wins.
    pub version: i64,
    /// When it was decided.
    pub changed_at: Timestamp,
}
message!(StockChanged, 1401, InventoryEvents);

/// A capture reached its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureSettled {
    /// The order.
    pub order_id: OrderId,
    /// The capture.
    pub capture_id: EffectId,
    /// `CAPTURED`, `DECLINED` or `VOIDED`.
    pub outcome: String,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// The provider's own name for it, if it has one.
    pub provider_reference: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// When it was decided.
    pub settled_at: Timestamp,
}
message!(CaptureSettled, 1501, PaymentEvents);

/// A refund was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundSettled {
    /// The order.
    pub order_id: OrderId,
    /// The capture the money came from.
    pub capture_id: EffectId,
    /// The refund.
    pub refund_id: EffectId,
    /// Minor units.
    pub amount: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// The provider's own name for it, if it has one.
    pub provider_reference: Option<String>,
    /// When it was decided.
    pub settled_at: Timestamp,
}
message!(RefundSettled, 1502, PaymentEvents);

/// A product was added to the catalogue, or what the catalogue says of it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProductChanged {
    /// The product.
    pub product_id: ProductId,
    /// Grows by one with every change, from 1; the newest wins.
    pub version: i64,
    /// Names of the fields that changed; all of them when it was added.
    pub changed: Vec<String>,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// The category's slug.
    pub category: String,
    /// Price of one unit, minor units.
    pub price: i64,
    /// Currency of the price.
    pub currency: Currency,
    /// Whether it is sold.
    pub is_active: bool,
    /// Who changed it ([`crate::ids::owner`]).
    pub changed_by: String,
    /// When it was decided.
    pub changed_at: Timestamp,
}
message!(ProductChanged, 1701, CatalogEvents);
