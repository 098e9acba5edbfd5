//! What is parked runs again in place: in order, once, before anything later of its key.

use super::{
    interleavings::{KEY, Owner, record},
    toy::{self, Step},
};
use crate::{
    attempt::{Committed, Trouble},
    judge::{DATABASE, UNKNOWN_SCHEMA},
    record::{Record, Rejection},
    redrive::Most,
};
use schemas::{
    envelope::{Envelope, Source},
    ids::LaneId,
    parked::{DiscardParked, RedriveParked},
    topics::Topic,
    wire,
};
use sqlx::Row;
use std::sync::atomic::Ordering;
use testbed::Database;
use uuid::Uuid;

struct Bed {
    database: Database,
    owner: Owner,
    next: i64,
}

type Parked = Vec<(i64, String, i32)>;

impl Bed {
    /// A lane whose key has parked: a record that is refused, and two behind it.
    async fn parked() -> Self {
        let database = toy::database().await;
        let owner = Owner::claim(&database).await;
        let mut bed = Self { database, owner, next: 0 };
        bed.take([Step::To(1), Step::Reject, Step::To(3), Step::To(4)]).await;
        assert_eq!(bed.rows().await, rows([(1, "asked", 1), (2, "behind", 1), (3, "behind", 1)]));
        bed
    }

    fn at(&mut self, step: Step) -> Record {
        self.next += 1;
        record(self.next - 1, step)
    }

    async fn take(&mut self, steps: impl IntoIterator<Item = Step>) -> Committed<Vec<(Uuid, i64)>> {
        let records = steps.into_iter().map(|step| self.at(step)).collect();
        self.run(records).await.unwrap()
    }

    async fn run(&mut self, records: Vec<Record>) -> Result<Committed<Vec<(Uuid, i64)>>, Trouble> {
        let committed = self.owner.run(records).await?;
        self.owner.lanes.extend(committed.lanes.clone());
        Ok(committed)
    }

    fn redrive(&mut self, id: u128, offsets: &[i64]) -> Record {
        let command = redrive_parked(id, offsets);
        Record { payload: wire::encode(&command).unwrap(), ..self.at(Step::To(0)) }
    }

    fn discard(&mut self, id: u128, offsets: &[i64]) -> Record {
        let RedriveParked { action_id, requested_by, reason, selection, offsets, .. } =
            redrive_parked(id, offsets);
        let command = DiscardParked { action_id, requested_by, reason, selection, offsets };
        Record { payload: wire::encode(&command).unwrap(), ..self.at(Step::To(0)) }
    }

    fn mend(&self) {
        self.owner.toy.mended.store(true, Ordering::Relaxed);
    }

    async fn rows(&mut self) -> Parked {
        sqlx::query_as("SELECT \"offset\", cause, attempts FROM parked ORDER BY 1")
            .fetch_all(&mut self.owner.connection)
            .await
            .unwrap()
    }

    async fn stands(&mut self) -> i64 {
        sqlx::query_scalar("SELECT n FROM toy").fetch_one(&mut self.owner.connection).await.unwrap()
    }

    /// What the table of actions says of each: result, what ran, what is left.
    async fn actions(&mut self) -> Vec<(String, Vec<i64>, i64)> {
        sqlx::query_as("SELECT result, ran, remaining FROM parked_action ORDER BY \"offset\"")
            .fetch_all(&mut self.owner.connection)
            .await
            .unwrap()
    }

    /// Payloads said to a topic, in order.
    async fn said(&mut self, topic: Topic) -> Vec<Vec<u8>> {
        let rows = sqlx::query("SELECT records FROM outbox ORDER BY seq")
            .fetch_all(&mut self.owner.connection)
            .await
            .unwrap();
        let records =
            rows.iter().flat_map(|row| schemas::outbox::unpack(1, &row.get::<Vec<u8>, _>(0)).unwrap());
        records.filter(|record| record.topic == topic).map(|record| record.payload).collect()
    }
}

fn redrive_parked(id: u128, offsets: &[i64]) -> RedriveParked {
    RedriveParked {
        action_id: Uuid::from_u128(id),
        requested_by: "a test\0".to_owned(),
        reason: None,
        selection: None,
        offsets: offsets.to_vec(),
        edited: None,
    }
}

fn rows<const N: usize>(expected: [(i64, &str, i32); N]) -> Parked {
    expected.map(|(offset, cause, attempts)| (offset, cause.to_owned(), attempts)).to_vec()
}

#[tokio::test]
async fn what_is_parked_runs_in_order_before_anything_later_of_its_key() {
    let mut bed = Bed::parked().await;
    bed.mend();
    // 5 comes after the command, in the same batch
    let batch = vec![bed.redrive(1, &[1]), bed.at(Step::To(5))];
    let committed = bed.run(batch).await.unwrap();
    assert_eq!(committed.tally.unwrap().iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert_eq!((bed.stands().await, bed.rows().await), (5, rows([])));
    assert!(bed.owner.lanes[&0].parked.is_empty(), "the key flows again");
    assert_eq!(bed.actions().await, [("done".to_owned(), vec![1, 2, 3], 0)]);
    bed.take([Step::To(6)]).await;
    assert_eq!(bed.stands().await, 6);
}

#[tokio::test]
async fn a_command_that_comes_again_does_nothing() {
    let mut bed = Bed::parked().await;
    bed.mend();
    let batch = vec![bed.redrive(1, &[1])];
    bed.run(batch).await.unwrap();
    // the same action, though something else is parked at a place it might mean
    bed.owner.toy.mended.store(false, Ordering::Relaxed);
    bed.take([Step::Reject]).await;
    let expected = rows([(5, "asked", 1)]);
    assert_eq!(bed.rows().await, expected);
    bed.mend();
    let batch = vec![bed.redrive(1, &[1, 5])];
    bed.run(batch).await.unwrap();
    assert_eq!(bed.rows().await, expected, "an action is done once");
    // another action that means what is gone
    let batch = vec![bed.redrive(2, &[1, 2])];
    bed.run(batch).await.unwrap();
    assert_eq!((bed.stands().await, bed.rows().await), (4, expected));
    assert_eq!(bed.actions().await.last().unwrap(), &("nothing".to_owned(), vec![], 1));
}

#[tokio::test]
async fn the_first_that_fails_again_stops_the_rest() {
    let mut bed = Bed::parked().await;
    let batch = vec![bed.redrive(1, &[1, 2, 3]), bed.at(Step::To(5))];
    bed.run(batch).await.unwrap();
    let expected = rows([(1, "asked", 2), (2, "behind", 1), (3, "behind", 1), (5, "behind", 1)]);
    assert_eq!((bed.stands().await, bed.rows().await), (1, expected));
    assert_eq!(bed.actions().await, [("failed_again".to_owned(), vec![], 3)]);
    assert_eq!(bed.said(Topic::OrderEvents).await.len(), 1, "what it said is taken back");
}

#[tokio::test]
async fn an_earlier_record_that_is_not_named_keeps_all_behind_it_waiting() {
    let mut bed = Bed::parked().await;
    bed.mend();
    let batch = vec![bed.redrive(1, &[3])];
    bed.run(batch).await.unwrap();
    assert_eq!(bed.rows().await.len(), 3);
    assert_eq!(bed.actions().await, [("waits".to_owned(), vec![], 3)]);
}

#[tokio::test]
async fn what_is_discarded_goes_and_what_waited_behind_it_runs() {
    let mut bed = Bed::parked().await;
    let batch = vec![bed.at(Step::To(2))];
    bed.run(batch).await.unwrap();
    // 1 is refused, 3 and 4 came too early, 2 would fit: it stands behind them and so do they
    let batch = vec![bed.discard(1, &[1, 2, 3]), bed.at(Step::To(3))];
    bed.run(batch).await.unwrap();
    assert_eq!((bed.stands().await, bed.rows().await), (3, rows([])));
    assert_eq!(bed.actions().await, [("done".to_owned(), vec![4], 0)]);
    let given_up = bed.said(Topic::OrderEvents).await.into_iter().filter(|payload| payload == b"given up");
    assert_eq!(given_up.count(), 3, "the service is asked about each");
}

#[tokio::test]
async fn a_batch_runs_a_bounded_number_and_tells_itself_to_go_on() {
    let mut bed = Bed::parked().await;
    bed.mend();
    bed.owner.most = Most { records: 2, bytes: 1 << 20 };
    let batch = vec![bed.redrive(1, &[1])];
    bed.run(batch).await.unwrap();
    assert_eq!((bed.stands().await, bed.rows().await), (3, rows([(3, "behind", 1)])));
    assert!(!bed.owner.lanes[&0].parked.is_empty(), "the key waits for the rest");
    bed.take([Step::To(5)]).await;
    let going_on = bed.said(Topic::OrderCommands).await;
    assert_eq!(going_on.len(), 1);
    let command = Record { payload: going_on[0].clone(), ..bed.at(Step::To(0)) };
    bed.run(vec![command]).await.unwrap();
    assert_eq!((bed.stands().await, bed.rows().await), (5, rows([])));
    let results: Vec<_> = bed.actions().await.into_iter().map(|(result, ran, _)| (result, ran)).collect();
    assert_eq!(results, [("continued".to_owned(), vec![1, 2]), ("done".to_owned(), vec![3, 5])]);
}

#[tokio::test]
async fn an_edited_payload_runs_instead_and_the_original_is_kept() {
    let mut bed = Bed::parked().await;
    let command = RedriveParked { edited: Some(b"2".to_vec()), ..redrive_parked(1, &[1]) };
    let record = Record { payload: wire::encode(&command).unwrap(), ..bed.at(Step::To(0)) };
    bed.run(vec![record]).await.unwrap();
    assert_eq!((bed.stands().await, bed.rows().await), (4, rows([])));
    let kept: (Vec<u8>, Vec<u8>) = sqlx::query_as("SELECT original, edited FROM parked_action")
        .fetch_one(&mut bed.owner.connection)
        .await
        .unwrap();
    assert_eq!(kept, (b"reject".to_vec(), b"2".to_vec()));
}

#[tokio::test]
async fn a_command_opens_its_batch_and_one_that_makes_no_sense_parks_nothing() {
    let mut bed = Bed::parked().await;
    bed.mend();
    let before = Record { key: schemas::topics::key(Uuid::from_u128(8)).to_vec(), ..bed.at(Step::To(1)) };
    let batch = vec![before, bed.redrive(1, &[1])];
    let committed = bed.run(batch).await.unwrap();
    assert_eq!(committed.later.len(), 1, "it waits for the next batch");
    bed.run(committed.later.iter().map(|record| Record::clone(record)).collect()).await.unwrap();
    assert_eq!(bed.rows().await, rows([]));
    let senseless = bed.redrive(2, &[]);
    let committed = bed.run(vec![senseless]).await.unwrap();
    assert_eq!(committed.judgement.rejected[0].1.cause, "parked_command");
    assert!(!bed.owner.lanes[&0].parked.contains(&schemas::topics::key(KEY)[..]));
    assert_eq!(bed.rows().await, rows([]));
}

#[tokio::test]
async fn what_the_database_refuses_again_is_known_by_its_place() {
    let mut bed = Bed::parked().await;
    bed.mend();
    bed.owner.poison.insert((0, 2), Rejection::new(DATABASE, "refused"));
    let batch = vec![bed.redrive(1, &[1])];
    bed.run(batch).await.unwrap();
    assert_eq!(bed.rows().await, rows([(2, "database", 2), (3, "behind", 1)]));
}

/// The wire format's header with that schema, and a step behind it.
fn of_schema(schema: u32, step: &[u8]) -> Vec<u8> {
    [&[0], &schema.to_be_bytes()[..], step].concat()
}

#[tokio::test]
async fn a_record_of_an_unknown_schema_parks_its_key_until_a_worker_that_knows_it_claims_the_lane() {
    const UNKNOWN: u32 = 999_999;
    let database = toy::database().await;
    let owner = Owner::claim(&database).await;
    let mut bed = Bed { database, owner, next: 0 };
    let unknown = Record { payload: of_schema(UNKNOWN, b"1"), ..bed.at(Step::To(0)) };
    let other = Record { key: schemas::topics::key(Uuid::from_u128(8)).to_vec(), ..bed.at(Step::To(1)) };
    let batch = vec![unknown, other, bed.at(Step::To(2))];
    let committed = bed.run(batch).await.unwrap();
    let rejection = &committed.judgement.rejected[0].1;
    assert!(rejection.cause == UNKNOWN_SCHEMA && rejection.detail.contains("999999"), "{rejection:?}");
    assert_eq!(bed.rows().await, rows([(0, UNKNOWN_SCHEMA, 1), (2, "behind", 1)]), "its key waits");
    assert_eq!(committed.tally.unwrap(), [(Uuid::from_u128(8), 1)], "others flow");

    // claimed by the same release: it stays
    bed.owner.due = true;
    bed.owner.claimed = [0].into();
    bed.run(vec![]).await.unwrap();
    assert_eq!(bed.said(Topic::OrderCommands).await.len(), 0);
    // and by one that knows the schema: as if it had been this one
    sqlx::query("UPDATE parked SET record = $1 WHERE cause = $2")
        .bind(of_schema(1_001, b"1"))
        .bind(UNKNOWN_SCHEMA)
        .execute(&mut bed.owner.connection)
        .await
        .unwrap();
    bed.owner.claimed = [].into();
    bed.run(vec![]).await.unwrap();
    assert_eq!(bed.said(Topic::OrderCommands).await.len(), 0, "only after a claim");
    bed.owner.claimed = [0].into();
    bed.run(vec![]).await.unwrap();
    let said = bed.said(Topic::OrderCommands).await;
    let command: RedriveParked = wire::decode(&said[0]).unwrap();
    assert_eq!((said.len(), &command.offsets[..]), (1, &[0][..]));
    bed.owner.claimed = [].into();
    let batch = vec![Record { payload: said[0].clone(), ..bed.at(Step::To(0)) }];
    let committed = bed.run(batch).await.unwrap();
    assert_eq!(committed.tally.unwrap(), [(KEY, 1), (KEY, 2)], "both, in their order");
    assert_eq!(bed.rows().await, rows([]));
}

#[tokio::test]
async fn numbers_that_lie_turned_round_on_the_log_run_again_as_they_were_parked() {
    let database = toy::database().await;
    let owner = Owner::claim(&database).await;
    let mut bed = Bed { database, owner, next: 0 };
    let from = |n: u64, record: Record| {
        let source = Some(Source { lane: LaneId(Uuid::from_u128(9)), n, floor: 0 });
        Record { envelope: record.envelope.map(|envelope| Envelope { source, ..envelope }), ..record }
    };
    // the first copy of 1 never came; 2 was sent behind it, and 1 once more behind 2
    let second = from(2, bed.at(Step::To(2)));
    let first = from(1, bed.at(Step::Reject));
    let committed = bed.run(vec![second.clone(), first.clone()]).await.unwrap();
    assert_eq!(committed.seeks, [(0, 0)].into(), "2 is read again, after 1");
    bed.run(vec![second, first]).await.unwrap();
    assert_eq!(bed.rows().await, rows([(0, "behind", 1), (1, "asked", 1)]));

    bed.mend();
    let batch = vec![bed.redrive(1, &[1])];
    bed.run(batch).await.unwrap();
    assert_eq!((bed.stands().await, bed.rows().await), (2, rows([])));
    assert_eq!(bed.actions().await, [("done".to_owned(), vec![1, 0], 0)]);
}

#[tokio::test]
async fn what_was_parked_before_there_were_turns_runs_as_it_was_parked() {
    let mut bed = Bed::parked().await;
    let mut admin = bed.database.connect_admin().await;
    sqlx::raw_sql(concat!(
        "SET search_path TO orders;
         ALTER TABLE parked DROP COLUMN turn;
         UPDATE parked SET parked_at = parked_at - interval '1 s' WHERE \"offset\" = 3;",
        include_str!("../../../../migrations/lanes/4_parked_in_turn.sql"),
    ))
    .execute(&mut admin)
    .await
    .unwrap();
    bed.take([Step::To(5)]).await;
    let in_turn: Vec<i64> = sqlx::query_scalar("SELECT \"offset\" FROM parked ORDER BY turn")
        .fetch_all(&mut bed.owner.connection)
        .await
        .unwrap();
    assert_eq!(in_turn, [3, 1, 2, 4], "as of old; and what comes now is behind them");
}
