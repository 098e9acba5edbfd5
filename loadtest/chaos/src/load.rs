//! Buyers by the clock: so many begin each second, whatever becomes of those before them.

use crate::{
    buyer::{Life, Shop, buy},
    order::{Order, Shelf},
};
use rand::rngs::StdRng;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// A load that runs.
#[derive(Debug)]
pub(crate) struct Load {
    stop: CancellationToken,
    buyers: JoinHandle<(Vec<Life>, StdRng)>,
}

/// Where the numbers of orders stand, and what they are drawn from.
#[derive(Debug)]
pub(crate) struct Draws {
    pub(crate) random: StdRng,
    pub(crate) run: String,
    pub(crate) next: u64,
}

impl Load {
    /// Begins `rate` orders a second.
    pub(crate) fn begin(shop: &Arc<Shop>, shelf: &Shelf, draws: &Draws, rate: u32) -> Self {
        let (shop, shelf, run) = (Arc::clone(shop), shelf.clone(), draws.run.clone());
        let (mut random, mut n) = (draws.random.clone(), draws.next);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let buyers = tokio::spawn(async move {
            let mut buyers = JoinSet::new();
            let mut lives = Vec::new();
            let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while stopped.run_until_cancelled(pace.tick()).await.is_some() {
                buyers.spawn(buy(Arc::clone(&shop), Order::draw(&mut random, &shelf, &run, n)));
                n += 1;
                while let Some(Ok(life)) = buyers.try_join_next() {
                    lives.push(life);
                }
            }
            lives.extend(buyers.join_all().await);
            (lives, random)
        });
        Self { stop, buyers }
    }

    /// No more buyers; waits until the last one has seen its end, or given up.
    pub(crate) async fn end(self, draws: &mut Draws) -> Vec<Life> {
        self.stop.cancel();
        let (lives, random) = self.buyers.await.unwrap_or_else(|_| (Vec::new(), draws.random.clone()));
        draws.next += lives.len() as u64;
        draws.random = random;
        lives
    }
}
