//! The topics, what each is for, and which partition a key belongs to.

use std::{fmt, time::Duration};
use uuid::Uuid;

/// Consumer group of the orders service.
pub const ORDERS_GROUP: &str = "orders";
/// Consumer group of the inventory service.
pub const INVENTORY_GROUP: &str = "inventory";
/// Consumer group of the payments service.
pub const PAYMENTS_GROUP: &str = "payments";
/// Consumer group of the status view.
pub const STATUS_GROUP: &str = "status";
/// Consumer group of the webhooks.
pub const WEBHOOKS_GROUP: &str = "webhooks";
/// Consumer group of the catalogue's caches and of the stock it shows.
pub const CATALOG_GROUP: &str = "catalog";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A topic of the pipeline. Its name on a cluster is `prefix + name` ([`Topic::on_cluster`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// All that the saga hears, keyed by order id.
    OrderCommands,
    /// What inventory is asked for, keyed by order id (product id for restock).
    InventoryCommands,
    /// What payments is asked for, keyed by order id.
    PaymentCommands,
    /// Public facts about orders, keyed by order id.
    OrderEvents,
    /// Stock levels, keyed by product id.
    InventoryEvents,
    /// Captures and refunds, keyed by order id.
    PaymentEvents,
    /// What the catalogue says of products, keyed by product id.
    CatalogEvents,
    /// Copies of what the orders service rejected, keyed as the origin.
    OrdersDlq,
    /// Copies of what the inventory service rejected, keyed as the origin.
    InventoryDlq,
    /// Copies of what the payments service rejected, keyed as the origin.
    PaymentsDlq,
}

impl Topic {
    /// Every topic there is.
    pub const ALL: [Self; 10] = [
        Self::OrderCommands,
        Self::InventoryCommands,
        Self::PaymentCommands,
        Self::OrderEvents,
        Self::InventoryEvents,
        Self::PaymentEvents,
        Self::CatalogEvents,
        Self::OrdersDlq,
        Self::InventoryDlq,
        Self::PaymentsDlq,
    ];

    /// The name without a deployment's prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OrderCommands => "order.commands",
            Self::InventoryCommands => "inventory.commands",
            Self::PaymentCommands => "payment.commands",
            Self::OrderEvents => "order.events",
            Self::InventoryEvents => "inventory.events",
            Self::PaymentEvents => "payment.events",
            Self::CatalogEvents => "catalog.events",
            Self::OrdersDlq => "orders.dlq",
            Self::InventoryDlq => "inventory.dlq",
            Self::PaymentsDlq => "payments.dlq",
        }
    }

    /// The topic of that name (without prefix).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// The name on a cluster: `prefix + name`.
    #[must_use]
    pub fn on_cluster(self, prefix: &str) -> String {
        format!("{prefix}{}", self.name())
    }

    /// A stable number for compact formats. Never reused.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::OrderCommands => 1,
            Self::InventoryCommands => 2,
            Self::PaymentCommands => 3,
            Self::OrderEvents => 4,
            Self::InventoryEvents => 5,
            Self::PaymentEvents => 6,
            Self::OrdersDlq => 7,
            Self::InventoryDlq => 8,
            Self::PaymentsDlq => 9,
            Self::CatalogEvents => 10,
        }
    }

    /// The topic with that [`Topic::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.code() == code)
    }

    /// How long records are kept.
    #[must_use]
    pub fn retention(self) -> Duration {
        match self {
            Self::OrderCommands | Self::InventoryCommands | Self::PaymentCommands => 7 * DAY,
            _ => 30 * DAY,
        }
    }

    /// The dead-letter topic of a consumer group, if the group has one.
    #[must_use]
    pub fn dlq_of(group: &str) -> Option<Self> {
        match group {
            ORDERS_GROUP => Some(Self::OrdersDlq),
            INVENTORY_GROUP => Some(Self::InventoryDlq),
            PAYMENTS_GROUP => Some(Self::PaymentsDlq),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A record key: the lower-case hyphenated UUID as text.
#[must_use]
pub fn key(id: Uuid) -> [u8; 36] {
    let mut text = [0; 36];
    id.as_hyphenated().encode_lower(&mut text);
    text
}

/// The partition of `key` among `partitions`, as Kafka's Java clients choose it:
/// `(murmur2(key) & 0x7fffffff) % partitions`.
///
/// Zero when there are no partitions.
#[must_use]
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let positive = i32::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0);
    positive.checked_rem(partitions).unwrap_or(0)
}

/// MurmurHash2, 32 bits, seed 0x9747b28c (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn names_and_codes_are_each_one_topic() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_name(topic.name()), Some(topic));
            assert_eq!(Topic::from_code(topic.code()), Some(topic));
        }
    }
}
