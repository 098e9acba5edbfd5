//! Redrive and discard, pure: what a command about parked records means for the parked records of its key.
//!
//! Order per key holds: a record runs only when all parked before it have run or are discarded. So the records of a
//! key are walked in the order in which they were parked (mostly that of their offsets), and the walk ends at the first that fails again, or that was rejected once and is not
//! named. What only waits behind (cause [`BEHIND`]) runs without being named. When nothing named is there any more,
//! nothing is done: a command that comes again finds nothing.

mod unknown;

use crate::{
    judge::{self, BEHIND, Place},
    lane::Lane,
    record::{Outgoing, Record, Rejection},
};
use schemas::{
    ids::MessageId,
    parked::{DiscardParked, MOST_NAMED, ParkedCommand, RedriveParked},
    topics::Topic,
    wire,
};
use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap},
};
pub use unknown::Unknown;
use uuid::Uuid;

/// Cause of a command about parked records that makes no sense. It is dead-lettered; nothing parks behind it.
pub(crate) const SENSELESS: &str = "parked_command";

/// What is done to the records named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// They run again.
    Redrive,
    /// They are given up.
    Discard,
}

impl What {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Discard => "discard",
        }
    }
}

/// One command about parked records of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Done once only.
    pub id: Uuid,
    /// What is asked for.
    pub what: What,
    /// Who asks.
    pub(crate) requested_by: String,
    /// Why, in their words.
    pub(crate) reason: Option<String>,
    /// The selection it belongs to.
    pub(crate) selection: Option<String>,
    /// Offsets of the records meant.
    pub named: BTreeSet<i64>,
    /// A payload to run in place of the named record's own.
    pub(crate) edited: Option<Vec<u8>>,
}

/// Whether a record is a command about parked records. They are the machine's to hear, not the service's.
pub(crate) fn is_action(record: &Record) -> bool {
    ParkedCommand::is_one(&record.payload)
}

/// Splits off what comes after the first record if a command about parked records is among it: such a command opens
/// its batch, so that all its key has parked before it is in the database.
pub fn cut<R: Borrow<Record>>(records: &mut Vec<R>) -> Vec<R> {
    match records.iter().skip(1).position(|record| is_action(record.borrow())) {
        Some(place) => records.split_off(place + 1),
        None => Vec::new(),
    }
}

impl Action {
    /// Reads the command in `record`.
    pub(crate) fn read(record: &Record) -> Result<Self, Rejection> {
        let senseless = |why: String| Rejection::new(SENSELESS, why);
        let command = ParkedCommand::decode(&record.payload).map_err(|error| senseless(error.to_string()))?;
        let action = match command {
            ParkedCommand::Redrive(command) => Self {
                id: command.action_id,
                what: What::Redrive,
                requested_by: command.requested_by,
                reason: command.reason,
                selection: command.selection,
                named: command.offsets.into_iter().collect(),
                edited: command.edited,
            },
            ParkedCommand::Discard(command) => Self {
                id: command.action_id,
                what: What::Discard,
                requested_by: command.requested_by,
                reason: command.reason,
                selection: command.selection,
                named: command.offsets.into_iter().collect(),
                edited: None,
            },
        };
        match action.named.len() {
            0 => Err(senseless("it names no record".to_owned())),
            n if n > MOST_NAMED => Err(senseless(format!("it names {n} records, more than {MOST_NAMED}"))),
            n if n > 1 && action.edited.is_some() => {
                Err(senseless(format!("it edits one record and names {n}")))
            }
            _ => Ok(action),
        }
    }

    /// The payload to run in place of that record's own.
    pub(crate) fn edit_of(&self, offset: i64) -> Option<&Vec<u8>> {
        self.edited.as_ref().filter(|_| self.named.contains(&offset))
    }

    /// The command that goes on with what is left: the named that are there still, from `rest` on.
    fn next(&self, rest: i64, left: BTreeSet<i64>) -> ParkedCommand {
        let action_id = Uuid::new_v5(&self.id, format!("rest {rest}").as_bytes());
        let (requested_by, reason, selection) =
            (self.requested_by.clone(), self.reason.clone(), self.selection.clone());
        if self.what == What::Discard && !left.is_empty() {
            let offsets = left.into_iter().collect();
            return ParkedCommand::Discard(DiscardParked {
                action_id,
                requested_by,
                reason,
                selection,
                offsets,
            });
        }
        let edited = self.edited.clone().filter(|_| left.contains(&rest));
        let offsets: BTreeSet<i64> =
            if edited.is_some() { left } else { left.into_iter().chain([rest]).collect() };
        let offsets = offsets.into_iter().collect();
        ParkedCommand::Redrive(RedriveParked { action_id, requested_by, reason, selection, offsets, edited })
    }
}

/// A parked record as far as planning needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Where it lies.
    pub offset: i64,
    /// Why it is parked, by name.
    pub cause: String,
    /// Bytes of its payload.
    pub size: usize,
}

/// What to do with a parked record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Run,
    Drop,
}

/// What a batch does about the parked records of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In the order of parking.
    pub(crate) steps: Vec<(i64, Step)>,
    /// The first that a later batch has to see to.
    pub(crate) rest: Option<i64>,
    /// Those named that are there.
    pub(crate) found: BTreeSet<i64>,
}

/// How much one batch does.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// So many parked records run or go.
    pub records: usize,
    /// Of so many bytes together; one always does.
    pub bytes: usize,
}

/// Plans the walk. `heads` are the first `most.records + 1` parked records of the key, and all that are named, in
/// the order in which they were parked.
pub(crate) fn plan(action: &Action, heads: &[Head], most: Most) -> Plan {
    let named = |head: &&Head| action.named.contains(&head.offset);
    let found: BTreeSet<i64> = heads.iter().filter(named).map(|head| head.offset).collect();
    let mut plan = Plan { found, ..Plan::default() };
    if plan.found.is_empty() {
        return plan;
    }
    let mut bytes = 0;
    let mut is_open = true;
    for (place, head) in heads.iter().enumerate() {
        let is_named = plan.found.contains(&head.offset);
        let may_run = is_named && action.what == What::Redrive || head.cause == BEHIND;
        let step = match action.what {
            What::Discard if is_named => Step::Drop,
            // beyond the first ones there may be others between
            _ if is_open && may_run && place <= most.records => Step::Run,
            _ => {
                is_open = false;
                continue;
            }
        };
        let is_full = plan.steps.len() >= most.records || bytes + head.size > most.bytes;
        if is_full && !plan.steps.is_empty() {
            plan.rest = Some(head.offset);
            break;
        }
        bytes += head.size;
        plan.steps.push((head.offset, step));
    }
    plan
}

/// A command about parked records that opens a batch, before its lane was looked at.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where it lies.
    pub place: Place,
    /// Its key, and that of the records it means.
    pub key: Vec<u8>,
    /// What it asks for.
    pub action: Action,
}

impl Opening {
    /// The command that opens `records`, if one does that makes sense and whose lane is held.
    #[must_use]
    pub fn of<R: Borrow<Record>>(
        records: &[R],
        lanes: &BTreeMap<i32, Lane>,
        poison: &HashMap<Place, Rejection>,
    ) -> Option<Self> {
        let record = records.first().map(R::borrow).filter(|record| is_action(record))?;
        let place = (record.partition, record.offset);
        let action = Action::read(record).ok()?;
        let is_heard = !poison.contains_key(&place)
            && judge::address(record).is_ok()
            && lanes.contains_key(&record.partition);
        is_heard.then(|| Self { place, key: record.key.clone(), action })
    }

    /// Plans it. `parked` records of its key are there; `heads` are the first `most.records + 1` of them and all that
    /// it names, in the order in which they were parked. What was done before does nothing. The records of [`Opened::wanted`] are still to be
    /// put into it.
    #[must_use]
    pub fn plan(self, is_repeat: bool, heads: &[Head], parked: i64, most: Most) -> Opened {
        let heads = if is_repeat { &[] } else { heads };
        let plan = plan(&self.action, heads, most);
        let Self { place, key, action } = self;
        Opened { place, key, action, is_repeat, parked, plan, records: Vec::new() }
    }
}

/// An action and the records it is about, read by the lane's owner while the lane was locked.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Where the command lies.
    pub(crate) place: Place,
    pub(crate) key: Vec<u8>,
    pub(crate) action: Action,
    /// It was done before.
    pub(crate) is_repeat: bool,
    /// How many records of the key are parked.
    pub(crate) parked: i64,
    pub(crate) plan: Plan,
    /// The records of [`Opened::wanted`], as they were parked, and in that order.
    pub records: Vec<Record>,
}

/// What an action came to.
#[derive(Debug, Clone)]
pub struct Concluded {
    /// Where its command lies.
    pub place: Place,
    /// The key.
    pub key: Vec<u8>,
    /// What was asked for.
    pub action: Action,
    /// It was done before: nothing is written.
    pub is_repeat: bool,
    /// Offsets of the records that ran, in order.
    pub ran: Vec<i64>,
    /// Offsets of the records that were given up.
    pub discarded: Vec<i64>,
    /// The one that failed again, and why.
    pub relapse: Option<(i64, Rejection)>,
    /// In a word.
    pub result: &'static str,
    /// Records of the key that are still parked.
    pub remaining: i64,
    pub(crate) original: Option<Vec<u8>>,
    pub(crate) next: Option<ParkedCommand>,
}

impl Opened {
    /// Offsets of the records that the plan runs or drops.
    #[must_use]
    pub fn wanted(&self) -> Vec<i64> {
        self.plan.steps.iter().map(|(offset, _)| *offset).collect()
    }

    /// Places of the records that run again.
    #[must_use]
    pub fn runs(&self) -> Vec<Place> {
        let runs = self.plan.steps.iter().filter(|(_, step)| *step == Step::Run);
        runs.map(|(offset, _)| (self.place.0, *offset)).collect()
    }

    /// The conclusion before anything has run.
    pub(crate) fn begin(&self) -> Concluded {
        let edited = self.records.iter().find(|record| self.action.edit_of(record.offset).is_some());
        Concluded {
            place: self.place,
            key: self.key.clone(),
            action: self.action.clone(),
            is_repeat: self.is_repeat,
            ran: Vec::new(),
            discarded: Vec::new(),
            relapse: None,
            result: "nothing",
            remaining: self.parked,
            original: edited.map(|record| record.payload.clone()),
            next: None,
        }
    }
}

impl Concluded {
    /// Draws the conclusion once all steps are done.
    pub(crate) fn end(&mut self, opened: &Opened) {
        let done = self.ran.len() + self.discarded.len();
        self.remaining = opened.parked - i64::try_from(done).unwrap_or(i64::MAX);
        let left: BTreeSet<i64> = opened
            .plan
            .found
            .iter()
            .copied()
            .filter(|offset| !self.ran.contains(offset) && !self.discarded.contains(offset))
            .collect();
        let may_go_on = self.relapse.is_none() || self.action.what == What::Discard && !left.is_empty();
        let rest = opened.plan.rest.filter(|_| may_go_on);
        self.result = match (&self.relapse, rest) {
            _ if self.is_repeat => "nothing",
            _ if opened.plan.found.is_empty() => "nothing",
            (Some(_), _) => "failed_again",
            (None, Some(_)) => "continued",
            (None, None) if !left.is_empty() => "waits",
            (None, None) => "done",
        };
        self.next = rest.map(|rest| self.action.next(rest, left));
    }

    /// The id of the action that goes on.
    pub(crate) fn next_id(&self) -> Option<Uuid> {
        self.next.as_ref().map(|next| match next {
            ParkedCommand::Redrive(command) => command.action_id,
            ParkedCommand::Discard(command) => command.action_id,
        })
    }
}

/// The record that says `command` on the topic of the records it means.
pub(crate) fn outgoing(topic: Topic, key: Uuid, command: &ParkedCommand) -> Result<Outgoing, Rejection> {
    let (id, payload) = match command {
        ParkedCommand::Redrive(command) => (command.action_id, wire::encode(command)?),
        ParkedCommand::Discard(command) => (command.action_id, wire::encode(command)?),
    };
    Ok(Outgoing { topic, key, message: MessageId(id), deadline: None, payload })
}
