//! What the scripts do, as functions over one server's memory: the simulator runs these where production runs Lua. A test
//! runs both side by side over random commands, so that they cannot drift apart.

use crate::proof::Mark;
use std::{collections::BTreeMap, time::Duration};

/// What a claim met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was there: the claim is ours.
    New,
    /// Its lease had lapsed: the claim is ours now, and its record may be on the log already.
    Taken,
    /// The same request is in flight for this much longer.
    InFlight(Duration),
    /// The same request was acknowledged.
    Same,
    /// Another body was acknowledged.
    SettledOther,
    /// Another body is in flight, or was once.
    Other,
}

/// The claim of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Its record was acknowledged, or its event was seen.
    Answered,
    /// Leased until then, in ms of the server's clock.
    InFlight {
        /// When the lease lapses.
        until: i64,
        /// Whose claim it is.
        id: String,
        /// Made anew, not taken over.
        is_new: bool,
    },
}

/// The fields of an order's hash that decide something; the view's text stands for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Who may see it.
    pub owner: Option<String>,
    /// Hash of the request.
    pub body_hash: Option<String>,
    /// The claim.
    pub claim: Option<Held>,
    /// The view's version.
    pub version: Option<i64>,
}

/// What is to be claimed, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The order's key.
    pub order: &'a str,
    /// The run id that the asker read at its connect.
    pub run_id: &'a str,
    /// The mark whose misses are proofs.
    pub proved: Option<&'a Mark>,
    /// Who may see it.
    pub owner: &'a str,
    /// Hash of the request.
    pub body_hash: &'a str,
    /// This claim's own id.
    pub id: &'a str,
    /// The random part of a mark, should one be made.
    pub mark_id: &'a str,
    /// How long it is leased.
    pub lease: Duration,
}

/// One server's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    mark: Option<String>,
    orders: BTreeMap<String, Fields>,
}

impl Server {
    /// `CLAIM`: the mark, its age, and what the claim met. `now` is the server's clock in ms.
    pub fn claim(&mut self, wanted: Wanted<'_>, now: i64) -> (Mark, Duration, Outcome) {
        let is_ours = |mark: &String| Mark::new(mark).is_of(wanted.run_id);
        let mark = match self.mark.clone().filter(is_ours) {
            Some(mark) => mark,
            None => {
                let mark = format!("{} {now} {}", wanted.run_id, wanted.mark_id);
                self.mark = Some(mark.clone());
                mark
            }
        };
        let mark = Mark::new(&mark);
        let age = now - mark.made_at().unwrap_or(now);
        let fields = self.orders.entry(wanted.order.to_owned()).or_default();
        let is_same = fields.body_hash.as_deref() == Some(wanted.body_hash);
        let outcome = match (&fields.body_hash, &fields.claim) {
            (None, _) => fields.lease(&wanted, &mark, true, now),
            (_, Some(Held::Answered)) if is_same => Outcome::Same,
            (_, Some(Held::Answered)) => Outcome::SettledOther,
            _ if !is_same => Outcome::Other,
            (_, Some(Held::InFlight { id, is_new, .. })) if id == wanted.id => {
                if *is_new {
                    Outcome::New
                } else {
                    Outcome::Taken
                }
            }
            (_, Some(Held::InFlight { until, .. })) if *until > now => Outcome::InFlight(millis(until - now)),
            _ => fields.lease(&wanted, &mark, false, now),
        };
        (mark, millis(age), outcome)
    }

    /// `ANSWER`: whether the claim still holds under its mark.
    pub fn answer(&mut self, order: &str, mark: &Mark, body_hash: &str) -> bool {
        let Some(fields) = self.orders.get_mut(order) else { return false };
        if self.mark.as_deref() != Some(mark.as_str()) || fields.body_hash.as_deref() != Some(body_hash) {
            return false;
        }
        fields.claim = Some(Held::Answered);
        true
    }

    /// `RELEASE`: a new claim goes; one taken over only lapses.
    pub fn release(&mut self, order: &str, claim: &str) -> bool {
        let Some(fields) = self.orders.get_mut(order) else { return false };
        let Some(Held::InFlight { id, is_new, .. }) = &fields.claim else { return false };
        if id != claim {
            return false;
        }
        if *is_new {
            (fields.body_hash, fields.claim) = (None, None);
            if fields.version == Some(0) {
                (fields.version, fields.owner) = (None, None);
            }
        } else {
            fields.claim = Some(Held::InFlight { until: 0, id: "-".to_owned(), is_new: false });
        }
        true
    }

    /// `RENEW`: what was heard until now proves nothing any more.
    pub fn renew(&mut self, run_id: &str, id: &str, now: i64) {
        self.mark = Some(format!("{run_id} {now} {id}"));
    }

    /// `LOOK`: the hash's fields, and the mark.
    #[must_use]
    pub fn look(&self, order: &str) -> (Fields, Option<Mark>) {
        (self.orders.get(order).cloned().unwrap_or_default(), self.mark.as_deref().map(Mark::new))
    }

    /// `WRITE_VIEW` of the status worker and of reads: by version.
    pub fn write(&mut self, order: &str, version: i64, owner: &str, body_hash: &str) -> bool {
        let fields = self.orders.entry(order.to_owned()).or_default();
        if version <= fields.version.unwrap_or(-1) {
            return false;
        }
        *fields = Fields {
            owner: Some(owner.to_owned()),
            body_hash: Some(body_hash.to_owned()),
            claim: Some(Held::Answered),
            version: Some(version),
        };
        true
    }

    /// It forgets everything: a flush, or a restart without a snapshot.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Fields {
    fn lease(&mut self, wanted: &Wanted<'_>, mark: &Mark, is_new: bool, now: i64) -> Outcome {
        let lease = i64::try_from(wanted.lease.as_millis()).unwrap_or(i64::MAX);
        self.body_hash = Some(wanted.body_hash.to_owned());
        self.claim = Some(Held::InFlight { until: now + lease, id: wanted.id.to_owned(), is_new });
        if wanted.proved == Some(mark) && self.version.is_none() {
            self.version = Some(0);
            self.owner = Some(wanted.owner.to_owned());
        }
        if is_new { Outcome::New } else { Outcome::Taken }
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
