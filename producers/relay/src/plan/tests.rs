//! The plan alone: bounds, turns, floors, halts. The protocol as a whole is in `tests/relay/protocol.rs`.

use super::*;
use schemas::{envelope::Envelope, ids::MessageId, time::Timestamp};
use uuid::Uuid;

const LIMITS: Limits = Limits { records: 100, bytes: 1_000_000, lane_records: 50, lane_bytes: 10_000 };
const TO: Destination = (Topic::OrderCommands, 0);
const ELSEWHERE: Destination = (Topic::OrderEvents, 3);

fn lane(id: u128) -> LaneId {
    LaneId(Uuid::from_u128(id))
}

fn record((topic, partition): Destination, n: u64) -> OutboxRecord {
    OutboxRecord {
        topic,
        partition,
        n,
        envelope: Envelope {
            message: MessageId(Uuid::from_u128(u128::from(n))),
            causation: MessageId(Uuid::nil()),
            occurred_at: Timestamp(0),
            deadline: None,
            source: None,
        },
        key: Vec::new(),
        payload: vec![0; 10],
        headers: Vec::new(),
    }
}

fn row(seq: i64, records: impl IntoIterator<Item = (Destination, u64)>) -> Row {
    Row { seq, size: 100, records: Ok(records.into_iter().map(|(to, n)| record(to, n)).collect()) }
}

/// A plan that holds these lanes, with limits.
fn plan(limits: Limits, lanes: impl IntoIterator<Item = u128>) -> Plan {
    let mut plan = Plan::new(limits);
    plan.hold(&lanes.into_iter().map(lane).collect());
    plan
}

fn send_all(plan: &mut Plan) -> Vec<Parcel> {
    std::iter::from_fn(|| plan.next_parcel()).collect()
}

/// (number, floor) of each.
fn numbers(parcels: &[Parcel]) -> Vec<(u64, u64)> {
    parcels.iter().map(|parcel| (parcel.source.n, parcel.source.floor)).collect()
}

#[test]
fn after_a_start_the_floor_is_the_first_number_left_less_one() {
    let mut plan = plan(LIMITS, [1]);
    plan.take_rows(lane(1), 0, vec![row(7, [(TO, 41), (ELSEWHERE, 3), (TO, 42)])], false);
    assert_eq!(numbers(&send_all(&mut plan)), [(41, 40), (3, 2), (42, 40)]);
}

#[test]
fn the_floor_rises_with_acknowledgements_in_order_and_no_others() {
    let mut plan = plan(LIMITS, [1]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1), (TO, 2), (TO, 3)])], false);
    let sent = send_all(&mut plan);
    // the report of 2 comes first: nothing is known of 1
    plan.acked(sent[1].tag, 11).unwrap();
    plan.take_rows(lane(1), 1, vec![row(2, [(TO, 4)])], false);
    assert_eq!(numbers(&send_all(&mut plan)), [(4, 0)]);
    plan.acked(sent[0].tag, 10).unwrap();
    plan.take_rows(lane(1), 2, vec![row(3, [(TO, 5)])], false);
    assert_eq!(numbers(&send_all(&mut plan)), [(5, 2)]);
}

#[test]
fn a_lower_offset_than_the_record_before_stops_everything() {
    let mut plan = plan(LIMITS, [1]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1), (ELSEWHERE, 1), (TO, 2)])], false);
    let sent = send_all(&mut plan);
    plan.acked(sent[2].tag, 10).unwrap();
    plan.acked(sent[1].tag, 5).unwrap();
    let stop = plan.acked(sent[0].tag, 11).unwrap_err();
    assert!(matches!(stop, Stop::Reordered { n: 2, offset: 10, before: 11, .. }), "{stop}");
    assert!(plan.deletable().is_empty(), "what is in doubt is not deleted");
}

#[test]
fn an_acknowledgement_without_an_offset_stops_everything() {
    let mut plan = plan(LIMITS, [1]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1)])], false);
    let sent = send_all(&mut plan);
    assert!(matches!(plan.acked(sent[0].tag, -1), Err(Stop::NoOffset { n: 1, .. })));
}

#[test]
fn a_row_is_deleted_only_when_it_and_all_before_it_are_acknowledged() {
    let mut plan = plan(LIMITS, [1]);
    let rows = vec![row(1, [(TO, 1)]), row(2, [(ELSEWHERE, 1)]), row(3, []), row(4, [(TO, 2)])];
    plan.take_rows(lane(1), 0, rows, false);
    let sent = send_all(&mut plan);
    plan.acked(sent[1].tag, 0).unwrap();
    assert!(plan.deletable().is_empty());
    plan.acked(sent[0].tag, 0).unwrap();
    let span = Span { lane: lane(1), first: 1, last: 3 };
    assert_eq!(plan.deletable(), [span]);
    assert!(plan.deletable().is_empty(), "each is named once");
    plan.not_deleted(span);
    assert_eq!(plan.deletable(), [span]);
    plan.deleted(span);
    plan.acked(sent[2].tag, 1).unwrap();
    assert_eq!(plan.deletable(), [Span { lane: lane(1), first: 4, last: 4 }]);
    assert!(plan.has_passed(lane(1), 4));
}

#[test]
fn records_in_flight_are_bounded_for_all_and_for_each_lane() {
    let limits = Limits { records: 5, lane_records: 3, ..LIMITS };
    let mut plan = plan(limits, [1, 2]);
    for id in [1, 2] {
        plan.take_rows(lane(id), 0, vec![row(1, (1..=9).map(|n| (TO, n)))], false);
    }
    let sent = send_all(&mut plan);
    let of = |id| sent.iter().filter(|parcel| parcel.source.lane == lane(id)).count();
    assert_eq!((of(1), of(2)), (3, 2));
    plan.acked(sent[0].tag, 0).unwrap();
    assert_eq!(send_all(&mut plan).len(), 1);

    let mut plan = self::plan(Limits { bytes: 300, ..LIMITS }, [1]);
    plan.take_rows(lane(1), 0, vec![row(1, (1..=9).map(|n| (TO, n)))], false);
    assert_eq!(send_all(&mut plan).len(), 2, "138 bytes each");
}

#[test]
fn a_lane_with_a_backlog_takes_turns_row_by_row_and_reads_no_further_than_its_share() {
    let mut plan = plan(Limits { lane_bytes: 400, ..LIMITS }, [1, 2]);
    plan.take_rows(lane(1), 0, (1..=4).map(|n| row(n, [(TO, n.cast_unsigned())])).collect(), true);
    plan.take_rows(lane(2), 0, vec![row(1, [(TO, 1), (TO, 2)])], false);
    let wants = plan.wants();
    assert_eq!(wants, [Want { lane: lane(2), after: 1, more: false }], "lane 1 has enough to send");
    let order: Vec<u128> = send_all(&mut plan).iter().map(|p| p.source.lane.0.as_u128()).collect();
    assert_eq!(order, [1, 2, 2, 1, 1, 1]);
    assert_eq!(plan.wants().len(), 2);
}

#[test]
fn what_is_taken_back_comes_again_first() {
    let mut plan = plan(LIMITS, [1, 2]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1)])], false);
    plan.take_rows(lane(2), 0, vec![row(1, [(TO, 1)])], false);
    let first = plan.next_parcel().unwrap();
    plan.take_back(first.clone());
    assert_eq!(plan.in_flight(), 0);
    let again = plan.next_parcel().unwrap();
    assert_eq!((again.source, &again.record), (first.source, &first.record));
    plan.acked(again.tag, 0).unwrap();
    assert_eq!(plan.deletable().len(), 1);
}

#[test]
fn a_refused_record_halts_its_lane_and_no_other() {
    let mut plan = plan(LIMITS, [1, 2]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1), (TO, 2)]), row(2, [(TO, 3)])], false);
    plan.take_rows(lane(2), 0, vec![row(1, [(TO, 1)])], false);
    let good = plan.next_parcel().unwrap();
    let bad = plan.next_parcel().unwrap();
    plan.refuse(bad, "too large".to_owned());
    let halt = Halt { lane: lane(1), seq: 1, reason: "too large".to_owned() };
    assert_eq!(plan.take_halts(), [halt]);
    let rest = send_all(&mut plan);
    assert_eq!(rest.iter().map(|p| p.source.lane).collect::<Vec<_>>(), [lane(2)]);
    assert_eq!(plan.wants().len(), 1, "a halted lane does not read");
    assert!(!plan.resume(lane(1)), "one record is in flight");
    plan.acked(good.tag, 0).unwrap();
    plan.acked(rest[0].tag, 1).unwrap();
    assert_eq!(plan.deletable(), [Span { lane: lane(2), first: 1, last: 1 }], "half a row stays");
    assert!(plan.resume(lane(1)));
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1), (TO, 2)])], false);
    assert_eq!(numbers(&send_all(&mut plan)), [(1, 0), (2, 0)]);
}

#[test]
fn a_row_that_does_not_read_or_has_a_hole_halts_the_lane_behind_what_is_before_it() {
    let unreadable = Row { seq: 2, size: 9, records: Err("format 9".to_owned()) };
    let holed = row(2, [(ELSEWHERE, 1), (TO, 3)]);
    for bad in [unreadable, holed] {
        let mut plan = plan(LIMITS, [1]);
        plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1)]), bad, row(3, [(TO, 4)])], false);
        assert_eq!(send_all(&mut plan).len(), 1);
        let halts = plan.take_halts();
        assert_eq!((halts.len(), halts[0].seq), (1, 2), "{halts:?}");
    }
}

#[test]
fn rows_that_another_relay_deleted_are_no_hole() {
    let mut plan = plan(LIMITS, [1]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1), (ELSEWHERE, 1)])], false);
    // rows 2 and 3 are gone; the partition elsewhere is met again only in row 5
    plan.take_rows(lane(1), 1, vec![row(4, [(TO, 9)]), row(5, [(ELSEWHERE, 4)])], false);
    assert_eq!(numbers(&send_all(&mut plan)), [(1, 0), (1, 0), (9, 8), (4, 3)]);
    assert!(plan.take_halts().is_empty());
}

#[test]
fn a_lane_that_is_left_keeps_what_is_in_flight_and_begins_anew_when_it_comes_back() {
    let mut plan = plan(LIMITS, [1]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1)]), row(2, [(TO, 2), (TO, 3)])], false);
    let first = plan.next_parcel().unwrap();
    plan.next_parcel().unwrap();
    plan.hold(&BTreeSet::new());
    assert_eq!(plan.next_parcel(), None);
    plan.acked(first.tag, 0).unwrap();
    assert_eq!(plan.deletable(), [Span { lane: lane(1), first: 1, last: 1 }]);
    plan.hold(&BTreeSet::from([lane(1)]));
    assert!(plan.wants().is_empty(), "it is still being left");
    plan.deleted(Span { lane: lane(1), first: 1, last: 1 });
    plan.acked(first.tag + 1, 1).unwrap();
    plan.hold(&BTreeSet::from([lane(1)]));
    assert_eq!(plan.wants(), [Want { lane: lane(1), after: 0, more: false }]);
}

#[test]
fn rows_asked_for_before_a_lane_began_anew_are_ignored() {
    let mut plan = plan(LIMITS, [1]);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1)])], false);
    plan.take_rows(lane(1), 0, vec![row(1, [(TO, 1)])], false);
    plan.take_rows(lane(2), 0, vec![row(1, [(TO, 1)])], false);
    assert_eq!(send_all(&mut plan).len(), 1);
}
