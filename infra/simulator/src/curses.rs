//! Records that fail: so many times, or until what is wrong with them is mended. The worker meets them as it meets a
//! record that makes the service panic, or one of a schema that its release does not know: by their place, unread.

use crate::script::Part;
use harness::{
    pure::{PANIC, Place, UNKNOWN_SCHEMA},
    record::{Record, Rejection},
};
use schemas::{ids::MessageId, parked::ParkedCommand};
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Debug, Clone)]
struct Curse {
    /// Whom it hit: the first message of its key that came to be taken.
    message: Option<MessageId>,
    /// Failures to come; `None`: until it is mended.
    left: Option<u8>,
    cause: &'static str,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Curses {
    laid: BTreeMap<(Part, Vec<u8>), Curse>,
    ever: BTreeSet<(Part, MessageId)>,
}

impl Curses {
    /// The next message of that key fails `times` times; 0: until it is mended.
    pub(crate) fn lay(&mut self, part: Part, key: Vec<u8>, times: u8, unknown: bool) {
        let cause = if unknown { UNKNOWN_SCHEMA } else { PANIC };
        let left = (times > 0).then_some(times);
        self.laid.insert((part, key), Curse { message: None, left, cause });
    }

    pub(crate) fn mend(&mut self) {
        self.laid.clear();
    }

    /// Which of these records fail now. `is_new`: whether a record is one that was not taken before.
    pub(crate) fn poison<'a>(
        &mut self,
        part: Part,
        records: impl Iterator<Item = &'a Record>,
        is_new: impl Fn(&Record) -> bool,
    ) -> HashMap<Place, Rejection> {
        let mut poison = HashMap::new();
        if self.laid.is_empty() {
            return poison;
        }
        for record in records {
            let Some(message) = message(record) else { continue };
            let Some(curse) = self.laid.get_mut(&(part, record.key.clone())) else { continue };
            if curse.message.is_none() && is_new(record) {
                curse.message = Some(message);
                self.ever.insert((part, message));
            }
            if curse.message == Some(message) {
                let rejection = Rejection::new(curse.cause, "it is cursed");
                poison.insert((record.partition, record.offset), rejection);
            }
        }
        poison
    }

    /// A record was set aside, or failed again.
    pub(crate) fn failed(&mut self, part: Part, record: &Record) {
        let place = (part, record.key.clone());
        let Some(curse) = self.laid.get_mut(&place).filter(|it| it.message == message(record)) else {
            return;
        };
        curse.left = curse.left.map(|left| left.saturating_sub(1));
        if curse.left == Some(0) {
            self.laid.remove(&place);
        }
    }

    /// Whether a record fails now.
    pub(crate) fn holds(&self, part: Part, record: &Record) -> bool {
        let curse = self.laid.get(&(part, record.key.clone()));
        curse.is_some_and(|curse| curse.message.is_some() && curse.message == message(record))
    }

    /// Whether a record may have failed: nobody can read it, or it was cursed once.
    pub(crate) fn explain(&self, part: Part, record: &Record) -> bool {
        is_junk(&record.payload) || message(record).is_some_and(|id| self.ever.contains(&(part, id)))
    }
}

/// What no service can read.
pub(crate) fn is_junk(payload: &[u8]) -> bool {
    schemas::wire::open(payload).is_err()
}

/// Commands about parked records are the machine's own, and do not fail.
fn message(record: &Record) -> Option<MessageId> {
    let envelope = record.envelope.as_ref().ok()?;
    (!ParkedCommand::is_one(&record.payload)).then_some(envelope.message)
}
