//! Operators: commands about what is parked, with the mistakes that people make.

use crate::{curses::is_junk, script::Deed, shop::Shop, stage::Stage, tables::Tables};
use harness::service::Service;
use schemas::{
    ids::{EffectId, MessageId, OrderId},
    messages::CancelOrder,
    parked::{DiscardParked, ParkedCommand, RedriveParked},
    topics, wire,
};
use uuid::Uuid;

/// What may be given up: no money and no unit rests on it, or its order runs into its deadline, which undoes all.
const EXPENDABLE: [&str; 8] = [
    "AdjustStock",
    "CancelOrder",
    "CapturePayment",
    "PaymentCaptured",
    "PaymentDeclined",
    "ReserveStock",
    "StockRejected",
    "StockReserved",
];

/// A command that was sent, to be sent again by mistake.
pub(crate) type Sent = Option<(Uuid, ParkedCommand)>;

impl<T: Tables> Shop<T> {
    /// Does what an operator does about `key`; `other` is the key of somebody else.
    pub(crate) fn operate(&mut self, stage: &mut Stage, (key, other): (Uuid, Uuid), deed: Deed) {
        if deed == Deed::Again {
            if let Some((key, command)) = self.sent.clone() {
                self.command(stage, key, command);
            }
            return;
        }
        let rows = self.parked(stage, key);
        let all: Vec<i64> = rows.iter().map(|(offset, _)| *offset).collect();
        let of = |wanted: &dyn Fn(&[u8]) -> bool| -> Vec<i64> {
            rows.iter().filter(|(_, payload)| wanted(payload)).map(|(offset, _)| *offset).collect()
        };
        let (first, last) = (all.first().copied(), all.last().copied());
        match deed {
            Deed::Redrive | Deed::WrongKey => {
                let key = if deed == Deed::WrongKey { other } else { key };
                self.redrive(stage, key, all, None);
            }
            Deed::RedriveFirst => self.redrive(stage, key, first.into_iter().collect(), None),
            Deed::RedriveLast => self.redrive(stage, key, last.into_iter().collect(), None),
            Deed::RedriveGone => self.redrive(stage, key, last.map(|at| at + 1).into_iter().collect(), None),
            Deed::Discard => self.discard(stage, key, of(&is_expendable)),
            Deed::Edit => {
                let edited = cancel(key);
                let junk = of(&is_junk).into_iter().take(usize::from(edited.is_some())).collect();
                self.redrive(stage, key, junk, edited);
            }
            Deed::Again => {}
        }
    }

    /// When all faults have ended: gives up what nobody can read, runs the rest. Says whether anything was parked.
    pub(crate) fn tidy(&mut self, stage: &mut Stage) -> bool {
        let mut keys: Vec<Vec<u8>> =
            self.base.parked.rows.values().map(|row| row.record.key.clone()).collect();
        keys.sort();
        keys.dedup();
        for key in &keys {
            let key = std::str::from_utf8(key).ok().and_then(|text| Uuid::try_parse(text).ok());
            let Some(key) = key else { continue };
            let (junk, rest): (Vec<_>, Vec<_>) =
                self.parked(stage, key).into_iter().partition(|(_, payload)| is_junk(payload));
            self.discard(stage, key, junk.iter().map(|(offset, _)| *offset).collect());
            self.redrive(stage, key, rest.iter().map(|(offset, _)| *offset).collect(), None);
        }
        !keys.is_empty()
    }

    /// What is parked of a key, as the operator's tool reads it.
    fn parked(&self, stage: &Stage, key: Uuid) -> Vec<(i64, Vec<u8>)> {
        let key = topics::key(key);
        let partition = topics::partition_of(&key, stage.partitions);
        let rows = self.base.parked.of_key(partition, &key);
        rows.into_iter().map(|(offset, row)| (offset, row.record.payload.clone())).collect()
    }

    fn redrive(&mut self, stage: &mut Stage, key: Uuid, offsets: Vec<i64>, edited: Option<Vec<u8>>) {
        if offsets.is_empty() {
            return;
        }
        let command = RedriveParked {
            action_id: self.action(key, "redrive", &offsets),
            requested_by: "operator".to_owned(),
            reason: None,
            selection: None,
            offsets,
            edited,
        };
        self.command(stage, key, ParkedCommand::Redrive(command));
    }

    fn discard(&mut self, stage: &mut Stage, key: Uuid, offsets: Vec<i64>) {
        if offsets.is_empty() {
            return;
        }
        let command = DiscardParked {
            action_id: self.action(key, "discard", &offsets),
            requested_by: "operator".to_owned(),
            reason: None,
            selection: None,
            offsets,
        };
        self.command(stage, key, ParkedCommand::Discard(command));
    }

    /// As of the tool: the same selection, made before anything was done about it, is the same action.
    fn action(&self, key: Uuid, what: &str, offsets: &[i64]) -> Uuid {
        let done = self.base.parked.actions.len();
        Uuid::new_v5(&key, format!("{} {what} {offsets:?} {done}", self.part.name()).as_bytes())
    }

    fn command(&mut self, stage: &mut Stage, key: Uuid, command: ParkedCommand) {
        let (id, payload) = match &command {
            ParkedCommand::Redrive(command) => (command.action_id, wire::encode(command)),
            ParkedCommand::Discard(command) => (command.action_id, wire::encode(command)),
        };
        let Ok(payload) = payload else { return };
        let part = self.part.name();
        stage.notes.note(stage.now, |notes| {
            let offsets = match &command {
                ParkedCommand::Redrive(command) => &command.offsets,
                ParkedCommand::Discard(command) => &command.offsets,
            };
            let what = notes.describe(&topics::key(key), &payload);
            format!("operator: to {part}: {what}, offsets {offsets:?}")
        });
        let (topic, partitions, now) = (self.tables.service().input(), stage.partitions, stage.now);
        stage.log.produce(topic, partitions, now, (key, MessageId(id)), payload);
        self.sent = Some((key, command));
    }
}

fn is_expendable(payload: &[u8]) -> bool {
    wire::open(payload).map_or(true, |(schema, _)| EXPENDABLE.contains(&schema.record))
}

fn cancel(key: Uuid) -> Option<Vec<u8>> {
    let cancel =
        CancelOrder { order_id: OrderId(key), requested_by: EffectId(key).0.to_string(), reason: None };
    wire::encode(&cancel).ok()
}
