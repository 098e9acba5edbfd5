//! A gateway's link to Redis: one connection after the other, each of one server's life.

use super::World;
use orders_api::pure::Server;

/// What becomes of a word with Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It is done and answered.
    Answered,
    /// It is done, and nobody hears the answer.
    ReplyLost,
    /// It never arrives.
    RequestLost,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    /// The server it is connected to.
    pub(super) run: Option<u64>,
    /// Connections so far.
    pub(super) generation: u64,
    /// This gateway alone cannot reach it.
    pub(super) is_cut: bool,
}

/// Redis is away, or did not answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away;

/// The connection that a command went over.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) run_id: String,
    pub(super) generation: u64,
}

impl World {
    /// The connection that a command would go over; a lost one is made anew.
    pub(super) fn life(&mut self, gateway: usize) -> Result<Life, Away> {
        let (run, is_away) = (self.run, self.is_away);
        let link = &mut self.gateways.get_mut(gateway).ok_or(Away)?.link;
        if is_away || link.is_cut {
            link.run = None;
            return Err(Away);
        }
        match link.run {
            None => {
                link.run = Some(run);
                link.generation += 1;
            }
            // the first command finds out
            Some(known) if known != run => {
                link.run = None;
                return Err(Away);
            }
            Some(_) => {}
        }
        Ok(Life { run_id: format!("run{run}"), generation: link.generation })
    }

    /// One command.
    pub(super) fn redis<A>(
        &mut self,
        gateway: usize,
        reach: Reach,
        command: impl FnOnce(&mut Server, &Life, i64) -> A,
    ) -> Result<(A, Life), Away> {
        let life = self.life(gateway)?;
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let answer = (reach != Reach::RequestLost).then(|| command(&mut self.server, &life, now));
        match answer.filter(|_| reach == Reach::Answered) {
            Some(answer) => Ok((answer, life)),
            None => {
                if let Some(gateway) = self.gateways.get_mut(gateway) {
                    gateway.link.run = None;
                }
                Err(Away)
            }
        }
    }
}
