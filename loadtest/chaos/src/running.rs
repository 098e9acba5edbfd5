//! A running program that was started by pid file: known by pid *and* birth, as infra/local/lib/process.sh knows it.
//! Linux only: it reads /proc.

use crate::Failure;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long a process that was killed may take to leave.
const TO_LEAVE: Duration = Duration::from_secs(20);

/// A pid that was seen with that birth.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pid: u32,
    birth: String,
}

/// Signals that the faults are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    /// At once, nothing is put in order.
    Kill,
    /// Frozen: it neither works nor knows.
    Stop,
    /// Thawed.
    Cont,
    /// Asked to stop.
    Term,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
            Self::Term => "TERM",
        }
    }
}

impl Running {
    /// What `file` names, if it runs still.
    ///
    /// # Errors
    /// When the file cannot be read, or another process has that pid by now.
    pub(crate) fn of_file(file: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut lines = text.lines();
        let pid = lines.next().and_then(|pid| pid.parse().ok());
        let (Some(pid), Some(birth)) = (pid, lines.next()) else {
            return Err(format!("{} is no pid file", file.display()).into());
        };
        let running = Self { pid, birth: birth.to_owned() };
        if running.lives() { Ok(running) } else { Err(format!("{} has ended", file.display()).into()) }
    }

    /// Who has that pid now: for a child of ours, which keeps its pid until we have waited for it.
    pub(crate) fn of_pid(pid: u32) -> Option<Self> {
        Some(Self { pid, birth: birth_of(pid)? })
    }

    /// Sends a signal to it, if it is still the one we know.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        if !self.lives() {
            return Err(format!("pid {} is gone, before it was sent SIG{}", self.pid, signal.name()).into());
        }
        send(signal, &[self.pid])
    }

    /// Sends a signal to it and to its children: Postgres is a process a session.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn signal_tree(&self, signal: Signal) -> Result<(), Failure> {
        self.signal(signal)?;
        // a child that ended meanwhile is no failure
        send(signal, &self.children()).or(Ok(()))
    }

    /// SIGKILL for it and its children, and waits until the kernel knows none of them any more.
    ///
    /// # Errors
    /// When it was gone before, or does not leave.
    pub(crate) async fn kill_tree(&self) -> Result<(), Failure> {
        // looked up before: who has died has no children
        let family = self.children();
        self.signal(Signal::Kill)?;
        send(Signal::Kill, &family).or(Ok::<(), Failure>(()))?;
        let gone = async {
            while fs::exists(self.folder()).unwrap_or(false)
                || family.iter().any(|pid| fs::exists(format!("/proc/{pid}/exe")).unwrap_or(false))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(TO_LEAVE, gone).await;
        waited.map_err(|_| format!("pid {} was killed and does not leave", self.pid).into())
    }

    /// Resident memory, bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        let status = fs::read_to_string(self.folder().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// Whether it is there, and no other under its number.
    pub(crate) fn lives(&self) -> bool {
        birth_of(self.pid).as_deref() == Some(&self.birth)
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid))
    }

    fn children(&self) -> Vec<u32> {
        let Ok(tasks) = fs::read_dir(self.folder().join("task")) else { return Vec::new() };
        let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        lists
            .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect()
    }
}

/// Boot and start time, in the words of process.sh; none for a process that is gone or a zombie.
fn birth_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}/{}", boot.trim(), fields.nth(18)?))
}

fn send(signal: Signal, pids: &[u32]) -> Result<(), Failure> {
    if pids.is_empty() {
        return Ok(());
    }
    let sent =
        Command::new("kill").args(["-s", signal.name()]).args(pids.iter().map(u32::to_string)).output()?;
    if sent.status.success() {
        Ok(())
    } else {
        Err(format!("SIG{}: {}", signal.name(), String::from_utf8_lossy(&sent.stderr).trim()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn written(pid: u32, birth: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{pid}\n{birth}\n")).unwrap();
        file
    }

    #[tokio::test]
    async fn only_the_process_of_that_birth_is_ever_signalled() {
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let birth = birth_of(child.id()).unwrap();
        assert!(Running::of_file(written(child.id(), "another boot/1").path()).is_err());
        let running = Running::of_file(written(child.id(), &birth).path()).unwrap();
        assert!(running.resident().unwrap() > 0);
        running.signal(Signal::Stop).unwrap();
        running.signal(Signal::Kill).unwrap();
        child.wait().unwrap();
        assert!(running.signal(Signal::Cont).is_err(), "what is gone is not signalled");
    }

    #[tokio::test]
    async fn a_tree_is_killed_with_its_children() {
        let mut parent =
            Command::new("sh").args(["-c", "sleep 600 & wait"]).stdin(Stdio::null()).spawn().unwrap();
        let running = Running::of_pid(parent.id()).unwrap();
        while running.children().is_empty() {
            tokio::task::yield_now().await;
        }
        let child = running.children()[0];
        let reaped = tokio::task::spawn_blocking(move || parent.wait());
        running.kill_tree().await.unwrap();
        reaped.await.unwrap().unwrap();
        assert!(!fs::exists(format!("/proc/{child}/exe")).unwrap());
    }
}
