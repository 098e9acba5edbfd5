//! Places for those who watch their orders: so many in all, and so many for one caller.

use crate::metrics;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The places of one gateway. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seats {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_owner: HashMap<Arc<str>, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    /// The caller has as many as one may have.
    Yours,
    /// All are taken.
    All,
}

/// A place; free again when dropped.
pub(crate) struct Seat {
    of: Seats,
    owner: Arc<str>,
}

impl Seats {
    pub(crate) fn new(most: usize, most_each: usize) -> Self {
        Self { shared: Arc::new(Shared { most, most_each, taken: Mutex::default() }) }
    }

    pub(crate) fn take(&self, owner: &Arc<str>) -> Result<Seat, NoSeat> {
        let mut taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.by_owner.get(owner).copied().unwrap_or_default();
        if own >= self.shared.most_each {
            return Err(NoSeat::Yours);
        }
        if taken.all >= self.shared.most {
            return Err(NoSeat::All);
        }
        taken.all += 1;
        taken.by_owner.insert(owner.clone(), own + 1);
        ::metrics::gauge!(metrics::WATCHERS).increment(1.0);
        Ok(Seat { of: self.clone(), owner: owner.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.of.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.by_owner.get_mut(&self.owner) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_owner.remove(&self.owner)),
        }
        ::metrics::gauge!(metrics::WATCHERS).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_and_nobody_takes_them_all() {
        let seats = Seats::new(3, 2);
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let first = seats.take(&ann);
        let second = seats.take(&ann);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(seats.take(&ann).err(), Some(NoSeat::Yours));
        let third = seats.take(&bob);
        assert!(third.is_ok());
        assert_eq!(seats.take(&bob).err(), Some(NoSeat::All));
        drop(first);
        assert!(seats.take(&bob).is_ok());
        drop((second, third));
        let taken = seats.shared.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_owner.len()), (0, 0));
    }
}
