//! The desks of the services: their lanes, and what waits there for too long. Read every few seconds.

use super::{Database, Store, millis};
use crate::note::{LaneRow, Lanes};
use chrono::{DateTime, Utc};
use schemas::{
    time::Timestamp,
    topics::{self, Topic},
};
use sqlx::{Row, postgres::PgRow, types::Json};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// Services that read commands.
const READERS: [(&str, Topic); 3] = [
    (topics::ORDERS_GROUP, Topic::OrderCommands),
    (topics::INVENTORY_GROUP, Topic::InventoryCommands),
    (topics::PAYMENTS_GROUP, Topic::PaymentCommands),
];

/// All lanes, and what their outboxes and parked records come to.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) lanes: Lanes,
    /// Outboxes whose oldest row is older than it should be: service, partition, its age in seconds.
    pub(crate) undrained: Vec<(&'static str, i32, f64)>,
    /// Parked records by service, counted to a bound.
    pub(crate) parked: BTreeMap<&'static str, i64>,
}

/// What fell due long ago and is still there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) partition: i32,
    pub(crate) since: Timestamp,
    pub(crate) rows: i64,
}

impl Store {
    pub(super) fn with_lanes(&mut self) -> [(&'static str, Topic, &mut Database); 3] {
        let [orders, inventory, payments] = READERS;
        [
            (orders.0, orders.1, &mut self.orders),
            (inventory.0, inventory.1, &mut self.inventory),
            (payments.0, payments.1, &mut self.payments),
        ]
    }

    /// `patience`: how old an outbox row may be.
    pub(crate) async fn desk(&mut self, patience: Duration) -> sqlx::Result<Desk> {
        let mut desk = Desk::default();
        for (service, topic, database) in self.with_lanes() {
            let rows = sqlx::query(
                "SELECT partition, partitions, id, due_mark, heard, sent,
                        (SELECT extract(epoch FROM clock_timestamp() - created_at)::float8
                         FROM outbox WHERE outbox.lane = lane.id ORDER BY seq LIMIT 1) AS outbox_age,
                        (SELECT count(*) FROM (SELECT FROM parked WHERE topic = $2 LIMIT 10000) AS bounded) AS parked
                 FROM lane WHERE consumer_group = $1 AND topic = $2 ORDER BY partition",
            )
            .bind(service)
            .bind(topic.name())
            .fetch_all(database.connection().await?)
            .await?;
            for row in &rows {
                let lane = lane(service, row)?;
                let age: Option<f64> = row.try_get("outbox_age")?;
                if let Some(age) = age.filter(|age| *age > patience.as_secs_f64()) {
                    desk.undrained.push((service, lane.partition, age));
                }
                desk.parked.insert(service, row.try_get("parked")?);
                desk.lanes.0.push(lane);
            }
        }
        Ok(desk)
    }

    /// Reminders of payments whose time was more than `by` ago: the first of each partition, and how many there are,
    /// counted to a bound.
    pub(crate) async fn overdue_reminders(&mut self, by: Duration) -> sqlx::Result<Vec<Overdue>> {
        let rows = sqlx::query(
            "SELECT partition, min(due_at) AS since, count(*) AS rows
             FROM (SELECT partition, due_at FROM deferred WHERE due_at < clock_timestamp() - make_interval(secs => $1)
                   LIMIT 10000) AS late
             GROUP BY partition ORDER BY partition",
        )
        .bind(by.as_secs_f64())
        .fetch_all(self.payments.connection().await?)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Overdue {
                    partition: row.try_get("partition")?,
                    since: millis(row.try_get::<DateTime<Utc>, _>("since")?),
                    rows: row.try_get("rows")?,
                })
            })
            .collect()
    }
}

/// Of what a lane has heard of a source, the part that says how far.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
enum Heard {
    Sequence {
        last: u64,
    },
    /// Not proved to be the beginning: nothing of it is taken.
    Unproved {},
}

fn lane(service: &'static str, row: &PgRow) -> sqlx::Result<LaneRow> {
    let Json(heard): Json<BTreeMap<Uuid, Heard>> = row.try_get("heard")?;
    let Json(sent): Json<BTreeMap<String, u64>> = row.try_get("sent")?;
    let last = |(source, heard): (Uuid, Heard)| match heard {
        Heard::Sequence { last } => Some((source, last)),
        Heard::Unproved {} => None,
    };
    Ok(LaneRow {
        service,
        partition: row.try_get("partition")?,
        partitions: row.try_get("partitions")?,
        id: row.try_get("id")?,
        due_mark: millis(row.try_get::<DateTime<Utc>, _>("due_mark")?),
        heard: heard.into_iter().filter_map(last).collect(),
        sent: sent.into_iter().filter_map(|(to, n)| Some((reader(&to)?, n))).collect(),
    })
}

/// The lane that reads `topic/partition`; none for events, which no lane reads.
fn reader(destination: &str) -> Option<(&'static str, i32)> {
    let (topic, partition) = destination.split_once('/')?;
    let topic = Topic::from_name(topic)?;
    let (service, _) = READERS.into_iter().find(|(_, input)| *input == topic)?;
    Some((service, partition.parse().ok()?))
}
