//! What happened, line by line, for people: written only when somebody will read it.

use schemas::{
    ids::{OrderId, ProductId},
    time::Timestamp,
    wire,
};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub(crate) wanted: bool,
    names: BTreeMap<Uuid, String>,
    pub(crate) lines: Vec<String>,
}

impl Notes {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    pub(crate) fn name_order(&mut self, id: OrderId, name: String) {
        self.names.insert(id.0, name);
    }

    pub(crate) fn name_product(&mut self, id: ProductId, name: String) {
        self.names.insert(id.0, name);
    }

    /// Notes a line, if anybody wants it.
    pub(crate) fn note(&mut self, now: Timestamp, line: impl FnOnce(&Self) -> String) {
        if self.wanted {
            let at = now.since(crate::world::BEGIN).as_millis();
            let line = line(self);
            self.lines.push(format!("{at:>7} ms  {line}"));
        }
    }

    /// What a payload says, and of whom.
    pub(crate) fn describe(&self, key: &[u8], payload: &[u8]) -> String {
        let what = wire::open(payload).map_or("(unreadable)", |(schema, _)| schema.record);
        format!("{what} of {}", self.name(key))
    }

    /// Whose key it is.
    pub(crate) fn name(&self, key: &[u8]) -> String {
        let whom = std::str::from_utf8(key).ok().and_then(|text| Uuid::try_parse(text).ok());
        whom.and_then(|id| self.names.get(&id).cloned()).unwrap_or_else(|| "?".to_owned())
    }
}
