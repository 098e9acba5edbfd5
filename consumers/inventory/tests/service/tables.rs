//! Inventory's real tables: batches run by hand through the service, and what the tables hold afterwards.

use crate::memory::{Decided, Memory, NOW, context};
use harness::{
    record::{Delivery, Out, Rejection, Verdict},
    service::{Context, Service},
};
use inventory_worker::{
    InventoryService,
    books::Books,
    hold::{Hold, HoldState, Place},
    stock::Stock,
};
use schemas::{
    ids::{EffectId, OrderId, ProductId},
    messages::{InventoryCommand, StockLine},
    time::Timestamp,
};
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

/// Decides what was loaded, as the machine does.
pub(crate) fn decide(
    service: &InventoryService,
    books: &mut Books,
    batch: &[Delivery<InventoryCommand>],
) -> (Vec<Result<Verdict, Rejection>>, Out) {
    let mut out = Out::default();
    let decided = batch
        .iter()
        .map(|delivery| {
            let mark = out.mark();
            let verdict = service.decide(&context(), books, delivery, &mut out);
            if verdict.is_err() {
                out.take_back(mark);
            }
            verdict
        })
        .collect();
    service.finish(&context(), books, &mut out).unwrap();
    (decided, out)
}

/// One transaction.
pub(crate) async fn try_run(
    connection: &mut PgConnection,
    service: &InventoryService,
    batch: &[Delivery<InventoryCommand>],
) -> sqlx::Result<Decided> {
    let mut tx = connection.begin().await?;
    let mut books = service.load_in_tx(&mut tx, &context(), batch, &()).await?;
    let (verdicts, out) = decide(service, &mut books, batch);
    let tally = service.save_in_tx(&mut tx, &context(), books).await?;
    tx.commit().await?;
    service.committed(tally);
    Ok((verdicts, out.said().to_vec()))
}

/// One transaction that nothing stands in the way of.
pub(crate) async fn run(
    connection: &mut PgConnection,
    service: &InventoryService,
    batch: &[Delivery<InventoryCommand>],
) -> Decided {
    try_run(connection, service, batch).await.unwrap()
}

/// Puts products on the shelf.
pub(crate) async fn put(connection: &mut PgConnection, stock: &[i64]) {
    for (n, units) in (0..).zip(stock) {
        sqlx::query("INSERT INTO products (id, available, initial) VALUES ($1, $2, $2)")
            .bind(crate::memory::product(n).0)
            .bind(units)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
}

/// A context at another time.
pub(crate) fn at(now: Timestamp) -> Context {
    Context { now, ..context() }
}

/// Everything the tables hold.
pub(crate) async fn everything(connection: &mut PgConnection) -> Memory {
    let mut memory = Memory::default();
    for row in sqlx::query("SELECT * FROM products").fetch_all(&mut *connection).await.unwrap() {
        let at: Option<chrono::DateTime<chrono::Utc>> = row.get("cursor_accepted_at");
        let order: Option<Uuid> = row.get("cursor_order_id");
        let stock = Stock {
            available: row.get("available"),
            held: row.get("held"),
            sold: row.get("sold"),
            initial: row.get("initial"),
            restocked: row.get("restocked"),
            version: row.get("version"),
            waiting: row.get("waiting"),
            cursor: at.zip(order).map(|(at, order)| Place {
                accepted_at: Timestamp(at.timestamp_millis()),
                order_id: OrderId(order),
            }),
        };
        memory.products.insert(ProductId(row.get("id")), stock);
    }
    for row in sqlx::query("SELECT *, state::text AS state_name FROM holds")
        .fetch_all(&mut *connection)
        .await
        .unwrap()
    {
        let products: Vec<Uuid> = row.get("product_ids");
        let quantities: Vec<i32> = row.get("quantities");
        let state = HoldState::from_name(row.get("state_name")).unwrap();
        let reason: Option<String> = row.get("reason");
        let hold = Hold {
            order_id: OrderId(row.get("order_id")),
            partition: row.get("partition"),
            outside: row.get("outside"),
            lines: products
                .into_iter()
                .zip(quantities)
                .map(|(product, quantity)| StockLine { product_id: ProductId(product), quantity })
                .collect(),
            accepted_at: millis(row.get("accepted_at")),
            deadline: millis(row.get("deadline")),
            state,
            reason: reason.map(|reason| match reason.as_str() {
                "out_of_stock" => "out_of_stock",
                "unknown_product" => "unknown_product",
                other => panic!("{other}"),
            }),
            stored: Some(state),
            queued: state == HoldState::Waiting,
        };
        assert_eq!(millis(row.get("changed_at")), NOW);
        memory.holds.insert(hold.order_id, hold);
    }
    for row in sqlx::query("SELECT * FROM waiters").fetch_all(&mut *connection).await.unwrap() {
        let place =
            Place { accepted_at: millis(row.get("accepted_at")), order_id: OrderId(row.get("order_id")) };
        memory
            .waiters
            .insert((ProductId(row.get("product_id")), place), i64::from(row.get::<i32, _>("quantity")));
    }
    for row in sqlx::query("SELECT id FROM adjustments").fetch_all(connection).await.unwrap() {
        memory.adjustments.insert(EffectId(row.get("id")));
    }
    memory
}

fn millis(at: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp(at.timestamp_millis())
}
