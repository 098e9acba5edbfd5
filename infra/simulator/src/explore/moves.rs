//! What can happen next.

use super::bounds::Left;
use crate::{
    script::{Calls, Deed, Fate, Part, Sending, Step},
    shop::Shop,
    tables::Tables,
    world::{World, of_part},
};
use harness::service::Service;

/// More than there ever is to take or to send.
const ALL: u8 = 50;

/// Every step that changes something here, with what is left after it.
pub(super) fn moves(world: &World, left: Left) -> Vec<(Step, Left)> {
    let mut next = Moves { world, left, found: Vec::new() };
    next.clients();
    for part in Part::ALL {
        next.work(part);
        next.send(part);
        next.poison(part);
    }
    if !world.stage.stragglers.is_empty() {
        next.add(Step::Straggle, left);
    }
    if left.waits > 0
        && let Some(due) = world.next_due()
        && due > world.stage.now
    {
        let millis = i64::try_from(due.since(world.stage.now).as_millis()).unwrap_or(i64::MAX);
        next.add(Step::Wait(millis), Left { waits: left.waits - 1, ..left });
    }
    next.found
}

struct Moves<'a> {
    world: &'a World,
    left: Left,
    found: Vec<(Step, Left)>,
}

impl Moves<'_> {
    fn add(&mut self, step: Step, left: Left) {
        self.found.push((step, left));
    }

    fn clients(&mut self) {
        let left = self.left;
        let submitted = u8::try_from(self.world.edge.accepted.len()).unwrap_or(u8::MAX);
        if left.submits > 0 {
            let step = Step::Submit { order: submitted, body: 0 };
            self.add(step, Left { submits: left.submits - 1, ..left });
        }
        if submitted > 0 && left.cancels > 0 {
            let step = Step::Cancel { order: 0, number: 0 };
            self.add(step, Left { cancels: left.cancels - 1, ..left });
        }
        if submitted > 0 && left.repeats > 0 {
            for body in 0..2 {
                let step = Step::Submit { order: 0, body };
                self.add(step, Left { repeats: left.repeats - 1, ..left });
            }
        }
    }

    fn work(&mut self, part: Part) {
        let left = self.left;
        for worker in 0..2u8 {
            let sight = of_part!(self.world, part, |shop| sight(shop, self.world, worker.into()));
            let Sight { to_read, is_due, is_halfway, holds, is_held } = sight;
            if !holds && (!is_held && worker == 0) {
                self.add(Step::Claim { part, worker, partition: 0 }, left);
            }
            if holds && worker == 0 && left.zombies > 0 {
                let claim = Step::Claim { part, worker: 1, partition: 0 };
                self.add(claim, Left { zombies: left.zombies - 1, ..left });
            }
            if !is_halfway && (!holds || (to_read == 0 && !is_due)) {
                continue;
            }
            let work = |size, calls, fate| Step::Work { part, worker, size, due: is_due, calls, fate };
            let commits = |size, calls| work(size, calls, Fate::Commits);
            self.add(commits(ALL, Calls::Answered), left);
            if to_read > 1 && !is_halfway {
                self.add(commits(1, Calls::Answered), left);
            }
            self.crashes(part, is_halfway, &|fate| work(ALL, Calls::Answered, fate));
            if part != Part::Payments || is_halfway {
                continue;
            }
            if left.zombies > 0 {
                self.add(work(ALL, Calls::Answered, Fate::Freezes), left);
            }
            if left.calls > 0 {
                let after = Left { calls: left.calls - 1, ..left };
                for calls in [Calls::Unheard, Calls::Late, Calls::NotBegun] {
                    self.add(commits(ALL, calls), after);
                }
            }
        }
    }

    fn crashes(&mut self, part: Part, is_halfway: bool, work: &dyn Fn(Fate) -> Step) {
        let left = self.left;
        if left.crashes == 0 {
            return;
        }
        let after = Left { crashes: left.crashes - 1, ..left };
        for fate in [Fate::DiesBefore, Fate::DiesAfter, Fate::AnswerLost, Fate::CommitLost] {
            self.add(work(fate), after);
        }
        if part == Part::Payments && !is_halfway {
            self.add(work(Fate::DiesBetween), after);
        }
    }

    fn send(&mut self, part: Part) {
        let left = self.left;
        let rows = of_part!(self.world, part, |shop| {
            shop.base.outbox.values().map(std::collections::BTreeMap::len).sum::<usize>()
        });
        let adrift = of_part!(self.world, part, |shop| {
            shop.relays.first().is_some_and(|relay| relay.has_adrift())
        });
        if adrift {
            self.add(Step::Arrive { part, relay: 0, records: ALL }, left);
        }
        if rows == 0 {
            return;
        }
        let send = |sending| Step::Send { part, relay: 0, records: ALL, sending };
        self.add(send(Sending::Through), left);
        if left.relays > 0 {
            let after = Left { relays: left.relays - 1, ..left };
            for sending in [
                Sending::NotDeleted,
                Sending::AckedBackwards,
                Sending::AcksLost(0),
                Sending::AcksLost(1),
                Sending::Hole(0),
                Sending::Hole(1),
                Sending::Delayed,
                Sending::Dies,
            ] {
                self.add(send(sending), after);
            }
        }
    }

    /// A record of the first order fails once; then an operator may see to it.
    fn poison(&mut self, part: Part) {
        let left = self.left;
        if left.poison > 0 {
            let curse = Step::Curse { part, whom: 0, times: 1, unknown: false };
            self.add(curse, Left { poison: left.poison - 1, ..left });
        }
        let is_parked = of_part!(self.world, part, |shop| !shop.base.parked.rows.is_empty());
        let is_asked = of_part!(self.world, part, |shop| shop.sent.is_some());
        if is_parked && !is_asked {
            for deed in [Deed::Redrive, Deed::RedriveLast] {
                self.add(Step::Operate { part, whom: 0, deed }, left);
            }
        }
    }
}

/// What a worker has before it.
struct Sight {
    to_read: i64,
    is_due: bool,
    is_halfway: bool,
    holds: bool,
    /// By either worker.
    is_held: bool,
}

fn sight<T: Tables>(shop: &Shop<T>, world: &World, number: usize) -> Sight {
    let end = world.stage.log.end(shop.tables.service().input(), 0);
    let is_due = shop.tables.next_due(&shop.base).is_some_and(|due| due <= world.stage.now);
    let is_held = shop.workers.iter().any(|worker| !worker.lanes.is_empty());
    let worker = shop.workers.get(number);
    let lane = worker.and_then(|worker| worker.lanes.get(&0));
    let at = worker
        .and_then(|worker| worker.seeks.get(&0).or_else(|| worker.fetch.get(&0)))
        .copied()
        .or_else(|| lane.map(|lane| lane.next_offset));
    Sight {
        to_read: end - at.unwrap_or(end),
        is_due,
        is_halfway: worker.is_some_and(|worker| worker.halfway.is_some()),
        holds: lane.is_some(),
        is_held,
    }
}
