//! What the simulator needs of a service: the real one, for reading and deciding, and its tables in memory, read and
//! written as its store does it.

mod inventory;
mod orders;
mod payments;

pub(crate) use inventory::InventoryTables;
pub(crate) use orders::OrdersTables;
pub(crate) use payments::PaymentsTables;

use crate::{check::Violation, digest::Digest, plant::Plant, shop::Base};
use harness::{
    record::{Delivery, Out},
    service::Service,
};
use payments_worker::{calls, plan::Intent};
use schemas::{ids::EffectId, time::Timestamp};

pub(crate) type Command<T> = <<T as Tables>::Service as Service>::Command;
pub(crate) type Rows<T> = <<T as Tables>::Service as Service>::Rows;
pub(crate) type Outcomes<T> = <<T as Tables>::Service as Service>::Outcomes;

/// What is due for a partition: where the mark goes, and deferrals whose commands are said.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) mark: Timestamp,
    pub(crate) taken: Vec<EffectId>,
}

pub(crate) trait Tables: Clone {
    type Service: Service<Outcomes: Clone>;

    fn service(&self) -> &Self::Service;

    /// Transaction A of a service that calls the outside: the trace, and which calls to make.
    fn trace(
        &mut self,
        _now: Timestamp,
        _batch: &[Delivery<Command<Self>>],
    ) -> Result<Vec<Intent>, Violation> {
        Ok(Vec::new())
    }

    /// What the calls brought, as the service takes it.
    fn outcomes(_heard: calls::Outcomes) -> Outcomes<Self> {
        Outcomes::<Self>::default()
    }

    fn load(&self, plant: Plant, batch: &[Delivery<Command<Self>>], outcomes: &Outcomes<Self>) -> Rows<Self>;

    fn due(&self, now: Timestamp, partition: i32, mark: Timestamp, out: &mut Out) -> Result<Due, Violation>;

    /// The commit.
    fn save(&mut self, now: Timestamp, rows: Option<Rows<Self>>, due: &[EffectId]) -> Result<(), Violation>;

    /// All its rows, into the fingerprint of a state.
    fn digest(&self, digest: &mut Digest);

    /// The same of what calls brought.
    fn digest_outcomes(_outcomes: &Outcomes<Self>, _digest: &mut Digest) {}

    /// When the next thing falls due that no record will bring.
    fn next_due(&self, base: &Base) -> Option<Timestamp>;
}
