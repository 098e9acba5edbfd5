//! Rows, log and owners in memory. What must hold at every commit and in the end is in `ends.rs`.

use super::provider::{Provider, Script};
use crate::{
    books::{Books, Capture, CaptureState, Deferral, Refund, RefundState},
    calls::{Answer, Heard, Outcomes},
    decide::{self, Rows},
    plan::{self, Ask, Intent},
    retry::Retry,
    say,
};
use harness::record::{Delivery, Out};
use schemas::{
    envelope::Envelope,
    ids::{EffectId, MessageId, OrderId},
    messages::{NoticeKind, OrderCommand, PaymentCommand, RetryRefund},
    money::{Currency, Money},
    time::Timestamp,
    topics::Topic,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

mod ends;

#[derive(Debug)]
pub(super) struct World {
    now: Timestamp,
    random: u64,
    retry: Retry,
    provider: Provider,
    captures: BTreeMap<EffectId, Capture>,
    refunds: BTreeMap<EffectId, Refund>,
    deferred: BTreeMap<EffectId, Deferral>,
    log: Vec<PaymentCommand>,
    position: usize,
    /// Calls of owners that died or were replaced: they may still arrive.
    zombies: Vec<Intent>,
    captured: BTreeSet<EffectId>,
    declined: BTreeSet<EffectId>,
    failed: BTreeSet<EffectId>,
    messages: BTreeMap<MessageId, Vec<u8>>,
}

impl World {
    pub(super) fn new(now: i64, seed: u64, scripts: BTreeMap<EffectId, Script>) -> Self {
        Self {
            now: Timestamp(now),
            random: seed,
            retry: Retry::default(),
            provider: Provider { scripts, ..Provider::default() },
            captures: BTreeMap::new(),
            refunds: BTreeMap::new(),
            deferred: BTreeMap::new(),
            log: Vec::new(),
            position: 0,
            zombies: Vec::new(),
            captured: BTreeSet::new(),
            declined: BTreeSet::new(),
            failed: BTreeSet::new(),
            messages: BTreeMap::new(),
        }
    }

    pub(super) fn log(&mut self, command: PaymentCommand) {
        self.log.push(command);
    }

    /// True in so many of a hundred cases.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        // SplitMix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 100 < percent
    }

    pub(super) fn take_unasked(&mut self, order: OrderId, capture: EffectId, amount: i64) {
        self.provider.take_unasked(order, capture, Money::new(amount, Currency::USD));
    }

    /// One of the provider's notices comes in, any of them, and maybe not for the last time.
    fn hear_of(&mut self, percent_again: u64) {
        if self.provider.notices.is_empty() {
            return;
        }
        let any = usize::try_from(self.random % 97).unwrap() % self.provider.notices.len();
        let notice = match self.chance(percent_again) {
            true => self.provider.notices[any].clone(),
            false => self.provider.notices.remove(any),
        };
        self.log(notice.into());
    }

    /// Webhooks get lost for good: all but those that nothing else tells of.
    fn lose_notices(&mut self) {
        let (charges, captures) = (&self.provider.charges, &self.captures);
        self.provider.notices.retain(|notice| match notice.kind {
            NoticeKind::Captured => {
                charges[&notice.key].is_late() || !captures.contains_key(&notice.capture_id)
            }
            NoticeKind::RefundFailed => true,
            NoticeKind::CaptureFailed | NoticeKind::Refunded => false,
        });
    }

    /// One batch with everything that can happen to it.
    pub(super) fn turn(&mut self) {
        self.batch(true);
        while self.chance(40) && !self.provider.notices.is_empty() {
            self.hear_of(30);
        }
        if self.chance(5) {
            self.lose_notices();
        }
        if self.chance(20) {
            self.provider.bounce();
        }
        if self.chance(30) && !self.zombies.is_empty() {
            let zombie = self.zombies.remove(0);
            self.ask(&zombie);
        }
        let wait = if self.chance(50) { 20 } else { 700 };
        self.now = self.now.plus(Duration::from_millis(wait));
        self.send_what_is_due();
    }

    pub(super) fn half_a_day_of_silence(&mut self) {
        self.provider.is_down = true;
        for _ in 0..20 {
            self.batch(true);
            self.now = self.now.plus(Duration::from_secs(60));
            self.send_what_is_due();
        }
        // what was under way arrives, long before anybody concludes anything from its absence
        self.provider.is_down = false;
        for zombie in std::mem::take(&mut self.zombies) {
            self.ask(&zombie);
        }
        self.now = self.now.plus(Duration::from_secs(13 * 60 * 60));
        self.send_what_is_due();
    }

    /// A human mends the provider and tries again what it refused or never answered.
    pub(super) fn redrive_what_failed(&mut self) {
        self.provider.mend_refunds();
        let failed: Vec<_> =
            self.refunds.values().filter(|r| r.state == RefundState::Failed).cloned().collect();
        for refund in &failed {
            let action_id = Uuid::new_v5(&refund.id.0, b"retry");
            let retry = RetryRefund { order_id: refund.order_id, refund_id: refund.id, action_id };
            // said twice: the action is done once
            self.log.extend([PaymentCommand::from(retry.clone()), retry.into()]);
            let outgoing = say::resume(refund.order_id, refund.id, self.now).unwrap();
            self.log.push(PaymentCommand::decode(&outgoing.payload).unwrap());
        }
        self.run_to_the_end();
        for refund in failed {
            assert_eq!(self.refunds[&refund.id].state, RefundState::Refunded, "{refund:?}");
            assert!(!self.failed.contains(&refund.id), "nobody was told that {refund:?} is done");
        }
    }

    /// Nobody dies any more; time runs until nothing is left to do.
    pub(super) fn run_to_the_end(&mut self) {
        for _ in 0..2_000 {
            for zombie in std::mem::take(&mut self.zombies) {
                self.ask(&zombie);
            }
            self.provider.bounce();
            if self.position < self.log.len() {
                self.batch(false);
            } else if !self.provider.notices.is_empty() {
                self.hear_of(20);
            } else if let Some(next) = self.deferred.values().map(|deferral| deferral.due_at).min() {
                self.now = self.now.max(next);
                self.send_what_is_due();
            } else {
                return;
            }
        }
        panic!("never comes to rest: {self:?}");
    }

    fn batch(&mut self, faults: bool) {
        let size = if self.chance(50) { 1 } else { 6 };
        let end = (self.position + size).min(self.log.len());
        let batch: Vec<_> = (self.position..end).map(|offset| self.delivery(offset)).collect();
        let mut books = self.load(&batch);
        let intents = plan::plan(&mut books, &batch, self.now, &self.retry);
        self.commit(&books);
        if faults && self.chance(15) {
            // dies before its calls, which may still be made when it wakes up
            return self.zombies.extend(intents);
        }
        let outcomes = self.call(intents, faults);
        self.now = self.now.plus(Duration::from_millis(100));
        if faults && self.chance(15) {
            return;
        }
        // a batch that the database refuses is tried again in parts: the rest comes back with other companions
        let taken = if faults && self.chance(15) { batch.len() / 2 } else { batch.len() };
        self.decide(&batch[..taken], outcomes);
    }

    fn call(&mut self, intents: Vec<Intent>, faults: bool) -> Outcomes {
        let mut heard = HashMap::new();
        for intent in intents {
            let answer = if faults && self.chance(15) {
                Answer::NotBegun
            } else if faults && self.chance(15) {
                // arrives late; its answer is not heard
                self.zombies.push(intent.clone());
                Answer::Running
            } else if faults && self.chance(10) {
                self.ask(&intent);
                Answer::Running
            } else {
                self.ask(&intent)
            };
            heard.insert(intent.effect, Heard { answer, fresh: intent.fresh });
        }
        Outcomes(Arc::new(heard))
    }

    /// No call without a trace, and none for what was never to be begun.
    fn ask(&mut self, intent: &Intent) -> Answer {
        match &intent.ask {
            Ask::Capture { request, .. } => {
                let row = &self.captures[&request.key];
                assert_ne!(row.state, CaptureState::Waiting, "called what may still expire: {row:?}");
                assert!(row.first_called_at.is_some(), "called without a trace: {row:?}");
                assert!(row.first_called_at < Some(row.deadline), "begun past its deadline: {row:?}");
            }
            Ask::Refund { .. } => {
                assert!(self.refunds[&intent.effect].first_called_at.is_some(), "called without a trace");
            }
        }
        self.provider.ask(intent)
    }

    fn decide(&mut self, batch: &[Delivery<PaymentCommand>], outcomes: Outcomes) {
        let mut rows = Rows::new(self.load(batch), outcomes);
        let mut out = Out::default();
        for delivery in batch {
            let (before, mark) = (format!("{:?}", rows.books), out.mark());
            if let Err(rejection) = decide::decide(&mut rows, self.now, &self.retry, delivery, &mut out) {
                assert!(
                    ["unknown_capture", "refund_conflict"].contains(&rejection.cause),
                    "{rejection:?} of {delivery:?}"
                );
                assert_eq!(before, format!("{:?}", rows.books), "a rejection leaves the rows alone");
                assert_eq!(mark, out.mark());
            }
        }
        self.commit(&rows.books);
        self.position += batch.len();
        for said in out.said() {
            self.hear(&said.outgoing);
        }
    }

    fn hear(&mut self, outgoing: &harness::record::Outgoing) {
        if outgoing.topic != Topic::OrderCommands {
            return;
        }
        let before = self.messages.insert(outgoing.message, outgoing.payload.clone());
        match OrderCommand::decode(&outgoing.payload).unwrap() {
            OrderCommand::PaymentCaptured(answer) => {
                assert!(before.is_none_or(|before| before == outgoing.payload), "same id, other words");
                self.captured.insert(answer.capture_id);
            }
            OrderCommand::PaymentDeclined(answer) => {
                assert!(before.is_none_or(|before| before == outgoing.payload), "same id, other words");
                self.declined.insert(answer.capture_id);
            }
            OrderCommand::EffectFailed(answer) => {
                assert!(before.is_none(), "a failure is a message of its own: {answer:?}");
                self.failed.insert(answer.effect_id);
            }
            OrderCommand::EffectDone(answer) => {
                self.failed.remove(&answer.effect_id);
            }
            other => panic!("payments does not say {other:?}"),
        }
    }

    fn send_what_is_due(&mut self) {
        let now = self.now;
        let due: Vec<_> =
            self.deferred.iter().filter(|(_, d)| d.due_at <= now).map(|(id, d)| (*id, d.clone())).collect();
        for (effect, deferral) in due {
            self.deferred.remove(&effect);
            let outgoing = say::resume(deferral.order_id, effect, deferral.due_at).unwrap();
            self.log.push(PaymentCommand::decode(&outgoing.payload).unwrap());
        }
    }

    fn delivery(&self, offset: usize) -> Delivery<PaymentCommand> {
        let message = MessageId(Uuid::from_u128(offset as u128));
        Delivery {
            partition: 3,
            offset: i64::try_from(offset).unwrap(),
            key: Uuid::nil(),
            envelope: Envelope {
                message,
                causation: message,
                occurred_at: self.now,
                deadline: None,
                source: None,
            },
            command: self.log[offset].clone(),
            traceparent: None,
        }
    }

    /// All rows are loaded; the store's tests show that it loads enough.
    fn load(&self, _batch: &[Delivery<PaymentCommand>]) -> Books {
        Books::of(self.captures.values().cloned().collect(), self.refunds.values().cloned().collect())
    }

    fn commit(&mut self, books: &Books) {
        for row in books.new_captures().into_iter().chain(books.changed_captures()) {
            self.check_capture(row);
            self.captures.insert(row.id, row.clone());
        }
        for row in books.new_refunds().into_iter().chain(books.changed_refunds()) {
            self.refunds.insert(row.id, row.clone());
        }
        for effect in books.forgotten() {
            self.deferred.remove(effect);
        }
        for (effect, deferral) in books.deferrals() {
            assert!(deferral.due_at > self.now);
            self.deferred.insert(*effect, deferral.clone());
        }
    }
}
