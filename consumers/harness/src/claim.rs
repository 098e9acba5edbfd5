//! Claims a lane that the rebalance callback could not claim in its half second.

use crate::{consumer::Event, store::LaneSet};
use chassis::{
    postgres::{SessionLimits, connect, within},
    settings::Secret,
};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for the answer to a claim, which the server itself bounds to half a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries until the lane is claimed or `ended`: the partition was taken away, or the worker stops. A try under way is
/// finished first, never dropped.
pub(crate) async fn until_ended(
    set: LaneSet,
    partition: i32,
    database: Secret,
    events: UnboundedSender<Event>,
    ended: CancellationToken,
) {
    while !ended.is_cancelled() {
        match claim(set, partition, &database).await {
            Ok(Some(event)) => {
                let _ = events.send(event);
                return;
            }
            Ok(None) => tracing::error!(group = set.group, partition, "the lane has no row to claim"),
            Err(error) => tracing::debug!(group = set.group, partition, %error, "not claimed yet"),
        }
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn claim(set: LaneSet, partition: i32, database: &Secret) -> sqlx::Result<Option<Event>> {
    let mut connection = connect(database.expose(), "mambogo claim", SessionLimits::CLAIM).await?;
    let lanes = within(PATIENCE, set.claim(&mut connection, &[partition])).await?;
    Ok(lanes.into_iter().next().map(Event::Claimed))
}
