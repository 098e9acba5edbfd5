//! Parked records that are to run again: read before their batch, or found readable after a claim.

use super::*;
use crate::redrive::Opening;
use chassis::crash::{self, CrashPoint};
use schemas::parked::MOST_NAMED;

impl<S: Service> Attempt<'_, S> {
    /// Reads what the command that opens this batch means, if one does, in a transaction of its own that holds the
    /// lane: only its owner changes what is parked there, so what is read stands until the batch is settled, or the
    /// batch is refused.
    pub(super) async fn open(
        &self,
        connection: &mut PgConnection,
        records: &[Arc<Record>],
    ) -> Result<Option<Opened>, Trouble> {
        let Some(opening) = Opening::of(records, self.lanes, self.poison) else { return Ok(None) };
        let mut tx = connection.begin().await?;
        match self.open_in_tx(&mut tx, opening).await {
            Ok(opened) => {
                tx.commit().await?;
                crash::point_of(self.set.group, CrashPoint::RedriveOpened);
                Ok(Some(opened))
            }
            Err(trouble) => Err(roll_back(tx, trouble).await),
        }
    }

    async fn open_in_tx(&self, tx: &mut PgConnection, opening: Opening) -> Result<Opened, Trouble> {
        let (partition, _) = opening.place;
        self.lock_in_tx(tx, &[partition]).await?;
        let is_repeat = self.set.was_done(tx, opening.action.id).await?;
        let first = self.most.records + 1;
        let (heads, parked) = self.set.heads(tx, partition, &opening.key, &opening.action, first).await?;
        let mut opened = opening.plan(is_repeat, &heads, parked, self.most);
        let wanted = opened.wanted();
        if !wanted.is_empty() {
            opened.records = self.set.parked(tx, partition, &wanted).await?;
        }
        Ok(opened)
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
            match unknown.redrive(self.service.input()) {
                Ok(outgoing) => {
                    outgoing.into_iter().for_each(|outgoing| out.send_from(unknown.partition, outgoing));
                }
                Err(rejection) => {
                    tracing::error!(detail = rejection.detail, "redriving what is readable now");
                }
            }
        }
        Ok(())
    }
}
