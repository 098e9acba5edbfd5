//! The running role: looks at every tick, and goes over everything again and again in the background, so slowly that
//! it costs next to nothing.

use crate::{
    Auditor,
    config::{AuditConfig, SourceConfig},
    finding::{Finding, Kind, Subject},
    metrics as names,
    store::{Database, stock},
};
use chassis::{clock::Clock, health::Part};
use metrics::{counter, gauge, histogram};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// The shortest pause between two comparisons of all stock, and after a pass over all orders.
const SHORTEST: Duration = Duration::from_secs(10);
/// Most findings logged one by one; the gauges count all.
const LOGGED: usize = 1_000;

/// Looks until `stop`. Findings are logged once, and once when they are gone; gauges say what stands.
pub async fn run(config: AuditConfig, part: Part, stop: CancellationToken) {
    let (send, stock) = watch::channel(Vec::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(compare_stock(config.inventory.clone(), config.pause, send));
    let mut tick = interval(config.tick);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut role = Role {
        auditor: Auditor::new(config),
        said: Said::default(),
        next_page: Instant::now(),
        pass_begun: None,
    };
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        role.auditor.of_stock.clone_from(&stock.borrow());
        match role.tick().await {
            Ok(()) => part.ready(),
            Err(error) => {
                counter!(names::ERRORS).increment(1);
                part.not_ready(format!("the books cannot be read: {error}"));
                tracing::warn!(%error, "audit");
            }
        }
    }
    tasks.shutdown().await;
}

struct Role {
    auditor: Auditor,
    said: Said,
    next_page: Instant,
    pass_begun: Option<Instant>,
}

impl Role {
    async fn tick(&mut self) -> sqlx::Result<()> {
        let begun = Instant::now();
        let looked = self.auditor.looked();
        self.auditor.tick().await?;
        self.page_if_due().await?;
        for oldest in self.auditor.oldest_transactions().await? {
            gauge!(names::OLDEST_TRANSACTION, "service" => oldest.service).set(oldest.open);
            gauge!(names::OLDEST_IDLE_TRANSACTION, "service" => oldest.service).set(oldest.idle);
        }
        histogram!(names::LOOK_SECONDS).record(begun.elapsed().as_secs_f64());
        counter!(names::LOOKED).increment(self.auditor.looked() - looked);
        gauge!(names::LAST_LOOK).set(seconds_now());
        gauge!(names::SUSPECTS).set(self.auditor.suspects() as f64);
        gauge!(names::BEHIND).set(self.auditor.behind().as_secs_f64());
        let standing = self.auditor.standing();
        for kind in Kind::ALL {
            let count = standing.iter().filter(|finding| finding.kind == *kind).count();
            gauge!(names::DRIFT, "kind" => kind.name()).set(count as f64);
        }
        self.said.say(standing);
        Ok(())
    }

    /// One page of the pass under way, if enough time has gone by since the last.
    async fn page_if_due(&mut self) -> sqlx::Result<()> {
        let begun = Instant::now();
        if begun < self.next_page {
            return Ok(());
        }
        let pass_begun = *self.pass_begun.get_or_insert(begun);
        let is_last = self.auditor.sweep_page().await?;
        let pause = begun.elapsed() * self.auditor.pause();
        self.next_page = begun + if is_last { pause.max(SHORTEST) } else { pause };
        if is_last {
            gauge!(names::LAST_PASS).set(seconds_now());
            gauge!(names::PASS_SECONDS).set(pass_begun.elapsed().as_secs_f64());
            self.pass_begun = None;
        }
        Ok(())
    }
}

/// Compares all stock again and again, on a connection of its own: with many holds that takes seconds.
async fn compare_stock(inventory: SourceConfig, pause: u32, send: watch::Sender<Vec<Finding>>) {
    let mut database = Database::new(inventory);
    loop {
        let begun = Instant::now();
        match stock::compare(&mut database).await {
            Ok((_, found)) => {
                send.send_replace(found);
            }
            Err(error) => {
                database.forget();
                tracing::warn!(%error, "audit of stock");
            }
        }
        sleep((begun.elapsed() * pause).max(SHORTEST)).await;
    }
}

/// What has been logged and still stands.
#[derive(Default)]
struct Said(BTreeMap<(Kind, Subject), ()>);

impl Said {
    fn say(&mut self, standing: Vec<Finding>) {
        let mut before = std::mem::take(&mut self.0);
        for finding in standing.into_iter().take(LOGGED) {
            let key = (finding.kind, finding.subject);
            if before.remove(&key).is_none() {
                let (kind, subject, repair) =
                    (finding.kind.name(), finding.subject.to_string(), &finding.repair);
                let figures = &finding.what;
                if finding.kind.is_drift() {
                    tracing::error!(kind, subject, figures, repair, "drift");
                } else {
                    tracing::warn!(kind, subject, figures, repair, "this waits for a person");
                }
            }
            self.0.insert(key, ());
        }
        for (kind, subject) in before.into_keys() {
            tracing::info!(kind = kind.name(), subject = %subject, "put right");
        }
    }
}

fn seconds_now() -> f64 {
    Clock::system().now_millis() as f64 / 1_000.0
}
