//! Every message's reader by the record's name, as its service would read it. Shared by the tests of golden and of
//! hostile payloads.

use schemas::{
    messages::*,
    parked::{DiscardParked, RedriveParked},
    topics::Topic,
    wire::{self, WireError},
};

/// Decodes with today's struct and encodes again, in the newest schema.
pub(crate) type Reader = fn(&[u8]) -> Result<Vec<u8>, WireError>;

/// What is said of records travels with them.
pub(crate) const COMMANDS: &[Topic] =
    &[Topic::OrderCommands, Topic::InventoryCommands, Topic::PaymentCommands];

macro_rules! readers {
    ($($message:ident),+ $(,)? ; $($about:ident),+) => {
        /// Every message's reader by the record's name.
        pub(crate) const READERS: &[(&str, &[Topic], Reader)] = &[
            $((
                <$message as Body>::NAME,
                &[<$message as Message>::TOPIC],
                |payload| wire::encode(&wire::decode::<$message>(payload)?),
            ),)+
            $((
                <$about as Body>::NAME,
                COMMANDS,
                |payload| wire::encode(&wire::decode::<$about>(payload)?),
            ),)+
        ];
    };
}

readers!(
    SubmitOrder,
    CancelOrder,
    DeadlinePassed,
    RefundOrder,
    StockReserved,
    StockRejected,
    PaymentCaptured,
    PaymentDeclined,
    EffectFailed,
    RetryEffect,
    EffectDone,
    ReserveStock,
    SettleStock,
    AdjustStock,
    WalkQueue,
    CapturePayment,
    VoidCapture,
    RefundPayment,
    ResumeEffect,
    ProviderNotice,
    RetryRefund,
    OrderAccepted,
    OrderReserved,
    OrderConfirmed,
    OrderRejected,
    OrderCancelled,
    OrderExpired,
    OrderAmended,
    StockChanged,
    CaptureSettled,
    RefundSettled,
    ProductChanged;
    RedriveParked,
    DiscardParked
);
