//! A real Redis Cluster of three masters on loopback, gone with its value.

use chassis::settings::Environment;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Slots of each node, first and last.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

pub struct Node {
    pub port: u16,
    bus: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Node {
    fn new() -> Self {
        // both held at once, so that they differ
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, bus] = held.map(|listener| listener.local_addr().unwrap().port());
        Self { port, bus, folder: TempDir::new().unwrap(), process: None }
    }

    /// Starts it, with what it knew of the cluster and, after a stop, of its carts.
    pub async fn start(&mut self) {
        let program = Environment::process().text_or("TEST_REDIS_SERVER", "redis-server");
        let (port, bus) = (self.port.to_string(), self.bus.to_string());
        let process = Command::new(&program)
            .args(["--port", &port, "--cluster-port", &bus, "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"])
            .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"])
            .args(["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}; `make test` installs it"));
        self.process = Some(process);
        testbed::eventually("a node answers", async || {
            TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends one command and returns its answer: a line, a text, or a list of texts with spaces between.
    pub async fn command(&self, words: &str) -> String {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap());
        stream.write_all(format!("{words}\r\n").as_bytes()).await.unwrap();
        let answer = async {
            let line = line(&mut stream).await;
            match line.strip_prefix('*') {
                None => text(&mut stream, line).await,
                Some(count) => {
                    let mut texts = Vec::new();
                    for _ in 0..count.parse().unwrap() {
                        let head = self::line(&mut stream).await;
                        texts.push(text(&mut stream, head).await);
                    }
                    texts.join(" ")
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap()
    }

    async fn done(&self, words: &str) {
        assert_eq!(self.command(words).await, "+OK", "{words}");
    }

    /// Its name within the cluster.
    async fn id(&self) -> String {
        self.command("CLUSTER MYID").await
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line.trim_end().to_owned()
}

/// The text of a bulk string whose first line is `head`; any other answer is its line.
async fn text(stream: &mut BufReader<TcpStream>, head: String) -> String {
    let Some(length) = head.strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) else {
        return head;
    };
    let mut text = vec![0; length + 2];
    stream.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

pub struct Cluster {
    pub nodes: Vec<Node>,
}

impl Cluster {
    pub async fn start() -> Self {
        let mut nodes: Vec<Node> = (0..3).map(|_| Node::new()).collect();
        for (epoch, (node, (first, last))) in nodes.iter_mut().zip(SLOTS).enumerate() {
            node.start().await;
            node.done(&format!("CLUSTER SET-CONFIG-EPOCH {}", epoch + 1)).await;
            node.done(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await;
        }
        for other in &nodes[1..] {
            nodes[0].done(&format!("CLUSTER MEET 127.0.0.1 {} {}", other.port, other.bus)).await;
        }
        let cluster = Self { nodes };
        testbed::eventually("the nodes know each other and all slots", async || {
            for node in &cluster.nodes {
                let info = node.command("CLUSTER INFO").await;
                let is_whole = ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_size:3"];
                if !is_whole.iter().all(|part| info.contains(part)) {
                    return false;
                }
            }
            true
        })
        .await;
        cluster
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect()
    }

    /// The node that has the slot of `key`, and the slot.
    pub async fn place(&self, key: &str) -> (usize, u16) {
        let answer = self.nodes[0].command(&format!("CLUSTER KEYSLOT {key}")).await;
        let slot: u16 = answer.trim_start_matches(':').parse().unwrap();
        let at = SLOTS.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap();
        (at, slot)
    }

    /// Begins to move a slot: its new node takes it from whoever comes with ASKING.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (from_id, to_id) = (self.nodes[from].id().await, self.nodes[to].id().await);
        self.nodes[to].done(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).await;
        self.nodes[from].done(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).await;
    }

    /// Moves all keys of a slot that is moving.
    pub async fn carry(&self, slot: u16, from: usize, to: usize) {
        let port = self.nodes[to].port;
        let keys = self.nodes[from].command(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).await;
        for key in keys.split_whitespace() {
            self.nodes[from].done(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000")).await;
        }
    }

    /// Ends the move.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) {
        let id = self.nodes[to].id().await;
        for at in [to, from] {
            self.nodes[at].done(&format!("CLUSTER SETSLOT {slot} NODE {id}")).await;
        }
    }
}
