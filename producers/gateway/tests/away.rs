//! What the port stands on goes away, one part after the other and in each way: what needs it is refused, soon at once,
//! and everything else is answered as if nothing were.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use chassis::{clock::Clock, settings::Environment};
use futures_util::future::join_all;
use gateway::{GatewayConfig, GatewayParts};
use ingress::auth::{AuthConfig, INVENTORY_WRITE, mint};
use publisher::{Publisher, PublisherConfig};
use schemas::time::Timestamp;
use sqlx::{Connection, PgConnection};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use testbed::{Database, Proxy, Redis, Replicated, Topics, eventually_within};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

const PRODUCT: Uuid = Uuid::from_u128(10);
/// Less than any wait for a part that says nothing, and much more than an answer takes.
const AT_ONCE: Duration = Duration::from_millis(1_500);

type Way<'a> = &'a dyn Fn(&Proxy);

struct Port {
    app: Router,
    auth: AuthConfig,
    kafka: Proxy,
    postgres: Proxy,
    redis: Proxy,
    replica: Proxy,
    _parts: (Server, Redis, Topics, DropGuard),
}

/// Postgres alone, or with a streaming replica.
enum Server {
    Alone(Database),
    Replicated(Replicated),
}

impl Server {
    fn url(&self, role: &str) -> String {
        match self {
            Self::Alone(database) => database.url(role),
            Self::Replicated(both) => both.primary(role),
        }
    }
}

impl Port {
    async fn open() -> Self {
        Self::open_on(Server::Alone(Database::create().await)).await
    }

    async fn open_on(database: Server) -> Self {
        let (redis, topics) = tokio::join!(Redis::start(), Topics::create(1));
        sqlx::query("INSERT INTO products (id, available, held, sold, initial, restocked, version) VALUES ($1, 7, 0, 0, 7, 0, 1)")
            .bind(PRODUCT)
            .execute(&mut PgConnection::connect(&database.url("inventory")).await.unwrap())
            .await
            .unwrap();
        let host = |url: &str| url.rsplit(['@', '/']).nth(1).unwrap().to_owned();
        let kafka = Proxy::to_broker(&testbed::kafka_brokers()).await;
        let postgres = Proxy::to(&host(&database.url("edge"))).await;
        let memory = Proxy::to(&host(&redis.url())).await;
        let of_replica = match &database {
            Server::Alone(_) => None,
            Server::Replicated(both) => Some(both.replica("edge")),
        };
        let replica = Proxy::to(&host(of_replica.as_deref().unwrap_or(&database.url("edge")))).await;
        let of_replica = of_replica.map(|url| ("CATALOG_REPLICA_URL", replica.in_url(&url)));
        let pairs = [
            ("EDGE_DATABASE_URL", postgres.in_url(&database.url("edge"))),
            ("REDIS_URL", memory.in_url(&redis.url())),
            ("KAFKA_BROKERS", kafka.address().to_string()),
            ("KAFKA_DELIVERY_TIMEOUT", "2s".to_owned()),
            ("TOPIC_PREFIX", topics.prefix.clone()),
            // each answer is looked for
            ("RESPONSE_CACHE", "off".to_owned()),
            ("RATE_LIMIT_ANONYMOUS", "100000/s,100000".to_owned()),
        ];
        let pairs = pairs.into_iter().chain(of_replica);
        let environment = Environment::of(pairs.map(|(key, value)| (key.to_owned(), value)));
        let config = GatewayConfig::from_environment(&environment).unwrap();
        let log = Publisher::start(PublisherConfig::from_environment(&environment, "test").unwrap()).unwrap();
        let (auth, stop) = (config.auth.clone(), CancellationToken::new());
        let parts = GatewayParts { log: Arc::new(log), clock: Clock::system() };
        let app = gateway::router(config, parts, stop.clone()).unwrap();
        let port = Self {
            app,
            auth,
            kafka,
            postgres,
            redis: memory,
            replica,
            _parts: (database, redis, topics, stop.drop_guard()),
        };
        for path in [STOCK, ADJUST] {
            port.is_back(path).await;
        }
        port
    }

    /// The status, and whether it came at once.
    async fn call(&self, path: &str) -> (u16, Duration) {
        let (status, took, _) = self.answer(path).await;
        (status, took)
    }

    /// The same, with what the answer says is not called.
    async fn answer(&self, path: &str) -> (u16, Duration, String) {
        let now = Timestamp(Clock::system().now_millis());
        let token =
            mint(&self.auth, "ops", &[INVENTORY_WRITE.to_owned()], now, Duration::from_secs(600)).unwrap();
        let method = if path == ADJUST { "POST" } else { "GET" };
        let mut request = Request::builder().method(method).uri(path);
        if path == NEWEST {
            request = request.header("read-after", "FFFFFFFF/FFFFFFFF");
        } else if path != LIST {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = format!("{{\"productId\":\"{PRODUCT}\",\"delta\":1,\"reason\":\"found\"}}");
        let request = request
            .header("idempotency-key", Uuid::simple(chassis::ids::random()).to_string())
            .header("content-type", "application/json")
            .body(if path == ADJUST { Body::from(body) } else { Body::empty() });
        let began = Instant::now();
        let response = self.app.clone().oneshot(request.unwrap()).await.unwrap();
        let state = response.headers().get("downstream-state");
        let state = state.map_or_else(String::new, |state| state.to_str().unwrap().to_owned());
        let status = response.status();
        assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{path}: {state:?}");
        (status.as_u16(), began.elapsed(), state)
    }

    /// Until a list comes from the replica: with the primary cut, it is the only one to tell it.
    async fn is_read_again(&self) {
        self.postgres.cut();
        self.is_back(LIST).await;
        self.postgres.open();
        self.is_whole().await;
    }

    /// Until the primary tells what only it can.
    async fn is_whole(&self) {
        self.is_back(NEWEST).await;
        self.is_back(STOCK).await;
    }

    async fn is_back(&self, path: &str) {
        // so often that its breaker is closed: a few probes are answered before
        eventually_within(Duration::from_secs(90), &format!("{path} is answered"), async || {
            for _ in 0..6 {
                if self.call(path).await.0 >= 300 {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Calls what needs the part that is away until it is refused at once.
    async fn is_left_alone(&self, path: &str, what: &str) {
        eventually_within(
            Duration::from_secs(90),
            &format!("{what}: {path} is refused at once"),
            async || {
                let (status, took) = self.call(path).await;
                status == 503 && took < AT_ONCE / 3
            },
        )
        .await;
    }

    /// Everything that needs nothing of what is away, while what does is called as well.
    async fn others_are_well(&self, others: &[(&str, u16)], needs: &str, what: &str) {
        let needing = join_all((0..20).map(|_| self.call(needs)));
        let well = join_all(others.iter().flat_map(|other| std::iter::repeat_n(other, 20)).map(
            async |(path, expected)| {
                let (status, took) = self.call(path).await;
                assert_eq!(status, *expected, "{what}: {path}");
                assert!(took < AT_ONCE, "{what}: {path} took {took:?}");
            },
        ));
        tokio::join!(needing, well);
    }
}

const LIST: &str = "/api/products?limit=1";
/// A list that no replica is far enough to tell.
const NEWEST: &str = "/api/products?limit=2";
const STOCK: &str = "/api/inventory/00000000-0000-0000-0000-00000000000a";
const ADJUST: &str = "/api/inventory/adjustments";
const ORDERS: &str = "/api/orders";
const NOWHERE: &str = "/api/nowhere";

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_away_leaves_what_does_not_need_it_at_its_usual_pace() {
    let port = Port::open().await;
    for (way, away) in [("cut", Proxy::cut as fn(&Proxy)), ("held", Proxy::hold)] {
        // without Redis nothing stops: limits and kept keys are counted here
        away(&port.redis);
        port.others_are_well(&[(LIST, 200), (STOCK, 200), (NOWHERE, 404)], ADJUST, &format!("Redis {way}"))
            .await;
        port.redis.open();
        port.is_back(ADJUST).await;

        away(&port.kafka);
        let what = format!("Kafka {way}");
        port.others_are_well(&[(LIST, 200), (STOCK, 200), (NOWHERE, 404)], ADJUST, &what).await;
        port.is_left_alone(ADJUST, &what).await;
        port.others_are_well(&[(LIST, 200), (STOCK, 200)], ADJUST, &what).await;
        port.kafka.open();
        port.is_back(ADJUST).await;

        away(&port.postgres);
        let what = format!("Postgres {way}");
        port.others_are_well(&[(ADJUST, 202), (NOWHERE, 404)], STOCK, &what).await;
        for (needs, downstream) in [(STOCK, "postgres;"), (ORDERS, "orders-postgres;")] {
            port.is_left_alone(needs, &what).await;
            port.others_are_well(&[(ADJUST, 202), (NOWHERE, 404)], needs, &what).await;
            eventually_within(Duration::from_secs(90), "a refusal names what is left alone", async || {
                port.answer(needs).await.2.split(", ").any(|told| told.starts_with(downstream))
            })
            .await;
        }
        port.postgres.open();
        port.is_back(ORDERS).await;
        port.is_back(STOCK).await;
        port.is_back(LIST).await;
    }
    // what answers all the same, but late, holds up only who asks it
    for (proxy, needs, others, what) in [
        (&port.redis, ADJUST, [LIST, STOCK].as_slice(), "Redis slow"),
        (&port.kafka, ADJUST, &[LIST, STOCK], "Kafka slow"),
        (&port.postgres, STOCK, &[], "Postgres slow"),
    ] {
        proxy.slow(Duration::from_millis(700));
        let others: Vec<_> = others.iter().map(|path| (*path, 200)).chain([(NOWHERE, 404)]).collect();
        port.others_are_well(&others, needs, what).await;
        port.others_are_well(&others, needs, what).await;
        proxy.open();
        port.is_back(needs).await;
    }
    port.is_back(LIST).await;
    // connections that fell silent for good are given up, though nobody says so: by each pool, its own
    for (proxy, paths) in [(&port.postgres, [STOCK, LIST].as_slice()), (&port.redis, &[ADJUST])] {
        proxy.silence();
        for path in paths {
            port.is_back(path).await;
        }
        port.others_are_well(&[(LIST, 200), (STOCK, 200)], NOWHERE, "after a silence").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_or_a_primary_that_is_away_leaves_the_catalogue_at_its_usual_pace() {
    let port = Port::open_on(Server::Replicated(Replicated::start().await)).await;
    let all = [(LIST, 200), (NEWEST, 200), (STOCK, 200), (ADJUST, 202), (NOWHERE, 404)];
    let slow = |proxy: &Proxy| proxy.slow(Duration::from_millis(700));
    let ways: [(&str, Way<'_>); 4] =
        [("cut", &Proxy::cut), ("held", &Proxy::hold), ("slow", &slow), ("silent", &Proxy::silence)];
    for (way, away) in ways {
        away(&port.replica);
        port.others_are_well(&all, LIST, &format!("replica {way}")).await;
        port.others_are_well(&all, LIST, &format!("replica {way} for a while")).await;
        port.replica.open();
        port.is_read_again().await;
    }
    // what the replica knows is told without the primary
    for (way, away) in &ways[..2] {
        away(&port.postgres);
        let what = format!("primary {way}");
        let others = [(LIST, 200), (ADJUST, 202), (NOWHERE, 404)];
        for needs in [STOCK, NEWEST] {
            port.others_are_well(&others, needs, &what).await;
            port.is_left_alone(needs, &what).await;
        }
        port.others_are_well(&others, NEWEST, &what).await;
        eventually_within(Duration::from_secs(90), "a refusal names the primary", async || {
            port.answer(NEWEST).await.2.contains("catalog-primary;")
        })
        .await;
        port.postgres.open();
        port.is_whole().await;
    }
}
