//! Work that the edge does outside the requests: refreshing, telling, writing down. A bounded queue with a few hands; what
//! finds the queue full is done by whoever brought it, which slows down who asks for too much instead of piling it up.

use crate::metrics;
use futures_util::FutureExt;
use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc};
use tokio::sync::{Mutex, mpsc};

/// How much runs and waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackgroundLimits {
    /// Hands that are always there.
    pub hands: usize,
    /// Most hands, while the queue is not empty.
    pub most: usize,
    /// Most tasks waiting.
    pub queue: usize,
}

impl Default for BackgroundLimits {
    /// 10 hands, 50 when there is much to do, 100 tasks waiting.
    fn default() -> Self {
        Self { hands: 10, most: 50, queue: 100 }
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The queue. Cheap to clone; hands end with its last clone, once all is done.
#[derive(Debug, Clone)]
pub struct Background {
    name: &'static str,
    queue: mpsc::Sender<Task>,
    waiting: Arc<Mutex<mpsc::Receiver<Task>>>,
    more: Arc<tokio::sync::Semaphore>,
}

impl Background {
    /// Starts its hands. `name` is a label of metrics.
    #[must_use]
    pub fn start(name: &'static str, limits: BackgroundLimits) -> Self {
        let (queue, waiting) = mpsc::channel(limits.queue.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        let hands = limits.hands.max(1);
        for _ in 0..hands {
            let waiting = waiting.clone();
            tokio::spawn(async move {
                while let Some(task) = next(&waiting).await {
                    run(name, task).await;
                }
            });
        }
        let more = Arc::new(tokio::sync::Semaphore::new(limits.most.saturating_sub(hands)));
        Self { name, queue, waiting, more }
    }

    /// Has `task` done: later where there is room, by a further hand where the queue is full, and else here and now,
    /// while the caller waits.
    pub async fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Err(refused) = self.queue.try_send(Box::pin(task)) else {
            self.say();
            return;
        };
        let task = refused.into_inner();
        match self.more.clone().try_acquire_owned() {
            Ok(hand) => self.lend(hand, task),
            Err(_) => {
                ::metrics::counter!(metrics::BACKGROUND_BY_CALLER, "queue" => self.name).increment(1);
                run(self.name, task).await;
            }
        }
    }

    /// A further hand: does this, and what waits, until nothing does.
    fn lend(&self, hand: tokio::sync::OwnedSemaphorePermit, task: Task) {
        let (name, waiting) = (self.name, Arc::downgrade(&self.waiting));
        tokio::spawn(async move {
            let _hand = hand;
            run(name, task).await;
            while let Some(task) =
                waiting.upgrade().and_then(|waiting| waiting.try_lock().ok()?.try_recv().ok())
            {
                run(name, task).await;
            }
        });
    }

    fn say(&self) {
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        ::metrics::gauge!(metrics::BACKGROUND_WAITING, "queue" => self.name).set(waiting as f64);
    }
}

async fn next(waiting: &Mutex<mpsc::Receiver<Task>>) -> Option<Task> {
    waiting.lock().await.recv().await
}

/// A task that panics ends alone.
async fn run(name: &'static str, task: Task) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        ::metrics::counter!(metrics::PANICS).increment(1);
        tracing::error!(queue = name, "a task in the background panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    const LIMITS: BackgroundLimits = BackgroundLimits { hands: 2, most: 5, queue: 10 };

    #[tokio::test]
    async fn what_is_full_is_done_by_whoever_brings_it_and_nothing_is_lost() {
        let background = Background::start("test", LIMITS);
        let (gate, done) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let brought = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..30)
            .map(|_| {
                let (background, gate) = (background.clone(), gate.clone());
                let (done, brought) = (done.clone(), brought.clone());
                tokio::spawn(async move {
                    let task = async move {
                        gate.acquire().await.unwrap().forget();
                        done.fetch_add(1, Ordering::Relaxed);
                    };
                    background.run(task).await;
                    brought.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        // as many are put off as there are hands and places; the other callers stand and work themselves
        let (least, most) = (LIMITS.most - LIMITS.hands + LIMITS.queue, LIMITS.most + LIMITS.queue);
        testbed::eventually("hands and queue are full", async || brought.load(Ordering::Relaxed) >= least)
            .await;
        assert!(brought.load(Ordering::Relaxed) <= most);
        assert_eq!(done.load(Ordering::Relaxed), 0);
        gate.add_permits(30);
        for caller in callers {
            caller.await.unwrap();
        }
        testbed::eventually("all is done", async || done.load(Ordering::Relaxed) == 30).await;
    }

    #[tokio::test]
    async fn a_task_that_panics_costs_no_hand() {
        let background = Background::start("test", BackgroundLimits { hands: 1, most: 1, queue: 10 });
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            background.run(async { panic!("one of many") }).await;
            let counted = done.clone();
            background.run(async move { _ = counted.fetch_add(1, Ordering::Relaxed) }).await;
        }
        testbed::eventually("the others are done", async || done.load(Ordering::Relaxed) == 5).await;
    }
}
