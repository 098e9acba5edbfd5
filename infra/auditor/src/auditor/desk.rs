//! The lanes: whether they hear each other, see to what is due, and whether what they say is sent.

use super::Auditor;
use crate::finding::{Finding, Kind, Subject};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// How old what is known of the lanes may be while nothing looks wrong.
const FRESH: Duration = Duration::from_secs(5);

impl Auditor {
    pub(super) async fn read_desk_if_old(&mut self, now: Instant) -> sqlx::Result<()> {
        if self.desk_read.is_none_or(|read| now - read >= FRESH) { self.read_desk(now).await } else { Ok(()) }
    }

    pub(super) async fn read_desk(&mut self, now: Instant) -> sqlx::Result<()> {
        self.desk = self.store.desk(self.config.patience).await?;
        self.desk_read = Some(now);
        self.of_lanes.clear();
        let undrained: BTreeSet<_> =
            self.desk.undrained.iter().map(|(service, at, _)| (*service, *at)).collect();
        for (service, partition, age) in &self.desk.undrained {
            let subject = Subject::Lane(service, *partition);
            self.of_lanes.push(
                Finding::new(
                    Kind::Outbox,
                    subject,
                    format!("the oldest row of its outbox waits for {age:.0} s"),
                )
                .repaired_by("mambogo relay".to_owned()),
            );
        }
        self.await_lanes(now, &undrained);
        for overdue in self.store.overdue_reminders(self.config.patience).await? {
            self.of_lanes.push(lane(
                "payments",
                overdue.partition,
                format!("{} reminders are overdue", overdue.rows),
            ));
        }
        Ok(())
    }

    /// What had been sent at one moment is taken in time, or somebody is behind.
    fn await_lanes(&mut self, now: Instant, undrained: &BTreeSet<(&'static str, i32)>) {
        let nobody = BTreeSet::new();
        match &self.awaited {
            Some((since, note)) if !note.behind(&self.desk.lanes, &nobody).is_empty() => {
                if now - *since >= self.config.patience {
                    for behind in note.behind(&self.desk.lanes, undrained) {
                        self.of_lanes.push(lane(behind.service, behind.partition, behind.what));
                    }
                }
            }
            _ => self.awaited = Some((now, self.desk.lanes.note())),
        }
    }
}

/// A lane that does not do its work.
pub(super) fn lane(service: &'static str, partition: i32, what: String) -> Finding {
    Finding::new(Kind::Lane, Subject::Lane(service, partition), what)
        .repaired_by(format!("mambogo work {service}"))
}
