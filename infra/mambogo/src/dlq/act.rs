//! Redrive and discard by filter: the selection is frozen, its commands are sent in growing steps, and each step's
//! results are waited for.

use super::{
    Act, Outcome,
    edit::Edit,
    read::{self, BEHIND, Came, Parked},
};
use chassis::{clock::Clock, settings::Environment};
use publisher::{Destination, OutboundRecord, Publisher, PublisherConfig};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::MessageId,
    parked::{DiscardParked, MOST_NAMED, RedriveParked},
    time::Timestamp,
    topics::Topic,
    wire,
};
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, interval};
use uuid::Uuid;

/// Each step is so many times the one before it: 1, 5, 25, …
const GROWTH: usize = 5;
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum What {
    /// With another payload for the one record selected, if there is one.
    Redrive(Option<Edit>),
    Discard,
}

impl What {
    /// What tells one action on a selection from another.
    fn meaning(&self) -> String {
        match self {
            Self::Redrive(None) => "redrive".to_owned(),
            Self::Redrive(Some(edit)) => format!("redrive as {:?}", edit.payload),
            Self::Discard => "discard".to_owned(),
        }
    }
}

/// One command: records of one key.
struct Item {
    action: Uuid,
    service: &'static str,
    topic: Topic,
    partition: i32,
    key: Vec<u8>,
    offsets: Vec<i64>,
    causes: BTreeSet<String>,
}

/// A selection that changes no more. Its name is made of all that it holds, attempts included: asked for again, it is
/// the same actions, which are done once.
struct Selection {
    name: String,
    records: usize,
    items: Vec<Item>,
}

impl Selection {
    fn freeze(what: &What, parked: &[Parked]) -> Self {
        let line = |p: &Parked| format!("{} {} {} {}\n", p.service, p.partition, p.offset, p.attempts);
        let text: String = parked.iter().map(line).collect();
        let id = Uuid::new_v5(&Uuid::nil(), format!("{}\n{text}", what.meaning()).as_bytes());
        let mut keys: BTreeMap<(&str, i32, &[u8]), Vec<&Parked>> = BTreeMap::new();
        for record in parked {
            keys.entry((record.service, record.partition, &record.key)).or_default().push(record);
        }
        let of_key = keys.into_values().flat_map(|records| {
            records.chunks(MOST_NAMED).filter_map(|some| Item::of(id, some)).collect::<Vec<_>>()
        });
        Self { name: id.simple().to_string(), records: parked.len(), items: of_key.collect() }
    }
}

impl Item {
    fn of(selection: Uuid, records: &[&Parked]) -> Option<Self> {
        let first = records.first()?;
        let place = format!("{} {} {}", first.service, first.partition, first.offset);
        Some(Self {
            action: Uuid::new_v5(&selection, place.as_bytes()),
            service: first.service,
            topic: first.topic,
            partition: first.partition,
            key: first.key.clone(),
            offsets: records.iter().map(|record| record.offset).collect(),
            causes: records.iter().map(|record| record.cause.clone()).collect(),
        })
    }

    fn record(&self, what: &What, act: &Act, selection: &str, now: Timestamp) -> Outcome<OutboundRecord> {
        let (requested_by, reason) = (act.by.clone(), act.reason.clone());
        let (action_id, offsets) = (self.action, self.offsets.clone());
        let selection = Some(selection.to_owned());
        let payload = match what {
            What::Redrive(edit) => wire::encode(&RedriveParked {
                action_id,
                requested_by,
                reason,
                selection,
                offsets,
                edited: edit.as_ref().map(|edit| edit.payload.clone()),
            })?,
            What::Discard => {
                wire::encode(&DiscardParked { action_id, requested_by, reason, selection, offsets })?
            }
        };
        let message = MessageId(self.action);
        let envelope =
            Envelope { message, causation: message, occurred_at: now, deadline: None, source: None };
        Ok(OutboundRecord {
            topic: self.topic,
            // where the records lie, whatever their key says
            destination: Destination::Partition(self.partition),
            key: self.key.clone(),
            payload,
            headers: vec![(HEADER.to_owned(), envelope.to_bytes())],
        })
    }
}

pub(super) async fn run(
    environment: &Environment,
    audit: &mut PgConnection,
    what: What,
    act: Act,
) -> Outcome {
    let mut parked = read::select(audit, &act.filter).await?;
    if act.filter.cause.is_none() {
        parked.retain(|record| record.cause != BEHIND);
    }
    if let What::Redrive(Some(edit)) = &what {
        edit.check(&parked)?;
    }
    let selection = Selection::freeze(&what, &parked);
    println!("selection {}: {} records of {} keys", selection.name, selection.records, selection.items.len());
    if act.selection.as_ref().is_some_and(|expected| *expected != selection.name) {
        return Err("the selection is another one by now; look at it again with --dry-run".into());
    }
    if act.dry_run || selection.items.is_empty() {
        return Ok(());
    }
    let publisher = Publisher::start(PublisherConfig::from_environment(environment, "mambogo-dlq")?)?;
    let outcome = send_in_steps(&publisher, audit, &what, &act, &selection).await;
    publisher.shutdown(act.wait).await;
    outcome
}

async fn send_in_steps(
    publisher: &Publisher,
    audit: &mut PgConnection,
    what: &What,
    act: &Act,
    selection: &Selection,
) -> Outcome {
    let mut pace = interval(Duration::from_secs(1) / act.rate);
    let (mut rest, mut step) = (&selection.items[..], 1);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(step.min(rest.len()));
        for item in now {
            pace.tick().await;
            let at = Timestamp(Clock::system().now_millis());
            publisher.send(&item.record(what, act, &selection.name, at)?)?.await?;
        }
        let again = results(audit, now, act.wait).await?;
        rest = later;
        step *= GROWTH;
        if let Some(cause) = again {
            return Err(format!("stopped: {cause} came again; {} keys were not touched", rest.len()).into());
        }
    }
    Ok(())
}

/// Waits for what came of a step, prints it, and names a cause that came again.
async fn results(audit: &mut PgConnection, items: &[Item], wait: Duration) -> Outcome<Option<String>> {
    let deadline = Instant::now() + wait;
    let mut open: Vec<(&Item, Uuid)> = items.iter().map(|item| (item, item.action)).collect();
    let mut again = None;
    let mut tick = interval(TICK);
    while !open.is_empty() {
        if Instant::now() > deadline {
            let why = "their commands are sent; is the worker running? `mambogo lag` shows how far it is";
            return Err(format!("{} keys without a result after {wait:?}: {why}", open.len()).into());
        }
        tick.tick().await;
        let mut done: BTreeMap<Uuid, Came> = BTreeMap::new();
        for service in open.iter().map(|(item, _)| item.service).collect::<BTreeSet<_>>() {
            let actions: Vec<Uuid> = open.iter().map(|(_, action)| *action).collect();
            done.extend(read::came(audit, service, &actions).await?);
        }
        open = open
            .into_iter()
            .filter_map(|(item, action)| {
                let Some(came) = done.get(&action) else { return Some((item, action)) };
                print(item, came);
                if let Some(cause) = came.cause.as_ref().filter(|cause| item.causes.contains(*cause)) {
                    again = Some(cause.clone());
                }
                came.next.map(|next| (item, next))
            })
            .collect();
    }
    Ok(again)
}

fn print(item: &Item, came: &Came) {
    let key = String::from_utf8_lossy(&item.key);
    let cause = came.cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
    println!(
        "{} {key}: {}{cause}, ran {}, discarded {}",
        item.service, came.result, came.ran, came.discarded
    );
}
