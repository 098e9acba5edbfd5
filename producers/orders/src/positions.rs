//! Where the log ends and where the orders lanes stand, asked together by all who wait.

use crate::{
    proof::{Lanes, has_passed},
    read,
};
use ingress::{
    coalesce::{Bounds, Coalescer, Unanswered},
    log::Log,
};
use schemas::topics::Topic;
use sqlx::PgPool;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often a lane that has not come far enough is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// Ends of `order.commands`, and the orders lanes.
#[derive(Clone)]
pub(crate) struct Positions {
    ends: Coalescer<(), Arc<Vec<i64>>>,
    lanes: Coalescer<(), Arc<Lanes>>,
}

impl Positions {
    pub(crate) fn start(log: Log, pool: PgPool) -> Self {
        let bounds = Bounds { concurrent: 1, batch: 10_000, ..Bounds::default() };
        let ends = Coalescer::start("topic_ends", bounds, move |asked: Vec<()>| {
            let log = log.clone();
            async move {
                let ends = Arc::new(log.ends(Topic::OrderCommands).await.map_err(|error| error.to_string())?);
                Ok(vec![ends; asked.len()])
            }
        });
        let lanes = Coalescer::start("lanes", bounds, move |asked: Vec<()>| {
            let pool = pool.clone();
            async move {
                let lanes = Arc::new(read::lanes(&pool).await.map_err(|error| error.to_string())?);
                Ok(vec![lanes; asked.len()])
            }
        });
        Self { ends, lanes }
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
        loop {
            if has_passed(self.lanes().await?.get(&partition).copied(), end) {
                return Ok(true);
            }
            if Instant::now() + POLL > deadline {
                return Ok(false);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
