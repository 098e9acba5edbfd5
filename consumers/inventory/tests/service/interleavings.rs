//! Two lanes at once on two real connections, stepped through each order of events: a release in one lane grants a
//! waiter of the other while that lane reserves. No deadlock, no unit lost, nobody forgotten.

use crate::{
    memory::{Memory, adjust, context, delivery, product, reserve, settle, walk, walks},
    tables::{decide, everything, put, run, try_run},
};
use harness::{
    record::{Delivery, Said},
    service::Service,
};
use inventory_worker::{InventoryService, Limits, books::Books, hold::HoldState};
use rand::{Rng, SeedableRng, rngs::StdRng};
use schemas::{
    ids::ProductId,
    messages::{InventoryCommand, Settlement},
    topics::Topic,
};
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction};
use std::collections::BTreeSet;
use testbed::Database;

/// Checks what must hold of the tables between any two transactions.
fn check(tables: &Memory) {
    for (id, stock) in &tables.products {
        assert_eq!(stock.initial + stock.restocked, stock.available + stock.held + stock.sold, "{stock:?}");
        let units = |state| -> i64 {
            let holds = tables.holds.values().filter(|hold| hold.state == state);
            let lines = holds.flat_map(|hold| &hold.lines).filter(|line| line.product_id == *id);
            lines.map(|line| i64::from(line.quantity)).sum()
        };
        assert_eq!((stock.held, stock.sold), (units(HoldState::Held), units(HoldState::Sold)), "{id}");
        let waiting = tables.waiters.keys().filter(|(product, _)| product == id).count();
        assert_eq!(stock.waiting, i64::try_from(waiting).unwrap(), "{id}");
    }
}

async fn backend(connection: &mut PgConnection) -> i32 {
    sqlx::query("SELECT pg_backend_pid()").fetch_one(connection).await.unwrap().get(0)
}

/// Waits until that backend waits for a lock.
async fn blocked(admin: &mut PgConnection, backend: i32) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let row =
            sqlx::query("SELECT cardinality(pg_blocking_pids($1)) > 0").bind(backend).fetch_one(&mut *admin);
        if row.await.unwrap().get::<bool, _>(0) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the other lane never came to the lock");
        tokio::task::yield_now().await;
    }
}

type Open<'c> = (Transaction<'c, Postgres>, Books);

async fn open<'c>(
    connection: &'c mut PgConnection,
    service: &InventoryService,
    batch: &[Delivery<InventoryCommand>],
) -> Open<'c> {
    let mut tx = connection.begin().await.unwrap();
    let books = service.load_in_tx(&mut tx, &context(), batch, &()).await.unwrap();
    (tx, books)
}

async fn close(
    (mut tx, mut books): Open<'_>,
    service: &InventoryService,
    batch: &[Delivery<InventoryCommand>],
) -> Vec<Said> {
    let (_, out) = decide(service, &mut books, batch);
    service.save_in_tx(&mut tx, &context(), books).await.unwrap();
    tx.commit().await.unwrap();
    out.said().to_vec()
}

/// Runs `first` up to its locks, lets `second` come to them, ends `first`, then `second`. Says what both said.
async fn interleave(
    database: &Database,
    first: &[Delivery<InventoryCommand>],
    second: &[Delivery<InventoryCommand>],
) -> (Vec<Said>, Vec<Said>) {
    let service = InventoryService::default();
    let (mut one, mut other) = (database.connect("inventory").await, database.connect("inventory").await);
    let mut admin = database.connect_admin().await;
    let pid = backend(&mut other).await;
    let held = open(&mut one, &service, first).await;
    let batch = second.to_vec();
    let behind = tokio::spawn(async move { try_run(&mut other, &InventoryService::default(), &batch).await });
    blocked(&mut admin, pid).await;
    let said = close(held, &service, first).await;
    let (verdicts, said_behind) = behind.await.unwrap().expect("no deadlock, no time-out");
    assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
    (said, said_behind)
}

fn granted(said: &[Said]) -> usize {
    said.iter().filter(|said| said.outgoing.topic == Topic::OrderCommands).count()
}

/// Order 1 holds the last unit and order 2 waits for it, in another lane. The unit comes back while order 3 asks.
async fn last_unit(database: &Database) {
    let mut connection = database.connect("inventory").await;
    put(&mut connection, &[1]).await;
    let service = InventoryService::default();
    run(&mut connection, &service, &[delivery(reserve(1, 0, &[(0, 1)]))]).await;
    run(&mut connection, &service, &[delivery(reserve(2, 1, &[(0, 1)]))]).await;
}

/// A batch of many products locks none of their rows, and still nobody passes it or is passed by it.
#[tokio::test]
async fn a_batch_of_many_products_and_one_of_few_wait_for_each_other() {
    for many_first in [false, true] {
        let database = Database::create().await;
        put(&mut database.connect("inventory").await, &[1; 250]).await;
        let many: Vec<_> = (0..250).map(|n| delivery(reserve(u16::from(n), 0, &[(n, 1)]))).collect();
        let few = [delivery(reserve(1_000, 1, &[(7, 1)]))];
        let (first, second) = if many_first { (&many[..], &few[..]) } else { (&few[..], &many[..]) };
        let (said, said_behind) = interleave(&database, first, second).await;
        let expected = if many_first { (250, 0) } else { (1, 249) };
        assert_eq!((granted(&said), granted(&said_behind)), expected, "one unit of product 7");
        check(&everything(&mut database.connect("inventory").await).await);
    }
}

#[tokio::test]
async fn a_release_before_a_reserve_grants_the_waiter_of_the_other_lane() {
    let database = Database::create().await;
    last_unit(&database).await;
    let (release, ask) = ([delivery(settle(1, Settlement::Released))], [delivery(reserve(3, 2, &[(0, 1)]))]);
    let (said, said_behind) = interleave(&database, &release, &ask).await;
    assert_eq!((granted(&said), granted(&said_behind)), (1, 0));
    let tables = everything(&mut database.connect("inventory").await).await;
    check(&tables);
    assert_eq!((tables.state(2), tables.state(3)), (Some(HoldState::Held), Some(HoldState::Waiting)));
}

#[tokio::test]
async fn a_reserve_before_a_release_does_not_take_the_waiters_unit() {
    let database = Database::create().await;
    last_unit(&database).await;
    let (release, ask) = ([delivery(settle(1, Settlement::Released))], [delivery(reserve(3, 2, &[(0, 1)]))]);
    let (_, said_behind) = interleave(&database, &ask, &release).await;
    assert_eq!(granted(&said_behind), 1);
    let tables = everything(&mut database.connect("inventory").await).await;
    check(&tables);
    assert_eq!((tables.state(2), tables.state(3)), (Some(HoldState::Held), Some(HoldState::Waiting)));
}

/// The waiter gives up in its own lane while the other lane grants it: whoever is first decides, nothing is lost.
#[tokio::test]
async fn a_waiter_that_gives_up_while_it_is_granted_gives_its_unit_back() {
    for waiter_first in [false, true] {
        let database = Database::create().await;
        last_unit(&database).await;
        let (release, give_up) =
            ([delivery(settle(1, Settlement::Released))], [delivery(settle(2, Settlement::Released))]);
        let (first, second) = if waiter_first { (&give_up, &release) } else { (&release, &give_up) };
        interleave(&database, first, second).await;
        let tables = everything(&mut database.connect("inventory").await).await;
        check(&tables);
        assert_eq!(tables.products[&product(0)].available, 1);
        assert_eq!(tables.state(2), Some(HoldState::Released));
    }
}

/// It joins the queue after the releasing lane has read it and before that lane has the lock. Its other product is
/// not locked there: it is left to the command that the lane sends itself, and that one grants it.
#[tokio::test]
async fn a_waiter_that_was_not_seen_before_the_locks_is_left_to_the_walk() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    let service = InventoryService::default();
    put(&mut connection, &[1, 1]).await;
    run(&mut connection, &service, &[delivery(reserve(1, 0, &[(0, 1)]))]).await;
    let (ask, release) =
        ([delivery(reserve(2, 1, &[(0, 1), (1, 1)]))], [delivery(settle(1, Settlement::Released))]);
    let (_, said) = interleave(&database, &ask, &release).await;
    assert_eq!((granted(&said), walks(&said)), (0, vec![product(0)]));
    let tables = everything(&mut connection).await;
    check(&tables);
    assert!(tables.products[&product(0)].cursor.is_some());
    // a newcomer does not overtake it meanwhile
    run(&mut connection, &service, &[delivery(reserve(3, 9, &[(0, 1)]))]).await;
    let (_, said) = run(&mut connection, &service, &[delivery(walk(product(0)))]).await;
    assert_eq!((granted(&said), walks(&said)), (1, vec![]));
    let tables = everything(&mut connection).await;
    check(&tables);
    assert_eq!((tables.state(2), tables.state(3)), (Some(HoldState::Held), Some(HoldState::Waiting)));
}

/// Two lanes name the same products in opposite order, and each grants or rejects waiters of the other.
#[tokio::test]
async fn lanes_that_name_products_in_opposite_order_do_not_deadlock() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    let service = InventoryService::default();
    put(&mut connection, &[1, 1, 1]).await;
    run(&mut connection, &service, &[delivery(reserve(1, 0, &[(2, 1)])), delivery(reserve(2, 0, &[(0, 1)]))])
        .await;
    run(&mut connection, &service, &[delivery(reserve(3, 1, &[(2, 1), (1, 1), (0, 1)]))]).await;
    run(&mut connection, &service, &[delivery(reserve(4, 2, &[(0, 1), (2, 1)]))]).await;
    let (one, other) =
        ([delivery(settle(1, Settlement::Released))], [delivery(settle(2, Settlement::Released))]);
    interleave(&database, &one, &other).await;
    let tables = everything(&mut connection).await;
    check(&tables);
    assert_eq!((tables.state(3), tables.state(4)), (Some(HoldState::Held), Some(HoldState::Waiting)));
}

/// Three lanes as fast as they can, over few products and with small bounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_at_full_speed_lose_nothing() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    put(&mut connection, &[6, 3, 4, 2]).await;
    let service = || InventoryService::with_limits(Limits { waiters: 4, ..Limits::default() });
    let mut lanes = Vec::new();
    for lane in 0..3u16 {
        let connection = database.connect("inventory").await;
        lanes.push(tokio::spawn(busy_lane(connection, service(), lane)));
    }
    let service = service();
    let mut pending = BTreeSet::new();
    for lane in lanes {
        pending.extend(lane.await.unwrap());
    }
    let mut rounds = 0;
    while let Some(product) = pending.pop_first() {
        let (_, said) = run(&mut connection, &service, &[delivery(walk(product))]).await;
        pending.extend(walks(&said));
        rounds += 1;
        assert!(rounds < 1_000, "the walks do not end");
    }
    let tables = everything(&mut connection).await;
    check(&tables);
    for hold in tables.holds.values().filter(|hold| hold.state == HoldState::Waiting) {
        let fits = hold
            .lines
            .iter()
            .all(|line| i64::from(line.quantity) <= tables.products[&line.product_id].available);
        assert!(!fits, "forgotten: {hold:?}");
    }
    assert!(tables.products.values().all(|stock| stock.cursor.is_none()));
}

/// A lane's life: it reserves, settles what it holds, restocks, and walks what it is told to.
async fn busy_lane(mut connection: PgConnection, service: InventoryService, lane: u16) -> Vec<ProductId> {
    let mut rng = StdRng::seed_from_u64(u64::from(lane));
    let mut pending: Vec<ProductId> = Vec::new();
    let mut reserved = Vec::new();
    for round in 0..60u16 {
        let mut batch = Vec::new();
        for n in 0..rng.random_range(1..5) {
            let id = lane + 3 * (round * 5 + n);
            let (first, second) = (rng.random_range(0..4), rng.random_range(0..4));
            let wish = [(first, rng.random_range(1..3)), (second, 1)];
            let of = if first == second { &wish[..1] } else { &wish[..] };
            batch.push(delivery(reserve(id, i64::from(id), of)));
            reserved.push(id);
        }
        while reserved.len() > 6 {
            let id = reserved.swap_remove(rng.random_range(0..reserved.len()));
            batch.push(delivery(settle(id, Settlement::Released)));
        }
        if rng.random_bool(0.1) {
            batch.push(delivery(adjust(u128::from(lane * 1_000 + round), rng.random_range(0..4), 1)));
        }
        if !pending.is_empty() {
            batch.push(delivery(walk(pending.remove(0))));
        }
        let (verdicts, said) = run(&mut connection, &service, &batch).await;
        assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
        pending.extend(walks(&said));
    }
    pending
}
