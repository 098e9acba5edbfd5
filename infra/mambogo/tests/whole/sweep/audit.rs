//! After each step: waits until everything has settled, and says what is wrong that was not wrong before.

use super::{history::History, requests::Wire};
use crate::system::System;
use auditor::{AuditConfig, Auditor, Scope};
use chassis::settings::Secret;
use schemas::{
    ids::OrderId,
    view::{self, packed::Packed},
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

pub struct Audit {
    system: Arc<System>,
    auditor: Auditor,
    redis: redis::Client,
    /// What earlier steps left behind.
    known: BTreeSet<String>,
}

impl Audit {
    pub fn of(system: &Arc<System>) -> Self {
        let redis = redis::Client::open(system.redis.url()).unwrap();
        let auditor = Auditor::new(AuditConfig::new(&Secret::new(system.database.url("audit"))));
        Self { system: Arc::clone(system), auditor, redis, known: BTreeSet::new() }
    }

    /// Waits until nothing is wrong or under way, `patience` at most; what is left then, it tells this once.
    pub async fn settled(&mut self, patience: Duration, history: &History, wire: &Wire) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let mut tick = interval(Duration::from_millis(300));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut found = self.books().await;
            found.extend(self.unfinished().await);
            found.extend(self.broken_promises(history).await);
            match wire.lag().await {
                Ok(0) => {}
                lag => found.push(format!("unfinished: records are not read: {lag:?}")),
            }
            found.retain(|violation| !self.known.contains(violation));
            if found.is_empty() {
                found = self.old_views().await;
                found.retain(|violation| !self.known.contains(violation));
            }
            if found.is_empty() {
                return Vec::new();
            }
            if Instant::now() > deadline {
                self.known.extend(found.iter().cloned());
                return found;
            }
        }
    }

    /// What the auditor says of all services' books.
    async fn books(&mut self) -> Vec<String> {
        let report = match self.auditor.pass(Scope::Everything).await {
            Ok(report) => report,
            Err(error) => return vec![format!("the audit failed: {error}")],
        };
        let findings = report.drift.iter().chain(&report.attention).chain(&report.unproved);
        let mut found: Vec<String> = findings.map(ToString::to_string).collect();
        if !report.is_settled() && found.is_empty() {
            found.push(format!("unfinished: {} orders are under way", report.open));
        }
        found
    }

    /// Rows that a system at rest does not have.
    async fn unfinished(&self) -> Vec<String> {
        let mut connection = self.system.database.connect("audit").await;
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT what, rows FROM (VALUES
                 ('orders.outbox', (SELECT count(*) FROM orders.outbox)),
                 ('inventory.outbox', (SELECT count(*) FROM inventory.outbox)),
                 ('payments.outbox', (SELECT count(*) FROM payments.outbox)),
                 ('orders.parked', (SELECT count(*) FROM orders.parked)),
                 ('inventory.parked', (SELECT count(*) FROM inventory.parked)),
                 ('payments.parked', (SELECT count(*) FROM payments.parked)),
                 ('payments.deferred', (SELECT count(*) FROM payments.deferred)),
                 ('refunds not known', (SELECT count(*) FROM payments.refunds WHERE state = 'CALLING')),
                 ('holds of outside owners',
                  (SELECT count(*) FROM inventory.holds WHERE outside AND state IN ('held', 'waiting')))
             ) AS left_over (what, rows) WHERE rows > 0",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        rows.into_iter().map(|(what, rows)| format!("unfinished: {rows} of {what}")).collect()
    }

    /// Each 202 is an order at one of its ends, and there is no order without one.
    async fn broken_promises(&self, history: &History) -> Vec<String> {
        let mut connection = self.system.database.connect("audit").await;
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT id::text, status FROM orders.orders")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let mut promised = history.orders();
        let mut broken = Vec::new();
        for (id, status) in rows {
            match promised.remove(&id) {
                Some(known) if !known.ends.contains(&status.as_str()) => {
                    broken.push(format!("order {id} ({}) is {status}, not {:?}", known.key, known.ends));
                }
                Some(_) => {}
                None => broken.push(format!("order {id} is {status}, and nobody was told of it")),
            }
        }
        let lost = promised.into_iter().map(|(id, known)| format!("order {id} ({}) is lost", known.key));
        broken.extend(lost);
        broken
    }

    /// Views in Redis that are not their orders' newest.
    async fn old_views(&self) -> Vec<String> {
        let mut connection = self.system.database.connect("audit").await;
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT id::text, version FROM orders.orders")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let mut asked = redis::pipe();
        for (id, _) in &rows {
            asked.cmd("GET").arg(view::key(id.parse::<OrderId>().unwrap()));
        }
        let mut redis = self.redis.get_multiplexed_async_connection().await.unwrap();
        let held: Vec<Vec<u8>> = asked.query_async(&mut redis).await.unwrap();
        let held = held.iter().map(|held| Packed::read(held)?.view.map(|(version, _)| version));
        let pairs = rows.into_iter().zip(held).filter(|((_, version), held)| *held != Some(*version));
        pairs
            .map(|((id, version), held)| format!("the view of order {id} is {held:?}, its row {version}"))
            .collect()
    }
}
