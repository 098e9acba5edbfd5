//! The catalogue's worker against a real Kafka and Postgres, and a Redis that goes away.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use catalog_worker::{CatalogWorkerConfig, CatalogWorkerError};
use chassis::{health::Health, kafka::Cluster, settings::Secret};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use schemas::{
    ids::ProductId,
    messages::{Message, ProductChanged, StockChanged},
    money::Currency,
    shelf,
    time::Timestamp,
    topics, wire,
};
use sqlx::Row;
use std::time::Duration;
use testbed::{Database, Proxy, Redis, Topics, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PRODUCT: ProductId = ProductId(Uuid::from_u128(7));

struct Bench {
    topics: Topics,
    redis: Redis,
    way: Proxy,
    database: Database,
    producer: FutureProducer,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), CatalogWorkerError>>,
}

impl Bench {
    async fn start() -> Self {
        let (topics, redis, database) = tokio::join!(Topics::create(2), Redis::start(), Database::create());
        let mut owner = database.connect("catalog").await;
        for sql in [
            "INSERT INTO categories (id, slug, name) VALUES (901, 'toys', 'Toys')",
            "INSERT INTO products (id, category_id, name, description, price, currency, stock_quantity)
             SELECT lpad(n::text, 32, '0')::uuid, 901, 'p', 'd', 100, 'USD', 50 FROM generate_series(1, 9) n",
        ] {
            sqlx::query(sql).execute(&mut owner).await.unwrap();
        }
        let way = Proxy::to(redis.url().trim_start_matches("redis://").trim_end_matches("/0")).await;
        let config = CatalogWorkerConfig {
            cluster: Cluster::plain(testbed::kafka_brokers(), topics.prefix.clone()),
            instance: None,
            redis_url: Secret::new(way.in_url(&redis.url())),
            database_url: Secret::new(database.url("catalog")),
            window: Duration::from_millis(300),
        };
        let producer =
            ClientConfig::new().set("bootstrap.servers", testbed::kafka_brokers()).create().unwrap();
        let stop = CancellationToken::new();
        let part = Health::default().part("catalog");
        let ended = tokio::spawn(catalog_worker::run(config, part, stop.clone()));
        Self { topics, redis, way, database, producer, stop, ended }
    }

    async fn say<M: Message>(&self, message: &M) {
        let key = topics::key(PRODUCT.0);
        let (topic, payload) = (M::TOPIC.on_cluster(&self.topics.prefix), wire::encode(message).unwrap());
        let record = FutureRecord::to(&topic).key(&key[..]).payload(&payload);
        let record = record.partition(topics::partition_of(&key, self.topics.partitions));
        self.producer.send(record, Duration::from_secs(10)).await.unwrap();
    }

    async fn sell_down(&self, versions: std::ops::RangeInclusive<i64>, left: i64) {
        for version in versions {
            let (available, changed_at) = (left, Timestamp(version));
            self.say(&StockChanged { product_id: PRODUCT, available, held: 0, sold: 0, version, changed_at })
                .await;
        }
    }

    /// Units and version in the narrow table, and what the indexed column says.
    async fn shown(&self) -> (Option<i64>, Option<i64>, i64) {
        let row = sqlx::query(
            "SELECT available, stock.version, stock_quantity FROM products LEFT JOIN stock ON product_id = id
             WHERE id = $1",
        );
        let row = row.bind(PRODUCT.0).fetch_one(&mut self.database.connect("catalog").await).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    async fn kept(&self) -> Vec<String> {
        let reply = self.redis.reply(&format!("HMGET {} v sv s", shelf::key(PRODUCT))).await;
        reply
            .lines()
            .filter(|line| !line.starts_with(['*', '$']))
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

fn product(version: i64) -> ProductChanged {
    ProductChanged {
        product_id: PRODUCT,
        version,
        changed: Vec::new(),
        name: "n".to_owned(),
        description: String::new(),
        category: "toys".to_owned(),
        price: 1,
        currency: Currency::USD,
        is_active: true,
        changed_by: String::new(),
        changed_at: Timestamp(1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_is_shown_by_version_and_the_indexes_are_left_alone_until_it_is_gone() {
    let bench = Bench::start().await;
    bench.sell_down(1..=40, 30).await;
    bench.sell_down(20..=20, 99).await;
    eventually("the newest stock is shown", async || bench.shown().await == (Some(30), Some(40), 50)).await;
    bench.sell_down(41..=60, 20).await;
    eventually("and the next", async || bench.shown().await == (Some(20), Some(60), 50)).await;
    bench.sell_down(61..=61, 0).await;
    eventually("sold out: the index knows", async || bench.shown().await == (Some(0), Some(61), 0)).await;
    bench.sell_down(62..=62, 5).await;
    eventually("back: the index knows", async || bench.shown().await == (Some(5), Some(62), 5)).await;
    eventually("Redis has it", async || bench.kept().await == ["62", "5"]).await;
    // counters reach the table of statistics when their session has been idle for a while
    eventually("few writes, all of the narrow row's HOT", async || {
        let sql = "SELECT relname::text, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
                   WHERE schemaname = 'catalog' AND relname IN ('products', 'stock') ORDER BY 1";
        let rows = sqlx::query(sql).fetch_all(&mut bench.database.connect_admin().await).await.unwrap();
        let of = |n: usize| (rows[n].get::<i64, _>(1), rows[n].get::<i64, _>(2));
        let (products, (written, hot)) = (of(0), of(1));
        products.0 == 2 && written >= 2 && written == hot && written < 62
    })
    .await;
    bench.stop.cancel();
    bench.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_heard_while_redis_was_away_is_there_when_it_is_back_and_never_older() {
    let bench = Bench::start().await;
    bench.say(&product(3)).await;
    bench.sell_down(4..=4, 9).await;
    eventually("both parts are in Redis", async || bench.kept().await == ["3", "4", "9"]).await;
    bench.way.cut();
    bench.say(&product(5)).await;
    bench.say(&product(4)).await;
    bench.sell_down(6..=6, 8).await;
    assert_eq!(bench.kept().await, ["3", "4", "9"]);
    bench.way.open();
    eventually("all of it is in Redis", async || bench.kept().await == ["5", "6", "8"]).await;
    bench.redis.flush().await;
    bench.say(&product(6)).await;
    eventually("a Redis that forgot its scripts is told them", async || bench.kept().await == ["6"]).await;
    bench.stop.cancel();
    bench.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_holds_something_else_holds_up_no_other_product_and_stock_alone_stays_for_a_while() {
    let bench = Bench::start().await;
    let foreign = ProductId(uuid::Uuid::from_u128(77));
    bench.redis.reply(&format!("SET {} x", shelf::key(foreign))).await;
    let stock = |product_id, available| StockChanged {
        product_id,
        available,
        held: 0,
        sold: 0,
        version: 1,
        changed_at: Timestamp(1),
    };
    bench.say(&stock(foreign, 1)).await;
    bench.say(&stock(PRODUCT, 30)).await;
    eventually("Redis has the one", async || bench.kept().await == ["1", "30"]).await;
    assert!(bench.redis.reply(&format!("GET {}", shelf::key(foreign))).await.contains('x'));
    let left = bench.redis.reply(&format!("PTTL {}", shelf::key(PRODUCT))).await;
    let left: u64 = left.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    assert!((60_000..=120_000).contains(&left), "{left} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_added_after_its_stock_was_heard_is_in_stock_with_the_next_change() {
    let bench = Bench::start().await;
    let mut shop = bench.database.connect("catalog").await;
    let run = async |shop: &mut sqlx::PgConnection, statement: &'static str| {
        sqlx::query(statement).execute(shop).await.unwrap();
    };
    run(&mut shop, "DELETE FROM products").await;
    bench.sell_down(1..=1, 30).await;
    eventually("its stock is heard", async || bench.kept().await == ["1", "30"]).await;
    // as it is added by a person: with no stock of its own
    let added = "INSERT INTO products (id, category_id, name, description, price, currency, stock_quantity)
                 SELECT lpad(n::text, 32, '0')::uuid, 901, 'p', 'd', 100, 'USD', 0 FROM generate_series(1, 9) n";
    run(&mut shop, added).await;
    bench.sell_down(2..=2, 29).await;
    eventually("lists know that it is in stock", async || bench.shown().await == (Some(29), Some(2), 29))
        .await;
}
