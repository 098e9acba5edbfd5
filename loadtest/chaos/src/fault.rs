//! The faults. Each breaks something while orders flow and heals it again; when, for how long and to whom is drawn from
//! the seed.

use crate::{
    Failure,
    crew::{Crew, Role},
    instance::{BROKERS, Instance},
    lines::Lines,
    provider::Provider,
    running::Signal,
    store,
    verdict::{Findings, Invariant},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use std::time::{Duration, Instant};

/// How often a worker is frozen until it was refused once, and how long it may take to have something in hand.
const STRIKES: u32 = 5;
const TO_HAVE_WORK: Duration = Duration::from_secs(60);
/// For how long, in milliseconds: longer than a session (6 s), and so short that the batch in its hand is not given up
/// before it asks the database (`WORKER_BATCH_TIMEOUT`, 10 s here).
const FROZEN: std::ops::Range<u64> = 7_000..8_500;

/// What can be broken. A group's session time-out is 6 s, a relay's lease 3 s, a broker's session 9 s: what is frozen
/// stays so for longer, and comes back as a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    WorkerKilled,
    WorkerFrozen,
    RelayKilled,
    RelayFrozen,
    GatewayKilled,
    GatewayFrozen,
    RedisKilled,
    RedisFrozen,
    RedisFlushed,
    RedisAway,
    PostgresKilled,
    PostgresFrozen,
    PostgresFull,
    SessionsEnded,
    BrokerKilled,
    BrokerFrozen,
    BrokersAway,
    BrokersFull,
    Rebalances,
    ProviderAway,
    ProviderFails,
    WebhooksLate,
    GatewayCutOff,
    WorkerCutOff,
}

impl Fault {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 25] = [
        Self::Nothing,
        Self::WorkerKilled,
        Self::WorkerFrozen,
        Self::RelayKilled,
        Self::RelayFrozen,
        Self::GatewayKilled,
        Self::GatewayFrozen,
        Self::RedisKilled,
        Self::RedisFrozen,
        Self::RedisFlushed,
        Self::RedisAway,
        Self::PostgresKilled,
        Self::PostgresFrozen,
        Self::PostgresFull,
        Self::SessionsEnded,
        Self::BrokerKilled,
        Self::BrokerFrozen,
        Self::BrokersAway,
        Self::BrokersFull,
        Self::Rebalances,
        Self::ProviderAway,
        Self::ProviderFails,
        Self::WebhooksLate,
        Self::GatewayCutOff,
        Self::WorkerCutOff,
    ];

    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no fault",
            Self::WorkerKilled => "worker killed",
            Self::WorkerFrozen => "worker frozen",
            Self::RelayKilled => "relay killed",
            Self::RelayFrozen => "relay frozen",
            Self::GatewayKilled => "gateway killed",
            Self::GatewayFrozen => "gateway frozen",
            Self::RedisKilled => "redis killed",
            Self::RedisFrozen => "redis frozen",
            Self::RedisFlushed => "redis flushed",
            Self::RedisAway => "redis away",
            Self::PostgresKilled => "postgres killed",
            Self::PostgresFrozen => "postgres frozen",
            Self::PostgresFull => "postgres full",
            Self::SessionsEnded => "sessions ended",
            Self::BrokerKilled => "broker killed",
            Self::BrokerFrozen => "broker frozen",
            Self::BrokersAway => "brokers away",
            Self::BrokersFull => "brokers full",
            Self::Rebalances => "rebalances",
            Self::ProviderAway => "provider away",
            Self::ProviderFails => "provider fails",
            Self::WebhooksLate => "webhooks late",
            Self::GatewayCutOff => "gateway cut off",
            Self::WorkerCutOff => "worker cut off",
        }
    }

    /// Whether it needs volumes that can be full.
    pub(crate) fn is_full(self) -> bool {
        matches!(self, Self::PostgresFull | Self::BrokersFull)
    }
}

/// When it was broken, and from when on recovery is timed: the kill itself where others take over, else the moment the
/// part was back.
#[derive(Debug, Clone)]
pub(crate) struct Struck {
    pub(crate) broken: Instant,
    pub(crate) healed: Instant,
    /// Who, for how long.
    pub(crate) what: String,
}

/// What a fault can reach.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) crew: &'a mut Crew,
    pub(crate) lines: &'a Lines,
    pub(crate) provider: &'a Provider,
    pub(crate) findings: &'a Findings,
    pub(crate) random: &'a mut StdRng,
    /// How long all brokers are away.
    pub(crate) outage: Duration,
    /// The worker that comes and goes.
    pub(crate) guest: usize,
}

impl Stage<'_> {
    /// Breaks and heals.
    ///
    /// # Errors
    /// When something that should have come back did not.
    pub(crate) async fn strike(&mut self, fault: Fault) -> Result<Struck, Failure> {
        match fault {
            Fault::Nothing => {
                let broken = Instant::now();
                Ok(Struck { broken, healed: broken, what: "nothing".to_owned() })
            }
            Fault::WorkerKilled => self.killed(Role::Worker).await,
            Fault::RelayKilled => self.killed(Role::Relay).await,
            Fault::GatewayKilled => self.killed(Role::Gateway).await,
            Fault::WorkerFrozen => self.zombie().await,
            Fault::RelayFrozen => self.frozen(Role::Relay, 4_500..7_000).await,
            Fault::GatewayFrozen => self.frozen(Role::Gateway, 4_000..7_000).await,
            Fault::RedisKilled => self.part_killed("redis", "redis", 0..500).await,
            Fault::RedisAway => self.part_killed("redis", "redis", 9_000..12_000).await,
            Fault::RedisFrozen => self.part_frozen("redis", 4_000..7_000).await,
            Fault::RedisFlushed => self.flushed().await,
            Fault::PostgresKilled => self.part_killed("postgres", "postgres", 0..1_000).await,
            Fault::PostgresFrozen => self.part_frozen("postgres", 6_000..9_000).await,
            Fault::PostgresFull => self.postgres_full().await,
            Fault::SessionsEnded => self.sessions_ended().await,
            Fault::BrokerKilled => {
                let broker = self.broker();
                self.part_killed(broker, "kafka", 11_000..14_000).await
            }
            Fault::BrokerFrozen => {
                let broker = self.broker();
                self.part_frozen(broker, 11_000..14_000).await
            }
            Fault::BrokersAway => self.brokers_away().await,
            Fault::BrokersFull => self.brokers_full().await,
            Fault::Rebalances => self.rebalances().await,
            Fault::ProviderAway => self.provider_away().await,
            Fault::ProviderFails => self.provider_fails().await,
            Fault::WebhooksLate => self.webhooks_late().await,
            Fault::GatewayCutOff => Ok(self.cut_off("the second gateway and Redis", &self.lines.redis).await),
            Fault::WorkerCutOff => {
                Ok(self.cut_off("the first worker and Postgres", &self.lines.postgres).await)
            }
        }
    }

    fn broker(&mut self) -> &'static str {
        BROKERS.choose(self.random).copied().unwrap_or("kafka1")
    }

    fn one_of(&mut self, role: Role) -> Result<usize, Failure> {
        let guest = self.guest;
        let seats: Vec<usize> = self.crew.of(role).into_iter().filter(|seat| *seat != guest).collect();
        seats.choose(self.random).copied().ok_or_else(|| "nobody to break".into())
    }

    /// kill -9, and a new one at once, as a supervisor does.
    async fn killed(&mut self, role: Role) -> Result<Struck, Failure> {
        let seat = self.one_of(role)?;
        let broken = Instant::now();
        self.crew.kill(seat)?;
        self.crew.start(seat)?;
        let what = self.crew.name(seat)?.to_owned();
        self.crew.is_ready(seat).await?;
        Ok(Struck { broken, healed: broken, what })
    }

    /// A worker frozen with a batch in hand, past its session: thawed, it goes on with what others have done since, and
    /// the database has to refuse it. Struck again until that is seen.
    async fn zombie(&mut self) -> Result<Struck, Failure> {
        self.provider.slow().await?;
        let struck = self.struck_until_refused().await;
        self.provider.as_usual().await?;
        struck
    }

    async fn struck_until_refused(&mut self) -> Result<Struck, Failure> {
        let seat = self.one_of(Role::Worker)?;
        let (broken, what) = (Instant::now(), self.crew.name(seat)?.to_owned());
        for strike in 1..=STRIKES {
            let before = self.crew.refusals(seat).await?;
            self.has_work_in_hand(seat).await?;
            let struck = self.freeze(seat, FROZEN).await?;
            if self.crew.refusals(seat).await? > before {
                let what = format!("{}, refused at strike {strike}", struck.what);
                return Ok(Struck { broken, what, ..struck });
            }
        }
        let never = format!("{what} was frozen {STRIKES} times with a batch in hand, and never refused");
        self.findings.add(Invariant::Once, &never);
        Ok(Struck { broken, healed: Instant::now(), what: never })
    }

    /// Payments' batches take longest, for their calls: what waits behind one says that it is under way.
    async fn has_work_in_hand(&self, seat: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.crew.lanes(seat, "payments").await? == 0.0
            || self.crew.waiting(seat, "payments").await? == 0.0
        {
            if begun.elapsed() > TO_HAVE_WORK {
                return Err("the worker that was to be frozen has nothing to do".into());
            }
        }
        Ok(())
    }

    async fn frozen(&mut self, role: Role, millis: std::ops::Range<u64>) -> Result<Struck, Failure> {
        let seat = self.one_of(role)?;
        self.freeze(seat, millis).await
    }

    async fn freeze(&mut self, seat: usize, millis: std::ops::Range<u64>) -> Result<Struck, Failure> {
        let frozen = self.crew.running(seat)?;
        let (broken, time) = (Instant::now(), self.time(millis));
        frozen.signal(Signal::Stop)?;
        tokio::time::sleep(time).await;
        frozen.signal(Signal::Cont)?;
        let healed = Instant::now();
        let what = format!("{} for {:.1} s", self.crew.name(seat)?, time.as_secs_f64());
        self.crew.is_ready(seat).await?;
        Ok(Struck { broken, healed, what })
    }

    async fn part_killed(
        &mut self,
        part: &str,
        start: &str,
        millis: std::ops::Range<u64>,
    ) -> Result<Struck, Failure> {
        let (broken, time) = (Instant::now(), self.time(millis));
        self.instance.kill(part).await?;
        tokio::time::sleep(time).await;
        self.instance.start(start).await?;
        let away = broken.elapsed().as_secs_f64();
        Ok(Struck { broken, healed: Instant::now(), what: format!("{part}, away for {away:.1} s") })
    }

    async fn part_frozen(&mut self, part: &str, millis: std::ops::Range<u64>) -> Result<Struck, Failure> {
        let (broken, time) = (Instant::now(), self.time(millis));
        self.instance.signal(part, Signal::Stop)?;
        tokio::time::sleep(time).await;
        self.instance.signal(part, Signal::Cont)?;
        let what = format!("{part} for {:.1} s", time.as_secs_f64());
        Ok(Struck { broken, healed: Instant::now(), what })
    }

    /// FLUSHALL, three times, a second or so apart.
    async fn flushed(&mut self) -> Result<Struck, Failure> {
        let broken = Instant::now();
        for _ in 0..3 {
            flush(self.instance).await?;
            tokio::time::sleep(self.time(500..1_500)).await;
        }
        Ok(Struck { broken, healed: Instant::now(), what: "FLUSHALL, three times".to_owned() })
    }

    /// Every session of ours, each second.
    async fn sessions_ended(&mut self) -> Result<Struck, Failure> {
        let (broken, mut ended) = (Instant::now(), 0);
        for _ in 0..8 {
            ended += store::end_sessions(self.instance).await?;
            tokio::time::sleep(self.time(800..1_200)).await;
        }
        Ok(Struck { broken, healed: Instant::now(), what: format!("{ended} sessions in 8 s") })
    }

    async fn brokers_away(&mut self) -> Result<Struck, Failure> {
        let broken = Instant::now();
        for broker in BROKERS {
            self.instance.kill(broker).await?;
        }
        tokio::time::sleep(self.outage).await;
        self.instance.start("kafka").await?;
        let away = broken.elapsed().as_secs_f64();
        Ok(Struck { broken, healed: Instant::now(), what: format!("all three for {away:.1} s") })
    }

    /// Its server gives up once its log can grow no more; it is started again when there is room.
    async fn postgres_full(&mut self) -> Result<Struck, Failure> {
        let (broken, time) = self.full("postgres").await?;
        self.instance.start("postgres").await?;
        let what = format!("the volume of Postgres, for {:.1} s", time.as_secs_f64());
        Ok(Struck { broken, healed: Instant::now(), what })
    }

    /// A broker whose only log folder fails ends by itself. When there is room, all are started anew: one that is
    /// still there may be about to end.
    async fn brokers_full(&mut self) -> Result<Struck, Failure> {
        let (broken, time) = self.full("brokers").await?;
        let mut alive = 0;
        for broker in BROKERS {
            if self.instance.part(broker).is_ok() {
                alive += 1;
                self.instance.kill(broker).await?;
            }
        }
        self.instance.start("kafka").await?;
        let what =
            format!("the volume of all brokers, for {:.1} s; {alive} had not ended", time.as_secs_f64());
        Ok(Struck { broken, healed: Instant::now(), what })
    }

    async fn full(&mut self, volume: &str) -> Result<(Instant, Duration), Failure> {
        let volumes = self.instance.volumes().ok_or("there is no volume to be filled")?;
        let time = Duration::from_millis(self.random.random_range(9_000..12_000));
        let broken = Instant::now();
        volumes.fill(volume)?;
        tokio::time::sleep(time).await;
        volumes.empty(volume)?;
        Ok((broken, time))
    }

    /// A worker comes or goes every 2 s; it goes by SIGTERM and by kill -9 in turn.
    async fn rebalances(&mut self) -> Result<Struck, Failure> {
        let broken = Instant::now();
        for turn in 0..5 {
            self.crew.start(self.guest)?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            if turn % 2 == 0 {
                self.crew.stop(self.guest).await?;
            } else {
                self.crew.kill(self.guest)?;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Ok(Struck {
            broken,
            healed: Instant::now(),
            what: "a third worker came and went five times".to_owned(),
        })
    }

    pub(crate) fn time(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(millis))
    }
}

async fn flush(instance: &Instance) -> Result<(), Failure> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let url = instance.setting("REDIS_URL")?;
    let address = url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"FLUSHALL\r\n").await?;
    let mut answer = [0; 5];
    tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await??;
    if &answer == b"+OK\r\n" { Ok(()) } else { Err("Redis refused FLUSHALL".into()) }
}
