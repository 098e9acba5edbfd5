//! Every state of a capture or refund against what the provider tells by itself, and against an operator's retry.

use super::*;
use schemas::messages::{NoticeKind, ProviderNotice};

const REFERENCE: &str = "pi_1";

fn notice(kind: NoticeKind) -> ProviderNotice {
    ProviderNotice {
        order_id: ORDER,
        event_id: "evt_1".to_owned(),
        kind,
        capture_id: capture_id(),
        key: capture_id(),
        amount: 100,
        currency: Currency::USD,
        reference: REFERENCE.to_owned(),
        reason: None,
    }
}

fn taken() -> ProviderNotice {
    notice(NoticeKind::Captured)
}

fn of_refund(kind: NoticeKind, refund: &Refund) -> ProviderNotice {
    ProviderNotice { key: refund.key(), amount: refund.amount.unwrap(), ..notice(kind) }
}

fn retry(action: u128) -> RetryRefund {
    RetryRefund { order_id: ORDER, refund_id: given().id, action_id: Uuid::from_u128(action) }
}

/// A capture that was taken, with 30 of it asked back.
fn captured() -> Capture {
    let reference = Some(REFERENCE.to_owned());
    Capture { reference, refunding: 30, settled_at: Some(NOW), ..row(CaptureState::Captured) }
}

fn given() -> Refund {
    let id = ids::effect_id(ORDER, "refund");
    let asked = Refund::asked(id, capture_id(), ORDER, Some(30), "operator", NOW);
    Refund { state: RefundState::Calling, first_called_at: Some(NOW), ..asked }
}

fn failed() -> Refund {
    Refund { state: RefundState::Failed, failures: 1, settled_at: Some(NOW), ..given() }
}

#[test]
fn case_40_a_notice_answers_a_call_whose_answer_was_lost_and_the_late_answer_changes_nothing() {
    let mut test =
        Test::with(vec![row(CaptureState::Calling)], vec![]).heard(capture_id(), false, approved());
    for _ in 0..3 {
        test.take(taken()).unwrap();
    }
    assert_eq!(test.take(resume(capture_id())), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.said(), ["captured 100", "fact: CAPTURED"]);
    assert_eq!(test.capture().reference.as_deref(), Some(REFERENCE));
    // the answer first: the same, the other way round
    let reference = REFERENCE.to_owned();
    let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]).heard(
        capture_id(),
        false,
        Answer::Approved { reference },
    );
    test.take(resume(capture_id())).unwrap();
    assert_eq!(test.take(taken()), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.said(), ["captured 100", "fact: CAPTURED"]);
}

#[test]
fn case_41_money_taken_for_what_is_void_is_given_back_by_the_one_undo() {
    let voided = Capture { void_asked: true, ..row(CaptureState::Calling) };
    let unseen = Capture::void_unseen(capture_id(), ORDER, NOW);
    let settled = |state| Capture { settled_at: Some(NOW), ..row(state) };
    for before in [voided, unseen, settled(CaptureState::Declined), settled(CaptureState::Voided)] {
        let mut test = Test::with(vec![before], vec![]);
        assert_eq!(test.take(taken()), Ok(Verdict::Executed));
        assert_eq!(test.take(taken()), Ok(Verdict::AlreadyApplied));
        assert_eq!(test.said()[..2], ["captured 100", "fact: CAPTURED"]);
        let undo = test.refund(ids::undo_of(capture_id()));
        assert_eq!((undo.state, undo.amount), (RefundState::Calling, Some(100)));
        assert_eq!((test.capture().refunding, test.capture().left()), (100, 0));
        assert!(test.is_deferred(ids::undo_of(capture_id())));
        assert_eq!(test.take(void()), Ok(Verdict::Executed), "looks after the undo that is under way");
    }
}

#[test]
fn money_that_nobody_asked_for_is_given_back_and_is_no_payment_for_whoever_asks_later() {
    let mut test = Test::with(vec![], vec![]);
    assert_eq!(test.take(taken()), Ok(Verdict::Executed));
    assert_eq!(test.take(taken()), Ok(Verdict::AlreadyApplied));
    assert_eq!(test.said(), ["fact: CAPTURED"], "the saga is not told of a payment");
    assert_eq!(test.refund(ids::undo_of(capture_id())).amount, Some(100));
    let mut books = test.rows.books.clone();
    assert_eq!(plan::plan(&mut books, &[delivery(asked())], NOW, &Retry::default()), []);
    test.take(asked()).unwrap();
    assert_eq!(test.said().last().unwrap(), "declined: voided");
}

#[test]
fn a_notice_that_nothing_was_taken_answers_a_call_and_is_old_news_elsewhere() {
    let refused =
        ProviderNotice { reason: Some("card_declined".to_owned()), ..notice(NoticeKind::CaptureFailed) };
    for state in [CaptureState::Waiting, CaptureState::Captured, CaptureState::Declined, CaptureState::Voided]
    {
        let mut test = Test::with(vec![row(state)], vec![]);
        assert_eq!(test.take(refused.clone()), Ok(Verdict::AlreadyApplied), "{state:?}");
        assert_eq!(test.capture(), &row(state));
    }
    let mut test = Test::with(vec![row(CaptureState::Calling)], vec![]);
    assert_eq!(test.take(refused), Ok(Verdict::Executed));
    assert_eq!(test.said(), ["declined: payment_declined", "fact: DECLINED"]);
    assert_eq!(test.capture().reason.as_deref(), Some("provider: card_declined"));
    assert_eq!(
        Test::with(vec![], vec![]).take(notice(NoticeKind::CaptureFailed)),
        Ok(Verdict::AlreadyApplied)
    );
}

#[test]
fn a_notice_of_money_that_is_not_what_we_know_is_parked_and_changes_nothing() {
    let other_order = OrderId(Uuid::from_u128(7));
    let cases = [
        ("amount", ProviderNotice { amount: 0, ..taken() }),
        ("notice_conflict", ProviderNotice { amount: 101, ..taken() }),
        ("notice_conflict", ProviderNotice { currency: "EUR".parse().unwrap(), ..taken() }),
        ("order_mismatch", ProviderNotice { order_id: other_order, ..taken() }),
        ("notice_conflict", ProviderNotice { reference: "pi_2".to_owned(), ..taken() }),
        ("notice_conflict", ProviderNotice { amount: 31, ..of_refund(NoticeKind::Refunded, &given()) }),
        (
            "unknown_effect",
            ProviderNotice { key: ids::undo_of(given().id), ..of_refund(NoticeKind::Refunded, &given()) },
        ),
    ];
    for (cause, notice) in cases {
        let mut test = Test::with(vec![captured()], vec![given()]);
        assert_eq!(test.take(notice.clone()), Err(cause), "{notice:?}");
        assert_eq!((test.capture(), test.refund(given().id)), (&captured(), &given()));
        assert!(test.said().is_empty());
    }
    let gone = of_refund(NoticeKind::Refunded, &given());
    assert_eq!(Test::with(vec![], vec![]).take(gone.clone()), Err("unknown_capture"));
    let never = Refund { state: RefundState::Refused, ..given() };
    assert_eq!(Test::with(vec![captured()], vec![never]).take(gone), Err("notice_conflict"));
}

#[test]
fn a_refund_notice_three_times_is_one_refund() {
    let mut test = Test::with(vec![captured()], vec![given()]);
    for _ in 0..3 {
        test.take(of_refund(NoticeKind::Refunded, &given())).unwrap();
    }
    assert_eq!(test.said(), ["fact: gave back 30"]);
    assert_eq!((test.capture().refunding, test.capture().refunded), (0, 30));
}

#[test]
fn case_44_a_refund_that_failed_for_good_waits_for_an_operator_and_for_no_reminder() {
    let mut test = Test::with(vec![captured()], vec![failed()]);
    let planned = |test: &Test, command: PaymentCommand| {
        plan::plan(&mut test.rows.books.clone(), &[delivery(command)], NOW, &Retry::default()).len()
    };
    assert_eq!(planned(&test, resume(failed().id)), 0, "a reminder that was still under way wakes nothing");
    assert_eq!(test.take(resume(failed().id)), Ok(Verdict::AlreadyApplied));
    assert_eq!(planned(&test, retry(1).into()), 1);
    assert_eq!(test.take(retry(1)), Ok(Verdict::Executed));
    assert!(test.is_deferred(failed().id));
    assert_eq!(test.refund(failed().id).key(), failed().id, "under the key whose outcome is not known");
}

#[test]
fn case_44_an_action_is_done_once_and_its_outcome_is_told() {
    let under_way = |action| Refund {
        state: RefundState::Calling,
        retry_action: Some(Uuid::from_u128(action)),
        ..failed()
    };
    let no = || Answer::Declined { reason: "closed account".to_owned() };
    let mut test = Test::with(vec![captured()], vec![under_way(1)]).heard(failed().id, false, no());
    test.take(retry(1)).unwrap();
    assert_eq!(test.said(), ["failed: refund: closed account"]);
    assert_eq!(test.refund(failed().id).failures, 2);
    assert_ne!(test.refund(failed().id).key(), failed().id, "a new key after a definite refusal");
    assert_eq!(test.take(retry(1)), Ok(Verdict::AlreadyApplied), "that action was done");
    assert_eq!(test.take(retry(2)), Ok(Verdict::Executed));
    let mut test = Test::with(vec![captured()], vec![under_way(2)]).heard(failed().id, false, approved());
    test.take(retry(2)).unwrap();
    assert_eq!(test.said(), ["fact: gave back 30", "done"]);
    test.take(retry(2)).unwrap();
    assert_eq!(test.said().last().unwrap(), "done", "whoever asks again is told again");
    assert_eq!(test.capture().refunded, 30);
}

#[test]
fn a_refund_of_more_than_is_left_is_looked_at_anew_and_refused_again_once_an_action() {
    let spent = Capture { refunding: 0, refunded: 80, ..captured() };
    let refused = Refund { state: RefundState::Refused, failures: 1, ..given() };
    let mut test = Test::with(vec![spent], vec![refused.clone()]);
    for _ in 0..2 {
        test.take(retry(1)).unwrap();
    }
    assert_eq!(test.said(), ["failed: refund: more than the 20 left of the capture"]);
    let mut test = Test::with(vec![Capture { refunding: 0, ..captured() }], vec![refused]);
    test.take(retry(1)).unwrap();
    assert_eq!((test.refund(given().id).state, test.capture().refunding), (RefundState::Calling, 30));
}

#[test]
fn what_failed_for_us_and_was_done_all_the_same_needs_no_human_any_more() {
    let mut test = Test::with(vec![captured()], vec![failed()]);
    assert_eq!(test.take(of_refund(NoticeKind::Refunded, &failed())), Ok(Verdict::Executed));
    assert_eq!(test.said(), ["fact: gave back 30", "done"]);
}

#[test]
fn news_that_are_overtaken_by_the_end_of_their_key_change_nothing() {
    let mut test = Test::with(vec![captured()], vec![failed()]);
    assert_eq!(test.take(of_refund(NoticeKind::RefundFailed, &failed())), Ok(Verdict::Executed));
    assert_eq!(test.take(of_refund(NoticeKind::Refunded, &failed())), Ok(Verdict::AlreadyApplied));
    assert!(test.said().is_empty());
    let now = test.refund(failed().id);
    assert_eq!((now.state, now.keys_spent), (RefundState::Failed, 1));
}

#[test]
fn a_refund_that_the_provider_takes_back_needs_a_human_and_is_retried_under_a_new_key() {
    let mut test = Test::with(vec![captured()], vec![given()]);
    test.take(of_refund(NoticeKind::Refunded, &given())).unwrap();
    let bounced = of_refund(NoticeKind::RefundFailed, &given());
    assert_eq!(test.take(bounced.clone()), Ok(Verdict::Executed));
    assert_eq!(test.take(bounced), Ok(Verdict::AlreadyApplied));
    assert_eq!(
        test.take(of_refund(NoticeKind::Refunded, &given())),
        Ok(Verdict::AlreadyApplied),
        "overtaken"
    );
    assert_eq!(test.said(), ["fact: gave back 30", "failed: refund: taken back: no reason given"]);
    assert_eq!((test.capture().refunding, test.capture().refunded), (30, 0));
    let back = test.refund(given().id).clone();
    assert_eq!((back.state, back.keys_spent), (RefundState::Failed, 1));
    test.take(retry(1)).unwrap();
    test.take(of_refund(NoticeKind::Refunded, &back)).unwrap();
    assert_eq!(test.said()[2..], ["fact: gave back 30", "done"]);
    let facts: Vec<_> = test.out.said().iter().map(|said| said.outgoing.message).collect();
    assert_ne!(facts[0], facts[2], "two refunds are two facts");
}

#[test]
fn a_notice_that_a_refund_failed_answers_its_call() {
    let mut test = Test::with(vec![captured()], vec![given()]);
    test.take(of_refund(NoticeKind::RefundFailed, &given())).unwrap();
    assert_eq!(test.said(), ["failed: refund: no reason given"]);
    let nobody = ProviderNotice { key: capture_id(), ..of_refund(NoticeKind::RefundFailed, &given()) };
    assert_eq!(test.take(nobody), Ok(Verdict::AlreadyApplied));
}
