//! A proxy between a process and what it stands on. A test cuts the way, holds it, slows it down, or lets connections
//! fall silent for ever, for this process alone: what lies behind is shared and goes on.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinSet,
};

/// How bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Free,
    After(Duration),
    Held,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    requests: Flow,
    answers: Flow,
    /// No connection lives.
    is_cut: bool,
    /// Connections before this one move nothing any more, and are told nothing.
    silent_before: u64,
}

const OPEN: Rules = Rules { requests: Flow::Free, answers: Flow::Free, is_cut: false, silent_before: 0 };

/// A TCP proxy on a free port of loopback; gone with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    count: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// To `target`, a `host:port`.
    pub async fn to(target: &str) -> Self {
        Self::start(target, false).await
    }

    /// To a broker, `host:port` as it calls itself. In its answers it is renamed to this proxy, so that clients come
    /// back to it.
    pub async fn to_broker(target: &str) -> Self {
        Self::start(target, true).await
    }

    async fn start(target: &str, is_broker: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (rules, seen) = watch::channel(OPEN);
        let (counted, count) = watch::channel(0);
        let renaming = is_broker.then(|| Renaming::of(target, address));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target.to_owned(), renaming, seen, counted));
        Self { address, rules, count, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `url` with its host and port replaced by this proxy's.
    pub fn in_url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
        format!("{scheme}://{user}{}/{path}", self.address)
    }

    /// Everything flows; what was held comes through. Connections that fell silent stay so.
    pub fn open(&self) {
        self.rules.send_modify(|rules| *rules = Rules { silent_before: rules.silent_before, ..OPEN });
    }

    /// Every connection is closed, and each new one at once.
    pub fn cut(&self) {
        self.rules.send_modify(|rules| rules.is_cut = true);
    }

    /// Nothing moves, and nobody is told: as when the other side is frozen.
    pub fn hold(&self) {
        self.rules.send_modify(|rules| (rules.requests, rules.answers) = (Flow::Held, Flow::Held));
    }

    /// Requests arrive and are obeyed; their answers do not come back.
    pub fn hold_answers(&self) {
        self.rules.send_modify(|rules| rules.answers = Flow::Held);
    }

    /// Every answer takes that much longer.
    pub fn slow(&self, by: Duration) {
        self.rules.send_modify(|rules| rules.answers = Flow::After(by));
    }

    /// The connections there are fall silent for good, without a word to either side (half-open); new ones work.
    pub fn silence(&self) {
        let count = *self.count.borrow();
        self.rules.send_modify(|rules| rules.silent_before = count);
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    renaming: Option<Renaming>,
    rules: watch::Receiver<Rules>,
    counted: watch::Sender<u64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        let number = *counted.borrow();
        counted.send_replace(number + 1);
        let (target, rules, renaming) = (target.clone(), rules.clone(), renaming.clone());
        connections.spawn(async move {
            let mut fate = rules.clone();
            tokio::select! {
                // a cut ends whatever is under way
                _ = fate.wait_for(|rules| rules.is_cut) => {}
                () = connect(client, &target, number, renaming, rules) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    client: TcpStream,
    target: &str,
    number: u64,
    renaming: Option<Renaming>,
    rules: watch::Receiver<Rules>,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    let requests = pump(client_in, server_out, number, None, |rules| rules.requests, rules.clone());
    let answers = pump(server_in, client_out, number, renaming, |rules| rules.answers, rules);
    // either side's end is the other's
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    renaming: Option<Renaming>,
    flow: fn(&Rules) -> Flow,
    mut rules: watch::Receiver<Rules>,
) {
    loop {
        let Some(bytes) = read(&mut from, renaming.as_ref()).await else { return };
        let moves = |rules: &Rules| number >= rules.silent_before && flow(rules) != Flow::Held;
        let Ok(now) = rules.wait_for(moves).await.map(|rules| flow(&rules)) else { return };
        if let Flow::After(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// What there is; of a broker, one whole answer, renamed.
async fn read(from: &mut OwnedReadHalf, renaming: Option<&Renaming>) -> Option<Vec<u8>> {
    let Some(renaming) = renaming else {
        let mut bytes = vec![0; 64 * 1024];
        let read = from.read(&mut bytes).await.ok().filter(|read| *read > 0)?;
        bytes.truncate(read);
        return Some(bytes);
    };
    let length = from.read_u32().await.ok()?;
    let mut frame = vec![0; 4 + usize::try_from(length).unwrap()];
    frame[..4].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut frame[4..]).await.ok()?;
    renaming.apply(&mut frame);
    Some(frame)
}

/// A broker tells where brokers and coordinators are as host (text) and port (four bytes): only the port changes.
#[derive(Debug, Clone)]
struct Renaming {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Renaming {
    fn of(target: &str, proxy: SocketAddr) -> Self {
        let (host, port) = target.rsplit_once(':').unwrap();
        let named = |port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        Self { old: named(port.parse().unwrap()), new: named(proxy.port()) }
    }

    fn apply(&self, frame: &mut [u8]) {
        let length = self.old.len();
        let mut at = 0;
        while at + length <= frame.len() {
            if frame[at..at + length] == self.old[..] {
                frame[at..at + length].copy_from_slice(&self.new);
            }
            at += 1;
        }
    }
}
