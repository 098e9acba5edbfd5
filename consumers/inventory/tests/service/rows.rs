//! The rows: what is saved is loaded, the database does what the tables in memory do, and updates stay cheap.

use crate::{
    memory::{
        DEADLINE, Memory, NOW, adjust, context, delivery, from_edge, order, product, reserve, settle, walk,
        walks,
    },
    tables::{at, everything, put, run},
};
use harness::{
    record::{Delivery, Out},
    service::Service,
};
use inventory_worker::{
    InventoryService, Limits,
    hold::{HoldState, Place},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use schemas::{
    ids::ProductId,
    messages::{InventoryCommand, Settlement},
    time::Timestamp,
};
use sqlx::{Connection, Executor, PgConnection, Row};
use testbed::Database;

fn limited(waiters: usize) -> InventoryService {
    InventoryService::with_limits(Limits { waiters, due: 2 })
}

/// A history that our own services could send: settles follow what the tables say at the start of the batch.
fn batch(rng: &mut StdRng, tables: &Memory, pending: &mut Vec<ProductId>) -> Vec<Delivery<InventoryCommand>> {
    let mut settled = std::collections::BTreeSet::new();
    let mut batch = Vec::new();
    for _ in 0..rng.random_range(1..12) {
        let n = rng.random_range(0..400);
        let state = tables.state(n);
        let command = match rng.random_range(0..10) {
            0..=4 => {
                let first: u8 = rng.random_range(0..6);
                let wish = [(first, rng.random_range(1..4)), (first + 1, rng.random_range(1..3))];
                let of = if n % 3 == 0 { &wish[..] } else { &wish[..1] };
                if state.is_some() { continue } else { reserve(n, rng.random_range(0..50), of) }
            }
            5..=7 if state.is_some() && state != Some(HoldState::Sold) && settled.insert(n) => {
                let sell = state == Some(HoldState::Held) && rng.random_bool(0.4);
                settle(n, if sell { Settlement::Sold } else { Settlement::Released })
            }
            8 => adjust(rng.random(), rng.random_range(0..8), rng.random_range(-2..4)),
            9 if !pending.is_empty() => walk(pending.remove(0)),
            _ => continue,
        };
        batch.push(delivery(command));
    }
    batch
}

#[tokio::test]
async fn the_database_and_the_tables_in_memory_tell_the_same_story() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    let stock = [12, 4, 0, 7, 20, 1, 3];
    put(&mut connection, &stock).await;
    let mut memory = Memory::with(&stock);
    let mut rng = StdRng::seed_from_u64(3);
    let mut pending = Vec::new();
    let mut walked = 0;
    for round in 0..150 {
        let limit = [2, 3, 6, 1_000][round % 4];
        let batch = batch(&mut rng, &memory, &mut pending);
        let (verdicts, said) = memory.run(limit, &batch);
        assert!(verdicts.iter().all(Result::is_ok), "{verdicts:?}");
        assert_eq!(
            (verdicts, said.clone()),
            run(&mut connection, &limited(limit), &batch).await,
            "round {round}"
        );
        walked += walks(&said).len();
        pending.extend(walks(&said));
        for hold in memory.holds.values_mut() {
            hold.stored = Some(hold.state);
        }
        if round % 10 == 9 {
            assert_eq!(everything(&mut connection).await, stored(&memory), "round {round}");
        }
    }
    assert!(walked > 5, "the history has no walks to speak of: {walked}");
}

/// What of it stands in the database: the reason of a rejection is kept there only.
fn stored(memory: &Memory) -> Memory {
    let mut memory = memory.clone();
    for product in memory.products.values_mut() {
        product.cursor = product.cursor.map(|cursor| Place { ..cursor });
    }
    memory
}

#[tokio::test]
async fn the_database_refuses_what_breaks_conservation() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    put(&mut connection, &[3]).await;
    for wrong in [
        "UPDATE products SET available = available - 1",
        "UPDATE products SET held = held + 1",
        "UPDATE products SET available = -1, held = 4",
        "UPDATE products SET cursor_order_id = id",
    ] {
        let error = connection.execute(wrong).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "23514", "{wrong}");
    }
}

#[tokio::test]
async fn an_adjustment_under_one_id_in_two_lanes_counts_once() {
    let database = Database::create().await;
    let (mut one, mut other) = (database.connect("inventory").await, database.connect("inventory").await);
    put(&mut one, &[0, 0]).await;
    let service = limited(1_000);
    let (first, second) = ([delivery(adjust(1, 0, 5))], [delivery(adjust(1, 1, 5))]);
    let mut tx = one.begin().await.unwrap();
    let mut books = service.load_in_tx(&mut tx, &context(), &first, &()).await.unwrap();
    crate::tables::decide(&service, &mut books, &first);
    run(&mut other, &service, &second).await;
    let error = service.save_in_tx(&mut tx, &context(), books).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "23505");
    tx.rollback().await.unwrap();
    // the machine runs the batch again
    let (verdicts, _) = run(&mut one, &service, &first).await;
    assert_eq!(verdicts, [Ok(harness::record::Verdict::AlreadyApplied)]);
    assert_eq!(everything(&mut one).await.products[&product(0)].available, 0);
}

/// Updates of `table` on this connection so far, and how many of them were HOT.
async fn updates(connection: &mut PgConnection, table: &str) -> (i64, i64) {
    let row = sqlx::query(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables
         WHERE schemaname = 'inventory' AND relname = $1",
    )
    .bind(table)
    .fetch_one(connection)
    .await
    .unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn every_change_of_a_row_is_a_hot_update() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    let stock = [40; 50];
    put(&mut connection, &stock).await;
    let service = limited(1_000);
    // 40 of each product can be held, and 10 more wait
    let asking: Vec<_> = (0..2_500u16)
        .map(|n| delivery(reserve(n, i64::from(n), &[(u8::try_from(n % 50).unwrap(), 1)])))
        .collect();
    run(&mut connection, &service, &asking).await;
    // a quarter comes back and goes to those who wait, the rest is sold
    for (range, outcome) in [(0..500, Settlement::Released), (500..2_000, Settlement::Sold)] {
        let batch: Vec<_> = range.map(|n| delivery(settle(n, outcome))).collect();
        // what the batch before left behind is pruned in passing, unless a transaction of another test is open
        database.connect_admin().await.execute("VACUUM inventory.products, inventory.holds").await.unwrap();
        let mut tx = connection.begin().await.unwrap();
        let before = [updates(&mut tx, "products").await, updates(&mut tx, "holds").await];
        let mut books = service.load_in_tx(&mut tx, &context(), &batch, &()).await.unwrap();
        crate::tables::decide(&service, &mut books, &batch);
        service.save_in_tx(&mut tx, &context(), books).await.unwrap();
        let after = [updates(&mut tx, "products").await, updates(&mut tx, "holds").await];
        for ((was, now), rows) in before.into_iter().zip(after).zip([50, batch.len()]) {
            let (all, hot) = (now.0 - was.0, now.1 - was.1);
            assert!(all >= i64::try_from(rows).unwrap(), "{all} updates of {rows} rows");
            assert_eq!(hot, all, "{hot} of {all} updates were HOT");
        }
        tx.commit().await.unwrap();
    }
    let tables = everything(&mut connection).await;
    assert!(
        (0..50).all(|n| (tables.products[&product(n)].held, tables.products[&product(n)].sold) == (10, 30))
    );
}

#[tokio::test]
async fn a_reserve_of_an_outside_owner_ends_at_its_deadline() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    put(&mut connection, &[100]).await;
    let service = limited(1_000);
    let mut batch: Vec<_> = (0..5).map(|n| from_edge(reserve(n, 0, &[(0, 1)]))).collect();
    let partition = batch[0].partition;
    batch.iter_mut().for_each(|delivery| delivery.partition = partition);
    // an order's own deadline is not ours to watch, nor is what is settled
    let mut of_an_order = delivery(reserve(9, 0, &[(0, 1)]));
    of_an_order.partition = partition;
    batch.push(of_an_order);
    batch.push(from_edge(settle(4, Settlement::Released)));
    run(&mut connection, &service, &batch).await;

    let mark = Timestamp(DEADLINE.0 - 1);
    assert!(service.is_due(&mut connection, &[(partition, mark)]).await.unwrap());
    assert!(!service.is_due(&mut connection, &[(partition, DEADLINE), (partition + 1, mark)]).await.unwrap());

    let mut out = Out::default();
    let early =
        service.due_in_tx(&mut connection, &at(NOW), partition, Timestamp(0), &mut out).await.unwrap();
    assert_eq!((early, out.said().len()), (NOW, 0));
    let late = Timestamp(DEADLINE.0 + 5);
    let moved = service.due_in_tx(&mut connection, &at(late), partition, early, &mut out).await.unwrap();
    // all five have one deadline: ties come together, though two is the bound
    assert_eq!((moved, out.said().len()), (DEADLINE, 4));
    let again = service.due_in_tx(&mut connection, &at(late), partition, moved, &mut out).await.unwrap();
    assert_eq!((again, out.said().len()), (late, 4));
    for said in out.said() {
        let command = InventoryCommand::decode(&said.outgoing.payload).unwrap();
        run(&mut connection, &service, &[delivery(command)]).await;
    }
    let tables = everything(&mut connection).await;
    assert_eq!((tables.products[&product(0)].held, tables.holds[&order(9)].state), (1, HoldState::Held));
}

#[tokio::test]
async fn the_edge_reads_and_cannot_write() {
    let database = Database::create().await;
    let mut edge = database.connect("edge").await;
    edge.execute("SELECT available, held, sold, version FROM inventory.products").await.unwrap();
    edge.execute("SELECT state, reason FROM inventory.holds").await.unwrap();
    edge.execute("SELECT outcome FROM inventory.adjustments").await.unwrap();
    let refused = edge.execute("UPDATE inventory.products SET available = 1").await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501");
}

/// The reads that bound a walk are index reads that stop, also before any ANALYZE has seen the queue.
#[tokio::test]
async fn a_long_queue_is_read_by_its_bound() {
    let database = Database::create().await;
    let mut connection = database.connect("inventory").await;
    put(&mut connection, &[3; 20]).await;
    let service = limited(8);
    let queue: Vec<_> = (0..3_000u16)
        .map(|n| delivery(reserve(n, i64::from(n), &[(u8::try_from(n % 20).unwrap(), 3)])))
        .collect();
    run(&mut connection, &service, &queue).await;
    for outcome in [Settlement::Released, Settlement::Sold] {
        let batch: Vec<_> = (0..20).map(|n| delivery(settle(n, outcome))).collect();
        let mut tx = connection.begin().await.unwrap();
        let before = waiters_read(&mut tx).await;
        service.load_in_tx(&mut tx, &context(), &batch, &()).await.unwrap();
        let read = waiters_read(&mut tx).await - before;
        assert!((10..=20).contains(&read), "{outcome:?}: {read} waiters were read in two times five");
        tx.rollback().await.unwrap();
    }
}

async fn waiters_read(connection: &mut PgConnection) -> i64 {
    let row = sqlx::query(
        "SELECT (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
         FROM pg_stat_xact_user_tables WHERE schemaname = 'inventory' AND relname = 'waiters'",
    );
    row.fetch_one(connection).await.unwrap().get(0)
}
