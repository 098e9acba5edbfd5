//! A product as caches hold it: what the catalogue says and what inventory says, each with a version of its own. A
//! cache takes in each part if it is newer; so it never goes back, whatever comes late or twice.
//!
//! Shared by the worker that hears of changes and by the gateways that read: key, script and channel are Redis's.

use crate::{ids::ProductId, messages::ProductChanged, money::Money, time::Timestamp};
use serde::{Deserialize, Serialize};

/// What the catalogue says of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The product.
    pub id: ProductId,
    /// Grows by one with every change, from 1.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// The category's slug.
    pub category: String,
    /// Price of one unit.
    pub price: Money,
    /// Whether it is sold.
    pub active: bool,
}

/// What inventory says of a product. Version 0: nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// Inventory's version of the product.
    pub version: i64,
    /// Units free to reserve.
    pub available: i64,
}

/// One change, as the worker tells the gateways: the parts that are new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The product.
    pub id: ProductId,
    /// What the catalogue says now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// What inventory says now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<Stock>,
    /// When the newest of them was decided.
    pub at: Timestamp,
}

impl From<ProductChanged> for Facts {
    fn from(event: ProductChanged) -> Self {
        Self {
            id: event.product_id,
            version: event.version,
            name: event.name,
            description: event.description,
            category: event.category,
            price: Money::new(event.price, event.currency),
            active: event.is_active,
        }
    }
}

/// The channel on which gateways hear of changes; a message is a JSON array of [`Change`].
pub const CHANNEL: &str = "catalog:changes";

/// The hash of a product.
#[must_use]
pub fn key(product: ProductId) -> String {
    format!("product:{product}")
}

/// Takes in the parts that are newer, and returns both parts as they stand then.
///
/// KEYS: the product's hash. ARGV: version and JSON of the facts, version and units of the stock (an empty version: no
/// such part), and the time to live in ms. Returns version, JSON, version, units; nil where a part is not known. Version
/// 0 of the facts says that there is no such product.
///
/// The time to live runs from when the facts came first: later changes do not prolong it, so that a change that was
/// never heard is forgotten with the rest. Stock without facts is a mark that a slower read cannot pass.
pub const MERGE: &str = r"
local have = redis.call('HMGET', KEYS[1], 'v', 'f', 'sv', 's')
local was = tonumber(have[1] or '0')
if ARGV[1] ~= '' and (not have[1] or tonumber(ARGV[1]) > was) then
  redis.call('HSET', KEYS[1], 'v', ARGV[1], 'f', ARGV[2])
  have[1], have[2] = ARGV[1], ARGV[2]
end
if ARGV[3] ~= '' and (not have[3] or tonumber(ARGV[3]) > tonumber(have[3])) then
  redis.call('HSET', KEYS[1], 'sv', ARGV[3], 's', ARGV[4])
  have[3], have[4] = ARGV[3], ARGV[4]
end
if was == 0 or redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
return have
";
