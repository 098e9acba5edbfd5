//! `mambogo sim`: histories of all services, in memory. Nothing is connected to.

use simulator::{Bug, Faults, Plan};
use std::time::Instant;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Histories from seeds, until one fails; with a bug planted, until one finds it.
pub(crate) fn run(
    seed: Option<u64>,
    histories: u64,
    orders: u8,
    faults: Faults,
    plant: Option<&str>,
) -> Outcome {
    let seed = seed.unwrap_or_else(|| chassis::ids::random().as_u64_pair().0);
    let plan = Plan { seed, histories, orders, faults };
    println!("seed {seed}: {histories} histories of {orders} orders, faults: {faults}");
    match plant {
        None => {
            let begun = Instant::now();
            simulator::run(&plan)?;
            println!("every invariant held; {:.1} s", begun.elapsed().as_secs_f64());
            Ok(())
        }
        Some("all") => Bug::DRAWN.into_iter().try_for_each(|bug| find(&plan, bug, false)),
        Some(name) => find(&plan, name.parse()?, true),
    }
}

fn find(plan: &Plan, bug: Bug, tells_all: bool) -> Outcome {
    let begun = Instant::now();
    let found = plan.find(bug);
    let took = begun.elapsed().as_secs_f64();
    let Some(found) = found else {
        let histories = plan.histories;
        return Err(
            format!("{bug} is planted, and {histories} histories did not find it ({took:.1} s)").into()
        );
    };
    println!("{bug:<14} {took:>5.1} s  {}", found.summary());
    if tells_all {
        println!("\n{found}");
    }
    Ok(())
}

/// Every state of small bounds, `most` of one setup at most.
pub(crate) fn explore(most: u64) -> Outcome {
    for bound in simulator::bounds() {
        let begun = Instant::now();
        let explored = simulator::explore(&bound, most)?;
        println!("{:<30} {explored}; {:.1} s", bound.name, begun.elapsed().as_secs_f64());
    }
    println!("every invariant held in every state");
    Ok(())
}
