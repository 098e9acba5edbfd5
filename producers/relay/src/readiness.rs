//! One health entry for all sources: ready when each of them is.

use chassis::health::Part;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The relay's health entry.
#[derive(Clone)]
pub(crate) struct Readiness {
    part: Part,
    states: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// One source's share in it.
pub(crate) struct Condition {
    all: Readiness,
    source: String,
    last: Option<Option<String>>,
}

impl Readiness {
    pub(crate) fn new(part: Part, sources: impl Iterator<Item = String>) -> Self {
        let states = sources.map(|source| (source, Some("starting".to_owned()))).collect();
        Self { part, states: Arc::new(Mutex::new(states)) }
    }

    pub(crate) fn of(&self, source: &str) -> Condition {
        Condition { all: self.clone(), source: source.to_owned(), last: None }
    }

    fn set(&self, source: &str, trouble: Option<String>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(source.to_owned(), trouble);
        let troubles: Vec<String> = states
            .iter()
            .filter_map(|(source, trouble)| trouble.as_ref().map(|why| format!("{source}: {why}")))
            .collect();
        if troubles.is_empty() {
            self.part.ready();
        } else {
            self.part.not_ready(troubles.join("; "));
        }
    }
}

impl Condition {
    /// Says what is wrong, or that nothing is.
    pub(crate) fn set(&mut self, trouble: Option<String>) {
        if self.last.as_ref() != Some(&trouble) {
            match &trouble {
                Some(why) => tracing::warn!(source = self.source, why, "relay is not ready"),
                None => tracing::info!(source = self.source, "relay is ready"),
            }
            self.all.set(&self.source, trouble.clone());
            self.last = Some(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::health::Health;

    #[test]
    fn it_is_ready_when_every_source_is() {
        let health = Health::default();
        let readiness = Readiness::new(health.part("relay"), ["a".to_owned(), "b".to_owned()].into_iter());
        let (mut a, mut b) = (readiness.of("a"), readiness.of("b"));
        a.set(None);
        assert!(!health.is_ready());
        b.set(None);
        assert!(health.is_ready());
        b.set(Some("Postgres is away".to_owned()));
        assert_eq!(health.parts()["relay"], Err("b: Postgres is away".to_owned()));
    }
}
