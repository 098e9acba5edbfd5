//! The saga's last row: an order whose history has left. Its key stays, with the body it stands for and how it ended.

use crate::outcome::{Illegal, Outcome};
use schemas::{
    ids::{self, EffectId, OrderId},
    messages::{BodyHash, OrderCommand as Event, OrderStatus, RefundPayment},
};

/// What is known of an order for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// The order.
    pub order_id: OrderId,
    /// The body that its key stands for.
    pub body_hash: BodyHash,
    /// How it ended.
    pub status: OrderStatus,
}

/// What an event does to an order whose history has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Late {
    /// Nothing changes.
    Nothing(Outcome),
    /// Money that nobody is to keep goes back, by the one id of its undo.
    GiveBack(RefundPayment),
}

impl Gone {
    /// What `event` does. No row is left that could remember anything, so a request is refused without a trace, and what
    /// undoes a capture is asked for each time, which its one id makes harmless.
    ///
    /// # Errors
    /// [`Illegal`] for what somebody has to look at: an effect that failed for good.
    pub fn hears(&self, event: &Event) -> Result<Late, Illegal> {
        let why = "its history has left";
        let outcome = match event {
            Event::SubmitOrder(again) if again.body_hash != self.body_hash => Outcome::KeyConflict,
            Event::PaymentCaptured(got) if !self.is_paid_by(got.capture_id) => {
                return Ok(Late::GiveBack(self.give_back(got.capture_id)));
            }
            Event::EffectFailed(_) => {
                return Err(Illegal::NotNow { event: event.name(), status: self.status, why });
            }
            Event::CancelOrder(_) if self.status == OrderStatus::Cancelled => Outcome::AlreadyApplied,
            Event::CancelOrder(_) | Event::RefundOrder(_) | Event::RetryEffect(_) => Outcome::Unrecorded,
            Event::SubmitOrder(_)
            | Event::StockReserved(_)
            | Event::StockRejected(_)
            | Event::PaymentCaptured(_)
            | Event::PaymentDeclined(_)
            | Event::DeadlinePassed(_)
            | Event::EffectDone(_) => Outcome::AlreadyApplied,
        };
        Ok(Late::Nothing(outcome))
    }

    fn is_paid_by(&self, capture: EffectId) -> bool {
        self.status == OrderStatus::Confirmed && capture == ids::effect_id(self.order_id, "capture")
    }

    fn give_back(&self, capture_id: EffectId) -> RefundPayment {
        RefundPayment {
            order_id: self.order_id,
            capture_id,
            refund_id: ids::undo_of(capture_id),
            amount: None,
            reason: "late_capture".to_owned(),
        }
    }
}
