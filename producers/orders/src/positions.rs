//! Where the log ends and where the orders lanes stand, asked together by all who wait.

use crate::{
    proof::{Lanes, has_passed},
    read,
};
use ingress::{
    coalesce::{Bounds, Coalescer, Unanswered},
    downstream::Downstream,
    log::Log,
};
use schemas::topics::Topic;
use sqlx::PgPool;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// How often lanes that have not come far enough are looked at again.
const POLL: Duration = Duration::from_millis(20);
/// Most who begin to wait between two looks.
const WAITING: usize = 10_000;

/// Ends of `order.commands`, and the orders lanes.
#[derive(Clone)]
pub(crate) struct Positions {
    ends: Coalescer<(), Arc<Vec<i64>>>,
    lanes: Coalescer<(), Arc<Lanes>>,
    waits: mpsc::Sender<Wait>,
}

/// Who waits for the lane of `partition` to reach `end`.
struct Wait {
    partition: i32,
    end: i64,
    reached: oneshot::Sender<()>,
}

impl Positions {
    /// What it starts ends with the last clone.
    pub(crate) fn start(log: Log, pool: PgPool, postgres: Downstream) -> Self {
        let bounds = Bounds { concurrent: 1, batch: 10_000, ..Bounds::default() };
        let ends = Coalescer::start("topic_ends", bounds, move |asked: Vec<()>| {
            let log = log.clone();
            async move {
                let ends = Arc::new(log.ends(Topic::OrderCommands).await.map_err(|error| error.to_string())?);
                Ok(vec![ends; asked.len()])
            }
        });
        let lanes = Coalescer::start("lanes", bounds, move |asked: Vec<()>| {
            let (pool, postgres) = (pool.clone(), postgres.clone());
            async move {
                let lanes = postgres.query(read::lanes(&pool)).await.map_err(|error| error.to_string())?;
                let lanes = Arc::new(lanes);
                Ok(vec![lanes; asked.len()])
            }
        });
        let (waits, waiting) = mpsc::channel(WAITING);
        tokio::spawn(watch(lanes.clone(), waiting));
        Self { ends, lanes, waits }
    }

    /// Where the topic ends now: asked after this call began.
    pub(crate) async fn ends(&self) -> Result<Arc<Vec<i64>>, Unanswered> {
        self.ends.ask(()).await
    }

    /// Where the lanes stand now.
    pub(crate) async fn lanes(&self) -> Result<Arc<Lanes>, Unanswered> {
        self.lanes.ask(()).await
    }

    /// Waits until the orders lane of `partition` has passed the end that the topic has now. `false` when it has not
    /// by `deadline`.
    pub(crate) async fn pass(&self, partition: i32, deadline: Instant) -> Result<bool, Unanswered> {
        let ends = self.ends().await?;
        let end = usize::try_from(partition).ok().and_then(|at| ends.get(at)).copied().unwrap_or(i64::MAX);
        self.reach(partition, end, deadline).await
    }

    /// Waits until the orders lane of `partition` has reached `end`. `false` when it has not by `deadline`. However many
    /// wait, the lanes are asked once a tick.
    pub(crate) async fn reach(
        &self,
        partition: i32,
        end: i64,
        deadline: Instant,
    ) -> Result<bool, Unanswered> {
        let (reached, hears) = oneshot::channel();
        let wait = Wait { partition, end, reached };
        self.waits.try_send(wait).map_err(|_| Unanswered::Full("the lanes"))?;
        Ok(matches!(tokio::time::timeout_at(deadline, hears).await, Ok(Ok(()))))
    }
}

/// Looks at the lanes while somebody waits.
async fn watch(lanes: Coalescer<(), Arc<Lanes>>, mut waits: mpsc::Receiver<Wait>) {
    let mut waiting: BTreeMap<(i32, i64), Vec<oneshot::Sender<()>>> = BTreeMap::new();
    while let Some(first) = waits.recv().await {
        let mut next = Some(first);
        loop {
            while let Some(Wait { partition, end, reached }) = next {
                waiting.entry((partition, end)).or_default().push(reached);
                next = waits.try_recv().ok();
            }
            match lanes.ask(()).await {
                Ok(lanes) => waiting.retain(|place, waiting| still_wait(&lanes, *place, waiting)),
                Err(error) => tracing::debug!(%error, "where the lanes stand is not known"),
            }
            if waiting.is_empty() {
                break;
            }
            tokio::time::sleep(POLL).await;
            next = waits.try_recv().ok();
        }
    }
}

/// Tells those whose lane has come far enough. Says whether anybody is left.
fn still_wait(lanes: &Lanes, (partition, end): (i32, i64), waiting: &mut Vec<oneshot::Sender<()>>) -> bool {
    if has_passed(lanes.get(&partition).copied(), end) {
        for waits in waiting.drain(..) {
            let _ = waits.send(());
        }
    } else {
        waiting.retain(|waits| !waits.is_closed());
    }
    !waiting.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn however_many_wait_the_lanes_are_asked_once_a_tick() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let lanes = Coalescer::start("lanes", Bounds::default(), move |keys: Vec<()>| {
            count.fetch_add(1, Ordering::Relaxed);
            let lanes = Arc::new(Lanes::from([(1, 900)]));
            async move { Ok(vec![lanes; keys.len()]) }
        });
        let (waits, waiting) = mpsc::channel(WAITING);
        tokio::spawn(watch(lanes.clone(), waiting));
        let none = Arc::new(Vec::new());
        let ends = Coalescer::start("ends", Bounds::default(), move |keys: Vec<()>| {
            let ends = vec![none.clone(); keys.len()];
            async move { Ok(ends) }
        });
        let positions = Positions { ends, lanes, waits };
        let deadline = Instant::now() + 5 * POLL;
        let reached =
            futures_util::future::join_all((0..1_000).map(|end| positions.reach(1, end, deadline))).await;
        assert!(reached.iter().take(901).all(|reached| *reached == Ok(true)), "the lane stands there");
        assert!(reached.iter().skip(901).all(|reached| *reached == Ok(false)), "it has not come there");
        assert!(asked.load(Ordering::Relaxed) < 50, "{asked:?} questions");
    }
}
