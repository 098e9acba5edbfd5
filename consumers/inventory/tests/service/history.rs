//! Holds that leave for the history and come back: who may leave, what a late record finds, and that stock adds up while
//! rows move and after their month has gone.

use crate::{
    memory::{NOW, PARTITIONS, delivery, from_edge, order, reserve, settle},
    tables::{at, decide, put},
};
use harness::{
    config::HistoryConfig,
    record::{Delivery, Rejection, Verdict},
    service::Service,
};
use inventory_worker::InventoryService;
use schemas::{
    messages::{InventoryCommand, Settlement},
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::time::Duration;
use testbed::Database;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn moving() -> InventoryService {
    InventoryService::with_history(HistoryConfig { after: 9 * DAY, rows: 100 })
}

struct Shelf {
    database: Database,
    connection: PgConnection,
    admin: PgConnection,
}

impl Shelf {
    async fn open() -> Self {
        let database = Database::create().await;
        let mut connection = database.connect("inventory").await;
        put(&mut connection, &[50, 50]).await;
        let admin = database.connect("admin").await;
        Self { database, connection, admin }
    }

    async fn run(
        &mut self,
        now: Timestamp,
        batch: &[Delivery<InventoryCommand>],
    ) -> Vec<Result<Verdict, Rejection>> {
        let service = moving();
        let mut tx = self.connection.begin().await.unwrap();
        let mut books = service.load_in_tx(&mut tx, &at(now), batch, &()).await.unwrap();
        let (verdicts, _) = decide(&service, &mut books, batch);
        service.save_in_tx(&mut tx, &at(now), books).await.unwrap();
        tx.commit().await.unwrap();
        verdicts
    }

    /// A walk of every lane, from its beginning.
    async fn age(&mut self, now: Timestamp) {
        let service = moving();
        let lanes: Vec<_> = (0..PARTITIONS).map(|partition| (partition, now)).collect();
        service.is_due(&mut self.connection, &lanes).await.unwrap();
        let mut tx = self.connection.begin().await.unwrap();
        for partition in 0..PARTITIONS {
            service.age_in_tx(&mut tx, &at(now), partition).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    async fn holds(&mut self, table: &str) -> Vec<Uuid> {
        let read = format!("SELECT order_id FROM inventory.{table} ORDER BY order_id");
        sqlx::query_scalar(AssertSqlSafe(read)).fetch_all(&mut self.admin).await.unwrap()
    }

    /// Units sold by the products' rows, and by the holds there are or were.
    async fn sold(&mut self) -> (i64, i64) {
        sqlx::query_as(
            "SELECT (SELECT sum(sold)::bigint FROM inventory.products),
                    (coalesce((SELECT sum(line) FROM inventory.every_hold, UNNEST(quantities) AS line WHERE state = 'sold'), 0)
                     + coalesce((SELECT sum(units) FROM inventory.sold_before), 0))::bigint",
        )
        .fetch_one(&mut self.admin)
        .await
        .unwrap()
    }
}

fn ids(orders: &[u16]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = orders.iter().map(|n| order(*n).0).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn holds_at_their_end_leave_and_a_late_record_finds_them() {
    let mut shelf = Shelf::open().await;
    let later = NOW.plus(10 * DAY);
    let batch: Vec<_> = (1..=4).map(|n| delivery(reserve(n, 0, &[(0, 2), (1, 1)]))).collect();
    shelf.run(NOW, &batch).await;
    let (sold, released) = (Settlement::Sold, Settlement::Released);
    shelf.run(NOW, &[delivery(settle(1, sold)), delivery(settle(2, released))]).await;
    // settled of late
    shelf.run(NOW.plus(5 * DAY), &[delivery(settle(3, sold))]).await;
    shelf.run(NOW, &[from_edge(reserve(9, 0, &[(0, 1)]))]).await;
    shelf.run(NOW, &[from_edge(settle(9, released))]).await;
    shelf.age(later).await;
    assert_eq!(shelf.holds("holds").await, ids(&[3, 4]));
    assert_eq!(shelf.holds("hold_history").await, ids(&[1, 2, 9]));
    assert_eq!(shelf.sold().await, (6, 6));

    // redelivered, redriven from far back, and a key of long ago: nothing is held or sold twice
    let old = |n| delivery(reserve(n, 0, &[(0, 2), (1, 1)]));
    let again = [
        old(1),
        delivery(settle(1, sold)),
        delivery(settle(2, released)),
        from_edge(reserve(9, 0, &[(0, 1)])),
    ];
    let verdicts = shelf.run(later, &again).await;
    assert!(verdicts.iter().all(|it| *it == Ok(Verdict::AlreadyApplied)), "{verdicts:?}");
    let wrong = shelf.run(later, &[delivery(settle(2, sold))]).await;
    assert_eq!(wrong[0].as_ref().unwrap_err().cause, "illegal_settle", "its hold is known");
    assert_eq!(shelf.holds("holds").await, ids(&[1, 2, 3, 4, 9]), "what is named comes back");
    assert_eq!(shelf.sold().await, (6, 6));
    shelf.age(later).await;
    assert_eq!(shelf.holds("every_hold").await, ids(&[1, 2, 3, 4, 9]));

    let month = format!("SELECT inventory.drop_history(to_timestamp({}))", NOW.0 / 1_000);
    shelf.admin.execute(AssertSqlSafe(month)).await.unwrap();
    assert_eq!(shelf.holds("every_hold").await, ids(&[3, 4]));
    assert_eq!(shelf.sold().await, (6, 6), "stock adds up after its month has left");
    // and once more for the same month
    shelf.age(NOW.plus(20 * DAY)).await;
    assert_eq!(shelf.holds("hold_history").await, ids(&[3]));
    assert_eq!(shelf.sold().await, (6, 6));
}

#[tokio::test]
async fn a_lane_moves_its_holds_while_another_sells_the_same_products() {
    let mut shelf = Shelf::open().await;
    let mut other = shelf.database.connect("inventory").await;
    shelf.run(NOW, &[delivery(reserve(1, 0, &[(0, 2)]))]).await;
    shelf.run(NOW, &[delivery(settle(1, Settlement::Sold))]).await;
    let later = NOW.plus(10 * DAY);
    let service = moving();
    let lanes: Vec<_> = (0..PARTITIONS).map(|partition| (partition, later)).collect();
    service.is_due(&mut shelf.connection, &lanes).await.unwrap();
    // the other lane has the product locked
    let mut selling = other.begin().await.unwrap();
    let books = service
        .load_in_tx(&mut selling, &at(later), &[delivery(reserve(7, 1, &[(0, 1)]))], &())
        .await
        .unwrap();
    let mut tx = shelf.connection.begin().await.unwrap();
    for partition in 0..PARTITIONS {
        service.age_in_tx(&mut tx, &at(later), partition).await.unwrap();
    }
    tx.commit().await.unwrap();
    service.save_in_tx(&mut selling, &at(later), books).await.unwrap();
    selling.commit().await.unwrap();
    assert_eq!(shelf.holds("hold_history").await, ids(&[1]));
}
