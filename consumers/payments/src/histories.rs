//! Random histories: commands, duplicates, voids and refunds against providers that fail in every way, with owners that
//! die between A and B, zombies whose calls arrive late, batches cut in two, and calls that outlast their budget. The
//! provider tells by itself too: before its answer is heard or long after, out of order, several times, or of money that
//! moved against all that was said before.
//!
//! The rows, the log and the provider are in memory; planner and decider are the real ones.

mod provider;
mod world;

use proptest::prelude::*;
use provider::Script;
use schemas::{
    ids::{self, EffectId, OrderId},
    messages::{CapturePayment, PaymentCommand, RefundPayment, VoidCapture},
    money::Currency,
    time::Timestamp,
};
use uuid::Uuid;
use world::World;

const BEGIN: i64 = 1_700_000_000_000;

/// What may come down the log for one of the orders.
#[derive(Debug, Clone)]
enum Op {
    Capture,
    Void,
    Undo,
    Refund {
        id: u8,
        amount: i64,
    },
    /// Money is taken that nobody asked for.
    TakeUnasked,
}

#[derive(Debug, Clone)]
struct History {
    orders: Vec<(Script, i64)>,
    ops: Vec<(usize, Op)>,
    seed: u64,
}

fn order_id(order: usize) -> OrderId {
    OrderId(Uuid::from_u128(1 + u128::try_from(order).unwrap()))
}

fn capture_id(order: usize) -> EffectId {
    ids::effect_id(order_id(order), "capture")
}

fn unasked_id(order: usize) -> EffectId {
    ids::effect_id(order_id(order), "unasked")
}

fn amount(order: usize) -> i64 {
    100 + i64::try_from(order).unwrap()
}

impl History {
    fn play(&self, world: &mut World, order: usize, op: &Op) {
        match self.command(order, op) {
            Some(command) => world.log(command),
            None => world.take_unasked(order_id(order), unasked_id(order), amount(order)),
        }
    }

    fn command(&self, order: usize, op: &Op) -> Option<PaymentCommand> {
        let (order_id, capture_id) = (order_id(order), capture_id(order));
        Some(match op {
            Op::TakeUnasked => return None,
            Op::Capture => CapturePayment {
                order_id,
                capture_id,
                amount: amount(order),
                currency: Currency::USD,
                payment_method: "CREDIT_CARD".to_owned(),
                deadline: Timestamp(BEGIN + self.orders[order].1),
            }
            .into(),
            Op::Void => VoidCapture { order_id, capture_id }.into(),
            Op::Undo => RefundPayment {
                order_id,
                capture_id,
                refund_id: ids::undo_of(capture_id),
                amount: None,
                reason: "order expired".to_owned(),
            }
            .into(),
            Op::Refund { id, amount } => RefundPayment {
                order_id,
                capture_id,
                refund_id: ids::effect_id(order_id, &format!("refund {id}")),
                amount: Some(*amount),
                reason: "operator".to_owned(),
            }
            .into(),
        })
    }

    fn world(&self) -> World {
        let scripts = self.orders.iter().enumerate().map(|(i, (s, _))| (capture_id(i), s.clone()));
        World::new(BEGIN, self.seed, scripts.collect())
    }

    fn check_end(&self, world: &World) {
        for order in 0..self.orders.len() {
            world.check_end(capture_id(order));
            world.check_end(unasked_id(order));
        }
    }
}

fn script() -> impl Strategy<Value = Script> {
    (0..7u32, 0..8u32, 0..6u8, 0..14u32, 0..10u32).prop_map(
        |(unknowns, charged_on, takes, refund_unknowns, refund_kind)| Script {
            unknowns,
            charged_on: (takes >= 3).then_some(charged_on.clamp(1, unknowns + 1)),
            taken_late: takes == 0,
            refund_unknowns,
            refund_refuses: refund_kind == 0,
            refund_never: refund_kind == 1,
            refund_bounces: refund_kind == 2,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => Just(Op::Capture),
        2 => Just(Op::Void),
        1 => Just(Op::Undo),
        2 => (0..3u8, 1..130i64).prop_map(|(id, amount)| Op::Refund { id, amount }),
        1 => Just(Op::TakeUnasked),
    ]
}

fn history() -> impl Strategy<Value = History> {
    let deadline = prop_oneof![Just(0i64), 1..4_000i64, Just(900_000i64)];
    (proptest::collection::vec((script(), deadline), 1..4), any::<u64>()).prop_flat_map(|(orders, seed)| {
        let count = orders.len();
        proptest::collection::vec((0..count, op()), 1..20).prop_map(move |ops| History {
            orders: orders.clone(),
            ops,
            seed,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_end_is_right(history in history()) {
        let mut world = history.world();
        for (order, op) in &history.ops {
            history.play(&mut world, *order, op);
            if world.chance(60) {
                world.turn();
            }
        }
        world.run_to_the_end();
        history.check_end(&world);
        world.redrive_what_failed();
        history.check_end(&world);
    }

    /// The same with an outage of half a day in the middle, after which the provider may have forgotten its keys.
    #[test]
    fn nothing_is_lost_over_half_a_day_of_silence(history in history()) {
        let mut world = history.world();
        for (i, (order, op)) in history.ops.iter().enumerate() {
            history.play(&mut world, *order, op);
            if world.chance(60) {
                world.turn();
            }
            if i == 5 {
                world.half_a_day_of_silence();
            }
        }
        world.run_to_the_end();
        history.check_end(&world);
    }
}
