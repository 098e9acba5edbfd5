//! What all services stand on: time, the log, the provider, and who watches.

use crate::{
    check::{Runs, Takes, Violation},
    curses::Curses,
    events::EventReader,
    log::Log,
    notes::Notes,
    plant::Plant,
    provider::Provider,
};
use payments_worker::plan::Intent;
use schemas::time::Timestamp;

#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) now: Timestamp,
    pub(crate) partitions: i32,
    pub(crate) log: Log,
    pub(crate) provider: Provider,
    /// Calls that outlived their owners.
    pub(crate) stragglers: Vec<Intent>,
    pub(crate) curses: Curses,
    pub(crate) takes: Takes,
    pub(crate) runs: Runs,
    pub(crate) events: EventReader,
    pub(crate) plant: Plant,
    pub(crate) notes: Notes,
}

impl Stage {
    /// A call that outlived its owner arrives. Says whether there was one.
    pub(crate) fn straggle(&mut self) -> Result<bool, Violation> {
        let Some(intent) = (!self.stragglers.is_empty()).then(|| self.stragglers.remove(0)) else {
            return Ok(false);
        };
        let answer = self.provider.ask(&intent)?;
        self.notes.note(self.now, |_| format!("provider: a late call arrives: {answer:?}, heard by nobody"));
        Ok(true)
    }
}
