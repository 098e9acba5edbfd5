//! All services on one stage, and what each decision does to them.

use crate::{
    check::{Runs, Takes, Violation},
    curses::Curses,
    edge::Edge,
    events::EventReader,
    log::Log,
    notes::Notes,
    plant::Plant,
    provider::Provider,
    script::{Part, Setup, Step},
    shop::Shop,
    stage::Stage,
    tables::{InventoryTables, OrdersTables, PaymentsTables},
    turn::Turn,
};
use inventory_worker::stock::Stock;
use schemas::{ids, time::Timestamp, topics};
use std::time::Duration;

/// When every history begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) edge: Edge,
    pub(crate) orders: Shop<OrdersTables>,
    pub(crate) inventory: Shop<InventoryTables>,
    pub(crate) payments: Shop<PaymentsTables>,
    /// Whether operators act before time runs on, at rest.
    pub(crate) tidied_early: bool,
}

/// Does the same to the shop of that part, whichever it is.
macro_rules! of_part {
    ($world:expr, $part:expr, |$shop:ident, $stage:ident| $body:expr) => {{
        let $stage = &mut $world.stage;
        match $part {
            Part::Orders => {
                let $shop = &mut $world.orders;
                $body
            }
            Part::Inventory => {
                let $shop = &mut $world.inventory;
                $body
            }
            Part::Payments => {
                let $shop = &mut $world.payments;
                $body
            }
        }
    }};
    ($world:expr, $part:expr, |$shop:ident| $body:expr) => {
        match $part {
            Part::Orders => {
                let $shop = &$world.orders;
                $body
            }
            Part::Inventory => {
                let $shop = &$world.inventory;
                $body
            }
            Part::Payments => {
                let $shop = &$world.payments;
                $body
            }
        }
    };
}
pub(crate) use of_part;

impl World {
    pub(crate) fn new(setup: &Setup, plant: Plant, wanted: bool) -> Self {
        let mut notes = Notes::new(wanted);
        let edge = Edge::new(setup, &mut notes);
        let mut provider = Provider::default();
        for (number, buyer) in (0..).zip(&setup.buyers) {
            provider.scripts.insert(ids::effect_id(edge.order(number), "capture"), buyer.provider);
        }
        let products =
            (0..).zip(&setup.stock).map(|(n, units)| (Edge::product(n), Stock::of(*units))).collect();
        let partitions = setup.partitions;
        let stage = Stage {
            now: BEGIN,
            partitions,
            log: Log::default(),
            provider,
            stragglers: Vec::new(),
            curses: Curses::default(),
            takes: Takes::default(),
            runs: Runs::default(),
            events: EventReader::new(partitions),
            plant,
            notes,
        };
        Self {
            stage,
            edge,
            orders: Shop::new(Part::Orders, OrdersTables::new(), setup),
            inventory: Shop::new(Part::Inventory, InventoryTables::new(products, setup.waiters), setup),
            payments: Shop::new(Part::Payments, PaymentsTables::new(), setup),
            tidied_early: setup.tidied_early,
        }
    }

    /// Does what was decided, and checks what must hold after every step.
    pub(crate) fn step(&mut self, step: Step) -> Result<(), Violation> {
        match step {
            Step::Wait(millis) => {
                let time = Duration::from_millis(millis.unsigned_abs());
                self.stage.now = self.stage.now.plus(time);
            }
            Step::Claim { part, worker, partition } => {
                let partition = i32::from(partition);
                of_part!(self, part, |shop, stage| shop.claim(stage, worker.into(), partition));
            }
            Step::Stray { part, worker, by } => {
                of_part!(self, part, |shop, _stage| shop.stray(worker.into(), by.into()));
            }
            Step::Busy { part, worker, batches } => {
                of_part!(self, part, |shop, _stage| shop.keep_busy(worker.into(), batches));
            }
            Step::Work { part, worker, size, due, calls, fate } => {
                let turn = Turn { worker: worker.into(), size: size.into(), due, calls, fate };
                of_part!(self, part, |shop, stage| shop.work(stage, turn))?;
            }
            Step::Send { part, relay, records, sending } => {
                of_part!(self, part, |shop, stage| match shop.relays.get_mut(usize::from(relay)) {
                    Some(relay) => relay.send(&mut shop.base, stage, records.into(), sending),
                    None => Ok(false),
                })?;
            }
            Step::Arrive { part, relay, records } => {
                of_part!(self, part, |shop, stage| {
                    shop.relays.get_mut(usize::from(relay)).map(|relay| relay.arrive(stage, records.into()))
                });
            }
            Step::Straggle => {
                self.stage.straggle()?;
            }
            Step::Curse { part, whom, times, unknown } => {
                let key = topics::key(self.edge.whom(whom));
                self.stage.notes.note(self.stage.now, |notes| {
                    format!("the next record of {} fails in {}", notes.name(&key), part.name())
                });
                self.stage.curses.lay(part, key.to_vec(), times, unknown);
            }
            Step::Mend => {
                self.stage.notes.note(self.stage.now, |_| "what made records fail is mended".to_owned());
                self.stage.curses.mend();
            }
            Step::Operate { part, whom, deed } => {
                let keys = (self.edge.whom(whom), self.edge.whom(whom.wrapping_add(1)));
                of_part!(self, part, |shop, stage| shop.operate(stage, keys, deed));
            }
            _ => self.edge.produce(&mut self.stage, step)?,
        }
        self.check()
    }

    pub(crate) fn check(&mut self) -> Result<(), Violation> {
        self.stage.events.read(&self.stage.log)?;
        for part in Part::ALL {
            of_part!(self, part, |shop, stage| {
                shop.base.parked.check(|record| stage.curses.explain(part, record))?;
            });
        }
        Ok(())
    }
}
