//! Small batches are few: after one of several records, the next gathers what comes meanwhile.

use super::{
    road::{Road, keys},
    toy::{Step, Toy},
};
use crate::config::WorkerConfig;
use std::time::Duration;
use testbed::eventually_within;
use uuid::Uuid;

impl Road {
    /// Batches that said something, over all lanes.
    async fn batches(&self) -> i64 {
        let mut connection = self.database.connect("orders").await;
        sqlx::query_scalar("SELECT sum(outbox_seq)::bigint FROM lane")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    async fn is_at(&self, key: Uuid, n: i64) {
        let arrived = async || self.stands().await.get(&key) == Some(&n);
        eventually_within(Duration::from_secs(60), "the records are taken", arrived).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_soon_after_a_batch_of_several_shares_the_next_one() {
    let road = Road::build().await;
    let key = keys(1)[0];
    for n in 1..=8 {
        road.send(key, Step::To(n)).await;
    }
    let worker = Road::work_with(
        &Toy::default(),
        WorkerConfig { batch_pause: Duration::from_secs(3), ..road.config() },
    );
    road.is_at(key, 8).await;
    let before = road.batches().await;
    for n in 9..=38 {
        road.send(key, Step::To(n)).await;
    }
    road.is_at(key, 38).await;
    let batches = road.batches().await - before;
    assert!(
        batches < 6,
        "30 records, each sent when the one before it was acknowledged, made {batches} batches"
    );
    worker.end().await;
}
