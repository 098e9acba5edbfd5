//! All services on one stage, and what each decision does to them.

use crate::{
    check::{Takes, Violation},
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
use schemas::{ids, time::Timestamp};
use std::time::Duration;

/// When every history begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) edge: Edge,
    pub(crate) orders: Shop<OrdersTables>,
    pub(crate) inventory: Shop<InventoryTables>,
    pub(crate) payments: Shop<PaymentsTables>,
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
            takes: Takes::default(),
            events: EventReader::new(partitions),
            plant,
            notes,
        };
        Self {
            stage,
            edge,
            orders: Shop::new(Part::Orders, OrdersTables::new(), partitions),
            inventory: Shop::new(Part::Inventory, InventoryTables::new(products, setup.waiters), partitions),
            payments: Shop::new(Part::Payments, PaymentsTables::new(), partitions),
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
            _ => self.edge.produce(&mut self.stage, step)?,
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), Violation> {
        self.stage.events.read(&self.stage.log)?;
        let parked = [&self.orders.base, &self.inventory.base, &self.payments.base];
        for (key, why) in parked.iter().flat_map(|base| base.parked.values()).flatten() {
            if !self.edge.is_poisoned(key) {
                let what = format!("{} is parked: {why}", String::from_utf8_lossy(key));
                return Err(Violation::new("nothing is parked", what));
            }
        }
        Ok(())
    }
}
