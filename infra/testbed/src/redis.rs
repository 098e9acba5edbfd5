//! A Redis server of the test's own, which it may flush, stop and start again.

use chassis::settings::Environment;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A private redis-server on a free port; stopped with this value.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Redis {
    /// Starts one, without persistence, and waits until it answers.
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { port, folder: TempDir::new().unwrap(), process: None };
        redis.restart().await;
        redis
    }

    /// Its URL; the same over restarts.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Ends the server at once (SIGKILL): all it held is gone.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again, empty, on the same port.
    pub async fn restart(&mut self) {
        self.stop();
        let program = Environment::process().text_or("TEST_REDIS_SERVER", "redis-server");
        let port = self.port.to_string();
        let process = Command::new(&program)
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--maxmemory-policy", "noeviction", "--daemonize", "no"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}; `make test` installs it"));
        self.process = Some(process);
        crate::eventually("the private Redis answers", async || {
            TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
    }

    /// Sends one command, words separated by spaces, and returns the first line of the answer.
    pub async fn command(&self, words: &str) -> String {
        self.reply(words).await.lines().next().unwrap_or_default().to_owned()
    }

    /// The same, and returns the whole answer (a small one), without the last line's end.
    pub async fn reply(&self, words: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(format!("{words}\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let read =
            tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer[..read]).trim_end().to_owned()
    }

    /// Forgets everything, as an operator's FLUSHALL does.
    pub async fn flush(&self) {
        assert_eq!(self.command("FLUSHALL").await, "+OK");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
