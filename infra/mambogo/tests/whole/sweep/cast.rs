//! The processes, one a role: told where to die, looked at, and started again.

use super::plan::Turn;
use crate::system::{Process, System, free_address, webhook};
use chassis::crash::{CrashPoint, Place, SETTING};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Recovery is waited for in each step: what only makes it shorter is set short.
pub const SETTINGS: [(&str, &str); 8] = [
    // who comes back under its name gets its partitions at once, not after the group's session time-out
    ("KAFKA_GROUP_INSTANCE_ID", "sweep"),
    ("KAFKA_DELIVERY_TIMEOUT", "1s"),
    ("RELAY_LEASE_TIME", "1s"),
    ("PAYMENT_RETRY_FIRST", "50ms"),
    ("PAYMENT_RETRY_LONGEST", "1s"),
    ("ORDER_DEADLINE", "1h"),
    // on a machine so loaded that Redis seems away, no miss there is ever a proof, and nothing is answered from it
    ("REDIS_RESPONSE_TIMEOUT", "5s"),
    ("STRIPE_WEBHOOK_SECRET", webhook::SECRET),
];
/// The second gateway's orders expire soon.
const HASTY: (&str, &str) = ("ORDER_DEADLINE", "1s");

const ROLES: [(&str, &[&str]); 6] = [
    ("gateway", &["serve"]),
    ("orders", &["work", "orders"]),
    ("inventory", &["work", "inventory"]),
    ("payments", &["work", "payments"]),
    ("relay", &["relay"]),
    ("status", &["work", "status"]),
];
const SIGABRT: i32 = 6;
const READY: Duration = Duration::from_secs(120);

pub struct Cast {
    system: Arc<System>,
    actors: Vec<Actor>,
    /// A gateway that nobody kills, whose orders expire soon.
    pub hasty: Process,
    /// Where the gateway is, in each of its lives.
    pub gateway: SocketAddr,
    fallen: Vec<String>,
}

struct Actor {
    role: &'static str,
    arguments: &'static [&'static str],
    process: Process,
    /// Where it is to die, and its successors after it.
    fate: VecDeque<Turn>,
    began: Instant,
    asked_to_stop: bool,
}

/// A process died where it was told to, and its successor was started.
pub struct Crash {
    pub place: Place,
    /// After its start.
    pub after: Duration,
    /// How long a successor that is not to die itself takes to be ready.
    pub ready: Option<JoinHandle<Option<Duration>>>,
}

impl Cast {
    /// Starts everybody, and waits until they are ready.
    pub async fn start(system: &Arc<System>) -> Self {
        let gateway = free_address();
        let actor = |(role, arguments)| Actor {
            role,
            arguments,
            process: launch(system, arguments, gateway, None),
            fate: VecDeque::new(),
            began: Instant::now(),
            asked_to_stop: false,
        };
        let actors: Vec<Actor> = ROLES.into_iter().map(actor).collect();
        let hasty = system.launch(&["serve"], &[HASTY]);
        for actor in &actors {
            actor.process.is_ready().await;
        }
        hasty.is_ready().await;
        Self { system: Arc::clone(system), actors, hasty, gateway, fallen: Vec::new() }
    }

    /// Ends everybody of `step` as they are, and starts those who will die at their turns' places.
    pub fn arm(&mut self, step: &[Turn]) {
        for actor in &mut self.actors {
            actor.fate = step.iter().filter(|turn| turn.place.role == actor.role).copied().collect();
            if !actor.fate.is_empty() {
                actor.process.kill();
                actor.start(&self.system, self.gateway);
            }
        }
    }

    /// Those who died since the last look, all of them started again.
    pub fn look(&mut self) -> Vec<Crash> {
        let mut crashes = Vec::new();
        for actor in &mut self.actors {
            let Some(status) = actor.process.ended() else { continue };
            let log = actor.process.log();
            let (turn, after) = (actor.fate.pop_front(), actor.began.elapsed());
            actor.start(&self.system, self.gateway);
            match turn.map(|turn| turn.place) {
                Some(place)
                    if status.signal() == Some(SIGABRT) && log.contains(&format!("crash point {place}")) =>
                {
                    let ready = ready(actor.process.management(), actor.began);
                    let ready = actor.fate.is_empty().then(|| tokio::spawn(ready));
                    crashes.push(Crash { place, after, ready });
                }
                _ => {
                    let tail: Vec<&str> = log.lines().rev().take(5).collect();
                    self.fallen.push(format!("{} ended by itself: {status}, {tail:?}", actor.role));
                }
            }
        }
        crashes
    }

    /// A process that is to die while it stops has to be asked to.
    pub async fn ask_leavers_to_stop(&mut self) {
        for actor in &mut self.actors {
            let leaves =
                |turn: &Turn| matches!(turn.place.point, CrashPoint::LeaveBefore | CrashPoint::LeaveAfter);
            if actor.fate.front().is_some_and(leaves)
                && !actor.asked_to_stop
                && is_ready(actor.process.management()).await
            {
                actor.process.signal("TERM");
                actor.asked_to_stop = true;
            }
        }
    }

    /// Nobody is to die any more; returns the places that were not passed.
    pub fn disarm(&mut self) -> Vec<Place> {
        let mut unreached = Vec::new();
        for actor in self.actors.iter_mut().filter(|actor| !actor.fate.is_empty()) {
            unreached.extend(actor.fate.drain(..).map(|turn| turn.place));
            actor.process.kill();
            actor.start(&self.system, self.gateway);
        }
        unreached
    }

    /// Processes that ended although nobody told them to.
    pub fn fallen(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fallen)
    }

    /// Stops everybody in good order.
    pub async fn stop(self) {
        for actor in self.actors {
            actor.process.stop().await;
        }
        self.hasty.stop().await;
    }
}

impl Actor {
    fn start(&mut self, system: &System, gateway: SocketAddr) {
        self.process = launch(system, self.arguments, gateway, self.fate.front());
        self.began = Instant::now();
        self.asked_to_stop = false;
    }
}

fn launch(system: &System, arguments: &[&str], gateway: SocketAddr, turn: Option<&Turn>) -> Process {
    let (gateway, turn) = (gateway.to_string(), turn.map(ToString::to_string).unwrap_or_default());
    system.launch(arguments, &[("GATEWAY_ADDR", &gateway), (SETTING, &turn)])
}

async fn is_ready(management: SocketAddr) -> bool {
    let answer = reqwest::get(format!("http://{management}/health/ready")).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

async fn ready(management: SocketAddr, since: Instant) -> Option<Duration> {
    let ready = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !is_ready(management).await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(READY, ready).await.ok().map(|()| since.elapsed())
}
