//! What payments keeps: captures, refunds, and what is deferred; and the part of it that one batch touches.

use schemas::{
    ids::{EffectId, OrderId},
    messages::CapturePayment,
    money::{Currency, Money},
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};
use uuid::Uuid;

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

    /// Whether only its void was heard so far.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.amount.amount == 0
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
        match self.keys_spent {
            0 => self.id,
            spent => EffectId(Uuid::new_v5(&self.id.0, format!("key {spent}").as_bytes())),
        }
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

/// An effect to look at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// The lane that will.
    pub partition: i32,
    /// When.
    pub due_at: Timestamp,
    /// The order, which is the key of the command to come.
    pub order_id: OrderId,
    /// Unknown answers so far.
    pub attempt: i32,
}

/// How a row of [`Books`] relates to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Loaded,
    Changed,
    New,
}

#[derive(Debug, Clone)]
struct Kind<T> {
    rows: BTreeMap<EffectId, (T, Kept)>,
}

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<T: PartialEq> Kind<T> {
    fn put(&mut self, id: EffectId, row: T) {
        let kept = match self.rows.get(&id) {
            None => Kept::New,
            Some((old, kept)) if *old == row => *kept,
            Some((_, Kept::New)) => Kept::New,
            Some(_) => Kept::Changed,
        };
        self.rows.insert(id, (row, kept));
    }

    fn of(&self, wanted: Kept) -> Vec<&T> {
        self.rows.values().filter(|(_, kept)| *kept == wanted).map(|(row, _)| row).collect()
    }
}

/// The rows one batch touches, and what it changes.
#[derive(Debug, Clone, Default)]
pub struct Books {
    captures: Kind<Capture>,
    refunds: Kind<Refund>,
    deferrals: BTreeMap<EffectId, Deferral>,
    forgotten: BTreeSet<EffectId>,
}

impl Books {
    /// The rows as they were loaded.
    #[must_use]
    pub fn of(captures: Vec<Capture>, refunds: Vec<Refund>) -> Self {
        let mut books = Self::default();
        books.captures.rows.extend(captures.into_iter().map(|row| (row.id, (row, Kept::Loaded))));
        books.refunds.rows.extend(refunds.into_iter().map(|row| (row.id, (row, Kept::Loaded))));
        books
    }

    /// The capture of that id.
    #[must_use]
    pub fn capture(&self, id: EffectId) -> Option<&Capture> {
        self.captures.rows.get(&id).map(|(row, _)| row)
    }

    /// The refund of that id.
    #[must_use]
    pub fn refund(&self, id: EffectId) -> Option<&Refund> {
        self.refunds.rows.get(&id).map(|(row, _)| row)
    }

    /// Writes a capture.
    pub fn put_capture(&mut self, row: Capture) {
        self.captures.put(row.id, row);
    }

    /// Writes a refund.
    pub fn put_refund(&mut self, row: Refund) {
        self.refunds.put(row.id, row);
    }

    /// Looks at `effect` again later; replaces what was said of it before.
    pub fn defer(&mut self, effect: EffectId, deferral: Deferral) {
        self.forgotten.remove(&effect);
        self.deferrals.insert(effect, deferral);
    }

    /// Takes back what this batch deferred of `effect`.
    pub fn undefer(&mut self, effect: EffectId) {
        self.deferrals.remove(&effect);
    }

    /// Takes back every deferral of `effect`, of earlier batches too.
    pub fn forget(&mut self, effect: EffectId) {
        self.deferrals.remove(&effect);
        self.forgotten.insert(effect);
    }

    /// Captures to insert, in key order.
    #[must_use]
    pub fn new_captures(&self) -> Vec<&Capture> {
        self.captures.of(Kept::New)
    }

    /// Captures to update, in key order.
    #[must_use]
    pub fn changed_captures(&self) -> Vec<&Capture> {
        self.captures.of(Kept::Changed)
    }

    /// Refunds to insert, in key order.
    #[must_use]
    pub fn new_refunds(&self) -> Vec<&Refund> {
        self.refunds.of(Kept::New)
    }

    /// Refunds to update, in key order.
    #[must_use]
    pub fn changed_refunds(&self) -> Vec<&Refund> {
        self.refunds.of(Kept::Changed)
    }

    /// What to look at again, in key order.
    #[must_use]
    pub fn deferrals(&self) -> &BTreeMap<EffectId, Deferral> {
        &self.deferrals
    }

    /// Effects whose deferrals are to be deleted.
    #[must_use]
    pub fn forgotten(&self) -> &BTreeSet<EffectId> {
        &self.forgotten
    }
}
