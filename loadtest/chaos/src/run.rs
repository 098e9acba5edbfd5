//! A run: the instance and its crew, one phase a fault, one row a phase, and a last look at everything.

use crate::{
    Failure,
    arguments::{Arguments, Command},
    buyer::{Life, Shop},
    check,
    client::Client,
    crew::{Crew, Role},
    fault::{Fault, Stage},
    instance::Instance,
    lines::Lines,
    load::{Draws, Load},
    memory::{self, Watch},
    order::Shelf,
    provider::{self, Provider},
    pulse::Pulse,
    store,
    table::{Row, Table, headings},
    trail::Trail,
    verdict::Invariant,
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long the system may take until rate and backlog are as before: generous, for a machine that is busy. The goal is
/// 10 s for the rate.
const RECOVERS_WITHIN: Duration = Duration::from_secs(120);
/// Load before the first fault: brokers are slow until they are warm.
const WARM_UP: Duration = Duration::from_secs(15);
/// The load counts as steady once this share of it is settled; or after so long, on a machine that cannot do it.
const STEADY: f64 = 0.85;
const TO_STEADY: Duration = Duration::from_secs(15);
/// Faults of a short run, drawn from the seed: about five minutes.
const IN_SHORT: usize = 9;
/// Findings of a kind that are shown at once; the table's file holds all.
const SHOWN: usize = 3;
/// Products in the catalogue.
const PRODUCTS: &str = "200";
/// A payment that fails again and again is known within seconds: what a phase waits for is the fault, not its mix. And
/// a refund that an outage keeps from its provider is asked for until it works, not until a human is needed.
/// A database that says nothing is given up before the phase ends.
const SETTINGS: [(&str, &str); 4] = [
    ("PAYMENT_RETRY_LONGEST", "500ms"),
    ("PAYMENT_REFUND_ATTEMPTS", "1000"),
    ("WORKER_BATCH_TIMEOUT", "10s"),
    ("LOG_FORMAT", "json"),
];

/// Everything that a phase works with.
pub(crate) struct World {
    pub(crate) instance: Instance,
    pub(crate) crew: Crew,
    pub(crate) shop: Arc<Shop>,
    pub(crate) shelf: Shelf,
    pub(crate) draws: Draws,
    pub(crate) random: StdRng,
    pub(crate) memory: Watch,
    lines: Lines,
    provider: Provider,
    trail: Trail,
    lives: Vec<Life>,
    guest: usize,
}

impl World {
    /// Starts everything: two gateways, two workers, two relays, the payment provider, a catalogue, and a seat for a third
    /// worker.
    ///
    /// # Errors
    /// When a part does not come up.
    pub(crate) async fn begin(arguments: &Arguments, seed: u32) -> Result<Self, Failure> {
        let instance = Instance::begin(&arguments.root).await?;
        let bin = std::fs::canonicalize(&arguments.bin)
            .map_err(|e| format!("{}: {e}; build it, or name another with --bin", arguments.bin.display()))?;
        let mut crew = Crew::new(&instance, &bin, &SETTINGS);
        provider::SETTINGS.into_iter().for_each(|(key, value)| crew.tell(key, value.to_owned()));
        for words in [&["migrate"][..], &["topics"], &["seed", "--products", PRODUCTS]] {
            crew.tool(words).await?;
        }
        let shelf = store::fill_shelf(&instance).await?;
        let first = crew.seat(Role::Gateway, &[])?;
        let webhooks = format!("http://{}/api/payments/webhooks", crew.address(first)?);
        let seat = crew.seat(Role::Provider, &[("SANDBOX_WEBHOOK_URL".to_owned(), webhooks)])?;
        let (lines, provider) =
            (Lines::lay(&instance, &crew.address(seat)?).await?, Provider::at(&crew.address(seat)?)?);
        crew.tell("STRIPE_BASE_URL", format!("http://{}", lines.provider.address()));
        // orders of the second gateway expire in an outage, those of the first live through it
        let mut second = lines.of_gateway(&instance)?;
        second.push(("ORDER_DEADLINE".to_owned(), "10s".to_owned()));
        crew.seat(Role::Gateway, &second)?;
        crew.seat(Role::Worker, &lines.of_worker(&instance)?)?;
        for role in [Role::Worker, Role::Relay, Role::Relay] {
            crew.seat(role, &[])?;
        }
        let roles = [Role::Provider, Role::Relay, Role::Worker, Role::Gateway];
        for seat in roles.into_iter().flat_map(|role| crew.of(role)).collect::<Vec<_>>() {
            crew.start(seat)?;
        }
        for seat in roles.into_iter().flat_map(|role| crew.of(role)).collect::<Vec<_>>() {
            crew.is_ready(seat).await?;
        }
        provider.as_usual().await?;
        let guest = crew.seat(Role::Worker, &[])?;
        let token =
            crew.tool(&["token", "--user", "chaos", "--scope", "limits:exempt", "--ttl", "24h"]).await?;
        let client = Client::new(crew.gateways(), &token)?;
        let shop =
            Shop { client, pulse: Pulse::new(), findings: Arc::default(), is_split: AtomicBool::new(false) };
        let memory = Watch::begin(&instance, crew.names());
        let draws = Draws { random: StdRng::seed_from_u64(u64::from(seed)), run: seed.to_string(), next: 0 };
        Ok(Self {
            instance,
            crew,
            shop: Arc::new(shop),
            shelf,
            draws,
            random: StdRng::seed_from_u64(u64::from(seed) ^ 0xfa17),
            memory,
            lines,
            provider,
            trail: Trail::default(),
            lives: Vec::new(),
            guest,
        })
    }

    /// Breaks and heals once, while a load runs that somebody else has begun.
    ///
    /// # Errors
    /// When something that should have come back did not.
    pub(crate) async fn strike(
        &mut self,
        fault: Fault,
        outage: Duration,
    ) -> Result<crate::fault::Struck, Failure> {
        self.shop.is_split.store(fault == Fault::GatewayCutOff, Ordering::Release);
        let mut stage = Stage {
            instance: &self.instance,
            crew: &mut self.crew,
            lines: &self.lines,
            provider: &self.provider,
            findings: &self.shop.findings,
            random: &mut self.random,
            outage,
            guest: self.guest,
        };
        stage.strike(fault).await
    }

    /// One fault: load, the fault, load until all is as before, then everything comes to rest and is checked.
    async fn phase(&mut self, fault: Fault, plan: &Plan) -> Result<Row, Failure> {
        let begun = Instant::now();
        let load = Load::begin(&self.shop, &self.shelf, &self.draws, plan.rate);
        tokio::time::sleep(plan.settle_in).await;
        let settled_in = Instant::now();
        while !self.shop.pulse.is_steady(plan.rate, STEADY) && settled_in.elapsed() < TO_STEADY {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let steady = Instant::now();
        tokio::time::sleep(plan.steady).await;
        let struck = self.strike(fault, plan.outage).await?;
        let recovery = loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let recovery = self.shop.pulse.recovery(plan.rate, steady, struck.broken, struck.healed);
            if recovery.is_complete() || struck.healed.elapsed() > RECOVERS_WITHIN {
                break recovery;
            }
        };
        let lives = load.end(&mut self.draws).await;
        let (to_rest, memory) = self.check(&lives, begun).await?;
        if !recovery.is_complete() {
            let what =
                format!("the rate or the backlog is not as before {RECOVERS_WITHIN:?} later: {recovery:?}");
            self.shop.findings.add(Invariant::Recovery, what);
        }
        let answers = self.shop.client.take_heard();
        if fault == Fault::BrokersAway && !answers.contains_key(&503) {
            self.shop
                .findings
                .add(Invariant::Answers, "no submit was answered 503 while all brokers were away");
        }
        let mut row = row(fault, struck.what, &lives, to_rest, memory);
        row.timed(recovery);
        row.answers = answers;
        row.violations = self.shop.findings.take();
        self.lives.extend(lives);
        Ok(row)
    }

    /// All checks of a phase. Returns how long it took to come to rest, and the most memory.
    ///
    /// # Errors
    /// When Postgres or Kafka do not answer.
    pub(crate) async fn check(&mut self, lives: &[Life], begun: Instant) -> Result<(Duration, u64), Failure> {
        let findings = &self.shop.findings;
        let to_rest = check::come_to_rest(&self.instance, findings).await?;
        check::against_the_table(&self.instance, lives, findings).await?;
        check::against_the_provider(&self.instance, &self.provider, findings).await?;
        // a margin, for the log's timestamps are when a record was made
        let since = Some(begun.elapsed() + Duration::from_secs(30));
        let trail = std::mem::take(&mut self.trail);
        self.trail = check::against_the_log(&self.instance, lives, since, trail, findings).await?;
        let memory = memory::most(&self.memory.take());
        if memory > memory::BOUND {
            findings.add(Invariant::Bounded, format!("a process of ours has {} MiB", memory >> 20));
        }
        for name in self.crew.fallen() {
            findings.add(Invariant::Bounded, format!("{name} ended by itself; its log says why"));
        }
        Ok((to_rest, memory))
    }
}

fn row(fault: Fault, what: String, lives: &[Life], to_rest: Duration, memory: u64) -> Row {
    let mut row = Row {
        fault: fault.name(),
        what,
        orders: lives.iter().filter(|life| life.id.is_some()).count(),
        submits: lives.iter().map(|life| u64::from(life.attempts)).sum(),
        answers: std::collections::BTreeMap::new(),
        ends: std::collections::BTreeMap::new(),
        rate_before: 0.0,
        rate_back_seconds: None,
        backlog_gone_seconds: None,
        longest_stall_seconds: 0.0,
        to_rest_seconds: to_rest.as_secs_f64(),
        memory,
        violations: std::collections::BTreeMap::new(),
    };
    for life in lives {
        *row.ends.entry(life.status.clone()).or_default() += 1;
    }
    row
}

/// How phases are run.
struct Plan {
    rate: u32,
    settle_in: Duration,
    steady: Duration,
    outage: Duration,
}

/// One fault after another. Prints rows as they come.
///
/// # Errors
/// When a part does not come back, or a check cannot be made: the run has no result then.
pub(crate) async fn faults(arguments: &Arguments, seed: u32) -> Result<Table, Failure> {
    let Command::Faults { short, rounds, only } = &arguments.command else {
        return Err("not asked for".into());
    };
    let mut plan = Plan {
        rate: arguments.rate,
        settle_in: Duration::from_secs(1),
        steady: Duration::from_secs(if *short { 3 } else { 8 }),
        outage: Duration::from_secs(if *short { 20 } else { 60 }),
    };
    let mut world = World::begin(arguments, seed).await?;
    let mut rows = Vec::new();
    println!("{}", headings());
    let has_volumes = world.instance.volumes().is_some();
    let possible: Vec<Fault> =
        Fault::ALL.into_iter().filter(|fault| has_volumes || !fault.is_full()).collect();
    let mut faults = order_of_faults(&mut world.random, *rounds, only, &possible);
    if *short && only.is_empty() {
        faults.truncate(1 + IN_SHORT);
    }
    for fault in faults {
        let usual = plan.settle_in;
        if rows.is_empty() {
            plan.settle_in = WARM_UP;
        }
        let row = world.phase(fault, &plan).await.map_err(|e| format!("{}: {e}", fault.name()))?;
        plan.settle_in = usual;
        println!("{}", row.line());
        for (invariant, found) in &row.violations {
            found.iter().take(SHOWN).for_each(|what| println!("    {}: {what}", invariant.heading()));
        }
        rows.push(row);
    }
    let lives = std::mem::take(&mut world.lives);
    let findings = &world.shop.findings;
    check::come_to_rest(&world.instance, findings).await?;
    check::against_the_table(&world.instance, &lives, findings).await?;
    // from the first record: what was read once may have been lost since
    let anew = Arc::clone(findings);
    let trail = check::against_the_log(&world.instance, &lives, None, Trail::default(), &anew).await?;
    Ok(Table {
        seed,
        orders_a_second: arguments.rate,
        rows,
        at_the_end: findings.take(),
        records: trail.records,
        repeats: trail.repeats,
        refused: trail.refused,
    })
}

/// `Nothing` first, it warms up; the others shuffled anew each round.
fn order_of_faults(random: &mut StdRng, rounds: u32, only: &[String], possible: &[Fault]) -> Vec<Fault> {
    let wanted =
        |fault: &Fault| only.is_empty() || only.iter().any(|word| fault.name().contains(word.as_str()));
    let mut faults = vec![Fault::Nothing];
    for _ in 0..rounds {
        let mut round: Vec<Fault> =
            possible.iter().copied().filter(|fault| *fault != Fault::Nothing).filter(wanted).collect();
        round.shuffle(random);
        faults.extend(round);
    }
    faults
}
