//! What the services' tables say about parked records, and about what was done to them.

use super::{Filter, Outcome};
use schemas::{
    catalogue::{self, SchemaId},
    topics::Topic,
};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Services with lanes, and what they read.
const SERVICES: [(&str, Topic); 3] = [
    ("orders", Topic::OrderCommands),
    ("inventory", Topic::InventoryCommands),
    ("payments", Topic::PaymentCommands),
];
/// Most records looked at in one service.
const MOST: i64 = 100_000;
/// What only waits behind another.
pub(super) const BEHIND: &str = "behind";

/// A parked record without its payload.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    pub(super) service: &'static str,
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Vec<u8>,
    pub(super) cause: String,
    pub(super) attempts: i32,
    pub(super) seconds: f64,
}

impl Parked {
    /// Its place on the log: topic, partition, offset.
    pub(super) fn origin(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// One parked record with all that is known of it.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) parked: Parked,
    pub(super) detail: String,
    pub(super) payload: Vec<u8>,
}

/// What came of an action.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) result: String,
    pub(super) ran: i64,
    pub(super) discarded: i64,
    pub(super) cause: Option<String>,
    pub(super) next: Option<Uuid>,
}

pub(super) fn services(wanted: Option<&str>) -> Outcome<Vec<(&'static str, Topic)>> {
    let found: Vec<_> =
        SERVICES.into_iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name)).collect();
    if found.is_empty() {
        return Err(
            format!("no service {:?}: orders, inventory or payments", wanted.unwrap_or_default()).into()
        );
    }
    Ok(found)
}

/// The records that a filter selects, by service and partition, in the order in which they were parked.
pub(super) async fn select(audit: &mut PgConnection, filter: &Filter) -> Outcome<Vec<Parked>> {
    let mut selected = Vec::new();
    for (service, topic) in services(filter.service.as_deref())? {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT partition, \"offset\", key, cause, attempts, substring(record FROM 1 FOR 5) AS beginning,
                    extract(epoch FROM now() - parked_at)::float8 AS seconds
             FROM {service}.parked
             WHERE topic = $1 AND ($2::text IS NULL OR cause = $2) AND ($3::bytea IS NULL OR key = $3)
               AND ($4::float8 IS NULL OR parked_at > now() - make_interval(secs => $4))
               AND ($5::int IS NULL OR partition = $5) AND ($6::bigint IS NULL OR \"offset\" = $6)
             ORDER BY partition, turn LIMIT $7"
        )))
        .bind(topic.name())
        .bind(filter.cause.as_deref())
        .bind(filter.key.as_deref().map(str::as_bytes))
        .bind(filter.since.map(|since| since.as_secs_f64()))
        .bind(filter.partition)
        .bind(filter.offset)
        .bind(MOST)
        .fetch_all(&mut *audit)
        .await?;
        for row in rows {
            let step = name_of(&row.try_get::<Vec<u8>, _>("beginning")?);
            if filter.step.as_deref().is_none_or(|wanted| step == Some(wanted)) {
                selected.push(Parked {
                    service,
                    topic,
                    partition: row.try_get("partition")?,
                    offset: row.try_get("offset")?,
                    key: row.try_get("key")?,
                    cause: row.try_get("cause")?,
                    attempts: row.try_get("attempts")?,
                    seconds: row.try_get("seconds")?,
                });
            }
        }
    }
    Ok(selected)
}

/// The record's name by the payload's first bytes.
fn name_of(beginning: &[u8]) -> Option<&'static str> {
    let [0, id @ ..] = beginning.first_chunk::<5>()? else { return None };
    catalogue::by_id(SchemaId(u32::from_be_bytes(*id))).map(|entry| entry.record)
}

/// How many of a service, cause and key are parked, how old the oldest is, and how often it was tried.
pub(super) type Groups = BTreeMap<(&'static str, String, String), (usize, f64, i32)>;

pub(super) async fn groups(audit: &mut PgConnection, filter: &Filter) -> Outcome<Groups> {
    let mut groups = Groups::new();
    for parked in select(audit, filter).await? {
        let key = String::from_utf8_lossy(&parked.key).into_owned();
        let group = groups.entry((parked.service, parked.cause, key)).or_default();
        *group = (group.0 + 1, group.1.max(parked.seconds), group.2.max(parked.attempts));
    }
    Ok(groups)
}

pub(super) async fn one(
    audit: &mut PgConnection,
    service: &str,
    partition: i32,
    offset: i64,
) -> Outcome<Whole> {
    let (service, topic) =
        *services(Some(service))?.first().ok_or_else(|| format!("no service {service:?}"))?;
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT key, cause, detail, attempts, record, extract(epoch FROM now() - parked_at)::float8 AS seconds
         FROM {service}.parked WHERE topic = $1 AND partition = $2 AND \"offset\" = $3"
    )))
    .bind(topic.name())
    .bind(partition)
    .bind(offset)
    .fetch_optional(audit)
    .await?
    .ok_or_else(|| format!("{service} has nothing parked at {topic}/{partition}/{offset}"))?;
    let parked = Parked {
        service,
        topic,
        partition,
        offset,
        key: row.try_get("key")?,
        cause: row.try_get("cause")?,
        attempts: row.try_get("attempts")?,
        seconds: row.try_get("seconds")?,
    };
    Ok(Whole { parked, detail: row.try_get("detail")?, payload: row.try_get("record")? })
}

/// What came of these actions of a service, as far as they are done.
pub(super) async fn came(
    audit: &mut PgConnection,
    service: &str,
    actions: &[Uuid],
) -> sqlx::Result<BTreeMap<Uuid, Came>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT action, result, cardinality(ran)::bigint AS ran, cardinality(discarded)::bigint AS discarded, cause,
                next_action
         FROM {service}.parked_action WHERE action = ANY ($1)"
    )))
    .bind(actions)
    .fetch_all(audit)
    .await?;
    rows.iter()
        .map(|row| {
            let came = Came {
                result: row.try_get("result")?,
                ran: row.try_get("ran")?,
                discarded: row.try_get("discarded")?,
                cause: row.try_get("cause")?,
                next: row.try_get("next_action")?,
            };
            Ok((row.try_get("action")?, came))
        })
        .collect()
}

/// One action, as its lane wrote it down.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    pub(super) at: String,
    pub(super) service: &'static str,
    pub(super) action: Uuid,
    pub(super) what: String,
    pub(super) key: String,
    pub(super) requested_by: String,
    pub(super) reason: Option<String>,
    pub(super) selection: Option<String>,
    pub(super) result: String,
    pub(super) ran: Vec<i64>,
    pub(super) discarded: Vec<i64>,
    pub(super) stopped_at: Option<i64>,
    pub(super) cause: Option<String>,
    pub(super) remaining: i64,
    /// Payloads as far as they can be read: before an edit, and after it.
    pub(super) original: Option<serde_json::Value>,
    pub(super) edited: Option<serde_json::Value>,
}

/// The newest actions of a filter, oldest first.
pub(super) async fn actions(
    audit: &mut PgConnection,
    service: Option<&str>,
    key: Option<&str>,
    selection: Option<&str>,
    since: Option<std::time::Duration>,
) -> Outcome<Vec<Action>> {
    let mut actions = Vec::new();
    for (service, _) in services(service)? {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT to_char(acted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at, action, what, key,
                    requested_by, reason, selection, result, ran, discarded, stopped_at, cause, remaining, original, edited
             FROM {service}.parked_action
             WHERE ($1::bytea IS NULL OR key = $1) AND ($2::text IS NULL OR selection = $2)
               AND ($3::float8 IS NULL OR acted_at > now() - make_interval(secs => $3))
             ORDER BY acted_at DESC LIMIT $4"
        )))
        .bind(key.map(str::as_bytes))
        .bind(selection)
        .bind(since.map(|since| since.as_secs_f64()))
        .bind(MOST)
        .fetch_all(&mut *audit)
        .await?;
        for row in rows {
            actions.push(Action {
                at: row.try_get("at")?,
                service,
                action: row.try_get("action")?,
                what: row.try_get("what")?,
                key: String::from_utf8_lossy(&row.try_get::<Vec<u8>, _>("key")?).into_owned(),
                requested_by: row.try_get("requested_by")?,
                reason: row.try_get("reason")?,
                selection: row.try_get("selection")?,
                result: row.try_get("result")?,
                ran: row.try_get("ran")?,
                discarded: row.try_get("discarded")?,
                stopped_at: row.try_get("stopped_at")?,
                cause: row.try_get("cause")?,
                remaining: row.try_get("remaining")?,
                original: row.try_get::<Option<Vec<u8>>, _>("original")?.as_deref().map(shown),
                edited: row.try_get::<Option<Vec<u8>>, _>("edited")?.as_deref().map(shown),
            });
        }
    }
    actions.sort_by(|a, b| a.at.cmp(&b.at));
    Ok(actions)
}

fn shown(payload: &[u8]) -> serde_json::Value {
    let read = replay::readable(payload).ok().and_then(|value| serde_json::to_value(value).ok());
    read.unwrap_or_else(|| format!("{} bytes that cannot be read", payload.len()).into())
}
