//! Parked records that are to run again: read before their batch, or found readable after a claim.

use super::*;
use crate::redrive::{Action, is_action, outgoing, plan};
use chassis::crash::{self, CrashPoint};
use schemas::{
    catalogue::{self, SchemaId},
    ids,
    parked::{MOST_NAMED, ParkedCommand, RedriveParked},
};
use uuid::Uuid;

/// Who asks for what a worker redrives by itself.
const WORKER: &str = "worker";

impl<S: Service> Attempt<'_, S> {
    /// Reads what the command that opens this batch means, if one does, in a transaction of its own that holds the
    /// lane: only its owner changes what is parked there, so what is read stands until the batch is settled, or the
    /// batch is refused.
    pub(super) async fn open(
        &self,
        connection: &mut PgConnection,
        records: &[Record],
    ) -> Result<Option<Opened>, Trouble> {
        let Some(record) = records.first().filter(|record| is_action(record)) else { return Ok(None) };
        let place = (record.partition, record.offset);
        let Ok(action) = Action::read(record) else { return Ok(None) };
        let is_poison = self.poison.contains_key(&place);
        if is_poison || judge::address(record).is_err() || !self.lanes.contains_key(&record.partition) {
            return Ok(None);
        }
        let mut tx = connection.begin().await?;
        match self.open_in_tx(&mut tx, record, action).await {
            Ok(opened) => {
                tx.commit().await?;
                crash::point_of(self.set.group, CrashPoint::RedriveOpened);
                Ok(Some(opened))
            }
            Err(trouble) => Err(roll_back(tx, trouble).await),
        }
    }

    async fn open_in_tx(
        &self,
        tx: &mut PgConnection,
        record: &Record,
        action: Action,
    ) -> Result<Opened, Trouble> {
        let partition = record.partition;
        self.lock_in_tx(tx, &[partition]).await?;
        let is_repeat = self.set.was_done(tx, action.id).await?;
        let (mut heads, parked) =
            self.set.heads(tx, partition, &record.key, &action, self.most.records + 1).await?;
        if is_repeat {
            heads.clear();
        }
        let plan = plan(&action, &heads, self.most);
        let offsets: Vec<i64> = plan.steps.iter().map(|(offset, _)| *offset).collect();
        let records =
            if offsets.is_empty() { Vec::new() } else { self.set.parked(tx, partition, &offsets).await? };
        let place = (partition, record.offset);
        Ok(Opened { place, key: record.key.clone(), action, is_repeat, parked, plan, records })
    }

    /// Tells lanes just claimed to redrive what an older release could not read and this one can: commands to
    /// themselves, which run where they lie.
    pub(super) async fn redrive_unknown_in_tx(
        &self,
        tx: &mut PgConnection,
        lanes: &BTreeMap<i32, Lane>,
        out: &mut Out,
    ) -> Result<(), Trouble> {
        let with_parked = |partition: &&i32| lanes.get(partition).is_some_and(|lane| !lane.parked.is_empty());
        let partitions: Vec<i32> = self.claimed.iter().filter(with_parked).copied().collect();
        if partitions.is_empty() {
            return Ok(());
        }
        for unknown in self.set.unknown_in_tx(tx, &partitions, MOST_NAMED).await? {
            let id = unknown.beginning.last_chunk::<4>().map(|id| SchemaId(u32::from_be_bytes(*id)));
            let known = id.filter(|id| unknown.beginning.len() == 5 && catalogue::by_id(*id).is_some());
            let key = std::str::from_utf8(&unknown.key).ok().and_then(|key| Uuid::try_parse(key).ok());
            let (Some(id), Some(key)) = (known, key) else { continue };
            // the same record parked once more is another action; the same claim made again is not
            let meaning = format!("redrive {}/{} {}", unknown.partition, unknown.offset, unknown.attempts);
            let command = ParkedCommand::Redrive(RedriveParked {
                action_id: ids::message_id(key, &meaning).0,
                requested_by: WORKER.to_owned(),
                reason: Some(format!("schema {id} is known to this release")),
                selection: None,
                offsets: vec![unknown.offset],
                edited: None,
            });
            match outgoing(self.service.input(), key, &command) {
                Ok(outgoing) => out.send_from(unknown.partition, outgoing),
                Err(rejection) => {
                    tracing::error!(detail = rejection.detail, "redriving what is readable now");
                }
            }
        }
        Ok(())
    }
}
