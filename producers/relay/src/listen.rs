//! Hears the workers of other processes: one connection a database, listening on [`CHANNEL`].

use crate::bell::{self, Bell};
use chassis::{
    postgres::{PoolLimits, Session, SessionLimits},
    settings::Secret,
    wake::CHANNEL,
};
use sqlx::postgres::PgListener;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The tick covers for an ear that is deaf, so there is no hurry.
const PAUSE: Duration = Duration::from_secs(1);

/// An ear that has heard nothing for this long is replaced: a connection that has gone without a word is as quiet as one
/// with nothing to hear, and nothing at this end would tell.
const QUIET: Duration = Duration::from_secs(60);

/// One task for each database among `bells`; each rings bells of its database.
pub(crate) fn spawn(bells: &[Bell], stop: &CancellationToken) -> JoinSet<()> {
    let mut databases: Vec<(Secret, Vec<Bell>)> = Vec::new();
    for bell in bells {
        match databases.iter_mut().find(|(known, _)| *known == bell.url) {
            Some((_, bells)) => bells.push(bell.clone()),
            None => databases.push((bell.url.clone(), vec![bell.clone()])),
        }
    }
    let mut ears = JoinSet::new();
    for (url, bells) in databases {
        let stop = stop.clone();
        ears.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listen(url, bells) => {}
            }
        });
    }
    ears
}

async fn listen(url: Secret, bells: Vec<Bell>) {
    loop {
        if let Err(error) = listen_once(&url, &bells).await {
            tracing::debug!(%error, "not listening for outbox notifications");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until the connection is lost, or quiet for too long.
async fn listen_once(url: &Secret, bells: &[Bell]) -> sqlx::Result<()> {
    let limits = PoolLimits { max: 1, min: 0, acquire: Duration::from_secs(10), ..PoolLimits::default() };
    let pool = Session::new(url.expose(), "mambogo relay ear", SessionLimits::WORKER)?.pool(limits);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    while let Ok(heard) = tokio::time::timeout(QUIET, listener.try_recv()).await {
        let Some(heard) = heard? else { break };
        bell::ring(bells, heard.payload());
    }
    Ok(())
}
