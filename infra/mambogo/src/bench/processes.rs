//! The processes that are measured: this very program in its roles, started, killed and started again.

use super::{Failure, stages::Timings};
use loadtest::Part;
use serde::Serialize;
use std::{
    net::{SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Longest that a process may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// Longest that a process may take to stop.
const STOP: Duration = Duration::from_secs(20);

/// Which roles run in which processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Topology {
    /// All in one.
    Together,
    /// Gateway, relay, and all workers in one.
    WorkersApart,
    /// Each role alone.
    Apart,
    /// One gateway, and so many relays and workers that share the lanes.
    Scaled {
        /// Processes that run all workers.
        workers: usize,
        /// Relays.
        relays: usize,
    },
    /// The gateway, and nothing that works behind it.
    Gateway,
    /// One relay, and nothing else.
    Relay,
}

impl Topology {
    /// The arguments of each process; the gateway's is the first.
    fn processes(self) -> Vec<&'static [&'static str]> {
        let roles: &[&[&str]] = match self {
            Self::Together => &[&["all"]],
            Self::WorkersApart => &[&["serve"], &["relay"], &["work"]],
            Self::Apart => &[
                &["serve"],
                &["relay"],
                &["work", "orders"],
                &["work", "inventory"],
                &["work", "payments"],
                &["work", "status"],
            ],
            Self::Gateway => &[&["serve"]],
            Self::Relay => &[&["relay"]],
            Self::Scaled { workers, relays } => {
                let relays = std::iter::repeat_n(&["relay"] as &[&str], relays);
                let workers = std::iter::repeat_n(&["work"] as &[&str], workers);
                return std::iter::once(&["serve"] as &[&str]).chain(relays).chain(workers).collect();
            }
        };
        roles.to_vec()
    }
}

/// Settings that a process has beside those of the bench.
pub(crate) type Settings = &'static [(&'static str, &'static str)];

/// One process; ended when it is dropped.
struct Process {
    arguments: &'static [&'static str],
    gateway: SocketAddr,
    management: SocketAddr,
    part: Part,
    child: Child,
    settings: Settings,
}

impl Process {
    async fn start(
        arguments: &'static [&'static str],
        gateway: SocketAddr,
        part: Option<Part>,
        settings: Settings,
    ) -> Result<Self, Failure> {
        let management = free_address()?;
        let child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env("GATEWAY_ADDR", gateway.to_string())
            .env("MANAGEMENT_ADDR", management.to_string())
            .env("RUST_LOG", "warn")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("a process ended at once")?;
        let part = part.unwrap_or_else(|| Part::new(format!("mambogo {}", arguments.join(" ")), pid));
        part.moved_to(pid);
        let process = Self { arguments, gateway, management, part, child, settings };
        process.is_ready().await?;
        Ok(process)
    }

    async fn is_ready(&self) -> Result<(), Failure> {
        let give_up = Instant::now() + READY;
        while Instant::now() < give_up {
            let answer = get(self.management, "/health/ready").await.unwrap_or_default();
            if answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("mambogo {} was not ready within {READY:?}", self.arguments.join(" ")).into())
    }
}

/// The whole answer of the management port.
async fn get(management: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(management).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A process that was killed, and may be started again.
pub(crate) struct Absent(Process);

/// The processes of one arrangement.
pub(crate) struct Processes {
    topology: Topology,
    processes: Vec<Process>,
}

impl Processes {
    pub(crate) async fn start(topology: Topology, settings: Settings) -> Result<Self, Failure> {
        let gateway = free_address()?;
        let mut processes = Vec::new();
        for arguments in topology.processes() {
            processes.push(Process::start(arguments, gateway, None, settings).await?);
        }
        Ok(Self { topology, processes })
    }

    pub(crate) fn topology(&self) -> Topology {
        self.topology
    }

    pub(crate) fn gateway(&self) -> SocketAddr {
        self.processes.first().map_or(SocketAddr::from(([127, 0, 0, 1], 8080)), |process| process.gateway)
    }

    /// What all of them have timed so far; of one that does not answer, nothing.
    pub(crate) async fn timings(&self) -> Timings {
        let mut timings = Timings::default();
        for process in &self.processes {
            timings.add(&get(process.management, "/metrics").await.unwrap_or_default());
        }
        timings
    }

    /// What the first of them says of itself (Prometheus' text format).
    pub(crate) async fn metrics(&self) -> Result<String, Failure> {
        let first = self.processes.first().ok_or("nothing runs")?;
        Ok(get(first.management, "/metrics").await?)
    }

    /// What is measured of them.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.processes.iter().map(|process| process.part.clone()).collect()
    }

    /// Kills the last process (the workers) every so often and starts it again, until the load has `ended`; not in its
    /// last seconds. Says at which seconds.
    pub(crate) async fn kill_workers(
        &mut self,
        every: Option<Duration>,
        length: Duration,
        ended: &CancellationToken,
    ) -> Result<Vec<u64>, Failure> {
        let (Some(every), began) = (every, Instant::now()) else { return Ok(Vec::new()) };
        let mut kills = Vec::new();
        let mut at = began + every;
        while at + Duration::from_secs(5) < began + length {
            if ended.run_until_cancelled(tokio::time::sleep_until(at)).await.is_none() {
                break;
            }
            kills.push(began.elapsed().as_secs());
            let absent = self.kill_last().await?;
            self.start_again(absent).await?;
            at += every;
        }
        Ok(kills)
    }

    /// kill -9 of the last process (the workers).
    pub(crate) async fn kill_last(&mut self) -> Result<Absent, Failure> {
        let mut process = self.processes.pop().ok_or("nothing runs")?;
        process.child.kill().await?;
        Ok(Absent(process))
    }

    /// Starts it again, as the same part.
    pub(crate) async fn start_again(&mut self, Absent(process): Absent) -> Result<(), Failure> {
        let Process { arguments, gateway, settings, part, .. } = process;
        self.processes.push(Process::start(arguments, gateway, Some(part), settings).await?);
        Ok(())
    }

    /// SIGTERM to each, and a clean end; SIGKILL to who takes too long.
    pub(crate) async fn stop(self) {
        for mut process in self.processes {
            let pid = process.part.pid().to_string();
            let asked = Command::new("kill").args(["-s", "TERM", &pid]).status().await;
            if asked.is_err() || tokio::time::timeout(STOP, process.child.wait()).await.is_err() {
                // its end is what matters, not how it took it
                let _ = process.child.kill().await;
            }
        }
    }
}
