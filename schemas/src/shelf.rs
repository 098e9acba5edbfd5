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

/// Takes in the parts that are newer, of one product or of many.
///
/// KEYS: the products' hashes. ARGV: `1` to be told both parts as they stand then, or empty; then for each product version
/// and JSON of the facts, version and units of the stock (an empty version: no such part), and the time to live in ms.
/// Returns, when asked, for each product version, JSON, version, units; nil where a part is not known, and for a key that
/// holds something else, which is passed over. Version 0 of the facts says that there is no such product.
///
/// The time to live runs from when the facts came first: later changes do not prolong it, so that a change that was
/// never heard is forgotten with the rest. Stock without facts is a mark that a slower read cannot pass: it stays for at
/// least half of its time after each change.
pub const MERGE: &str = r"
local told = {}
for i, key in ipairs(KEYS) do
  local v, f, sv, s, life = unpack(ARGV, 5 * i - 3, 5 * i + 1)
  local have = redis.pcall('HMGET', key, 'v', 'sv')
  told[i] = {false, false, false, false}
  if not have.err then
    local facts, stock = tonumber(have[1] or ''), tonumber(have[2] or '')
    if v ~= '' and (not facts or tonumber(v) > facts) then redis.call('HSET', key, 'v', v, 'f', f) end
    if sv ~= '' and (not stock or tonumber(sv) > stock) then redis.call('HSET', key, 'sv', sv, 's', s) end
    local left = redis.call('PTTL', key)
    local was_known = facts and facts > 0
    if left < 0 or not was_known and left < tonumber(life) / 2 then redis.call('PEXPIRE', key, life) end
    if ARGV[1] ~= '' then told[i] = redis.call('HMGET', key, 'v', 'f', 'sv', 's') end
  end
end
return ARGV[1] ~= '' and told or {}
";
