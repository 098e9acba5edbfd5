//! What clients were told: which order a key is, and how far they have seen each order come.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// An order as its client knows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The key it was placed under.
    pub key: String,
    /// Statuses that may be its end.
    pub ends: &'static [&'static str],
    /// The highest version seen.
    pub version: i64,
}

/// Every acknowledged order, by id.
#[derive(Debug, Default)]
pub struct History(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    orders: BTreeMap<String, Known>,
    ids: BTreeMap<String, String>,
}

impl History {
    /// A 202 under `key` named the order `id`.
    pub fn accepted(&self, key: &str, id: &str, ends: &'static [&'static str]) -> Result<(), String> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = told.ids.entry(key.to_owned()).or_insert_with(|| id.to_owned()).clone();
        if first != id {
            return Err(format!("two orders under {key}: {first} and {id}"));
        }
        let known = Known { key: key.to_owned(), ends, version: 0 };
        told.orders.entry(id.to_owned()).or_insert(known);
        Ok(())
    }

    /// A read of the order showed this version.
    pub fn seen(&self, id: &str, version: i64) -> Result<(), String> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = told.orders.get_mut(id) else { return Ok(()) };
        if version < known.version {
            return Err(format!("{id} went back from version {} to {version}", known.version));
        }
        known.version = version;
        Ok(())
    }

    /// All of it.
    pub fn orders(&self) -> BTreeMap<String, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).orders.clone()
    }
}
