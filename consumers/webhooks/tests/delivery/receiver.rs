//! An endpoint of a client: listens, fails, hangs or sends elsewhere, as the test says.

use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// No answer at all.
pub(crate) const SILENCE: u16 = 0;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn version(&self) -> i64 {
        self.json()["order"]["version"].as_i64().unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.headers["mambogo-event-id"].clone()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Answers each path as the test says; 200 by default.
#[derive(Clone)]
pub(crate) struct Receiver {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<HashMap<String, Vec<u16>>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, heard: Arc::default(), answers: Arc::default() };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What the next requests to `path` are answered; the last of them stays.
    pub(crate) fn answers(&self, path: &str, statuses: &[u16]) {
        let statuses = statuses.iter().rev().copied().collect();
        self.answers.lock().unwrap().insert(path.to_owned(), statuses);
    }

    pub(crate) fn heard(&self, path: &str) -> Vec<Heard> {
        self.heard.lock().unwrap().iter().filter(|heard| heard.path == path).cloned().collect()
    }

    pub(crate) fn versions(&self, path: &str) -> Vec<i64> {
        self.heard(path).iter().map(Heard::version).collect()
    }

    fn answer(&self, path: &str) -> u16 {
        let mut answers = self.answers.lock().unwrap();
        let of_path = answers.entry(path.to_owned()).or_insert_with(|| vec![200]);
        if of_path.len() > 1 { of_path.pop().unwrap() } else { of_path[0] }
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            if let Some((heard, length)) = parse(&bytes) {
                bytes.drain(..length);
                let status = self.answer(&heard.path);
                self.heard.lock().unwrap().push(heard);
                if status == SILENCE {
                    std::future::pending::<()>().await;
                }
                let answer =
                    format!("HTTP/1.1 {status} x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            } else if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }
}

/// A whole request at the front of `bytes`, and its length.
fn parse(bytes: &[u8]) -> Option<(Heard, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: HashMap<String, String> = lines.filter_map(header).collect();
    let end = head + 4 + headers["content-length"].parse::<usize>().unwrap();
    let body = bytes.get(head + 4..end)?.to_vec();
    Some((Heard { path, headers, body }, end))
}
