//! Questions that name a place of the primary's log wait apart from all others: while the primary says nothing, whoever
//! has to be told by it holds up nobody whom a replica tells.

use crate::databases::Lsn;
use ingress::coalesce::{Coalescer, Unanswered};

/// A question, and the place that its answer must know of.
pub(crate) type Placed<K> = (K, Option<Lsn>);

/// Two of one kind. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ByPlace<K, V> {
    any: Coalescer<Placed<K>, V>,
    placed: Coalescer<Placed<K>, V>,
}

impl<K: Send + 'static, V: Send + 'static> ByPlace<K, V> {
    /// Starts both: `start` is given the name of each.
    pub(crate) fn start(
        [any, placed]: [&'static str; 2],
        start: impl Fn(&'static str) -> Coalescer<Placed<K>, V>,
    ) -> Self {
        Self { any: start(any), placed: start(placed) }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn ask(&self, question: Placed<K>) -> Result<V, Unanswered> {
        let of = if question.1.is_some() { &self.placed } else { &self.any };
        of.ask(question).await
    }
}
