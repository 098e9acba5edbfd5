//! The table of what is measured (DESIGN, "Numbers to reach"), one scenario a row.

use super::{
    goals::{Better, Goal, What},
    name,
    processes::Topology,
};
use auditor::Scope;
use loadtest::{Follow, Pace, Plan, Spread, Way};
use std::time::Duration;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Seconds instead of minutes.
    pub(crate) short: bool,
    /// Rates are multiplied by this.
    pub(crate) rates: f64,
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) topology: Topology,
    /// What is sent; no orders at all in a run that shows what idling costs.
    pub(crate) plan: Plan,
    /// So many orders are in the tables first. Such a scenario is run when it is asked for only.
    pub(crate) filled: Option<u64>,
    /// A worker process is killed so often.
    pub(crate) kill_every: Option<Duration>,
    pub(crate) goals: Vec<Goal>,
}

impl Scenario {
    /// Whether it is part of the table; if not, it is run when it is asked for.
    pub(crate) fn is_usual(&self) -> bool {
        self.filled.is_none() && !matches!(self.topology, Topology::Scaled { .. })
    }

    /// All of the books; where the tables were filled by hand, the orders of this run and all stock.
    pub(crate) fn audited(&self) -> Scope {
        self.filled.map_or(Scope::Everything, |_| Scope::Since(Duration::from_secs(60 * 60)))
    }
}

/// The names, in their order.
pub(crate) fn names() -> Vec<&'static str> {
    let scale = Scale { short: true, rates: 1.0 };
    all(scale).into_iter().map(|scenario| scenario.name).collect()
}

const fn more(what: What, goal: f64, floor: Option<f64>) -> Goal {
    Goal { what, better: Better::More, goal, floor }
}

const fn less(what: What, goal: f64, floor: Option<f64>) -> Goal {
    Goal { what, better: Better::Less, goal, floor }
}

/// All of them.
pub(crate) fn all(scale: Scale) -> Vec<Scenario> {
    let seconds = |short, long| Duration::from_secs(if scale.short { short } else { long });
    let rate = |rate: f64| Pace::Rate(rate * scale.rates);
    vec![
        Scenario {
            name: "bulk",
            title: "10,000 orders a second, 50 a call, spread products",
            topology: Topology::Together,
            plan: Plan { pace: rate(10_000.0), length: seconds(15, 300), ..bulk() },
            filled: None,
            kill_every: None,
            goals: vec![
                more(What::SagasPerSecond, 10_000.0 * scale.rates, None),
                less(What::MicrosPerOrder, 160.0, Some(75.0)),
                less(What::CompleteP99, 2_000.0, None),
                less(What::LargestMiB, 200.0, None),
                less(What::GeneratorMicros, 20.0 * 50.0, None),
            ],
        },
        Scenario {
            name: "hot",
            title: "the same, one product in every order",
            topology: Topology::Together,
            plan: Plan { products: Spread::Hot, pace: rate(10_000.0), length: seconds(10, 60), ..bulk() },
            filled: None,
            kill_every: None,
            goals: vec![
                more(What::SagasPerSecond, 10_000.0 * scale.rates, None),
                less(What::MicrosPerOrder, 160.0, Some(65.0)),
                less(What::CompleteP99, 2_000.0, None),
            ],
        },
        Scenario {
            name: "single",
            title: "5,000 a second, one order a POST and one status read each",
            topology: Topology::Together,
            plan: Plan {
                way: Way::Single,
                follow: Follow::ReadOnce.always(),
                pace: rate(5_000.0),
                length: seconds(15, 120),
                ..bulk()
            },
            filled: None,
            kill_every: None,
            goals: vec![
                more(What::SagasPerSecond, 5_000.0 * scale.rates, None),
                less(What::AcceptP99, 50.0, None),
                less(What::CompleteP99, 500.0, None),
                less(What::GeneratorMicros, 20.0, None),
            ],
        },
        Scenario {
            name: "clients",
            title: "64 clients, each waits for its order's end before the next",
            topology: Topology::Together,
            plan: Plan {
                way: Way::Single,
                follow: Follow::Wait.always(),
                on_log: false,
                pace: Pace::Clients(64),
                length: seconds(10, 60),
                ..bulk()
            },
            filled: None,
            kill_every: None,
            goals: vec![
                more(What::SagasPerSecond, 3_000.0, None),
                less(What::CompleteP50, 21.0, None),
                less(What::MicrosPerOrder, 550.0, None),
            ],
        },
        Scenario {
            name: "one",
            title: "one order after the other on an idle system",
            topology: Topology::Together,
            plan: Plan {
                way: Way::Single,
                follow: Follow::Wait.always(),
                on_log: false,
                pace: Pace::Clients(1),
                length: seconds(60, 300),
                orders: Some(if scale.short { 200 } else { 1_000 }),
                ..bulk()
            },
            filled: None,
            kill_every: None,
            goals: vec![less(What::CompleteP99, 60.0, None)],
        },
        Scenario {
            name: "idle",
            title: "nothing to do",
            topology: Topology::Together,
            plan: Plan {
                orders: Some(0),
                length: seconds(10, 60),
                on_log: false,
                settle: Duration::ZERO,
                ..bulk()
            },
            filled: None,
            kill_every: None,
            goals: vec![less(What::IdlePercent, 3.0, None)],
        },
        Scenario {
            name: "kills",
            title: "6,000 a second in bulk through the kill of the worker",
            topology: Topology::WorkersApart,
            plan: Plan { pace: rate(6_000.0), length: seconds(25, 300), ..bulk() },
            filled: None,
            kill_every: Some(seconds(10, 60)),
            goals: vec![
                more(What::SagasPerSecond, 6_000.0 * scale.rates, None),
                less(What::Recovery, 10.0, None),
            ],
        },
        growth("growth-10k", "with 10,000 orders in the tables", 10_000, scale),
        growth("growth-1m", "with a million orders in the tables", 1_000_000, scale),
        growth("growth-10m", "with ten million orders in the tables", 10_000_000, scale),
        scaled("scale-1-1", "one worker process, one relay", (1, 1), scale),
        scaled("scale-2-1", "two worker processes, one relay", (2, 1), scale),
        scaled("scale-4-1", "four worker processes, one relay", (4, 1), scale),
        scaled("scale-2-2", "two worker processes, two relays", (2, 2), scale),
        scaled("scale-4-3", "four worker processes, three relays", (4, 3), scale),
    ]
}

/// The same load over tables that hold more and more. What counts is the CPU of an order beside that of the first.
fn growth(name: &'static str, title: &'static str, filled: u64, scale: Scale) -> Scenario {
    let pace = Pace::Rate(2_000.0 * scale.rates);
    let length = Duration::from_secs(if scale.short { 30 } else { 120 });
    Scenario {
        name,
        title,
        topology: Topology::Together,
        plan: Plan { pace, length, ..bulk() },
        filled: Some(filled),
        kill_every: None,
        goals: vec![
            more(What::SagasPerSecond, 2_000.0 * scale.rates, None),
            less(What::MicrosPerOrder, 250.0, None),
        ],
    }
}

/// The same load for more and more processes that share its lanes: on one machine what counts is what sharing costs.
fn scaled(
    name: &'static str,
    title: &'static str,
    (workers, relays): (usize, usize),
    scale: Scale,
) -> Scenario {
    let pace = Pace::Rate(2_000.0 * scale.rates);
    let length = Duration::from_secs(if scale.short { 20 } else { 60 });
    Scenario {
        name,
        title,
        topology: Topology::Scaled { workers, relays },
        plan: Plan { pace, length, ..bulk() },
        filled: None,
        kill_every: None,
        goals: vec![more(What::SagasPerSecond, 2_000.0 * scale.rates, None)],
    }
}

pub(super) fn bulk() -> Plan {
    Plan {
        name: name(),
        way: Way::Bulk(50),
        follow: Follow::Nothing.always(),
        on_log: true,
        insist: Duration::from_secs(30),
        settle: Duration::from_secs(60),
        connections: 1_024,
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_has_a_name_of_its_own_and_something_to_reach() {
        assert_eq!(names().iter().collect::<BTreeSet<_>>().len(), names().len());
        for scenario in all(Scale { short: false, rates: 0.5 }) {
            assert!(!scenario.goals.is_empty(), "{}", scenario.name);
            let is_killed = scenario.goals.iter().any(|goal| goal.what == What::Recovery);
            assert_eq!(is_killed, scenario.kill_every.is_some(), "{}", scenario.name);
        }
    }
}
