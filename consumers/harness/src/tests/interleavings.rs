//! Two owners of one lane, stepped through each order of claim and commit on real connections.

use super::toy::{self, Step, Toy, payload};
use crate::{
    attempt::{Attempt, Committed, Trouble},
    judge::Place,
    lane::Lane,
    record::{Record, Rejection},
    redrive::Most,
    store::LaneSet,
};
use chassis::postgres::{SessionLimits, connect};
use schemas::{
    envelope::Envelope,
    ids::MessageId,
    time::Timestamp,
    topics::{self, ORDERS_GROUP, Topic},
};
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use testbed::Database;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub(super) const SET: LaneSet = LaneSet { group: ORDERS_GROUP, topic: Topic::OrderCommands };
pub(super) const KEY: Uuid = Uuid::from_u128(7);

pub(super) struct Owner {
    pub(super) toy: Toy,
    pub(super) lanes: BTreeMap<i32, Lane>,
    pub(super) poison: HashMap<Place, Rejection>,
    unanswered: BTreeMap<i32, (i64, i64)>,
    pub(super) due: bool,
    pub(super) claimed: BTreeSet<i32>,
    pub(super) most: Most,
    pub(super) connection: PgConnection,
}

impl Owner {
    pub(super) async fn claim(database: &Database) -> Self {
        let mut connection = session(database, SessionLimits::CLAIM).await;
        SET.create_missing(&mut connection, &[0], &[chassis::ids::random()]).await.unwrap();
        let lanes = SET.claim(&mut connection, &[0]).await.unwrap();
        Self::with(database, lanes).await
    }

    async fn with(database: &Database, lanes: Vec<Lane>) -> Self {
        Self {
            toy: Toy::default(),
            lanes: lanes.into_iter().map(|lane| (lane.partition, lane)).collect(),
            poison: HashMap::new(),
            unanswered: BTreeMap::new(),
            due: false,
            claimed: BTreeSet::new(),
            most: Most { records: 1_000, bytes: 1 << 20 },
            connection: session(database, SessionLimits::WORKER).await,
        }
    }

    pub(super) async fn run(&mut self, records: Vec<Record>) -> Result<Committed<Vec<(Uuid, i64)>>, Trouble> {
        let attempt = Attempt {
            service: &self.toy,
            set: SET,
            partitions: 1,
            lanes: &self.lanes,
            poison: &self.poison,
            unanswered: &self.unanswered,
            due: self.due,
            claimed: &self.claimed,
            most: self.most,
            committing: &std::sync::Mutex::default(),
        };
        attempt.run(&mut self.connection, records.into_iter().map(Arc::new).collect()).await
    }
}

async fn session(database: &Database, limits: SessionLimits) -> PgConnection {
    connect(&database.url("orders"), "test", limits).await.unwrap()
}

pub(super) fn record(offset: i64, step: Step) -> Record {
    let message = MessageId(Uuid::from_u128(u128::try_from(offset).unwrap()));
    let envelope =
        Envelope { message, causation: message, occurred_at: Timestamp(0), deadline: None, source: None };
    Record {
        topic: Topic::OrderCommands,
        partition: 0,
        offset,
        timestamp: Timestamp(offset),
        key: topics::key(KEY).to_vec(),
        envelope: Ok(envelope),
        header: Some(envelope.to_bytes()),
        payload: payload(step),
        traceparent: None,
    }
}

async fn stands(database: &Database) -> (i64, i64, i64) {
    let mut connection = session(database, SessionLimits::EDGE).await;
    let lanes = SET.read(&mut connection, &[0]).await.unwrap();
    let n: Option<i64> =
        sqlx::query_scalar("SELECT max(n) FROM toy").fetch_one(&mut connection).await.unwrap();
    (lanes[0].next_offset, lanes[0].outbox_seq, n.unwrap_or(0))
}

#[tokio::test]
async fn a_batch_commits_state_position_and_what_it_says_together() {
    let database = toy::database().await;
    let mut owner = Owner::claim(&database).await;
    let committed = owner.run(vec![record(0, Step::To(1)), record(1, Step::To(2))]).await.unwrap();
    assert_eq!(committed.judgement.executed, 2);
    assert_eq!(stands(&database).await, (2, 1, 2));
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, records FROM outbox").fetch_all(&mut owner.connection).await.unwrap();
    let said = schemas::outbox::unpack(1, &rows[0].1).unwrap();
    assert_eq!(said.iter().map(|record| record.n).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_claim_waits_for_the_commit_under_way_and_then_stands_behind_it() {
    let database = toy::database().await;
    let mut old = Owner::claim(&database).await;
    let gate = Arc::new((Semaphore::new(0), Semaphore::new(0)));
    old.toy.gate = Some(Arc::clone(&gate));
    let batch = tokio::spawn(async move { (old.run(vec![record(0, Step::To(1))]).await.map(|_| ()), old) });
    gate.0.acquire().await.unwrap().forget();
    // the old owner is inside its transaction: a claim of bounded patience fails and leaves everything as it was
    let mut hasty = session(&database, SessionLimits::CLAIM).await;
    let refused = SET.claim(&mut hasty, &[0]).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "55P03", "{refused}");
    // a patient one waits, and sees the position of the commit it waited for
    let mut patient = session(&database, SessionLimits::WORKER).await;
    let claim = tokio::spawn(async move { SET.claim(&mut patient, &[0]).await });
    testbed::eventually("the claim waits for the lock", async || {
        let mut admin = database.connect_admin().await;
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        waiting == 1
    })
    .await;
    gate.1.add_permits(1);
    let (done, mut old) = batch.await.unwrap();
    done.unwrap();
    let lanes = claim.await.unwrap().unwrap();
    assert_eq!((lanes[0].next_offset, lanes[0].epoch), (1, 2));
    // the old owner is a zombie now: the database refuses it, whatever it believes
    old.toy.gate = None;
    old.lanes.get_mut(&0).unwrap().next_offset = 1;
    old.lanes.get_mut(&0).unwrap().outbox_seq = 1;
    let refused = old.run(vec![record(1, Step::To(2))]).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, Trouble::Fenced(ref lanes) if lanes == &[0]), "{refused:?}");
    assert_eq!(stands(&database).await, (1, 1, 1));
}

#[tokio::test]
async fn a_claim_before_the_batch_fences_it() {
    let database = toy::database().await;
    let mut old = Owner::claim(&database).await;
    let mut new = Owner::claim(&database).await;
    let refused = old.run(vec![record(0, Step::To(1))]).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, Trouble::Fenced(_)), "{refused:?}");
    assert_eq!(stands(&database).await, (0, 0, 0));
    new.run(vec![record(0, Step::To(1))]).await.unwrap();
    assert_eq!(stands(&database).await, (1, 1, 1));
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_recognised_by_its_end() {
    let database = toy::database().await;
    let mut owner = Owner::claim(&database).await;
    let batch = vec![record(0, Step::To(1)), record(1, Step::To(2))];
    // it commits, but the owner is told that the connection broke
    let committed = owner.run(batch.clone()).await.unwrap();
    let lane = &committed.lanes[&0];
    owner.unanswered = BTreeMap::from([(0, (lane.next_offset, lane.outbox_seq))]);
    let answered = owner.run(batch).await.map(|_| ()).unwrap_err();
    assert!(matches!(answered, Trouble::Answered(ref lanes) if lanes == &[0]), "{answered:?}");
    let read = SET.read(&mut owner.connection, &[0]).await.unwrap();
    assert_eq!((read[0].next_offset, read[0].epoch), (2, 1));
    assert_eq!(stands(&database).await, (2, 1, 2), "nothing was done twice");
}

#[tokio::test]
async fn any_other_position_under_the_same_epoch_halts() {
    let database = toy::database().await;
    let mut owner = Owner::claim(&database).await;
    owner.run(vec![record(0, Step::To(1))]).await.unwrap();
    let halted = owner.run(vec![record(0, Step::To(1))]).await.map(|_| ()).unwrap_err();
    assert!(matches!(halted, Trouble::Halt { .. }), "{halted:?}");
    assert_eq!(stands(&database).await, (1, 1, 1));
}

#[tokio::test]
async fn a_frozen_owner_loses_its_locks_to_the_server_and_writes_nothing_when_it_thaws() {
    let database = toy::database().await;
    let mut frozen = Owner::claim(&database).await;
    let gate = Arc::new((Semaphore::new(0), Semaphore::new(0)));
    frozen.toy.gate = Some(Arc::clone(&gate));
    let batch = tokio::spawn(async move { frozen.run(vec![record(0, Step::To(1))]).await.map(|_| ()) });
    gate.0.acquire().await.unwrap().forget();
    // its session is ended after 5 s idle in the transaction; until then claims of half a second fail
    let mut claims = session(&database, SessionLimits::CLAIM).await;
    let mut lanes = Vec::new();
    testbed::eventually_within(Duration::from_secs(15), "a claim gets through", async || {
        match SET.claim(&mut claims, &[0]).await {
            Ok(claimed) => lanes = claimed,
            Err(error) => assert_eq!(error.as_database_error().unwrap().code().unwrap(), "55P03"),
        }
        !lanes.is_empty()
    })
    .await;
    assert_eq!((lanes[0].next_offset, lanes[0].epoch), (0, 2));
    gate.1.add_permits(1);
    let thawed = batch.await.unwrap().unwrap_err();
    assert!(matches!(thawed, Trouble::Database { ends: None, .. }), "{thawed:?}");
    let mut new = Owner::with(&database, lanes).await;
    new.run(vec![record(0, Step::To(1))]).await.unwrap();
    assert_eq!(stands(&database).await, (1, 1, 1));
}

#[tokio::test]
async fn a_rejected_record_parks_its_key_with_a_dead_letter_and_the_rest_goes_behind_it() {
    let database = toy::database().await;
    let mut owner = Owner::claim(&database).await;
    let other = Record { key: topics::key(Uuid::from_u128(8)).to_vec(), ..record(2, Step::To(1)) };
    let keyless = Record { key: b"nobody".to_vec(), ..record(4, Step::To(1)) };
    let batch = vec![record(0, Step::To(1)), record(1, Step::Reject), other, record(3, Step::To(2)), keyless];
    let committed = owner.run(batch).await.unwrap();
    assert_eq!(committed.judgement.executed, 2);
    owner.lanes = committed.lanes;
    // a later batch goes behind it as well
    let committed = owner.run(vec![record(5, Step::To(2))]).await.unwrap();
    assert_eq!(committed.judgement.rejected[0].1.cause, "behind");
    let parked: Vec<(i64, String)> = sqlx::query_as("SELECT \"offset\", cause FROM parked ORDER BY 1")
        .fetch_all(&mut owner.connection)
        .await
        .unwrap();
    let expected = [(1, "asked"), (3, "behind"), (5, "behind")].map(|(at, cause)| (at, cause.to_owned()));
    assert_eq!(parked, expected, "a record without a readable key parks nothing");
    let packed: Vec<Vec<u8>> = sqlx::query_scalar("SELECT records FROM outbox ORDER BY seq")
        .fetch_all(&mut owner.connection)
        .await
        .unwrap();
    let dead: Vec<_> = packed
        .iter()
        .flat_map(|row| schemas::outbox::unpack(1, row).unwrap())
        .filter(|record| record.topic == Topic::OrdersDlq)
        .collect();
    assert_eq!(dead.len(), 4, "each rejected record has its copy");
    let headers: HashMap<_, _> = dead[0].headers.iter().cloned().collect();
    assert_eq!(headers["mb-origin"], b"order.commands/0/1");
    assert_eq!(headers["mb-cause"], b"asked: asked to");
    assert_eq!(dead[0].payload, b"reject");
    // the parked keys are read with the claim
    let mut again = session(&database, SessionLimits::CLAIM).await;
    let lanes = SET.claim(&mut again, &[0]).await.unwrap();
    assert!(lanes[0].parked.contains(&topics::key(KEY)[..]));
    assert_eq!(lanes[0].parked.len(), 1);
}
