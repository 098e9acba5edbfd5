//! A real pgbouncer before Postgres. In session mode orders flow through it; in transaction mode, where limits, prepared
//! statements and `LISTEN` would be those of others, every process says so at its start and ends.

use crate::system::{System, order_of};
use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;
use testbed::eventually;

struct Pooler {
    process: Child,
    address: String,
    _folder: TempDir,
}

impl Pooler {
    /// Before the server of `url`. `more` are further lines of its settings.
    async fn start(url: &str, mode: &str, more: &str) -> Self {
        let address = crate::system::free_address();
        let (host, port) = url.rsplit(['@', '/']).nth(1).unwrap().split_once(':').unwrap();
        let folder = TempDir::new().unwrap();
        // it does not run as root, and reads its settings as whom it runs as
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let users =
            ["orders", "inventory", "payments", "sandbox", "catalog", "webhooks", "edge", "relay", "audit"]
                .map(|role| format!("\"mambogo_{role}\" \"mambogo\"\n"));
        let (list, settings) = (folder.path().join("users"), folder.path().join("pgbouncer.ini"));
        fs::write(&list, users.concat()).unwrap();
        let text = format!(
            "[databases]\n* = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = plain\nauth_file = {}\npool_mode = {mode}\n{more}\n",
            address.port(),
            list.display(),
        );
        fs::write(&settings, text).unwrap();
        let process = Command::new("pgbouncer")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["-u", "postgres"])
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`make test` installs pgbouncer");
        let pooler = Self { process, address: address.to_string(), _folder: folder };
        eventually("the pooler answers", async || TcpStream::connect(&pooler.address).is_ok()).await;
        pooler
    }

    /// What every role but the owner is given instead of the server's address.
    fn settings(&self, system: &System) -> Vec<(String, String)> {
        let urls = system.settings().iter().filter(|(key, _)| key.ends_with("_DATABASE_URL"));
        urls.filter(|(key, _)| *key != "ADMIN_DATABASE_URL")
            .map(|(key, url)| {
                let host = url.rsplit(['@', '/']).nth(1).unwrap();
                (key.clone(), url.replace(host, &self.address))
            })
            .collect()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const KNOWN: &str = "ignore_startup_parameters = extra_float_digits";

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_works_and_one_in_transaction_mode_is_refused_at_start() {
    let system = System::build(&[]).await;
    let url = system.database.url("orders");
    for (mode, known, says) in [
        ("transaction", KNOWN, "set pool_mode = session"),
        ("statement", KNOWN, "pool_mode = session"),
        ("session", "", "ignore_startup_parameters = extra_float_digits"),
    ] {
        let pooler = Pooler::start(&url, mode, known).await;
        let settings = pooler.settings(&system);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        for role in ["serve", "relay", "work", "auditor"] {
            let mut process = system.launch(&[role], &settings);
            let ended = process.ends().await;
            let log = process.log();
            assert!(!ended.success() && log.contains(says), "{mode}: {role}: {ended}\n{log}");
        }
    }

    let pooler = Pooler::start(&url, "session", &format!("{KNOWN}\ndefault_pool_size = 60")).await;
    let settings = pooler.settings(&system);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let all = system.launch(&["all"], &settings);
    all.is_ready().await;
    let client = system.client(&all, "pooled").await;
    let order = order_of(&system.product(10).await, 1, "CREDIT_CARD");
    let id = client.submit_patiently("pooled", &order).await;
    assert_eq!(client.settled(&id).await["status"], "CONFIRMED");
    all.stop().await;
}
