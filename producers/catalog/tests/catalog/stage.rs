//! A shop of five products, a Redis behind a proxy, and the catalogue's endpoints.

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use catalog_api::{Catalog, CatalogConfig, CatalogParts};
use chassis::{
    clock::Clock,
    postgres::PoolLimits,
    settings::{Environment, Secret},
};
use ingress::{
    auth::{AuthConfig, CATALOG_WRITE, Verifier, mint},
    config::PoolConfig,
    downstream::Downstream,
    guard::Guard,
    log::{Command, CommandLog, Delivered, LogAway, SendError},
    redis_link::{RedisConfig, RedisLink},
};
use schemas::{time::Timestamp, topics::Topic};
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use uuid::Uuid;

/// A log that is only asked how many partitions there are.
struct Partitions;

#[async_trait]
impl CommandLog for Partitions {
    async fn send(&self, _: Command) -> Result<Delivered, SendError> {
        Err(SendError::NotSent("nothing is sent from here".to_owned()))
    }
    async fn partitions(&self, _: Topic) -> Result<i32, LogAway> {
        Ok(4)
    }
    async fn ends(&self, _: Topic) -> Result<Vec<i64>, LogAway> {
        Ok(vec![0; 4])
    }
    async fn committed(&self, _: &'static str, _: Topic) -> Result<Vec<Option<i64>>, LogAway> {
        Ok(vec![None; 4])
    }
    async fn check(&self) -> Result<(), LogAway> {
        Ok(())
    }
}

pub(crate) struct Stage {
    pub(crate) app: Router,
    /// The database's URL for a role.
    pub(crate) url: Box<dyn Fn(&str) -> String + Send + Sync>,
    pub(crate) redis: testbed::Redis,
    /// The way to Redis.
    pub(crate) way: testbed::Proxy,
    /// The catalogue's only connection to the primary.
    pub(crate) pool: PgPool,
    auth: AuthConfig,
    _stop: DropGuard,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// The path of product `n`.
pub(crate) fn path(n: u128) -> String {
    format!("/api/products/{}", Uuid::from_u128(n))
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::with(&[]).await
    }

    /// With these settings besides.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let database = testbed::Database::create().await;
        Self::on(
            Box::new(move |role| if role == "admin" { database.admin_url() } else { database.url(role) }),
            settings,
        )
        .await
    }

    /// On the primary of a pair.
    pub(crate) async fn on_replicated(both: &testbed::Replicated, settings: &[(&str, &str)]) -> Self {
        let url = ["edge", "catalog", "relay", "admin"].map(|role| (role.to_owned(), both.primary(role)));
        let url = std::collections::HashMap::from(url);
        Self::on(Box::new(move |role| url[role].clone()), settings).await
    }

    async fn on(url: Box<dyn Fn(&str) -> String + Send + Sync>, settings: &[(&str, &str)]) -> Self {
        let redis = testbed::Redis::start().await;
        fill(&url("catalog")).await;
        let way = testbed::Proxy::to(redis.url().trim_start_matches("redis://").trim_end_matches("/0")).await;
        let redis_config = RedisConfig {
            url: Secret::new(way.in_url(&redis.url())),
            response_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_millis(500),
        };
        let stop = CancellationToken::new();
        let link = RedisLink::start(redis_config.clone(), stop.clone()).unwrap();
        link.connects().wait_for(|generation| *generation > 0).await.unwrap();
        let limits = PoolLimits { max: 1, min: 0, ..PoolLimits::default() };
        let pool = catalog_api::pool(&PoolConfig { url: Secret::new(url("edge")), limits }).unwrap();
        let writer = ("CATALOG_DATABASE_URL".to_owned(), url("catalog"));
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let environment = Environment::of(settings.chain([writer]));
        let parts = CatalogParts {
            config: CatalogConfig::from_environment(&environment).unwrap(),
            pool: pool.clone(),
            primary: Downstream::new("catalog-primary", Duration::from_secs(3)),
            replica: Downstream::new("catalog-replica", Duration::from_secs(1)),
            redis: link,
            redis_config,
            log: Arc::new(Partitions),
            clock: Clock::system(),
        };
        let catalog = Catalog::start(parts, stop.clone()).unwrap();
        let auth = ingress::config::auth(&Environment::of([])).unwrap();
        let guard = Guard::new(Verifier::start(&auth, stop.clone()).unwrap());
        let app = ingress::layers::around(catalog_api::surface().with_state(catalog).guarded(guard));
        let stage = Self { app, url, redis, way, pool, auth, _stop: stop.drop_guard() };
        stage.until_it_hears().await;
        stage
    }

    pub(crate) async fn until_it_hears(&self) {
        testbed::eventually("the catalogue hears of changes", async || {
            self.redis.reply("PUBSUB NUMSUB catalog:changes").await.ends_with(":1")
        })
        .await;
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.call("GET", path, headers, None).await
    }

    /// As somebody who may change the catalogue.
    pub(crate) async fn write(&self, method: &str, path: &str, tag: &str, body: &Value) -> Answer {
        let token = self.token(&[CATALOG_WRITE]);
        let headers = [("authorization", token.as_str()), ("if-match", tag)];
        self.call(method, path, &headers, Some(body)).await
    }

    pub(crate) fn token(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let now = Timestamp(Clock::system().now_millis());
        format!("Bearer {}", mint(&self.auth, "ann", &scopes, now, Duration::from_secs(600)).unwrap())
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A connection as that role.
    pub(crate) async fn connect(&self, role: &str) -> PgConnection {
        PgConnection::connect(&(self.url)(role)).await.unwrap()
    }

    /// How often the table of products was read by the catalogue.
    pub(crate) async fn reads(&self) -> i64 {
        // the one connection tells what it has counted before it is asked
        sqlx::query("SELECT pg_stat_force_next_flush()").execute(&self.pool).await.unwrap();
        let sql = "SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_all_tables
                   WHERE schemaname = 'catalog' AND relname = 'products'";
        sqlx::query_scalar(sql).fetch_one(&mut self.connect("admin").await).await.unwrap()
    }
}

/// Fills a shop that is empty.
async fn fill(url: &str) {
    let mut owner = PgConnection::connect(url).await.unwrap();
    let categories =
        "INSERT INTO categories (id, slug, name) VALUES (901, 'books', 'Books'), (902, 'toys', 'Toys')
         ON CONFLICT DO NOTHING";
    let products = "INSERT INTO products (id, category_id, name, description, price, currency, is_active, stock_quantity)
        SELECT lpad(n::text, 32, '0')::uuid, 901 + n % 2, 'product ' || n, 'd', n * 100, 'USD', n <> 5, 7
        FROM generate_series(1, 5) n ON CONFLICT DO NOTHING";
    for sql in [categories, products] {
        sqlx::query(sql).execute(&mut owner).await.unwrap();
    }
}
