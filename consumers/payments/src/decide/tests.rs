//! Every state of a capture or refund against every command, and what is said.

mod notices;

use super::*;
use crate::{books::RefundState, calls::Heard, plan};
use schemas::{
    envelope::Envelope,
    ids::MessageId,
    messages::{OrderCommand, PaymentEvent, RefundPayment, ResumeEffect, RetryRefund},
    money::{Currency, Money},
    topics::Topic,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const ORDER: OrderId = OrderId(Uuid::from_u128(1));

fn capture_id() -> EffectId {
    ids::effect_id(ORDER, "capture")
}

fn asked() -> CapturePayment {
    CapturePayment {
        order_id: ORDER,
        capture_id: capture_id(),
        amount: 100,
        currency: Currency::USD,
        payment_method: "CREDIT_CARD".to_owned(),
        deadline: NOW.plus(Duration::from_secs(10)),
    }
}

fn row(state: CaptureState) -> Capture {
    let first_called_at = (state != CaptureState::Waiting).then_some(NOW);
    Capture { state, first_called_at, ..Capture::asked(&asked(), NOW) }
}

fn void() -> PaymentCommand {
    VoidCapture { order_id: ORDER, capture_id: capture_id() }.into()
}

fn resume(effect_id: EffectId) -> PaymentCommand {
    ResumeEffect { order_id: ORDER, effect_id }.into()
}

fn refund(id: &str, amount: Option<i64>) -> RefundPayment {
    RefundPayment {
        order_id: ORDER,
        capture_id: capture_id(),
        refund_id: ids::effect_id(ORDER, id),
        amount,
        reason: "operator".to_owned(),
    }
}

fn undo() -> PaymentCommand {
    RefundPayment { refund_id: ids::undo_of(capture_id()), ..refund("", None) }.into()
}

fn delivery(command: impl Into<PaymentCommand>) -> Delivery<PaymentCommand> {
    let message = MessageId(Uuid::from_u128(9));
    Delivery {
        partition: 2,
        offset: 0,
        key: ORDER.0,
        envelope: Envelope { message, causation: message, occurred_at: NOW, deadline: None, source: None },
        command: command.into(),
        traceparent: None,
    }
}

struct Test {
    rows: Rows,
    now: Timestamp,
    out: Out,
}

impl Test {
    fn with(captures: Vec<Capture>, refunds: Vec<Refund>) -> Self {
        let rows = Rows::new(Books::of(captures, refunds), Outcomes::default());
        Self { rows, now: NOW, out: Out::default() }
    }

    fn heard(mut self, effect: EffectId, fresh: bool, answer: Answer) -> Self {
        self.rows.outcomes = Outcomes(Arc::new(HashMap::from([(effect, Heard { answer, fresh })])));
        self
    }

    fn take(&mut self, command: impl Into<PaymentCommand>) -> Result<Verdict, &'static str> {
        decide(&mut self.rows, self.now, &Retry::default(), &delivery(command), &mut self.out)
            .map_err(|rejection| rejection.cause)
    }

    fn capture(&self) -> &Capture {
        self.rows.books.capture(capture_id()).unwrap()
    }

    fn refund(&self, id: EffectId) -> &Refund {
        self.rows.books.refund(id).unwrap()
    }

    fn is_deferred(&self, effect: EffectId) -> bool {
        self.rows.books.deferrals().contains_key(&effect)
    }

    /// What was said, in few words.
    fn said(&self) -> Vec<String> {
        self.out.said().iter().map(|said| in_words(&said.outgoing)).collect()
    }
}

fn in_words(outgoing: &Outgoing) -> String {
    match outgoing.topic {
        Topic::OrderCommands => match OrderCommand::decode(&outgoing.payload).unwrap() {
            OrderCommand::PaymentCaptured(answer) => format!("captured {}", answer.amount),
            OrderCommand::PaymentDeclined(answer) => format!("declined: {}", answer.reason),
            OrderCommand::EffectFailed(answer) => format!("failed: {}", answer.reason),
            OrderCommand::EffectDone(_) => "done".to_owned(),
            other => panic!("{other:?}"),
        },
        Topic::PaymentEvents => match PaymentEvent::decode(&outgoing.payload).unwrap() {
            PaymentEvent::CaptureSettled(fact) => format!("fact: {}", fact.outcome),
            PaymentEvent::RefundSettled(fact) => format!("fact: gave back {}", fact.amount),
        },
        other => panic!("{other}"),
    }
}

fn approved() -> Answer {
    Answer::Approved { reference: "r".to_owned() }
}

#[test]
fn an_approved_capture_is_answered_and_published_once_and_repeated_as_the_same_message() {
    let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]).heard(capture_id(), true, approved());
    assert_eq!(test.take(asked()), Ok(Verdict::Executed));
    assert_eq!(test.take(asked()), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.take(resume(capture_id())), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.said(), ["captured 100", "fact: CAPTURED", "captured 100"]);
    let said = test.out.said();
    assert_eq!(said[0].outgoing, said[2].outgoing);
    assert_eq!(test.capture().reference.as_deref(), Some("r"));
}

#[test]
fn a_card_that_expired_is_a_decline_and_not_an_expired_order() {
    let answer = Answer::Declined { reason: "expired".to_owned() };
    let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]).heard(capture_id(), true, answer);
    assert_eq!(test.take(asked()), Ok(Verdict::Executed));
    assert_eq!(test.said(), ["declined: payment_declined", "fact: DECLINED"]);
}

#[test]
fn an_unknown_is_deferred_and_counted_once_a_batch() {
    let answer = Answer::unknown("time-out");
    let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]).heard(capture_id(), true, answer);
    assert_eq!(test.take(asked()), Ok(Verdict::Executed));
    assert_eq!(test.take(asked()), Ok(Verdict::AlreadyApplied));
    assert_eq!((test.capture().state, test.capture().attempts), (CaptureState::Calling, 1));
    assert!(test.is_deferred(capture_id()) && test.said().is_empty());
}

#[test]
fn what_was_never_begun_is_as_good_as_never_asked() {
    let test = || Test::with(vec![row(CaptureState::Calling)], vec![]);
    // ours: waits, expires or is voided, and was never called
    let mut fresh = test().heard(capture_id(), true, Answer::NotBegun);
    assert_eq!(fresh.take(asked()), Ok(Verdict::Executed));
    assert_eq!((fresh.capture().state, fresh.capture().first_called_at), (CaptureState::Waiting, None));
    assert!(fresh.is_deferred(capture_id()));
    assert_eq!(fresh.take(void()), Ok(Verdict::Executed));
    assert!(!fresh.is_deferred(capture_id()));
    assert_eq!(fresh.said(), ["declined: voided", "fact: VOIDED"]);
    // somebody else's: only the provider knows, however late it is
    for mut other in [test().heard(capture_id(), false, Answer::NotBegun), test()] {
        other.now = asked().deadline.plus(Duration::from_secs(60));
        assert_eq!(other.take(asked()), Ok(Verdict::Executed));
        assert_eq!(other.capture().state, CaptureState::Calling);
        assert!(other.is_deferred(capture_id()) && other.said().is_empty());
    }
}

#[test]
fn what_is_put_off_was_never_begun_and_is_not_looked_at_before_the_provider_is() {
    let again_in = Duration::from_secs(30);
    let put_off = Answer::PutOff { again_in };
    for (is_fresh, state) in [(true, CaptureState::Waiting), (false, CaptureState::Calling)] {
        let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]);
        test = test.heard(capture_id(), is_fresh, put_off.clone());
        assert_eq!(test.take(asked()), Ok(Verdict::Executed));
        assert_eq!((test.capture().state, test.capture().attempts), (state, 0));
        let due_at = test.rows.books.deferrals()[&capture_id()].due_at;
        assert!(due_at > test.now.plus(again_in), "{due_at:?}");
    }
}

#[test]
fn past_its_deadline_a_capture_expires_unless_a_call_may_have_been_made() {
    for rows in [vec![], vec![row(CaptureState::Waiting)]] {
        let mut test = Test::with(rows, vec![]);
        test.now = asked().deadline;
        assert_eq!(test.take(asked()), Ok(Verdict::Executed));
        assert_eq!(test.said(), ["declined: expired", "fact: DECLINED"]);
    }
    let mut test =
        Test::with(vec![row(CaptureState::Calling)], vec![]).heard(capture_id(), false, approved());
    test.now = asked().deadline;
    assert_eq!(test.take(resume(capture_id())), Ok(Verdict::Executed));
    assert_eq!(test.said(), ["captured 100", "fact: CAPTURED"]);
}

#[test]
fn a_void_before_its_capture_holds() {
    let mut test = Test::with(vec![], vec![]);
    assert_eq!(test.take(void()), Ok(Verdict::Executed));
    assert_eq!(test.take(void()), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.take(asked()), Ok(Verdict::Executed));
    assert_eq!(test.take(asked()), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.said(), ["declined: voided", "fact: VOIDED", "declined: voided"]);
    assert_eq!(test.capture().amount, Money::new(100, Currency::USD));
}

#[test]
fn a_void_while_calling_undoes_the_capture_once_it_is_known() {
    let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]);
    assert_eq!(test.take(void()), Ok(Verdict::Executed));
    assert_eq!(test.take(undo()), Ok(Verdict::AlreadyApplied));
    test = test.heard(capture_id(), false, approved());
    assert_eq!(test.take(resume(capture_id())), Ok(Verdict::Executed));
    let undone = ids::undo_of(capture_id());
    assert_eq!(test.said(), ["captured 100", "fact: CAPTURED"]);
    assert_eq!((test.refund(undone).state, test.refund(undone).amount), (RefundState::Calling, Some(100)));
    assert_eq!((test.capture().refunding, test.capture().left()), (100, 0));
    assert!(test.is_deferred(undone) && !test.is_deferred(capture_id()));
}

#[test]
fn what_the_provider_is_sure_never_happened_ends_as_void_or_expired() {
    for (void_asked, end, said) in [
        (true, CaptureState::Voided, ["declined: voided", "fact: VOIDED"]),
        (false, CaptureState::Declined, ["declined: expired", "fact: DECLINED"]),
    ] {
        let calling = Capture { void_asked, ..row(CaptureState::Calling) };
        let mut test = Test::with(vec![calling], vec![]).heard(capture_id(), false, Answer::Absent);
        assert_eq!(test.take(resume(capture_id())), Ok(Verdict::Executed));
        assert_eq!(test.capture().state, end);
        assert_eq!(test.said(), said);
    }
}

#[test]
fn a_redriven_refund_has_all_its_attempts_again() {
    let undone = ids::undo_of(capture_id());
    let mut capture = row(CaptureState::Captured);
    let mut refund = Refund::asked(undone, capture.id, ORDER, None, "voided", NOW);
    assert!(refund.set_aside(&mut capture));
    refund = Refund { state: RefundState::Failed, attempts: 12, settled_at: Some(NOW), ..refund };
    let mut books = Books::of(vec![capture], vec![refund]);
    // only an operator's action does: that the void comes again, or a reminder, is no reason
    let retry = Retry::default();
    let again = [delivery(void()), delivery(undo()), delivery(resume(undone))];
    assert_eq!(plan::plan(&mut books, &again, NOW, &retry), []);
    let action = RetryRefund { order_id: ORDER, refund_id: undone, action_id: Uuid::from_u128(1) };
    assert_eq!(plan::plan(&mut books, &[delivery(action)], NOW, &retry).len(), 1);
    let refund = books.refund(undone).unwrap();
    assert_eq!((refund.state, refund.attempts, refund.settled_at), (RefundState::Calling, 0, None));
    assert!(books.changed_captures().is_empty(), "it was set aside all the time");
}

#[test]
fn the_whole_undo_happens_once_whoever_starts_it() {
    let undone = ids::undo_of(capture_id());
    let mut test = Test::with(vec![row(CaptureState::Captured)], vec![]);
    assert_eq!(test.take(void()), Ok(Verdict::Executed));
    test = test.heard(undone, true, approved());
    assert_eq!(test.take(undo()), Ok(Verdict::Executed));
    assert_eq!(test.take(void()), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.said(), ["fact: gave back 100"]);
    assert_eq!((test.capture().refunding, test.capture().refunded), (0, 100));
}

#[test]
fn refunds_never_exceed_their_capture() {
    let mut test = Test::with(vec![row(CaptureState::Captured)], vec![]);
    assert_eq!(test.take(refund("a", Some(70))), Ok(Verdict::Executed));
    assert_eq!(test.take(refund("b", Some(31))), Ok(Verdict::Executed));
    assert_eq!(test.take(refund("b", Some(31))), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.refund(ids::effect_id(ORDER, "b")).state, RefundState::Refused);
    assert_eq!(test.said(), ["failed: refund: more than the 30 left of the capture"]);
    assert_eq!(test.take(refund("c", None)), Ok(Verdict::Executed));
    assert_eq!((test.capture().refunding, test.capture().left()), (100, 0));
}

#[test]
fn a_refund_of_a_capture_that_is_not_known_waits_for_it() {
    let id = ids::effect_id(ORDER, "a");
    for (state, end) in [
        (CaptureState::Captured, RefundState::Calling),
        (CaptureState::Declined, RefundState::Needless),
        (CaptureState::Voided, RefundState::Needless),
    ] {
        let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]);
        assert_eq!(test.take(refund("a", Some(40))), Ok(Verdict::Executed));
        assert_eq!(test.refund(id).state, RefundState::Waiting);
        test.rows.books.put_capture(row(state));
        assert_eq!(test.take(resume(id)), Ok(Verdict::Executed));
        assert_eq!(test.refund(id).state, end);
    }
}

#[test]
fn a_refund_that_nobody_answers_needs_a_human_in_the_end() {
    let undone = ids::undo_of(capture_id());
    let mut test = Test::with(vec![row(CaptureState::Captured)], vec![]);
    assert_eq!(test.take(void()), Ok(Verdict::Executed));
    for attempt in 1..=Retry::default().refund_attempts {
        let rows = Rows::new(test.rows.books.clone(), Outcomes::default());
        test = Test { rows, ..test }.heard(undone, false, Answer::unknown("503"));
        assert_eq!(test.take(resume(undone)), Ok(Verdict::Executed));
        assert_eq!(test.refund(undone).attempts, attempt);
    }
    assert_eq!(test.said(), ["failed: refund: 503 (12 attempts)"]);
    assert_eq!(test.refund(undone).state, RefundState::Failed);
    assert_eq!(test.capture().refunding, 100, "what is owed stays set aside");
    assert!(test.rows.books.forgotten().contains(&undone) && !test.is_deferred(undone));
}

#[test]
fn what_contradicts_our_books_is_rejected_and_changes_nothing() {
    let stranger = OrderId(Uuid::from_u128(2));
    let cases: Vec<(&str, PaymentCommand)> = vec![
        ("amount", CapturePayment { amount: 0, ..asked() }.into()),
        ("amount", refund("a", Some(0)).into()),
        ("capture_conflict", CapturePayment { amount: 99, ..asked() }.into()),
        ("capture_conflict", CapturePayment { payment_method: "PAYPAL".to_owned(), ..asked() }.into()),
        ("order_mismatch", CapturePayment { order_id: stranger, ..asked() }.into()),
        ("order_mismatch", VoidCapture { order_id: stranger, capture_id: capture_id() }.into()),
        ("order_mismatch", RefundPayment { order_id: stranger, ..refund("a", None) }.into()),
        ("order_mismatch", ResumeEffect { order_id: stranger, effect_id: capture_id() }.into()),
        ("unknown_capture", RefundPayment { capture_id: EffectId(stranger.0), ..refund("a", None) }.into()),
        ("unknown_effect", resume(EffectId(stranger.0))),
    ];
    for (cause, command) in cases {
        let mut test = Test::with(vec![row(CaptureState::Captured)], vec![]);
        assert_eq!(test.take(command.clone()), Err(cause), "{command:?}");
        assert!(test.rows.books.changed_captures().is_empty() && test.rows.books.new_captures().is_empty());
        assert!(test.rows.books.new_refunds().is_empty() && test.said().is_empty());
        // and the planner, which sees it first, calls nobody because of it
        let mut books = Books::of(vec![row(CaptureState::Captured)], vec![]);
        assert_eq!(plan::plan(&mut books, &[delivery(command)], NOW, &Retry::default()), []);
        assert!(books.changed_captures().is_empty() && books.new_captures().is_empty());
    }
    let mut test = Test::with(vec![row(CaptureState::Captured)], vec![]);
    assert_eq!(test.take(refund("a", Some(1))), Ok(Verdict::Executed));
    assert_eq!(test.take(refund("a", Some(2))), Err("refund_conflict"));
}

#[test]
fn a_capture_that_its_own_batch_voids_is_never_called() {
    for undoing in [void(), undo()] {
        let batch = [delivery(asked()), delivery(undoing)];
        let mut books = Books::default();
        assert_eq!(plan::plan(&mut books, &batch, NOW, &Retry::default()), []);
        assert!(books.new_captures().is_empty());
        let mut test = Test::with(vec![], vec![]);
        for delivery in batch {
            assert_eq!(test.take(delivery.command), Ok(Verdict::Executed));
        }
        assert_eq!(test.said(), ["declined: voided", "fact: VOIDED"]);
        assert!(!test.is_deferred(capture_id()));
    }
}

#[test]
fn one_call_an_effect_and_batch_however_often_it_is_asked_for() {
    let mut books = Books::default();
    let batch = [delivery(asked()), delivery(asked()), delivery(resume(capture_id()))];
    let intents = plan::plan(&mut books, &batch, NOW, &Retry::default());
    assert_eq!(intents.len(), 1);
    assert!(intents[0].fresh);
    // the next owner finds the trace, and cannot know whether the call was made
    let kept = books.new_captures().into_iter().cloned().collect();
    let again = plan::plan(&mut Books::of(kept, vec![]), &batch, NOW, &Retry::default());
    assert_eq!(again.len(), 1);
    assert!(!again[0].fresh);
}
