//! Faults end, everybody comes back, and time runs until nothing is left to do.

use crate::{
    check::Violation,
    script::{Calls, Fate, Part, Sending},
    tables::Tables,
    turn::Turn,
    world::{World, of_part},
};
use std::time::Duration;

/// More rounds than the longest road to rest takes: a refund that is asked for twelve times among them.
const ROUNDS: usize = 1_000;
/// Rounds without anything done after which the watchdog makes workers join anew.
const IDLE: usize = 3;

impl World {
    /// Runs to rest.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), Violation> {
        self.stage.notes.note(self.stage.now, |_| "faults end".to_owned());
        while self.stage.straggle()? {}
        for part in Part::ALL {
            of_part!(self, part, |shop, stage| {
                for relay in &mut shop.relays {
                    relay.arrive(stage, usize::MAX);
                    relay.send(&mut shop.base, stage, 0, Sending::Dies)?;
                }
                shop.die(1);
            });
        }
        self.stage.curses.mend();
        self.join_anew();
        let mut idle = 0;
        for _ in 0..ROUNDS {
            let worked = self.round()?;
            if self.is_at_rest() {
                let due = self.next_due();
                let is_tidied = (self.tidied_early || due.is_none()) && self.tidy();
                match due {
                    _ if is_tidied => {}
                    Some(next) => self.stage.now = self.stage.now.max(next),
                    None => return Ok(()),
                }
                idle = 0;
            } else if worked {
                idle = 0;
            } else {
                idle += 1;
                if idle == IDLE {
                    self.join_anew();
                }
                if idle > 2 * IDLE {
                    break;
                }
            }
            self.stage.now = self.stage.now.plus(Duration::from_millis(5));
        }
        Err(Violation::new("bounded", format!("it never comes to rest: {}", self.unrest())))
    }

    /// Operators see to all that is parked. Says whether anything was.
    fn tidy(&mut self) -> bool {
        let mut any = false;
        for part in Part::ALL {
            any |= of_part!(self, part, |shop, stage| shop.tidy(stage));
        }
        any
    }

    fn join_anew(&mut self) {
        for part in Part::ALL {
            for partition in 0..self.stage.partitions {
                of_part!(self, part, |shop, _stage| shop.take_over(0, partition));
            }
        }
    }

    fn round(&mut self) -> Result<bool, Violation> {
        let mut worked = false;
        let turn = Turn { worker: 0, size: 50, due: true, calls: Calls::Answered, fate: Fate::Commits };
        for part in Part::ALL {
            worked |= of_part!(self, part, |shop, stage| {
                let positions = shop.base.locked(&(0..stage.partitions).collect::<Vec<_>>());
                shop.work(stage, turn)?;
                let moved = positions != shop.base.locked(&(0..stage.partitions).collect::<Vec<_>>());
                let sent = match shop.relays.first_mut() {
                    Some(relay) => relay.send(&mut shop.base, stage, 100, Sending::Through)?,
                    None => false,
                };
                moved || sent
            });
        }
        self.stage.events.read(&self.stage.log)?;
        Ok(worked)
    }

    fn is_at_rest(&self) -> bool {
        self.orders.is_at_rest(&self.stage)
            && self.inventory.is_at_rest(&self.stage)
            && self.payments.is_at_rest(&self.stage)
    }

    /// When something falls due; nothing that lies behind the marks, which nobody would look at again.
    pub(crate) fn next_due(&self) -> Option<schemas::time::Timestamp> {
        let times = [
            self.orders.tables.next_due(&self.orders.base),
            self.inventory.tables.next_due(&self.inventory.base),
            self.payments.tables.next_due(&self.payments.base),
        ];
        times.into_iter().flatten().min()
    }

    fn unrest(&self) -> String {
        let mut lines = Vec::new();
        for (part, base) in [
            (Part::Orders, &self.orders.base),
            (Part::Inventory, &self.inventory.base),
            (Part::Payments, &self.payments.base),
        ] {
            let rows: usize = base.outbox.values().map(std::collections::BTreeMap::len).sum();
            let at: Vec<i64> = base.lanes.values().map(|lane| lane.next_offset).collect();
            lines.push(format!("{}: positions {at:?}, {rows} outbox rows", part.name()));
        }
        lines.join("; ")
    }
}
