//! The status view in Redis: keys, what stands there, the script that writes it by version, and the public form of an
//! order.
//!
//! One string per order id ([`packed`]), changed only by scripts. The edge writes the claim, the status worker the view.

pub mod packed;

use crate::{
    ids::OrderId,
    messages::{OrderState, TimelineEntry},
    money::Money,
    time::Timestamp,
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// The key of an order. The braces keep all of an order's keys on one shard.
#[must_use]
pub fn key(order: OrderId) -> String {
    format!("order:{{{order}}}")
}

/// The channel on which a gateway hears that an order it waits for has changed; messages are order ids.
#[must_use]
pub fn channel(gateway: &str) -> String {
    format!("gateway:{gateway}")
}

/// RFC 3339 in UTC with milliseconds, e.g. `2025-01-31T08:00:00.000Z`.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp_millis(at.0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicOrder<'a> {
    order_id: OrderId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    version: i64,
    total: Money,
    refunded: Money,
    items: Vec<PublicLine>,
    shipping_address: &'a str,
    payment_method: &'a str,
    accepted_at: String,
    deadline: String,
    updated_at: String,
    timeline: Vec<PublicEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicLine {
    product_id: crate::ids::ProductId,
    quantity: i32,
    unit_price: Money,
}

#[derive(Serialize)]
struct PublicEntry<'a> {
    at: String,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> From<&'a TimelineEntry> for PublicEntry<'a> {
    fn from(entry: &'a TimelineEntry) -> Self {
        Self { at: rfc3339(entry.at), event: &entry.event, detail: entry.detail.as_deref() }
    }
}

/// An order as `GET /api/orders/{id}` answers it. Owner and body hash stay inside.
///
/// # Errors
/// None in practice: there is nothing in it that JSON cannot hold.
pub fn public_json(order: &OrderState) -> Result<String, serde_json::Error> {
    let money = |amount| Money::new(amount, order.currency);
    serde_json::to_string(&PublicOrder {
        order_id: order.order_id,
        status: order.status.as_str(),
        reason: order.reason.as_deref(),
        version: order.version,
        total: money(order.total),
        refunded: money(order.refunded),
        items: order
            .lines
            .iter()
            .map(|line| PublicLine {
                product_id: line.product_id,
                quantity: line.quantity,
                unit_price: money(line.unit_price),
            })
            .collect(),
        shipping_address: &order.shipping_address,
        payment_method: &order.payment_method,
        accepted_at: rfc3339(order.accepted_at),
        deadline: rfc3339(order.deadline),
        updated_at: rfc3339(order.updated_at),
        timeline: order.timeline.iter().map(PublicEntry::from).collect(),
    })
}
