//! A service small enough to see the machine behind it: each key counts 1, 2, 3, … and refuses anything else.

use crate::{
    record::{Delivery, Out, Outgoing, Record, Rejection, Verdict},
    service::{Context, Service},
};
use schemas::{ids, topics::Topic, wire};
use sqlx::{PgConnection, Row};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use testbed::Database;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What a record says: "my key stands at `n` after me", or mischief.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    To(i64),
    Reject,
    Panic,
    Unstorable,
}

#[derive(Clone, Default)]
pub(crate) struct Toy {
    /// When set, `load_in_tx` reports its entry in the first and waits for a permit of the second.
    pub(crate) gate: Option<Arc<(Semaphore, Semaphore)>>,
    /// When set, what was refused on purpose is good: the fault is mended.
    pub(crate) mended: Arc<AtomicBool>,
    /// (key, n) in the order they were committed.
    pub(crate) seen: Arc<Mutex<Vec<(Uuid, i64)>>>,
}

#[derive(Default)]
pub(crate) struct Rows {
    stands: BTreeMap<Uuid, i64>,
    changed: Vec<(Uuid, i64)>,
}

/// Makes the toy's table in the schema of the orders service.
pub(crate) async fn database() -> Database {
    let database = Database::create().await;
    let mut admin = database.connect_admin().await;
    for statement in [
        "CREATE TABLE orders.toy (key uuid PRIMARY KEY, n bigint NOT NULL CHECK (n < 1000000))",
        "GRANT SELECT, INSERT, UPDATE ON orders.toy TO mambogo_orders",
    ] {
        sqlx::query(statement).execute(&mut admin).await.unwrap();
    }
    database
}

pub(crate) fn payload(step: Step) -> Vec<u8> {
    match step {
        Step::To(n) => n.to_string(),
        Step::Reject => "reject".to_owned(),
        Step::Panic => "panic".to_owned(),
        Step::Unstorable => "1000000".to_owned(),
    }
    .into_bytes()
}

impl Service for Toy {
    type Command = Step;
    type Intents = ();
    type Outcomes = ();
    type Rows = Rows;
    type Tally = Vec<(Uuid, i64)>;

    fn group(&self) -> &'static str {
        schemas::topics::ORDERS_GROUP
    }

    fn input(&self) -> Topic {
        Topic::OrderCommands
    }

    fn decode(&self, record: &Record) -> Result<Step, Rejection> {
        // in the wire format where a test says which schema
        let body =
            if record.payload.first() == Some(&0) { wire::open(&record.payload)?.1 } else { &record.payload };
        match std::str::from_utf8(body).unwrap_or_default() {
            "reject" => Ok(Step::Reject),
            "panic" => Ok(Step::Panic),
            "1000000" => Ok(Step::Unstorable),
            text => text.parse().map(Step::To).map_err(|_| Rejection::new("decode", "not a number")),
        }
    }

    async fn load_in_tx(
        &self,
        tx: &mut PgConnection,
        _context: &Context,
        batch: &[Delivery<Step>],
        (): &(),
    ) -> sqlx::Result<Rows> {
        if let Some(gate) = &self.gate {
            gate.0.add_permits(1);
            gate.1.acquire().await.unwrap().forget();
        }
        let keys: Vec<Uuid> = batch.iter().map(|delivery| delivery.key).collect();
        let rows = sqlx::query("SELECT key, n FROM toy WHERE key = ANY ($1) ORDER BY key FOR UPDATE")
            .bind(keys)
            .fetch_all(tx)
            .await?;
        let stands = rows.iter().map(|row| (row.get("key"), row.get("n"))).collect();
        Ok(Rows { stands, changed: vec![] })
    }

    fn decide(
        &self,
        _context: &Context,
        rows: &mut Rows,
        delivery: &Delivery<Step>,
        out: &mut Out,
    ) -> Result<Verdict, Rejection> {
        let stands = rows.stands.get(&delivery.key).copied().unwrap_or(0);
        let n = match delivery.command {
            Step::To(n) if n <= stands => return Ok(Verdict::AlreadyApplied),
            Step::To(n) if n == stands + 1 => n,
            Step::To(n) => return Err(Rejection::new("out_of_order", format!("{n} after {stands}"))),
            Step::Reject if self.mended.load(Ordering::Relaxed) => stands + 1,
            Step::Reject => return Err(Rejection::new("asked", "asked to")),
            Step::Panic => panic!("asked to panic"),
            Step::Unstorable => 1_000_000,
        };
        rows.stands.insert(delivery.key, n);
        rows.changed.push((delivery.key, n));
        out.send(
            delivery,
            Outgoing {
                topic: Topic::OrderEvents,
                key: delivery.key,
                message: ids::message_id(delivery.key, &n.to_string()),
                deadline: None,
                payload: payload(delivery.command),
            },
        );
        Ok(Verdict::Executed)
    }

    fn discarded(&self, _rows: &Rows, delivery: &Delivery<Step>) -> Result<Option<Outgoing>, Rejection> {
        Ok(Some(Outgoing {
            topic: Topic::OrderEvents,
            key: delivery.key,
            message: ids::message_id(delivery.key, "given up"),
            deadline: None,
            payload: b"given up".to_vec(),
        }))
    }

    async fn save_in_tx(
        &self,
        tx: &mut PgConnection,
        _context: &Context,
        rows: Rows,
    ) -> sqlx::Result<Vec<(Uuid, i64)>> {
        sqlx::query(
            "INSERT INTO toy SELECT key, max(n) FROM UNNEST($1::uuid[], $2::bigint[]) AS new (key, n) GROUP BY key
             ON CONFLICT (key) DO UPDATE SET n = excluded.n",
        )
        .bind(rows.changed.iter().map(|(key, _)| *key).collect::<Vec<_>>())
        .bind(rows.changed.iter().map(|(_, n)| *n).collect::<Vec<_>>())
        .execute(tx)
        .await?;
        Ok(rows.changed)
    }

    fn committed(&self, tally: Vec<(Uuid, i64)>) {
        self.seen.lock().unwrap().extend(tally);
    }
}
