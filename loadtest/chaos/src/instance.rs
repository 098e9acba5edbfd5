//! The private instance that is broken: Postgres, Redis and three brokers, started by infra/local/stack under the name
//! `chaos`, in a folder and on ports of its own. It begins empty and is taken away at the end.

use crate::{
    Failure,
    running::{Running, Signal},
    volume::Volumes,
};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// The brokers, by the names of their pid files.
pub(crate) const BROKERS: [&str; 3] = ["kafka1", "kafka2", "kafka3"];

/// The instance's folder, scripts and settings.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    root: PathBuf,
    home: PathBuf,
    settings: BTreeMap<String, String>,
    volumes: Option<Volumes>,
}

impl Instance {
    /// Starts it, empty: whatever an earlier run has left is taken away first.
    ///
    /// # Errors
    /// When `stack` fails; it has said why.
    pub(crate) async fn begin(root: &Path) -> Result<Self, Failure> {
        let mut instance = Self::of(root)?;
        instance.take_away()?;
        instance.volumes = Volumes::lay(&instance.home)?;
        instance.stack(&["up", "chaos"]).await?;
        let file = instance.home.join("env");
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        instance.settings = text.lines().filter_map(setting).collect();
        Ok(instance)
    }

    /// The one of that checkout, running or not.
    ///
    /// # Errors
    /// When there is no such folder.
    pub(crate) fn of(root: &Path) -> Result<Self, Failure> {
        let root = fs::canonicalize(root)?;
        let home = root.join(".local/chaos");
        Ok(Self { root, home, settings: BTreeMap::new(), volumes: None })
    }

    /// What the binary reads, as `stack` wrote it.
    pub(crate) fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// One of them.
    ///
    /// # Errors
    /// When `stack` did not write it.
    pub(crate) fn setting(&self, key: &str) -> Result<&str, Failure> {
        let value = self.settings.get(key).map(String::as_str);
        value.ok_or_else(|| format!("{key} is not in {}", self.home.join("env").display()).into())
    }

    /// The volumes under the data, where they can be made.
    pub(crate) fn volumes(&self) -> Option<&Volumes> {
        self.volumes.as_ref()
    }

    /// Where logs and pid files stand, and the script that writes the latter.
    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.home.join(format!("log/{part}.log"))
    }

    /// The pid file of a part.
    pub(crate) fn pid_file(&self, part: &str) -> PathBuf {
        self.home.join(format!("run/{part}.pid"))
    }

    /// Becomes a program after it has written its pid file.
    pub(crate) fn become_script(&self) -> PathBuf {
        self.root.join("infra/local/lib/become.sh")
    }

    /// `postgres`, `redis` or a broker, if it runs.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn part(&self, part: &str) -> Result<Running, Failure> {
        Running::of_file(&self.pid_file(part))
    }

    /// Freezes or thaws a part, its children too.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn signal(&self, part: &str, signal: Signal) -> Result<(), Failure> {
        self.part(part)?.signal_tree(signal)
    }

    /// kill -9 of a part, its children too.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) async fn kill(&self, part: &str) -> Result<(), Failure> {
        self.part(part)?.kill_tree().await
    }

    /// Starts `postgres`, `redis` or `kafka` (every broker that does not run) again, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn start(&self, part: &str) -> Result<(), Failure> {
        self.stack(&["start", "chaos", part]).await
    }

    /// Ends every part by its pid file, ours too, and deletes the data. Blocks; it is called on every way out.
    ///
    /// # Errors
    /// When something would not go.
    pub(crate) fn take_away(&self) -> Result<(), Failure> {
        // the logs are what a failed run is read by
        let (log, kept) = (self.home.join("log"), self.root.join(".local/chaos-logs"));
        if log.exists() {
            let _ = fs::remove_dir_all(&kept);
            fs::rename(&log, &kept)?;
        }
        self.end("down")?;
        Volumes::take_away_from(&self.home)?;
        self.end("reset")
    }

    fn end(&self, word: &str) -> Result<(), Failure> {
        let done = std::process::Command::new(self.root.join("infra/local/stack"))
            .args([word, "chaos"])
            .stdin(Stdio::null())
            .output()?;
        if done.status.success() {
            Ok(())
        } else {
            Err(format!("infra/local/stack {word} chaos: {}", String::from_utf8_lossy(&done.stderr)).into())
        }
    }

    async fn stack(&self, words: &[&str]) -> Result<(), Failure> {
        fs::create_dir_all(self.home.join("log"))?;
        let log = OpenOptions::new().create(true).append(true).open(self.log("stack"))?;
        let status = Command::new(self.root.join("infra/local/stack"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .status()
            .await?;
        if status.success() {
            Ok(())
        } else {
            let log = self.log("stack");
            Err(format!("infra/local/stack {} failed; {} says why", words.join(" "), log.display()).into())
        }
    }
}

/// `KEY=VALUE` of the env file; a value with blanks is quoted there.
fn setting(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
    Some((key.to_owned(), value.trim_matches('\'').to_owned()))
}
