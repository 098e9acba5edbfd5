//! Members of the group: who stops has left, and of two under one static name the older one ends and says what to
//! change.

use super::{
    road::Road,
    toy::{Step, Toy},
};
use crate::{config::WorkerConfig, run, worker::WorkerError};
use chassis::{health::Health, wake::Wake};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use std::time::Duration;
use testbed::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_has_left_its_group() {
    let road = Road::build().await;
    let worker = road.work(&Toy::default());
    worker.is_ready().await;
    let group = format!("{}orders", road.topics.prefix);
    let members = async || {
        let group = group.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", testbed::kafka_brokers()).create().unwrap();
            let list = client.fetch_group_list(Some(&group), Duration::from_secs(15)).unwrap();
            list.groups().iter().map(|group| group.members().len()).sum::<usize>()
        });
        asked.await.unwrap()
    };
    assert_eq!(members().await, 1);
    worker.end().await;
    assert_eq!(members().await, 0, "its lanes would wait for a session time-out");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_under_one_name_the_older_one_ends_and_says_why() {
    let road = Road::build().await;
    let named = || WorkerConfig { instance: Some("twin".to_owned()), ..road.config() };
    let health = Health::default();
    let stop = CancellationToken::new();
    let older =
        tokio::spawn(run(Toy::default(), named(), health.part("older"), Wake::default(), stop.clone()));
    eventually("the older one is ready", async || health.is_ready()).await;
    let toy = Toy::default();
    let younger = Road::work_with(&toy, named());
    let ended = tokio::time::timeout(Duration::from_secs(60), older).await;
    let error = ended.expect("it ends by itself").unwrap().expect_err("and not in peace");
    assert!(matches!(error, WorkerError::Client { .. }), "{error}");
    assert!(error.to_string().contains("KAFKA_GROUP_INSTANCE_ID"), "{error}");
    // the younger one has the lanes and does the work
    let key = Uuid::from_u128(3);
    road.send(key, Step::To(1)).await;
    eventually("the younger one works", async || road.stands().await.get(&key) == Some(&1)).await;
    younger.end().await;
}
