//! Each read over real tables, under the edge's own role; and the orders that other tests of this crate begin with.

use super::*;
use schemas::{
    messages::{CancelOrder, Message, SubmitOrder},
    money::Currency,
    wire,
};

pub(crate) fn submit(n: u128) -> SubmitOrder {
    SubmitOrder {
        order_id: OrderId(Uuid::from_u128(n)),
        owner: "issuer\nann".to_owned(),
        body_hash: BodyHash([7; 32]),
        accepted_at: Timestamp(1_700_000_000_000),
        deadline: Timestamp(1_700_000_900_000),
        currency: Currency::USD,
        total: 2_598,
        lines: vec![PricedLine { product_id: ProductId(Uuid::from_u128(5)), quantity: 2, unit_price: 1_299 }],
        shipping_address: "1 Harbour Road".to_owned(),
        payment_method: "CREDIT_CARD".to_owned(),
    }
}

pub(crate) fn order(n: u128) -> OrderState {
    OrderState::pending(submit(n))
}

/// Writes `order`'s row as the orders worker does.
pub(crate) async fn insert(pool: &PgPool, order: &OrderState) {
    let at = |at: Timestamp| DateTime::from_timestamp_millis(at.0);
    sqlx::query(
        "INSERT INTO orders.orders (id, partition, owner, body_hash, version, status, reason, currency, total,
             refunded, product_ids, quantities, unit_prices, shipping_address, payment_method, accepted_at,
             deadline, updated_at, timeline)
         VALUES ($1, 0, $2, $3, $4, $5, $6, 'USD', $7, 0, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(order.order_id.0)
    .bind(&order.owner)
    .bind(order.body_hash.0.to_vec())
    .bind(order.version)
    .bind(order.status.as_str())
    .bind(&order.reason)
    .bind(order.total)
    .bind(order.lines.iter().map(|line| line.product_id.0).collect::<Vec<_>>())
    .bind(order.lines.iter().map(|line| line.quantity).collect::<Vec<_>>())
    .bind(order.lines.iter().map(|line| line.unit_price).collect::<Vec<_>>())
    .bind(&order.shipping_address)
    .bind(&order.payment_method)
    .bind(at(order.accepted_at))
    .bind(at(order.deadline))
    .bind(at(order.updated_at))
    .bind(Json(&order.timeline))
    .execute(pool)
    .await
    .unwrap();
}

/// Parks a record as the orders worker does.
pub(crate) async fn park<M: Message>(pool: &PgPool, partitions: i32, key: Uuid, offset: i64, message: &M) {
    let text = topics::key(key);
    sqlx::query(
        "INSERT INTO orders.parked (topic, partition, \"offset\", key, logged_at, record, cause, detail)
         VALUES ($1, $2, $3, $4, now(), $5, 'test', '')",
    )
    .bind(Topic::OrderCommands.name())
    .bind(topics::partition_of(&text, partitions))
    .bind(offset)
    .bind(text.to_vec())
    .bind(wire::encode(message).unwrap())
    .execute(pool)
    .await
    .unwrap();
}

pub(crate) async fn pools() -> (testbed::Database, PgPool, PgPool) {
    let database = testbed::Database::create().await;
    let open = |url: String| PgPool::connect_lazy(&url).unwrap();
    let (edge, orders) = (open(database.url("edge")), open(database.url("orders")));
    (database, edge, orders)
}

#[tokio::test]
async fn rows_and_parked_submits_are_found_for_their_owner_only() {
    let (_database, edge, orders) = pools().await;
    let row = OrderState { version: 4, status: OrderStatus::Reserved, ..order(1) };
    insert(&orders, &row).await;
    park(&orders, 4, Uuid::from_u128(2), 9, &submit(2)).await;
    let cancel = CancelOrder {
        order_id: OrderId(Uuid::from_u128(3)),
        requested_by: "issuer\nann".to_owned(),
        reason: None,
    };
    park(&orders, 4, Uuid::from_u128(3), 10, &cancel).await;
    park(&orders, 4, Uuid::from_u128(4), 11, &cancel).await;
    park(&orders, 4, Uuid::from_u128(4), 12, &submit(4)).await;
    let wanted = |n, owner: &str| Wanted { order: OrderId(Uuid::from_u128(n)), owner: Some(owner.into()) };
    let anybodys = |n| Wanted { order: OrderId(Uuid::from_u128(n)), owner: None };
    let ann = "issuer\nann";
    let asked = [
        wanted(1, ann),
        wanted(1, "issuer\nbob"),
        wanted(2, ann),
        wanted(2, "x"),
        wanted(3, ann),
        wanted(4, ann),
        anybodys(1),
        anybodys(2),
        anybodys(3),
    ];
    let found = lookup(&edge, 4, &asked).await.unwrap();
    assert_eq!(
        found,
        [
            Found::Row(Box::new(row.clone())),
            Found::Nothing,
            Found::Parked(Box::new(order(2))),
            Found::Nothing,
            Found::Nothing,
            Found::Parked(Box::new(order(4))),
            Found::Row(Box::new(row)),
            Found::Parked(Box::new(order(2))),
            Found::Nothing,
        ]
    );
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let (_database, edge, orders) = pools().await;
    for n in 1..=5 {
        // two of one instant: the id decides
        let accepted_at = Timestamp(1_700_000_000_000 + i64::try_from(n / 2).unwrap());
        let status = if n == 3 { OrderStatus::Expired } else { OrderStatus::Pending };
        insert(&orders, &OrderState { accepted_at, status, ..order(n) }).await;
    }
    insert(&orders, &OrderState { owner: "issuer\nbob".to_owned(), ..order(9) }).await;
    let page = async |status, after| {
        let page = list(&edge, "issuer\nann", status, after, 2).await.unwrap();
        let last = page.last().map(|order| Cursor { sort: order.accepted_at.0, id: order.order_id.0 });
        (page.iter().map(|order| order.order_id.0.as_u128()).collect::<Vec<_>>(), last)
    };
    let (first, cursor) = page(None, None).await;
    let (second, cursor) = page(None, cursor).await;
    let (third, _) = page(None, cursor).await;
    assert_eq!((first, second, third), (vec![5, 4], vec![3, 2], vec![1]));
    assert_eq!(page(Some(OrderStatus::Expired), None).await.0, [3]);
}

#[tokio::test]
async fn outboxes_are_drained_when_their_rows_are_gone() {
    let (_database, edge, orders) = pools().await;
    let lane = Uuid::from_u128(1);
    sqlx::query("INSERT INTO orders.lane (consumer_group, topic, partition, id, partitions, next_offset, outbox_seq) VALUES ('orders', 'order.commands', 2, $1, 4, 17, 3)")
        .bind(lane).execute(&orders).await.unwrap();
    assert_eq!(lanes(&edge).await.unwrap(), Lanes::from([(2, 17)]));
    let rows = outboxes(&edge).await.unwrap();
    assert_eq!(rows, [(lane, 3)]);
    let put = async |seq: i64| {
        let put = "INSERT INTO orders.outbox (lane, seq, format, records, size) VALUES ($1, $2, 1, '', 0)";
        sqlx::query(put).bind(lane).bind(seq).execute(&orders).await.unwrap();
    };
    put(4).await;
    assert!(are_drained(&edge, &rows).await.unwrap(), "a later row does not count");
    put(2).await;
    assert!(!are_drained(&edge, &rows).await.unwrap());
}

#[tokio::test]
async fn moved_orders_are_found_and_listed_and_of_those_that_left_the_key_still_stands() {
    let (_database, edge, orders) = pools().await;
    for n in 1..=6 {
        let accepted_at = Timestamp(1_700_000_000_000 + i64::try_from(n).unwrap());
        insert(&orders, &OrderState { accepted_at, status: OrderStatus::Confirmed, ..order(n) }).await;
    }
    // the second, third and fifth have moved, each from between two that have not
    sqlx::query("SELECT orders.make_history('2023-11-14')").execute(&orders).await.unwrap();
    sqlx::query(
        "WITH gone AS (DELETE FROM orders.orders WHERE id = ANY ($1) RETURNING *),
              kept AS (INSERT INTO orders.kept_key SELECT id, accepted_at, body_hash, status FROM gone)
         INSERT INTO orders.history SELECT * FROM gone",
    )
    .bind([2, 3, 5].map(Uuid::from_u128).to_vec())
    .execute(&orders)
    .await
    .unwrap();
    let ask = |n: u128, owner: &str| Wanted { order: OrderId(Uuid::from_u128(n)), owner: Some(owner.into()) };
    let asked = [ask(1, "issuer\nann"), ask(2, "issuer\nann"), ask(3, "issuer\nbob"), ask(9, "issuer\nann")];
    let found = lookup(&edge, 4, &asked).await.unwrap();
    let ids = found.iter().map(|found| match found {
        Found::Row(order) => order.order_id.0.as_u128(),
        Found::Nothing => 0,
        other => panic!("{other:?}"),
    });
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 0, 0]);
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = list(&edge, "issuer\nann", Some(OrderStatus::Confirmed), after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Cursor { sort: last.accepted_at.0, id: last.order_id.0 });
        pages.push(page.iter().map(|order| order.order_id.0.as_u128()).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec![6, 5, 4, 3], vec![2, 1]]);
    // the month leaves
    sqlx::query("DELETE FROM orders.history").execute(&orders).await.unwrap();
    let found = lookup(&edge, 4, &asked).await.unwrap();
    assert_eq!(found[1], Found::Kept(BodyHash([7; 32])));
    assert_eq!(found[3], Found::Nothing);
}
