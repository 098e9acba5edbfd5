//! Who waits for an order here, and the channel on which the status worker wakes this gateway.
//!
//! A wake-up says only "look again". One that is lost costs a waiting client up to a tick, never an answer.

use crate::redis_link::{RedisConfig, RedisLink};
use futures_util::StreamExt;
use redis::{Client, RedisError};
use schemas::{ids::OrderId, view};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often the channel is checked to be alive.
const PING: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Waiting {
    notify: Arc<Notify>,
    count: usize,
}

/// The register of one gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wakeups {
    gateway: Arc<str>,
    waiting: Arc<Mutex<HashMap<OrderId, Waiting>>>,
}

impl Wakeups {
    /// A register that hears nothing from outside yet.
    #[must_use]
    pub fn new() -> Self {
        Self { gateway: chassis::ids::random().as_simple().to_string().into(), waiting: Arc::default() }
    }

    /// The id under which this gateway is woken.
    #[must_use]
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Registers a wait for `order`. Register first, look then: what changes in between is not missed.
    #[must_use]
    pub fn register(&self, order: OrderId) -> Registration {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let entry =
            waiting.entry(order).or_insert_with(|| Waiting { notify: Arc::new(Notify::new()), count: 0 });
        entry.count += 1;
        Registration { order, notify: entry.notify.clone(), of: self.clone() }
    }

    /// Wakes all who wait for `order`.
    pub fn wake(&self, order: OrderId) {
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(&order) {
            waiting.notify.notify_waiters();
        }
    }

    /// Listens to this gateway's channel until `stop`, again after each loss.
    ///
    /// # Errors
    /// When the URL does not read.
    pub fn listen(
        &self,
        config: &RedisConfig,
        link: &RedisLink,
        stop: CancellationToken,
    ) -> Result<(), RedisError> {
        let client = Client::open(config.url.expose())?;
        let (of, timeout, mut connects) = (self.clone(), config.connect_timeout, link.connects());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                if let Err(error) = of.hear(&client, timeout).await {
                    tracing::debug!(%error, "the wake-up channel broke");
                }
                // the link knows when the server is back; the time is for a channel that broke alone
                let _ = tokio::time::timeout(Duration::from_secs(1), connects.changed()).await;
            }
        }));
        Ok(())
    }

    async fn hear(&self, client: &Client, timeout: Duration) -> Result<(), RedisError> {
        let late = |_| RedisError::from((redis::ErrorKind::Io, "the wake-up channel did not answer"));
        let opened = tokio::time::timeout(timeout, client.get_async_pubsub()).await.map_err(late)??;
        let (mut sink, mut messages) = opened.split();
        tokio::time::timeout(timeout, sink.subscribe(view::channel(&self.gateway))).await.map_err(late)??;
        let mut ping = tokio::time::interval(PING);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return Ok(()) };
                    let text: String = message.get_payload().unwrap_or_default();
                    if let Ok(order) = text.parse() {
                        self.wake(order);
                    }
                }
                _ = ping.tick() => {
                    let _: redis::Value = tokio::time::timeout(timeout, sink.ping()).await.map_err(late)??;
                }
            }
        }
    }
}

impl Default for Wakeups {
    fn default() -> Self {
        Self::new()
    }
}

/// One request's wait; ends when dropped.
#[derive(Debug)]
pub struct Registration {
    order: OrderId,
    notify: Arc<Notify>,
    of: Wakeups,
}

impl Registration {
    /// The wake-ups of this order. Take a `notified()` and enable it before looking.
    #[must_use]
    pub fn notify(&self) -> &Notify {
        &self.notify
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = waiting.get_mut(&self.order) {
            entry.count -= 1;
            if entry.count == 0 {
                waiting.remove(&self.order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_on_the_channel_wakes_who_waits_and_nobody_is_left_behind() {
        let server = testbed::Redis::start().await;
        let stop = CancellationToken::new();
        let config = RedisConfig {
            url: chassis::settings::Secret::new(server.url()),
            response_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(250),
        };
        let link = RedisLink::start(config.clone(), stop.clone()).unwrap();
        let wakeups = Wakeups::new();
        wakeups.listen(&config, &link, stop.clone()).unwrap();
        let order = OrderId(uuid::Uuid::from_u128(1));
        let registration = wakeups.register(order);
        let mut heard = Box::pin(registration.notify().notified());
        heard.as_mut().enable();
        let say = format!("PUBLISH {} {order}", view::channel(wakeups.gateway()));
        let published = async {
            // the channel may not be open yet
            while server.command(&say).await != ":1" {
                tokio::task::yield_now().await;
            }
            heard.as_mut().await;
        };
        tokio::time::timeout(Duration::from_secs(10), published).await.unwrap();
        drop(heard);
        drop(registration);
        assert!(wakeups.waiting.lock().unwrap().is_empty());
        stop.cancel();
    }
}
