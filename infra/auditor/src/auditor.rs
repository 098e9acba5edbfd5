//! The looks themselves: at new orders, at overdue ones, again at suspects, at the lanes, and over whole books.

mod desk;
mod new;
mod overdue;
mod pass;

pub use pass::Scope;

use crate::{
    case::Case,
    config::AuditConfig,
    finding::Finding,
    note::Note,
    report::Report,
    rules::judge,
    store::{Desk, Look, Oldest, Store},
    suspects::Suspects,
};
use new::New;
use overdue::Overdue;
use pass::Sweep;
use schemas::time::Timestamp;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

/// Orders looked at with one query a table.
const AT_ONCE: usize = 500;
/// Suspects looked at again in one tick.
const AGAIN_AT_ONCE: usize = 1_000;

/// Compares the books of all services. It keeps what looks wrong until that is proved or gone; nothing else.
pub struct Auditor {
    config: AuditConfig,
    store: Store,
    desk: Desk,
    desk_read: Option<Instant>,
    /// What lanes had sent a while ago, to see that it is taken in time.
    awaited: Option<(Instant, Note)>,
    suspects: Suspects,
    of_lanes: Vec<Finding>,
    of_lanes_overdue: Vec<Finding>,
    /// What the last comparison of stock found.
    pub(crate) of_stock: Vec<Finding>,
    new: New,
    overdue: Overdue,
    sweep: Sweep,
    looked: u64,
}

impl Auditor {
    /// An auditor that has seen nothing yet. It connects when it looks.
    #[must_use]
    pub fn new(config: AuditConfig) -> Self {
        Self {
            store: Store::new(&config),
            config,
            desk: Desk::default(),
            desk_read: None,
            awaited: None,
            suspects: Suspects::default(),
            of_lanes: Vec::new(),
            of_lanes_overdue: Vec::new(),
            of_stock: Vec::new(),
            new: New::default(),
            overdue: Overdue::default(),
            sweep: Sweep::default(),
            looked: 0,
        }
    }

    /// One round of all looks that go by an index; bounded, and cheap when nothing has happened.
    ///
    /// # Errors
    /// When a database does not answer: what is known stays, and the next tick connects anew.
    pub async fn tick(&mut self) -> sqlx::Result<()> {
        let done = self.looks().await;
        if done.is_err() {
            self.store.forget();
        }
        done
    }

    async fn looks(&mut self) -> sqlx::Result<()> {
        let now = Instant::now();
        self.read_desk_if_old(now).await?;
        self.look_at_new(now).await?;
        self.look_at_overdue_if_time(now).await?;
        self.look_again().await
    }

    /// What stands, by kind and subject: proved drifts, and what waits for a person.
    #[must_use]
    pub fn standing(&self) -> Vec<Finding> {
        let lanes = self.of_lanes.iter().chain(&self.of_lanes_overdue);
        let mut all: Vec<Finding> =
            self.suspects.findings().chain(lanes).chain(&self.of_stock).cloned().collect();
        all.sort_by_key(|finding| (finding.kind, finding.subject));
        all
    }

    /// Orders that look wrong and are not proved to be.
    #[must_use]
    pub fn suspects(&self) -> usize {
        self.suspects.unproved().count()
    }

    /// The oldest open transactions of each database.
    pub(crate) async fn oldest_transactions(&mut self) -> sqlx::Result<[Oldest; 3]> {
        let read = self.store.oldest_transactions().await;
        if read.is_err() {
            self.store.forget();
        }
        read
    }

    pub(crate) fn pause(&self) -> u32 {
        self.config.pause
    }

    /// Orders looked at so far.
    #[must_use]
    pub fn looked(&self) -> u64 {
        self.looked
    }

    fn report(&self, begun: Instant) -> Report {
        let (drift, attention) = self.standing().into_iter().partition(|finding| finding.kind.is_drift());
        Report {
            orders: self.sweep.counted.orders,
            products: self.sweep.counted.products,
            open: self.suspects.open() as u64,
            drift,
            attention,
            unproved: self.suspects.unproved().cloned().collect(),
            crowded_out: self.suspects.crowded_out,
            parked_records: self.desk.parked.values().sum(),
            seconds: begun.elapsed().as_secs_f64(),
        }
    }

    /// Looks at suspects again whose last look has passed.
    async fn look_again(&mut self) -> sqlx::Result<()> {
        let now = Instant::now();
        if !self.suspects.any_due(now) {
            return Ok(());
        }
        self.read_desk(now).await?;
        let orders = self.suspects.due(&self.desk.lanes, now, AGAIN_AT_ONCE);
        let strays: Vec<Uuid> = orders.iter().flat_map(|id| self.suspects.captures_of(*id)).collect();
        for some in orders.chunks(AT_ONCE) {
            self.look_at(some, &strays, true).await?;
        }
        Ok(())
    }

    async fn look(&mut self, look: &Look) -> sqlx::Result<()> {
        let orders: Vec<Uuid> = look.orders.iter().copied().collect();
        for some in orders.chunks(AT_ONCE) {
            self.look_at(some, &look.strays, false).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, orders: &[Uuid], strays: &[Uuid], was_due: bool) -> sqlx::Result<()> {
        let now = self.store.now().await?;
        let cases = self.store.cases(orders, strays).await?;
        self.looked += cases.len() as u64;
        let mut judged: Vec<(Case, Vec<Finding>)> =
            cases.into_iter().map(|case| with_findings(case, now)).collect();
        if judged.iter().any(|(case, found)| !found.is_empty() || !case.is_settled()) {
            // made after the rows were read: what had been sent before is in it
            self.read_desk(Instant::now()).await?;
            let mut wrong: Vec<&mut Case> =
                judged.iter_mut().filter(|(_, found)| !found.is_empty()).map(|(case, _)| case).collect();
            if !wrong.is_empty() && self.desk.parked.values().any(|parked| *parked > 0) {
                self.store.add_parked(&self.desk.lanes, &mut wrong).await?;
                judged = judged.into_iter().map(|(case, _)| with_findings(case, now)).collect();
            }
        }
        let note = Arc::new(self.desk.lanes.note());
        for (case, found) in judged {
            self.suspects.hear(case, found, &note, Instant::now(), was_due);
        }
        Ok(())
    }
}

fn with_findings(case: Case, now: Timestamp) -> (Case, Vec<Finding>) {
    let found = judge(&case, now);
    (case, found)
}
