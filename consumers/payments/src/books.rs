//! What payments keeps: captures and refunds. The part of it that one batch touches is in `touched.rs`.

use schemas::{
    ids::{EffectId, OrderId},
    messages::{CapturePayment, ProviderNotice},
    money::{Currency, Money},
    time::Timestamp,
};
use std::str::FromStr;
use uuid::Uuid;

mod touched;

pub use touched::{Books, Deferral};

macro_rules! state {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$of])* $variant),+ }

        impl $name {
            /// Its name in the row.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(format!("no state {text:?}")) }
            }
        }
    };
}

state!(
    /// Where a capture stands.
    CaptureState {
        /// Asked for; no call can have been begun. May still expire or be voided.
        Waiting = "WAITING",
        /// A call may have been begun: only the provider's answer settles it.
        Calling = "CALLING",
        /// The money was taken.
        Captured = "CAPTURED",
        /// The provider refused, or the deadline passed before it was asked.
        Declined = "DECLINED",
        /// Given up before it was begun.
        Voided = "VOIDED",
    }
);

state!(
    /// Where a refund stands.
    RefundState {
        /// Its capture is not known yet.
        Waiting = "WAITING",
        /// To be done; its amount is set aside in the capture's row.
        Calling = "CALLING",
        /// The money went back.
        Refunded = "REFUNDED",
        /// There was nothing to give back: its capture took nothing.
        Needless = "NEEDLESS",
        /// More than was left of the capture. Never set aside, never called.
        Refused = "REFUSED",
        /// The provider refused it, or never said. The amount stays set aside: a human is needed.
        Failed = "FAILED",
    }
);

/// A capture's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The effect, and the provider's idempotency key.
    pub id: EffectId,
    /// The order it pays.
    pub order_id: OrderId,
    /// Where it stands.
    pub state: CaptureState,
    /// What is taken; 0 XXX while only its void was heard.
    pub amount: Money,
    /// How it is paid.
    pub method: String,
    /// Not begun after this.
    pub deadline: Timestamp,
    /// To be undone once it is known.
    pub void_asked: bool,
    /// Turns after which it was still unknown.
    pub attempts: i32,
    /// When a call may first have been begun.
    pub first_called_at: Option<Timestamp>,
    /// The provider's own name for it.
    pub reference: Option<String>,
    /// Why it is declined, void, or still unknown.
    pub reason: Option<String>,
    /// Minor units asked back and not known to be done.
    pub refunding: i64,
    /// Minor units given back.
    pub refunded: i64,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When it was known.
    pub settled_at: Option<Timestamp>,
}

impl Capture {
    /// As it was asked for, not begun.
    #[must_use]
    pub fn asked(command: &CapturePayment, now: Timestamp) -> Self {
        Self {
            id: command.capture_id,
            order_id: command.order_id,
            state: CaptureState::Waiting,
            amount: Money::new(command.amount, command.currency),
            method: command.payment_method.clone(),
            deadline: command.deadline,
            void_asked: false,
            attempts: 0,
            first_called_at: None,
            reference: None,
            reason: None,
            refunding: 0,
            refunded: 0,
            created_at: now,
            settled_at: None,
        }
    }

    /// The mark that a void leaves when it comes before its capture.
    #[must_use]
    pub fn void_unseen(id: EffectId, order_id: OrderId, now: Timestamp) -> Self {
        Self {
            id,
            order_id,
            state: CaptureState::Voided,
            // ISO 4217: no currency involved
            amount: Money::new(0, "XXX".parse().unwrap_or(Currency::USD)),
            method: String::new(),
            deadline: now,
            void_asked: true,
            attempts: 0,
            first_called_at: None,
            reference: None,
            reason: Some("voided".to_owned()),
            refunding: 0,
            refunded: 0,
            created_at: now,
            settled_at: Some(now),
        }
    }

    /// What a notice made known: money that nobody of ours is known to have asked for.
    #[must_use]
    pub fn unasked(notice: &ProviderNotice, now: Timestamp) -> Self {
        Self {
            amount: Money::new(notice.amount, notice.currency),
            reason: None,
            settled_at: None,
            ..Self::void_unseen(notice.capture_id, notice.order_id, now)
        }
    }

    /// Whether only its void was heard so far.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.amount.amount == 0
    }

    /// Whether the provider took it without our knowing the request: it is given back, and never counts as paid.
    #[must_use]
    pub fn is_unasked(&self) -> bool {
        self.method.is_empty() && !self.is_unseen()
    }

    /// Whether `command` asks for this very capture.
    #[must_use]
    pub fn is_asked_by(&self, command: &CapturePayment) -> bool {
        self.order_id == command.order_id
            && self.amount == Money::new(command.amount, command.currency)
            && self.method == command.payment_method
    }

    /// Whether it may still be begun, as far as time goes.
    #[must_use]
    pub fn in_time(&self, now: Timestamp) -> bool {
        now < self.deadline
    }

    /// Minor units that may still be asked back.
    #[must_use]
    pub fn left(&self) -> i64 {
        match self.state {
            CaptureState::Captured => self.amount.amount - self.refunding - self.refunded,
            _ => 0,
        }
    }
}

/// A refund's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The effect.
    pub id: EffectId,
    /// Where the money comes from.
    pub capture_id: EffectId,
    /// The order.
    pub order_id: OrderId,
    /// Where it stands.
    pub state: RefundState,
    /// Minor units; absent while all that is left is meant and that is not known yet.
    pub amount: Option<i64>,
    /// Why it was asked for.
    pub cause: String,
    /// Answers that left it unknown.
    pub attempts: i32,
    /// Keys that the provider refused for good.
    pub keys_spent: i32,
    /// How often it failed for good, or was taken back.
    pub failures: i32,
    /// The operator's action that it was last tried again for.
    pub retry_action: Option<Uuid>,
    /// When a call may first have been begun.
    pub first_called_at: Option<Timestamp>,
    /// The provider's own name for it.
    pub reference: Option<String>,
    /// Why it failed, was refused, or is still unknown.
    pub reason: Option<String>,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When it was known.
    pub settled_at: Option<Timestamp>,
}

impl Refund {
    /// As it was asked for; its capture not looked at yet.
    #[must_use]
    pub fn asked(
        id: EffectId,
        capture_id: EffectId,
        order_id: OrderId,
        amount: Option<i64>,
        cause: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            capture_id,
            order_id,
            state: RefundState::Waiting,
            amount,
            cause: cause.to_owned(),
            attempts: 0,
            keys_spent: 0,
            failures: 0,
            retry_action: None,
            first_called_at: None,
            reference: None,
            reason: None,
            created_at: now,
            settled_at: None,
        }
    }

    /// The provider's key: the effect's id, and a new one after each definite refusal.
    #[must_use]
    pub fn key(&self) -> EffectId {
        self.key_after(self.keys_spent)
    }

    /// Whether `key` is one that it is or was called with.
    #[must_use]
    pub fn had_key(&self, key: EffectId) -> bool {
        (0..=self.keys_spent).any(|spent| self.key_after(spent) == key)
    }

    /// The same once its key was refused: nothing can come of that one any more, whoever still tells of it.
    #[must_use]
    pub fn with_key_spent(self) -> Self {
        Self { keys_spent: self.keys_spent.saturating_add(1), ..self }
    }

    fn key_after(&self, spent: i32) -> EffectId {
        match spent {
            0 => self.id,
            spent => EffectId(Uuid::new_v5(&self.id.0, format!("key {spent}").as_bytes())),
        }
    }

    /// Gives a refund that failed for good another try, for an operator's action: what is set aside already is to be
    /// called, what was refused is looked at as if it were new.
    ///
    /// `false`, and nothing changed, when it did not fail or was tried again for this action before.
    #[must_use]
    pub fn try_again(&mut self, action: Uuid) -> bool {
        let state = match self.state {
            RefundState::Failed => RefundState::Calling,
            RefundState::Refused => RefundState::Waiting,
            _ => return false,
        };
        if self.retry_action == Some(action) {
            return false;
        }
        self.state = state;
        self.retry_action = Some(action);
        self.attempts = 0;
        self.settled_at = None;
        true
    }

    /// What it would take of `capture`, if that is captured and enough of it is left.
    #[must_use]
    pub fn fits(&self, capture: &Capture) -> Option<i64> {
        let amount = self.amount.unwrap_or_else(|| capture.left());
        (amount > 0 && amount <= capture.left()).then_some(amount)
    }

    /// Sets its amount aside in `capture`, so that it will be done and nothing else can take the same money.
    ///
    /// `false`, and nothing changed, when it does not fit.
    #[must_use]
    pub fn set_aside(&mut self, capture: &mut Capture) -> bool {
        let Some(amount) = self.fits(capture) else { return false };
        self.state = RefundState::Calling;
        self.amount = Some(amount);
        self.attempts = 0;
        self.reason = None;
        capture.refunding += amount;
        true
    }
}
