//! What the endpoints share.

use crate::{
    claims::Claims,
    config::OrdersConfig,
    positions::Positions,
    prices::PriceBook,
    read::{self, Found, Wanted},
    room::Room,
    seats::Seats,
    watch::Watch,
};
use chassis::clock::Clock;
use ingress::{
    coalesce::{Bounds, Coalescer},
    downstream::Downstream,
    log::Log,
    problem::Problem,
    redis_link::RedisLink,
    wakeups::Wakeups,
};
use schemas::{
    ids::OrderId,
    time::Timestamp,
    topics::{self, Topic},
};
use sqlx::PgPool;
use std::sync::{Arc, atomic::AtomicU64};
use tokio_util::sync::CancellationToken;

/// What the endpoints stand on.
#[derive(Clone)]
pub struct OrdersParts {
    /// Settings.
    pub config: OrdersConfig,
    /// The log.
    pub log: Log,
    /// The pool of the role `mambogo_edge`.
    pub pool: PgPool,
    /// What is behind it, as it is left alone when it fails.
    pub postgres: Downstream,
    /// Redis.
    pub redis: RedisLink,
    /// Who waits here.
    pub wakeups: Wakeups,
    /// The time.
    pub clock: Clock,
}

/// The orders endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Orders {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: OrdersConfig,
    pub(crate) log: Log,
    pub(crate) pool: PgPool,
    pub(crate) postgres: Downstream,
    pub(crate) wakeups: Wakeups,
    pub(crate) clock: Clock,
    pub(crate) seats: Seats,
    pub(crate) claims: Claims,
    pub(crate) watch: Watch,
    pub(crate) positions: Positions,
    pub(crate) lookups: Coalescer<Wanted, Found>,
    pub(crate) prices: PriceBook,
    /// Records produced without a claim, and how many of them were followed by a new mark.
    pub(crate) unclaimed: AtomicU64,
    pub(crate) renewed: AtomicU64,
    /// The connection to Redis over which the last mark was made: a newer one may have missed records of others.
    pub(crate) trusted: AtomicU64,
    pub(crate) renewing: tokio::sync::Mutex<()>,
    pub(crate) room: Room,
}

impl Orders {
    /// Starts what runs beside the endpoints (price book, proofs, coalesced lookups), until `stop`.
    #[must_use]
    pub fn start(parts: OrdersParts, stop: CancellationToken) -> Self {
        let OrdersParts { config, log, pool, postgres, redis, wakeups, clock } = parts;
        let positions = Positions::start(log.clone(), pool.clone(), postgres.clone());
        let watch = Watch::new(config.lease);
        watch.start(log.clone(), pool.clone(), positions.clone(), stop.clone());
        let prices = PriceBook::default();
        prices.follow(pool.clone(), config.price_refresh, stop);
        let lookups = lookups(log.clone(), pool.clone(), postgres.clone());
        let claims = Claims::new(redis, config.lease, wakeups.gateway());
        let room = Room::new(config.in_flight, config.room_patience);
        let seats = Seats::new(config.watchers, config.watchers_each);
        let shared = Shared {
            config,
            seats,
            log,
            pool,
            postgres,
            wakeups,
            clock,
            claims,
            watch,
            positions,
            lookups,
            prices,
            // a life of this gateway before this one may have produced without a claim, and forgotten it
            unclaimed: AtomicU64::new(1),
            renewed: AtomicU64::new(0),
            trusted: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::new(()),
            room,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The price book: an endpoint that sells needs it open.
    #[must_use]
    pub fn prices(&self) -> &PriceBook {
        &self.shared.prices
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.shared.clock.now_millis())
    }

    /// How many partitions the orders' records are spread over.
    pub(crate) async fn partitions(&self) -> Result<i32, Problem> {
        let partitions = self.shared.log.partitions(Topic::OrderCommands).await;
        partitions.map_err(|_| Problem::unavailable("Kafka does not answer"))
    }

    /// The partition of an order's records.
    pub(crate) async fn partition(&self, order: OrderId) -> Result<i32, Problem> {
        Ok(topics::partition_of(&topics::key(order.0), self.partitions().await?))
    }

    /// What Postgres knows of an order, asked together with all others that are asked now.
    pub(crate) async fn lookup(&self, order: OrderId, owner: Option<Arc<str>>) -> Result<Found, Problem> {
        self.shared.lookups.ask(Wanted { order, owner }).await.map_err(|_| unread())
    }

    /// The same of many; one answer each, in their order.
    pub(crate) async fn lookup_all(&self, wanted: Vec<Wanted>) -> Result<Vec<Found>, Problem> {
        self.shared.lookups.ask_all(wanted).await.map_err(|_| unread())
    }
}

fn unread() -> Problem {
    Problem::unavailable("the orders cannot be read at the moment")
}

fn lookups(log: Log, pool: PgPool, postgres: Downstream) -> Coalescer<Wanted, Found> {
    Coalescer::start("orders", Bounds::default(), move |wanted: Vec<Wanted>| {
        let (log, pool, postgres) = (log.clone(), pool.clone(), postgres.clone());
        async move {
            let partitions = log.partitions(Topic::OrderCommands).await.map_err(|error| error.to_string())?;
            let found = postgres.query(read::lookup(&pool, partitions, &wanted)).await;
            found.map_err(|error| error.to_string())
        }
    })
}
