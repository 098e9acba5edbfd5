//! A real `mambogo` process.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

pub struct Process {
    child: Child,
    gateway: SocketAddr,
    management: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Process {
    pub fn launch(arguments: &[&str], settings: &BTreeMap<String, String>, more: &[(&str, &str)]) -> Self {
        Self::launch_by(&mut Command::new(env!("CARGO_BIN_EXE_mambogo")), arguments, settings, more)
    }

    /// The same, with at most that many open files until it asks for more, which it may.
    pub fn launch_with_descriptors(
        limit: u32,
        arguments: &[&str],
        settings: &BTreeMap<String, String>,
    ) -> Self {
        // becomes what it starts, so that the pid is that of the process
        let mut prlimit = Command::new("prlimit");
        prlimit.args([&format!("--nofile={limit}:"), env!("CARGO_BIN_EXE_mambogo")]);
        Self::launch_by(&mut prlimit, arguments, settings, &[("PATH", "/usr/bin:/bin")])
    }

    fn launch_by(
        command: &mut Command,
        arguments: &[&str],
        settings: &BTreeMap<String, String>,
        more: &[(&str, &str)],
    ) -> Self {
        let (gateway, management) = (free_address(), free_address());
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = command
            .args(arguments)
            .env_clear()
            .envs(settings)
            .env("GATEWAY_ADDR", gateway.to_string())
            .env("MANAGEMENT_ADDR", management.to_string())
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, gateway, management, log }
    }

    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn management(&self) -> SocketAddr {
        self.management
    }

    /// Waits until `/health/ready` says yes.
    pub async fn is_ready(&self) {
        let url = format!("http://{}/health/ready", self.management);
        let ready = async || {
            let answer = reqwest::get(&url).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while !ready().await {
                tick.tick().await;
            }
        });
        if waited.await.is_err() {
            let parts = reqwest::get(&url).await.unwrap().text().await.unwrap_or_default();
            panic!("not ready within 60 s: {parts}\n{}", self.tail());
        }
    }

    /// Waits until it has ended by itself.
    pub async fn ends(&mut self) -> ExitStatus {
        testbed::eventually("it ends", async || self.child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap()
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        let page = reqwest::get(format!("http://{}/metrics", self.management)).await.unwrap();
        page.text().await.unwrap()
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let page =
            reqwest::get(format!("http://{}/metrics", self.management)).await.ok()?.text().await.ok()?;
        let line = page.lines().find(|line| line.split([' ', '{']).next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGTERM, and waits for a clean end.
    pub async fn stop(mut self) {
        self.signal("TERM");
        let ended = tokio::task::spawn_blocking(move || {
            let status = self.child.wait().unwrap();
            (status, self)
        });
        let (status, process) = tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap().unwrap();
        assert!(status.success(), "{status}\n{}", process.tail());
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.management, self.tail());
        }
    }
}

/// Runs a command to its end and returns its output; panics with its errors.
pub async fn tool(arguments: &[&str], settings: &BTreeMap<String, String>) -> String {
    try_tool(arguments, settings).await.unwrap_or_else(|error| panic!("mambogo {arguments:?}: {error}"))
}

/// Runs a command to its end and returns its output, or its errors when it says that it failed.
pub async fn try_tool(arguments: &[&str], settings: &BTreeMap<String, String>) -> Result<String, String> {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_mambogo"))
        .args(arguments)
        .env_clear()
        .envs(settings)
        .output()
        .await
        .unwrap();
    if !output.status.success() {
        return Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// An address on loopback where nobody listens: below the ports of outgoing connections, one of which could take it
/// before its process listens.
pub fn free_address() -> SocketAddr {
    let free = |port| TcpListener::bind(("127.0.0.1", port)).and_then(|listener| listener.local_addr());
    (0..1_000).find_map(|_| free(rand::random_range(10_000..32_000)).ok()).unwrap()
}
