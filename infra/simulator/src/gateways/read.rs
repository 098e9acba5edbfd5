//! A read, step by step as `producers/orders/src/look.rs` takes it.

use super::{PATIENCE, World, key, redis::Reach};
use crate::check::Violation;
use orders_api::pure::{Memory, has_passed};

#[derive(Debug, Clone)]
pub(crate) struct Reading {
    gateway: usize,
    order: u8,
    /// Whether the order was promised when the read began.
    promised: bool,
    /// The highest version that was told by then.
    told: Option<i64>,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    Look,
    /// Redis had this, and it is not proved to be the newest.
    Found(Option<i64>),
    /// Nothing was seen: where does the topic end?
    Ends,
    /// The lane has to pass that by then.
    Pass(usize, u64),
    Again,
    Done,
}

impl Reading {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }
}

impl World {
    pub(super) fn begin_read(&self, gateway: usize, order: u8) -> Reading {
        Reading {
            gateway,
            order,
            promised: self.promised.contains_key(&order),
            told: self.told.get(&order).copied(),
            at: At::Look,
        }
    }

    /// The next step of a read.
    pub(super) fn read(&mut self, mut read: Reading, reach: Reach) -> Result<Reading, Violation> {
        let order = read.order;
        read.at = match read.at {
            At::Look => match self.look(&read, reach) {
                (Some(version), true) => self.tell(&read, version)?,
                (hit, _) => At::Found(hit),
            },
            At::Found(hit) => match hit.into_iter().chain(self.found(order)).max() {
                Some(version) => self.tell(&read, version)?,
                None => At::Ends,
            },
            At::Ends => At::Pass(self.log.len(), self.now + PATIENCE),
            At::Pass(end, until) => {
                let end = i64::try_from(end).unwrap_or(i64::MAX);
                if has_passed(i64::try_from(self.position).ok(), end) {
                    At::Again
                } else if self.now > until {
                    At::Done
                } else {
                    read.at
                }
            }
            At::Again => match self.found(order) {
                Some(version) => self.tell(&read, version)?,
                None => self.absent(&read)?,
            },
            At::Done => At::Done,
        };
        Ok(read)
    }

    /// The view in Redis, and whether it is proved to be as new as any.
    fn look(&mut self, read: &Reading, reach: Reach) -> (Option<i64>, bool) {
        let order = key(read.order);
        let now = self.instant();
        let Ok(((fields, mark), life)) = self.redis(read.gateway, reach, |server, _, _| server.look(&order))
        else {
            return (None, false);
        };
        let mark = mark.filter(|mark| mark.is_of(&life.run_id));
        let memory = mark.map(|mark| Memory { mark, generation: life.generation });
        let Some(gateway) = self.gateways.get_mut(read.gateway) else { return (None, false) };
        let is_proved = memory.is_some_and(|memory| {
            gateway.views.seen(&memory, now);
            gateway.views.is_proved(&memory)
        });
        (fields.version.filter(|_| fields.owner.is_some()), is_proved)
    }

    /// What Postgres has; a row found is written to Redis.
    fn found(&mut self, order: u8) -> Option<i64> {
        let version = self.rows.get(&order)?.version;
        if !self.is_away {
            self.write(order, version);
        }
        Some(version)
    }

    fn tell(&mut self, read: &Reading, version: i64) -> Result<At, Violation> {
        let Reading { gateway, order, told, .. } = *read;
        self.note(|| format!("gateway {gateway}: order {order} is at version {version}"));
        if told.is_some_and(|told| version < told) {
            let what = format!("order {order} is told at version {version}, after {told:?}");
            return Err(Violation::new("a read never goes back", what));
        }
        let highest = self.told.entry(order).or_insert(version);
        *highest = version.max(*highest);
        Ok(At::Done)
    }

    fn absent(&mut self, read: &Reading) -> Result<At, Violation> {
        let Reading { gateway, order, promised, told, .. } = *read;
        self.note(|| format!("gateway {gateway}: 404 for order {order}"));
        // version 0 stands with the claim: without its 202 it may go with it
        if promised || told.is_some_and(|told| told > 0) {
            let what = format!("404 for order {order}, which was promised or seen before");
            return Err(Violation::new("a 202 is a promise", what));
        }
        Ok(At::Done)
    }
}
