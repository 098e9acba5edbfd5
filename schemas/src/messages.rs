//! Every message there is, one struct per Avro record, and one enum per command topic for its readers.
//!
//! Field names are the Avro names (camelCase), so that consoles and analysts see what clients see.

use crate::{
    catalogue::SchemaId,
    topics::Topic,
    wire::{self, WireError},
};
use serde::{Serialize, de::DeserializeOwned};

/// What a record says: it has a schema of its own.
pub trait Body: Serialize + DeserializeOwned {
    /// The pinned id of the newest schema, the one this build writes.
    const SCHEMA: SchemaId;
    /// The record's name, e.g. `SubmitOrder`.
    const NAME: &'static str;
}

/// A message of one topic. (What is said of records travels on each command topic: [`crate::parked`].)
pub trait Message: Body {
    /// The topic it travels on.
    const TOPIC: Topic;
}

macro_rules! message {
    ($name:ident, $id:expr, $topic:ident) => {
        impl $crate::messages::Body for $name {
            const SCHEMA: $crate::catalogue::SchemaId = $crate::catalogue::SchemaId($id);
            const NAME: &'static str = stringify!($name);
        }

        impl $crate::messages::Message for $name {
            const TOPIC: $crate::topics::Topic = $crate::topics::Topic::$topic;
        }
    };
}

// below the macro that they use
mod events;
mod inventory_commands;
mod order;
mod order_commands;
mod payment_commands;

pub use events::*;
pub use inventory_commands::*;
pub use order::*;
pub use order_commands::*;
pub use payment_commands::*;

macro_rules! union {
    ($(#[$doc:meta])* $name:ident on $topic:ident { $($variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $(
                #[doc = concat!("See [`", stringify!($variant), "`].")]
                $variant($variant),
            )+
        }

        impl $name {
            /// Reads one payload of the topic.
            ///
            /// # Errors
            /// [`WireError`]: not our wire format, an unknown schema id, a message of another topic, or a body
            /// that does not decode.
            pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
                let (schema, body) = wire::open(payload)?;
                match schema.record {
                    $(<$variant as Body>::NAME => wire::decode_body(schema, body).map(Self::$variant),)+
                    _ => Err(WireError::NotOfTopic { record: schema.record, topic: Topic::$topic }),
                }
            }

            /// The record's name, e.g. `SubmitOrder`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$variant as Body>::NAME,)+ }
            }
        }

        $(impl From<$variant> for $name {
            fn from(message: $variant) -> Self { Self::$variant(message) }
        })+
    };
}

union!(
    /// All that the saga hears.
    OrderCommand on OrderCommands {
        SubmitOrder, CancelOrder, DeadlinePassed, RefundOrder, StockReserved, StockRejected, PaymentCaptured,
        PaymentDeclined, EffectFailed, RetryEffect, EffectDone,
    }
);
union!(
    /// All that inventory is asked for.
    InventoryCommand on InventoryCommands { ReserveStock, SettleStock, AdjustStock, WalkQueue }
);
union!(
    /// All that payments is asked for.
    PaymentCommand on PaymentCommands {
        CapturePayment, VoidCapture, RefundPayment, ResumeEffect, ProviderNotice, RetryRefund,
    }
);
union!(
    /// Public facts about orders.
    OrderEvent on OrderEvents {
        OrderAccepted, OrderReserved, OrderConfirmed, OrderRejected, OrderCancelled, OrderExpired, OrderAmended,
    }
);
union!(
    /// Stock levels.
    InventoryEvent on InventoryEvents { StockChanged }
);
union!(
    /// Captures and refunds.
    PaymentEvent on PaymentEvents { CaptureSettled, RefundSettled }
);
union!(
    /// What the catalogue says of products.
    CatalogEvent on CatalogEvents { ProductChanged }
);

impl OrderEvent {
    /// The order's whole public state after the event.
    #[must_use]
    pub fn order(&self) -> &OrderState {
        match self {
            Self::OrderAccepted(event) => &event.order,
            Self::OrderReserved(event) => &event.order,
            Self::OrderConfirmed(event) => &event.order,
            Self::OrderRejected(event) => &event.order,
            Self::OrderCancelled(event) => &event.order,
            Self::OrderExpired(event) => &event.order,
            Self::OrderAmended(event) => &event.order,
        }
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_order(self) -> OrderState {
        match self {
            Self::OrderAccepted(event) => event.order,
            Self::OrderReserved(event) => event.order,
            Self::OrderConfirmed(event) => event.order,
            Self::OrderRejected(event) => event.order,
            Self::OrderCancelled(event) => event.order,
            Self::OrderExpired(event) => event.order,
            Self::OrderAmended(event) => event.order,
        }
    }
}
