//! A Postgres of the test's own with a streaming replica, which it may stop, and hold back.

use crate::database::PASSWORD;
use sqlx::{Connection, Executor, PgConnection};
use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Primary and replica on free ports, migrated; stopped and deleted with this value.
#[derive(Debug)]
pub struct Replicated {
    primary: Server,
    replica: Server,
    // dropped last: the servers write into it
    _folder: TempDir,
}

#[derive(Debug)]
struct Server {
    data: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Replicated {
    /// Makes both; some seconds.
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        if let Some((user, group)) = user() {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (primary, replica) = (at("primary"), at("replica"));
        let made = ["-D", &primary, "-U", "mambogo_admin", "--auth=trust", "--encoding=UTF8", "--no-locale"];
        run("initdb", &[&made[..], &["--no-sync"]].concat());
        let mut primary = Server::at(&primary);
        primary.start().await;
        let mut admin = PgConnection::connect(&primary.url("admin", "postgres")).await.unwrap();
        admin.execute("CREATE DATABASE mambogo").await.unwrap();
        let mut admin = PgConnection::connect(&primary.url("admin", "mambogo")).await.unwrap();
        migrations::run(&mut admin, PASSWORD).await.unwrap();
        let port = primary.port.to_string();
        let copy = ["-D", &replica, "-h", "127.0.0.1", "-p", &port, "-U", "mambogo_admin"];
        run(
            "pg_basebackup",
            &[&copy[..], &["-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]].concat(),
        );
        let mut replica = Server::at(&replica);
        replica.start().await;
        Self { primary, replica, _folder: folder }
    }

    /// The primary's URL for a role, as [`crate::Database::url`].
    pub fn primary(&self, role: &str) -> String {
        self.primary.url(role, "mambogo")
    }

    /// The replica's URL for a role.
    pub fn replica(&self, role: &str) -> String {
        self.replica.url(role, "mambogo")
    }

    /// Ends the replica at once.
    pub fn stop_replica(&mut self) {
        self.replica.stop();
    }

    /// Starts it again; it catches up.
    pub async fn start_replica(&mut self) {
        self.replica.start().await;
    }

    /// The replica takes changes in from now on but does not show them.
    pub async fn hold_replica(&self) {
        self.on_replica("SELECT pg_wal_replay_pause()").await;
        crate::eventually("the replica holds", async || {
            let state = "SELECT pg_get_wal_replay_pause_state()";
            let mut admin = PgConnection::connect(&self.replica("admin")).await.unwrap();
            sqlx::query_scalar::<_, String>(state).fetch_one(&mut admin).await.unwrap() == "paused"
        })
        .await;
    }

    /// It shows them again.
    pub async fn release_replica(&self) {
        self.on_replica("SELECT pg_wal_replay_resume()").await;
    }

    async fn on_replica(&self, sql: &'static str) {
        PgConnection::connect(&self.replica("admin")).await.unwrap().execute(sql).await.unwrap();
    }
}

impl Server {
    fn at(data: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { data: data.into(), port, process: None }
    }

    async fn start(&mut self) {
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "fsync=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
        ];
        let mut command = command("postgres");
        command.arg("-D").arg(&self.data);
        for setting in &settings {
            command.arg("-c").arg(setting);
        }
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let url = self.url("admin", "postgres");
        crate::eventually("the private Postgres answers", async || PgConnection::connect(&url).await.is_ok())
            .await;
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // its children see that it is gone, and end
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_file(self.data.join("postmaster.pid"));
    }

    fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://mambogo_{role}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = command(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program of the newest Postgres that is installed, as a user who may run it.
fn command(program: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().filter_map(Result::ok);
    let newest =
        versions.map(|version| version.path().join("bin").join(program)).filter(|path| path.is_file());
    let path = newest.max().unwrap_or_else(|| Path::new(program).to_owned());
    let mut command = Command::new(path);
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}

/// Postgres does not run as root: then as its own user.
fn user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = users.lines().find(|line| line.starts_with("postgres:"))?.split(':').collect();
    Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
}
