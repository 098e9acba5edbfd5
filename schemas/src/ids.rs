//! Identifiers, and how each is derived: the same cause gives the same id on every machine and every retry.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

id!(
    /// An order, a reserve of an outside owner included. Derived by [`order_id`]; also the correlation id of
    /// all that happens to it, and the key of its records.
    OrderId
);
id!(
    /// A product of the catalogue.
    ProductId
);
id!(
    /// One effect of a saga (a capture, a refund, a settle). The provider's idempotency key; an undo names the
    /// effect it undoes.
    EffectId
);
id!(
    /// What a message means: a re-send carries the same id. Derived by [`message_id`] where an effect is behind it.
    MessageId
);
id!(
    /// One life of a lane: random, drawn when the lane's row is made or renewed.
    LaneId
);

/// Who may see an order: issuer and subject of the token, joined by a line feed.
///
/// The issuer holds no line feed (the verifier refuses one), so the pair can be told apart again.
#[must_use]
pub fn owner(issuer: &str, subject: &str) -> String {
    format!("{issuer}\n{subject}")
}

/// The id of the order that `owner` submits under `key`: one order per key.
///
/// `UUIDv5(UUIDv5(deployment, owner), scope + "\n" + key)`, RFC 9562 §5.5. `scope` separates the checkout from
/// plain orders.
#[must_use]
pub fn order_id(deployment: &Uuid, owner: &str, scope: &str, key: &str) -> OrderId {
    let of_owner = Uuid::new_v5(deployment, owner.as_bytes());
    OrderId(Uuid::new_v5(&of_owner, format!("{scope}\n{key}").as_bytes()))
}

/// The id of an effect of an order, such as `"capture"`.
#[must_use]
pub fn effect_id(order: OrderId, effect: &str) -> EffectId {
    EffectId(Uuid::new_v5(&order.0, effect.as_bytes()))
}

/// The one id of the whole undo of a capture, whoever starts it.
#[must_use]
pub fn undo_of(capture: EffectId) -> EffectId {
    EffectId(Uuid::new_v5(&capture.0, b"undo"))
}

/// The id of a message about `subject` (an order, product or effect) that says `meaning`.
#[must_use]
pub fn message_id(subject: Uuid, meaning: &str) -> MessageId {
    MessageId(Uuid::new_v5(&subject, meaning.as_bytes()))
}
