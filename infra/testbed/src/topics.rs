//! Topics of the test's own, told apart by a prefix.

use crate::eventually;
use chassis::settings::Environment;
use publisher::PublisherConfig;
use schemas::topics::Topic;

/// The test stack's brokers.
pub fn kafka_brokers() -> String {
    Environment::process().text_or("TEST_KAFKA_BROKERS", "127.0.0.1:39092")
}

/// Every topic of the pipeline under a prefix that no other test has; deleted with this value.
#[derive(Debug)]
pub struct Topics {
    /// The prefix (`TOPIC_PREFIX`).
    pub prefix: String,
    /// Partitions of each topic.
    pub partitions: i32,
}

impl Topics {
    /// Creates them.
    pub async fn create(partitions: i32) -> Self {
        let topics = Self { prefix: format!("t{}.", chassis::ids::random().simple()), partitions };
        publisher::topics::ensure(&topics.publisher(), partitions, 1)
            .await
            .unwrap_or_else(|e| panic!("{e}; start the test stack with `make test-stack-up`"));
        topics
    }

    /// Deletes one of them with all that it holds, and waits until the broker knows: who asks sooner is told that it is there.
    pub async fn delete(&self, topic: Topic) {
        publisher::topics::delete(&self.publisher(), &[topic]).await.unwrap();
        eventually("the topic is gone", async || {
            let all = publisher::topics::describe(&self.publisher()).await;
            all.is_ok_and(|all| all.iter().any(|found| found.topic == topic && found.partitions == 0))
        })
        .await;
    }

    /// Settings of a publisher to them. It is patient: what a test puts on the log is to be there, however busy the machine.
    pub fn publisher(&self) -> PublisherConfig {
        let environment = Environment::of([
            ("KAFKA_BROKERS".to_owned(), kafka_brokers()),
            ("TOPIC_PREFIX".to_owned(), self.prefix.clone()),
            ("KAFKA_DELIVERY_TIMEOUT".to_owned(), "60s".to_owned()),
        ]);
        PublisherConfig::from_environment(&environment, "testbed").unwrap()
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let config = self.publisher();
        // beside the tests, and by the end of the run at the latest with the whole instance: nobody waits for it
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(publisher::topics::delete(&config, &Topic::ALL));
        });
    }
}
