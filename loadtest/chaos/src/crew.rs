//! The processes of ours that are broken: gateways, workers and relays of the program under test. Each keeps its ports
//! over its lives, so that clients find a gateway again.

use crate::{
    Failure,
    instance::Instance,
    metrics,
    running::{Running, Signal},
};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Ports are looked for from here: below those that the system hands out, so none is taken while its process is away.
const FIRST_PORT: u16 = 18_100;
/// A start, migrations behind it, on a machine that is busy.
const TO_START: Duration = Duration::from_secs(90);

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// `mambogo serve`
    Gateway,
    /// `mambogo work`
    Worker,
    /// `mambogo relay`
    Relay,
    /// `mambogo provider`
    Provider,
}

impl Role {
    fn argument(self) -> &'static str {
        match self {
            Self::Gateway => "serve",
            Self::Worker => "work",
            Self::Relay => "relay",
            Self::Provider => "provider",
        }
    }
}

/// A process's place: it may be empty.
#[derive(Debug)]
struct Seat {
    role: Role,
    name: String,
    settings: Vec<(String, String)>,
    /// Of a provider, its API.
    gateway: u16,
    management: u16,
    child: Option<Child>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Crew {
    instance: Instance,
    bin: PathBuf,
    settings: BTreeMap<String, String>,
    seats: Vec<Seat>,
    next_port: u16,
}

impl Crew {
    /// Nobody yet. `settings` come on top of the instance's.
    pub(crate) fn new(instance: &Instance, bin: &Path, settings: &[(&str, &str)]) -> Self {
        let mut all = instance.settings().clone();
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Self {
            instance: instance.clone(),
            bin: bin.to_owned(),
            settings: all,
            seats: Vec::new(),
            next_port: FIRST_PORT,
        }
    }

    /// One more setting for all that start from now on.
    pub(crate) fn tell(&mut self, key: &str, value: String) {
        self.settings.insert(key.to_owned(), value);
    }

    /// Runs a command of the program to its end and returns what it printed.
    ///
    /// # Errors
    /// When it failed, with what it said.
    pub(crate) async fn tool(&self, words: &[&str]) -> Result<String, Failure> {
        let done = tokio::process::Command::new(&self.bin)
            .args(words)
            .env_clear()
            .envs(&self.settings)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        if done.status.success() {
            Ok(String::from_utf8(done.stdout)?)
        } else {
            Err(format!("mambogo {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr)).into())
        }
    }

    /// Seats one more of that role, not started, with settings of its own. Returns its number.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) fn seat(&mut self, role: Role, settings: &[(String, String)]) -> Result<usize, Failure> {
        let of_role = self.seats.iter().filter(|seat| seat.role == role).count();
        let seat = Seat {
            role,
            name: format!("mambogo-{}-{}", role.argument(), of_role + 1),
            settings: settings.to_vec(),
            gateway: self.free_port()?,
            management: self.free_port()?,
            child: None,
        };
        self.seats.push(seat);
        Ok(self.seats.len() - 1)
    }

    /// The numbers of all of that role.
    pub(crate) fn of(&self, role: Role) -> Vec<usize> {
        self.seats.iter().enumerate().filter(|(_, seat)| seat.role == role).map(|(n, _)| n).collect()
    }

    /// The names of all.
    pub(crate) fn names(&self) -> Vec<String> {
        self.seats.iter().map(|seat| seat.name.clone()).collect()
    }

    /// Where clients call.
    pub(crate) fn gateways(&self) -> Vec<String> {
        let gateways = self.seats.iter().filter(|seat| seat.role == Role::Gateway);
        gateways.map(|seat| format!("http://127.0.0.1:{}", seat.gateway)).collect()
    }

    /// Where it can be called.
    ///
    /// # Errors
    /// When there is no such seat.
    pub(crate) fn address(&self, seat: usize) -> Result<String, Failure> {
        Ok(format!("127.0.0.1:{}", self.at(seat)?.gateway))
    }

    /// Batches of it that the database has refused, for another has its lanes; 0 of a process that has begun anew.
    ///
    /// # Errors
    /// When its metrics cannot be read.
    pub(crate) async fn refusals(&self, seat: usize) -> Result<f64, Failure> {
        self.metric(seat, metrics::FAILURES, "fate=\"fenced\"").await
    }

    /// Records that wait in the memory of that group's worker.
    ///
    /// # Errors
    /// When its metrics cannot be read.
    pub(crate) async fn waiting(&self, seat: usize, group: &str) -> Result<f64, Failure> {
        self.metric(seat, metrics::WAITING, &format!("group=\"{group}\"")).await
    }

    /// Lanes that group's worker holds.
    ///
    /// # Errors
    /// When its metrics cannot be read.
    pub(crate) async fn lanes(&self, seat: usize, group: &str) -> Result<f64, Failure> {
        self.metric(seat, metrics::LANES, &format!("group=\"{group}\"")).await
    }

    /// The sum over all labels with `label` among them.
    async fn metric(&self, seat: usize, name: &str, label: &str) -> Result<f64, Failure> {
        let url = format!("http://127.0.0.1:{}/metrics", self.at(seat)?.management);
        let page = reqwest::get(url).await?.text().await?;
        let lines = page.lines().filter(|line| line.split('{').next() == Some(name) && line.contains(label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// The name of its log and pid file.
    pub(crate) fn name(&self, seat: usize) -> Result<&str, Failure> {
        Ok(&self.at(seat)?.name)
    }

    /// Starts it, and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(&mut self, number: usize) -> Result<(), Failure> {
        let seat = self.seats.get_mut(number).ok_or("no such seat")?;
        let log = OpenOptions::new().create(true).append(true).open(self.instance.log(&seat.name))?;
        // a group of its own: Ctrl-C is for the runner, which puts things in order
        let child = std::os::unix::process::CommandExt::process_group(&mut Command::new("bash"), 0)
            .arg(self.instance.become_script())
            .arg(self.instance.pid_file(&seat.name))
            .arg(&self.bin)
            .arg(seat.role.argument())
            .env_clear()
            .envs(&self.settings)
            .env("GATEWAY_ADDR", format!("127.0.0.1:{}", seat.gateway))
            .env("SANDBOX_PROVIDER_ADDR", format!("127.0.0.1:{}", seat.gateway))
            .env("MANAGEMENT_ADDR", format!("127.0.0.1:{}", seat.management))
            .envs(seat.settings.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        seat.child = Some(child);
        Ok(())
    }

    /// Waits until it says that it can do its work.
    ///
    /// # Errors
    /// When it ended, or does not say so within 90 s.
    pub(crate) async fn is_ready(&mut self, number: usize) -> Result<(), Failure> {
        let begun = tokio::time::Instant::now();
        loop {
            let (name, log) = (self.at(number)?.name.clone(), self.instance.log(&self.at(number)?.name));
            let seat = self.seats.get_mut(number).ok_or("no such seat")?;
            if let Some(status) = seat.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return Err(format!("{name} ended by itself ({status}); {} says why", log.display()).into());
            }
            let url = match seat.role {
                // it says nothing of itself: it answers, or it does not
                Role::Provider => format!("http://127.0.0.1:{}/_sandbox/faults", seat.gateway),
                _ => format!("http://127.0.0.1:{}/health/ready", seat.management),
            };
            if reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if begun.elapsed() > TO_START {
                return Err(format!("{name} was not ready within {TO_START:?}; {}", log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn kill(&mut self, number: usize) -> Result<(), Failure> {
        let seat = self.seats.get_mut(number).ok_or("no such seat")?;
        let mut child = seat.child.take().ok_or_else(|| format!("{} does not run", seat.name))?;
        if let Some(status) = child.try_wait()? {
            return Err(format!("{} had ended by itself ({status})", seat.name).into());
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for its end; kill -9 after 20 s, which is an error.
    ///
    /// # Errors
    /// When it does not run, or does not stop.
    pub(crate) async fn stop(&mut self, number: usize) -> Result<(), Failure> {
        self.running(number)?.signal(Signal::Term)?;
        let asked = tokio::time::Instant::now();
        loop {
            let seat = self.seats.get_mut(number).ok_or("no such seat")?;
            let child = seat.child.as_mut().ok_or("it does not run")?;
            if child.try_wait()?.is_some() {
                seat.child = None;
                return Ok(());
            }
            if asked.elapsed() > Duration::from_secs(20) {
                let name = seat.name.clone();
                self.kill(number)?;
                return Err(format!("{name} did not stop within 20 s of SIGTERM").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The process on that seat.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn running(&self, seat: usize) -> Result<Running, Failure> {
        let seat = self.at(seat)?;
        let child = seat.child.as_ref().ok_or_else(|| format!("{} does not run", seat.name))?;
        // not by its pid file: on a busy machine a process that has just begun has not written its own yet
        Running::of_pid(child.id()).ok_or_else(|| format!("{} has ended by itself", seat.name).into())
    }

    /// Those that should run and have ended by themselves.
    pub(crate) fn fallen(&mut self) -> Vec<String> {
        let ended = |seat: &mut Seat| seat.child.as_mut().is_some_and(|c| !matches!(c.try_wait(), Ok(None)));
        self.seats.iter_mut().filter_map(|seat| ended(seat).then(|| seat.name.clone())).collect()
    }

    fn at(&self, seat: usize) -> Result<&Seat, Failure> {
        self.seats.get(seat).ok_or_else(|| "no such seat".into())
    }

    fn free_port(&mut self) -> Result<u16, Failure> {
        for port in self.next_port..FIRST_PORT + 900 {
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                self.next_port = port + 1;
                return Ok(port);
            }
        }
        Err(format!("no free port from {FIRST_PORT} on").into())
    }
}

impl Drop for Crew {
    /// No process outlives the runner, not even by a panic; `stack reset chaos` goes by the pid files besides.
    fn drop(&mut self) {
        for child in self.seats.iter_mut().filter_map(|seat| seat.child.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
