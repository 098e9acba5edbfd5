//! What can happen at the edge, one step after the other, and the end.

use super::{Request, World, redis::Reach, submit::Submitting};
use crate::check::Violation;

/// One decision. Requests and records are named by their place among those there are, so that any decision can be left
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Submit {
        gateway: u8,
        order: u8,
        body: u8,
    },
    Read {
        gateway: u8,
        order: u8,
    },
    /// A request takes its next step; among those that are not done, from the newest on.
    Go {
        request: u8,
        reach: Reach,
    },
    /// A record reaches the log; `heard`: its acknowledgement reaches the gateway.
    Land {
        record: u8,
        heard: bool,
    },
    Wait(u16),
    /// The orders lane takes a record.
    Decide,
    /// An order moves on.
    Change {
        order: u8,
    },
    Relay,
    Consume,
    /// A gateway asks one question of each of its proofs.
    Ask {
        gateway: u8,
    },
    Flush,
    /// Redis starts anew; `keeps`: from a snapshot of this moment.
    Restart {
        keeps: bool,
    },
    /// Redis cannot be reached by anybody.
    Away,
    Back,
    /// One gateway alone is cut off from Redis.
    Cut {
        gateway: u8,
    },
    Heal {
        gateway: u8,
    },
}

impl World {
    pub(crate) fn step(&mut self, step: Step) -> Result<(), Violation> {
        let gateways = self.gateways.len().max(1);
        let of = |gateway: u8| usize::from(gateway) % gateways;
        match step {
            Step::Submit { gateway, order, body } => {
                let submit = Submitting::new(of(gateway), order, body, self.now);
                self.requests.push(Request::Submit(submit));
            }
            Step::Read { gateway, order } => {
                let read = self.begin_read(of(gateway), order);
                self.requests.push(Request::Read(read));
            }
            Step::Go { request, reach } => return self.go(request, reach),
            Step::Land { record, heard } => {
                if !self.flying.is_empty() {
                    let at = usize::from(record) % self.flying.len();
                    let flying = self.flying.remove(at);
                    self.land(flying, heard);
                }
            }
            Step::Wait(millis) => self.wait(u64::from(millis)),
            Step::Decide => self.decide(),
            Step::Change { order } => self.change(order),
            Step::Relay => self.relay(),
            Step::Consume => self.consume(),
            Step::Ask { gateway } => self.ask(of(gateway)),
            Step::Flush => {
                self.note(|| "Redis is flushed".to_owned());
                self.server.forget();
            }
            Step::Restart { keeps } => {
                self.note(|| format!("Redis starts anew, with a snapshot: {keeps}"));
                self.run += 1;
                if !keeps {
                    self.server.forget();
                }
                self.disconnect();
            }
            Step::Away => {
                self.note(|| "Redis is away".to_owned());
                self.is_away = true;
                self.disconnect();
            }
            Step::Back => {
                self.note(|| "Redis is back".to_owned());
                self.is_away = false;
            }
            Step::Cut { gateway } => self.cut(of(gateway), true),
            Step::Heal { gateway } => self.cut(of(gateway), false),
        }
        Ok(())
    }

    fn go(&mut self, request: u8, reach: Reach) -> Result<(), Violation> {
        let open: Vec<usize> = (0..self.requests.len())
            .rev()
            .filter(|at| self.requests.get(*at).is_some_and(|request| !request.is_done()))
            .collect();
        let Some(at) = open.get(usize::from(request) % open.len().max(1)).copied() else { return Ok(()) };
        self.go_at(at, reach)
    }

    fn go_at(&mut self, at: usize, reach: Reach) -> Result<(), Violation> {
        let Some(request) = self.requests.get(at).cloned() else { return Ok(()) };
        let next = match request {
            Request::Submit(submit) => Request::Submit(self.submit(at, submit, reach)?),
            Request::Read(read) => Request::Read(self.read(read, reach)?),
        };
        if let Some(request) = self.requests.get_mut(at) {
            *request = next;
        }
        Ok(())
    }

    /// Pings notice within a second or two that a connection is gone: long before a lease is over.
    fn disconnect(&mut self) {
        self.gateways.iter_mut().for_each(|gateway| gateway.link.run = None);
    }

    fn cut(&mut self, gateway: usize, is_cut: bool) {
        self.note(|| format!("gateway {gateway} is cut off from Redis: {is_cut}"));
        if let Some(gateway) = self.gateways.get_mut(gateway) {
            gateway.link.is_cut = is_cut;
            gateway.link.run = None;
        }
    }

    /// A record that is not on the log in time never will be.
    fn wait(&mut self, millis: u64) {
        self.now += millis;
        let now = self.now;
        let (late, flying): (Vec<_>, Vec<_>) = self.flying.iter().partition(|flying| flying.until < now);
        self.flying = flying;
        late.into_iter().for_each(|flying| self.lost(flying));
    }

    /// Faults end, everything is done, and what was promised is there.
    pub(crate) fn end(&mut self) -> Result<(), Violation> {
        self.step(Step::Back)?;
        for gateway in 0..self.gateways.len() {
            self.cut(gateway, false);
        }
        for _ in 0..3 {
            while let Some(flying) = self.flying.pop() {
                self.land(flying, true);
            }
            while self.position < self.log.len() {
                self.decide();
            }
            for request in 0..self.requests.len() {
                for _ in 0..10 {
                    self.go_at(request, Reach::Answered)?;
                }
            }
        }
        for (order, bodies) in &self.promised {
            let row = self.rows.get(order).map(|row| row.body);
            if row.is_none_or(|body| !bodies.contains(&body)) {
                let what = format!("order {order} was promised to {bodies:?} and is {row:?}");
                return Err(Violation::new("a 202 is a promise", what));
            }
        }
        Ok(())
    }
}

impl Request {
    fn is_done(&self) -> bool {
        match self {
            Self::Submit(submit) => submit.is_done(),
            Self::Read(read) => read.is_done(),
        }
    }
}
