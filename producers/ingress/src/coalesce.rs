//! Many waiting requests, few queries: questions are gathered while the queries before them run.

use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Why a question has no answer. None of these says anything about what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Too many are waiting already.
    #[error("{0} has too many waiting")]
    Full(&'static str),
    /// No answer came in time.
    #[error("{0} did not answer in time")]
    Late(&'static str),
    /// The query failed.
    #[error("{0} failed: {1}")]
    Failed(&'static str, String),
}

/// Bounds of a [`Coalescer`].
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most questions in one query; what was asked together stays together, however many.
    pub batch: usize,
    /// Most askers waiting.
    pub queue: usize,
    /// Most queries at once.
    pub concurrent: usize,
    /// Longest wait for an answer.
    pub patience: Duration,
}

impl Default for Bounds {
    /// 500 a query, 10,000 waiting, two queries at once, 2 s.
    fn default() -> Self {
        Self { batch: 500, queue: 10_000, concurrent: 2, patience: Duration::from_secs(2) }
    }
}

/// Questions that were asked together, and who waits for their answers.
struct Asked<K, V> {
    keys: Vec<K>,
    answer: oneshot::Sender<Result<Vec<V>, Unanswered>>,
}

/// Answers questions of one kind in batches. The query of a question always begins after it was asked, and runs in a
/// task of its own, so that a client that goes away never cancels a query half-way.
#[derive(Debug)]
pub struct Coalescer<K, V> {
    name: &'static str,
    patience: Duration,
    queue: mpsc::Sender<Asked<K, V>>,
}

impl<K, V> Clone for Coalescer<K, V> {
    fn clone(&self) -> Self {
        Self { name: self.name, patience: self.patience, queue: self.queue.clone() }
    }
}

impl<K: Send + 'static, V: Send + 'static> Coalescer<K, V> {
    /// Starts the task that gathers; it ends with the last clone. `load` answers in the order of its questions.
    pub fn start<F, R>(name: &'static str, bounds: Bounds, load: F) -> Self
    where
        F: Fn(Vec<K>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<V>, String>> + Send + 'static,
    {
        let (queue, questions) = mpsc::channel(bounds.queue);
        tokio::spawn(gather(name, bounds, questions, Arc::new(load)));
        Self { name, patience: bounds.patience, queue }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(&self, key: K) -> Result<V, Unanswered> {
        self.ask_all(vec![key]).await?.pop().ok_or_else(|| wrong_number(self.name))
    }

    /// Asks many things at once; one answer each, in their order.
    ///
    /// # Errors
    /// [`Unanswered`]: for all of them.
    pub async fn ask_all(&self, keys: Vec<K>) -> Result<Vec<V>, Unanswered> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let (sender, answer) = oneshot::channel();
        let asked = Asked { keys, answer: sender };
        self.queue.try_send(asked).map_err(|_| Unanswered::Full(self.name))?;
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Unanswered::Failed(self.name, "the query was lost".to_owned())),
            Err(_) => Err(Unanswered::Late(self.name)),
        }
    }
}

async fn gather<K, V, F, R>(
    name: &'static str,
    bounds: Bounds,
    mut questions: mpsc::Receiver<Asked<K, V>>,
    load: Arc<F>,
) where
    K: Send + 'static,
    V: Send + 'static,
    F: Fn(Vec<K>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<V>, String>> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(bounds.concurrent.max(1)));
    // the slot first, the questions then: while queries run, the next batch grows
    while let Ok(slot) = free.clone().acquire_owned().await {
        let Some(first) = questions.recv().await else { return };
        let (mut keys, mut askers) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(Asked { keys: more, answer }) = next {
            // who has given up in the queue needs no answer
            if !answer.is_closed() {
                askers.push((more.len(), answer));
                keys.extend(more);
            }
            next = if keys.len() < bounds.batch { questions.try_recv().ok() } else { None };
        }
        if keys.is_empty() {
            continue;
        }
        let load = load.clone();
        tokio::spawn(async move {
            let _slot = slot;
            let asked = keys.len();
            metrics::histogram!(crate::metrics::COALESCED, "query" => name).record(asked as f64);
            match load(keys).await {
                Ok(answers) if answers.len() == asked => tell(askers, answers),
                Ok(_) => refuse(askers, &wrong_number(name)),
                Err(message) => {
                    tracing::warn!(query = name, asked, error = %message, "a coalesced query failed");
                    refuse(askers, &Unanswered::Failed(name, message));
                }
            }
        });
    }
}

type Askers<V> = Vec<(usize, oneshot::Sender<Result<Vec<V>, Unanswered>>)>;

fn tell<V>(askers: Askers<V>, answers: Vec<V>) {
    let mut answers = answers.into_iter();
    for (asked, asker) in askers {
        let _ = asker.send(Ok(answers.by_ref().take(asked).collect()));
    }
}

fn refuse<V>(askers: Askers<V>, why: &Unanswered) {
    for (_, asker) in askers {
        let _ = asker.send(Err(why.clone()));
    }
}

fn wrong_number(name: &'static str) -> Unanswered {
    Unanswered::Failed(name, "wrong number of answers".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn many_questions_become_few_queries_each_with_its_own_answer() {
        let queries = Arc::new(AtomicUsize::new(0));
        let counted = queries.clone();
        let coalescer = Coalescer::start("test", Bounds::default(), move |keys: Vec<usize>| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                Ok(keys.into_iter().map(|key| key * 2).collect())
            }
        });
        let asked = (0..1_000usize).map(|key| {
            let coalescer = coalescer.clone();
            async move { (key, coalescer.ask(key).await) }
        });
        for (key, answer) in futures_util::future::join_all(asked).await {
            assert_eq!(answer, Ok(key * 2));
        }
        assert!(queries.load(Ordering::Relaxed) <= 10, "{queries:?}");
    }

    #[tokio::test]
    async fn what_is_asked_together_is_answered_together_each_to_who_asked() {
        let load = |keys: Vec<usize>| async { Ok(keys.into_iter().map(|key| key * 2).collect()) };
        let coalescer = Coalescer::start("test", Bounds { batch: 5, ..Bounds::default() }, load);
        let asked = (0..20usize).map(|n| coalescer.ask_all((0..n).map(|key| 100 * n + key).collect()));
        for (n, answers) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
            assert_eq!(answers, Ok((0..n).map(|key| 2 * (100 * n + key)).collect()));
        }
    }

    #[tokio::test]
    async fn a_failed_late_or_full_query_is_said_so() {
        let failing =
            Coalescer::<u8, u8>::start("failing", Bounds::default(), |_| async { Err("no".to_owned()) });
        assert_eq!(failing.ask(1).await, Err(Unanswered::Failed("failing", "no".to_owned())));

        let bounds =
            Bounds { queue: 1, concurrent: 1, patience: Duration::from_millis(20), ..Bounds::default() };
        let stuck = Coalescer::<u8, u8>::start("stuck", bounds, |_| std::future::pending());
        let asked = (0..5).map(|key| stuck.ask(key));
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.contains(&Err(Unanswered::Late("stuck"))), "{answers:?}");
        assert!(answers.contains(&Err(Unanswered::Full("stuck"))), "{answers:?}");
    }
}
