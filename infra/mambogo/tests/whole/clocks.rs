//! Machines whose clocks are wrong, or jump: processes that are given a wall clock of their own.

use crate::system::{Client, Process, System, assert_conserved, order_of};
use chrono::{DateTime, Utc};
use std::{os::unix::fs::FileExt, process::Command, time::Duration};
use testbed::{Database, eventually_within};

/// What the gateways say of it, in seconds.
const OFFSET: &str = "mambogo_gateway_clock_offset_seconds";
const HOUR: i64 = 3_600;
/// `ORDER_DEADLINE` when it is not set.
const WHOLE_TIME: Duration = Duration::from_secs(15 * 60);
/// More than a look at the database's clock is off by, and much less than an hour.
const NEARLY: Duration = Duration::from_secs(30);

/// A wall clock for processes, so many seconds ahead of the machine's.
struct WallClock {
    offset: tempfile::NamedTempFile,
    library: tempfile::NamedTempFile,
}

impl WallClock {
    fn ahead_by(seconds: i64) -> Self {
        let clock = Self {
            offset: tempfile::NamedTempFile::new().unwrap(),
            library: tempfile::NamedTempFile::new().unwrap(),
        };
        clock.jump(seconds);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/whole/clocks/wall_clock.c");
        let compiler = Command::new("cc")
            .args(["-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
            .arg(clock.library.path())
            .arg(source)
            .status();
        assert!(compiler.unwrap().success(), "{source} compiles");
        clock
    }

    fn jump(&self, seconds: i64) {
        self.offset.as_file().write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// What a process is started with to have it.
    fn settings(&self) -> [(&str, &str); 2] {
        [
            ("LD_PRELOAD", self.library.path().to_str().unwrap()),
            ("WALL_CLOCK", self.offset.path().to_str().unwrap()),
        ]
    }
}

/// Waits until the gateway in `process` has seen how far its machine's clock is off.
async fn sees_itself_off_by(process: &Process, seconds: i64) {
    let what = format!("the gateway finds its machine's clock {seconds} s ahead");
    eventually_within(Duration::from_secs(60), &what, async || {
        process.metric(OFFSET).await.is_some_and(|offset| (offset - seconds as f64).abs() < 60.0)
    })
    .await;
}

async fn time_of(database: &Database) -> DateTime<Utc> {
    let mut connection = database.connect("audit").await;
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut connection).await.unwrap()
}

async fn deadline_of(database: &Database, order: &str) -> DateTime<Utc> {
    sqlx::query_scalar("SELECT deadline FROM orders.orders WHERE id = $1::text::uuid")
        .bind(order)
        .fetch_one(&mut database.connect("audit").await)
        .await
        .unwrap()
}

async fn token(system: &System, clock: &WallClock) -> String {
    system.tool_with(&["token", "--user", "ann", "--ttl", "10m"], &clock.settings()).await.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_clock_is_an_hour_off_gives_orders_their_whole_time_and_judges_tokens_rightly() {
    let system = System::build(&[]).await;
    let _rest = system.start(&["all"]).await;
    let order = order_of(&system.product(10).await, 1, "CREDIT_CARD");
    let right = token(&system, &WallClock::ahead_by(0)).await;
    let expired = token(&system, &WallClock::ahead_by(-HOUR / 2)).await;
    for seconds in [-HOUR, HOUR] {
        let clock = WallClock::ahead_by(seconds);
        let gateway = system.launch(&["serve"], &clock.settings());
        gateway.is_ready().await;
        sees_itself_off_by(&gateway, seconds).await;

        let client = Client::new(gateway.gateway(), &right);
        let asked = time_of(&system.database).await;
        let id = client.submit_patiently(&seconds.to_string(), &order).await;
        let answered = time_of(&system.database).await;
        assert_eq!(client.settled(&id).await["status"], "CONFIRMED", "{seconds}");
        let deadline = deadline_of(&system.database, &id).await;
        let due = (asked + WHOLE_TIME - NEARLY)..(answered + WHOLE_TIME + NEARLY);
        assert!(due.contains(&deadline), "{seconds}: {deadline} is not in {due:?}");

        let late = Client::new(gateway.gateway(), &expired);
        assert_eq!(
            late.get(&format!("/api/orders/{id}")).await.status,
            401,
            "{seconds}: it expired 20 minutes ago"
        );
        assert!(gateway.log().contains("this machine's clock is not the database's"), "{seconds}");
        gateway.stop().await;
    }
    assert_conserved(&system.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_an_hour_either_way_expire_no_order_and_charge_each_once() {
    let system = System::build(&[]).await;
    let clock = WallClock::ahead_by(0);
    let all = system.launch(&["all"], &clock.settings());
    all.is_ready().await;
    let client = system.client(&all, "ann").await;
    let product = system.product(1).await;
    system.set_stock(&product, 10_000).await;
    let order = order_of(&product, 1, "SANDBOX_SLOW");
    let mut ids = Vec::new();
    for seconds in [HOUR, -HOUR] {
        clock.jump(seconds);
        // before, while and after the processes see it
        let (stop, jumped) = tokio::sync::oneshot::channel();
        let buys = buy_until(&client, &order, seconds, jumped);
        let jumps = async {
            sees_itself_off_by(&all, seconds).await;
            stop.send(()).unwrap();
        };
        ids.extend(tokio::join!(buys, jumps).0);
    }
    for id in &ids {
        assert_eq!(client.settled(id).await["status"], "CONFIRMED");
    }
    let charges = "SELECT count(*) FROM sandbox.charges WHERE charged_at IS NOT NULL";
    let mut connection = system.database.connect("audit").await;
    let charges: i64 = sqlx::query_scalar(charges).fetch_one(&mut connection).await.unwrap();
    assert_eq!(usize::try_from(charges), Ok(ids.len()));
    assert_conserved(&system.database).await;
}

/// Buys again and again, at least once more after `enough`; the ids of the orders.
async fn buy_until(
    client: &Client,
    order: &serde_json::Value,
    name: i64,
    mut enough: tokio::sync::oneshot::Receiver<()>,
) -> Vec<String> {
    let mut ids = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut is_enough = false;
    while !is_enough {
        is_enough = enough.try_recv().is_ok();
        ids.push(client.submit_patiently(&format!("{name}/{}", ids.len()), order).await);
        tick.tick().await;
    }
    ids
}
