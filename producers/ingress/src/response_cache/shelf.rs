//! Where answers are kept: by path and query, within a number of bytes, the oldest going first.

use axum::{body::Bytes, http::HeaderMap};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What a place costs beside its key and answer: about that much memory, in bytes.
const FRAME: usize = 512;

/// An answer as the handler gave it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// When it came, in milliseconds since 1970.
    at: i64,
}

impl Kept {
    pub(super) fn of(headers: HeaderMap, body: Bytes, now: i64) -> Self {
        Self { headers, body, at: now }
    }

    /// How old it is at `now`; of an answer from the future, by a clock that stepped back, nothing is known: as old as can be.
    pub(super) fn age(&self, now: i64) -> Duration {
        u64::try_from(now.saturating_sub(self.at)).map_or(Duration::MAX, Duration::from_millis)
    }
}

/// The place of one answer, whether there is one or not.
#[derive(Clone, Default)]
pub(super) struct Place {
    kept: Arc<Mutex<Option<Kept>>>,
    /// Whether it could not be fetched the last time.
    has_failed: Arc<AtomicBool>,
    /// Held by whoever fetches it.
    pub(super) alone: Arc<tokio::sync::Mutex<()>>,
}

impl Place {
    pub(super) fn kept(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }
}

pub(super) struct Shelf {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    places: HashMap<String, Place>,
    /// Keys in the order in which they came, each with what it costs.
    order: VecDeque<(String, usize)>,
    bytes: usize,
}

impl Shelf {
    pub(super) fn of(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    /// The place for `key`: one on the shelf, or an empty one beside it.
    pub(super) fn place(&self, key: &str) -> Place {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.places.get(key) {
            return place.clone();
        }
        let place = Place::default();
        held.add(key, place.clone(), FRAME + key.len(), self.most);
        place
    }

    /// Puts an answer into its place, which is put back if it went in the meantime.
    pub(super) fn put(&self, key: &str, place: &Place, kept: Kept) {
        let cost = FRAME + 2 * key.len() + kept.body.len();
        *place.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        place.has_failed.store(false, Ordering::Relaxed);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(key);
        held.add(key, place.clone(), cost, self.most);
    }
}

impl Held {
    fn add(&mut self, key: &str, place: Place, cost: usize, most: usize) {
        while self.bytes + cost > most {
            let Some((oldest, freed)) = self.order.pop_front() else { break };
            self.places.remove(&oldest);
            self.bytes -= freed;
        }
        if self.bytes + cost > most {
            return;
        }
        self.bytes += cost;
        self.order.push_back((key.to_owned(), cost));
        self.places.insert(key.to_owned(), place);
    }

    fn remove(&mut self, key: &str) {
        if self.places.remove(key).is_none() {
            return;
        }
        if let Some(at) = self.order.iter().position(|(held, _)| held == key)
            && let Some((_, freed)) = self.order.remove(at)
        {
            self.bytes -= freed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_more_room() {
        let shelf = Shelf::of(10 * (FRAME + 1_000));
        for n in 0..100 {
            let key = format!("/{n:03}");
            let place = shelf.place(&key);
            shelf.put(&key, &place, Kept::of(HeaderMap::new(), Bytes::from(vec![0; 900]), 0));
        }
        assert!(shelf.place("/099").kept().is_some());
        assert!(shelf.place("/000").kept().is_none());
        let held = shelf.held.lock().unwrap();
        assert!(held.bytes <= shelf.most && held.places.len() == held.order.len(), "{}", held.bytes);
        assert_eq!(held.bytes, held.order.iter().map(|(_, cost)| cost).sum::<usize>());
    }

    #[test]
    fn what_is_larger_than_the_shelf_is_not_kept_and_costs_nothing() {
        let shelf = Shelf::of(FRAME + 100);
        let place = shelf.place("/a");
        shelf.put("/a", &place, Kept::of(HeaderMap::new(), Bytes::from(vec![0; 900]), 0));
        let held = shelf.held.lock().unwrap();
        assert_eq!((held.bytes, held.places.len()), (0, 0));
    }
}
