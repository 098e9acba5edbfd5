//! The crash-point sweep: a real process dies on either side of each durable step, in every role, while orders of all
//! kinds flow; it starts again, all settles, and every book agrees.
//!
//! By itself it lets a process of each role die at a time, and its successors too, until each place has had its turn.
//! `make sweep` takes one place at a time, at several passings. `SWEEP_SEED`, `SWEEP_ONLY` (part of a place's name),
//! `SWEEP_ALONE=1` (one place at a time) and `SWEEP_TIMES` (passings of each) say which.

mod audit;
mod cast;
mod history;
mod lives;
mod matrix;
mod plan;
mod requests;

use crate::system::System;
use audit::Audit;
use cast::{Cast, Crash};
use lives::{Shop, Wants};
use matrix::{Matrix, Row};
use plan::{Plan, Turn};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the cast is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How often orders are placed anew while a place has not been passed yet.
const ROUND: Duration = Duration::from_millis(500);
/// When nobody has died for this long, nobody will.
const REACH: Duration = Duration::from_secs(120);
/// What has not settled in this time after a crash is a violation.
const SETTLE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_beside_a_durable_step_loses_nothing_and_does_nothing_twice() {
    let mut plan = Plan::from_environment();
    println!("sweep: {plan}");
    let system = Arc::new(System::build(&cast::SETTINGS).await);
    let mut sweep = Sweep::start(&system).await;
    while let Some(step) = plan.next_step() {
        for row in sweep.step(&step).await {
            println!("{row}");
            sweep.matrix.add(row);
        }
    }
    sweep.finish(&plan).await;
}

struct Sweep {
    cast: Cast,
    shop: Shop,
    audit: Audit,
    matrix: Matrix,
}

impl Sweep {
    async fn start(system: &Arc<System>) -> Self {
        let products = requests::stock_up(system).await;
        let cast = Cast::start(system).await;
        let shop = Shop::open(system, products, &cast).await;
        Self { cast, shop, audit: Audit::of(system), matrix: Matrix::begin() }
    }

    /// Everybody of `step` dies at their place and starts again; then all settles and is audited.
    async fn step(&mut self, step: &[Turn]) -> Vec<Row> {
        self.cast.arm(step);
        let crashes = self.let_die(step).await;
        let last = Instant::now();
        let mut violations: Vec<String> =
            self.cast.disarm().iter().map(|place| format!("{place} was not passed")).collect();
        violations.extend(self.settle().await);
        let settled = last.elapsed();
        let mut rows: Vec<Row> = step
            .iter()
            .map(|turn| Row {
                turn: *turn,
                died: None,
                ready: None,
                settled,
                orders: self.shop.placed(),
                violations: violations.clone(),
            })
            .collect();
        for crash in crashes {
            let row = rows.iter_mut().find(|row| row.turn.place == crash.place).unwrap();
            row.died = Some(crash.after);
            row.ready = match crash.ready {
                Some(ready) => ready.await.unwrap(),
                None => None,
            };
        }
        rows
    }

    /// Places orders until everybody of `step` has died, or it is clear that somebody never will.
    async fn let_die(&mut self, step: &[Turn]) -> Vec<Crash> {
        let wants = Wants::of(step);
        let mut crashes = Vec::new();
        let (mut tick, mut round) = (paced(TICK), paced(ROUND));
        let mut progress = Instant::now();
        self.shop.begin();
        while crashes.len() < step.len() && progress.elapsed() < REACH {
            tokio::select! {
                _ = tick.tick() => {
                    let died = self.cast.look();
                    if !died.is_empty() {
                        progress = Instant::now();
                    }
                    crashes.extend(died);
                }
                _ = round.tick() => {
                    self.shop.round(&wants);
                    self.cast.ask_leavers_to_stop().await;
                }
            }
        }
        crashes
    }

    /// Waits until all that was begun has ended; what is wrong then.
    async fn settle(&mut self) -> Vec<String> {
        let lived = tokio::time::timeout(SETTLE, self.shop.lived()).await;
        let mut violations = lived.unwrap_or_else(|_| vec!["clients still wait for answers".to_owned()]);
        violations.extend(self.audit.settled(SETTLE, self.shop.history(), self.shop.wire()).await);
        // nobody should have died meanwhile
        self.cast.look();
        violations.extend(self.cast.fallen());
        violations
    }

    /// Stops everybody in good order, audits once more, and tells the whole table.
    async fn finish(mut self, plan: &Plan) {
        self.cast.stop().await;
        let last = self.audit.settled(SETTLE, self.shop.history(), self.shop.wire()).await;
        let report = self.matrix.report(plan, &last);
        let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/sweep.txt");
        std::fs::write(file, &report).unwrap();
        println!("{report}\nwritten to {file}");
        let bad = self.matrix.violations() + last.len();
        assert_eq!(bad, 0, "violations; the same again with SWEEP_SEED={}\n{report}", plan.seed);
    }
}

fn paced(period: Duration) -> Interval {
    let mut pace = interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
