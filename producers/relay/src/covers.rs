//! Tells the workers of this process whether waking its relay is enough.

use chassis::wake::Wake;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether this process's relay sends every lane of every source: then waking it is enough.
#[derive(Clone)]
pub(crate) struct Covers {
    wake: Wake,
    sources: Arc<[AtomicBool]>,
    index: usize,
}

impl Covers {
    pub(crate) fn new(wake: Wake, sources: usize) -> Self {
        wake.set_covers_all(false);
        Self { wake, sources: (0..sources).map(|_| AtomicBool::new(false)).collect(), index: 0 }
    }

    pub(crate) fn of(&self, index: usize) -> Self {
        Self { index, ..self.clone() }
    }

    /// Says whether this source's lanes are all sent here.
    pub(crate) fn set(&self, covers: bool) {
        if let Some(own) = self.sources.get(self.index) {
            own.store(covers, Ordering::Relaxed);
        }
        self.wake.set_covers_all(self.sources.iter().all(|source| source.load(Ordering::Relaxed)));
    }
}
