//! The SQL of the orders endpoints: reads only, each on the role of the edge.

use crate::proof::{Lanes, Outboxes};
use chassis::postgres;
use chrono::{DateTime, Utc};
use ingress::page::Cursor;
use schemas::{
    ids::{OrderId, ProductId},
    messages::{BodyHash, OrderCommand, OrderState, OrderStatus, PricedLine, TimelineEntry},
    time::Timestamp,
    topics::{self, ORDERS_GROUP, Topic},
};
use sqlx::{PgPool, Row, postgres::PgRow, types::Json};
use std::sync::Arc;
use uuid::Uuid;

/// Parked records of one key that are looked at for its submit, which is the first of them in all but odd cases.
const PARKED_PER_KEY: i64 = 20;

/// Which order, and whose: the owner is part of a client's question, so nobody else's row is ever read for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) order: OrderId,
    /// None: an operator's question, or a provider's.
    pub(crate) owner: Option<Arc<str>>,
}

/// What Postgres knows of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its row.
    Row(Box<OrderState>),
    /// Its submit, parked: it reads as pending.
    Parked(Box<OrderState>),
    /// Its key alone: it ended so long ago that its row has left.
    Kept(BodyHash),
    /// A parked record that this release cannot read: whose, and what, is not known.
    Unreadable,
    /// Nothing.
    Nothing,
}

/// Looks for many orders at once, rows and parked records in one snapshot, so that a redrive in between hides nothing.
pub(crate) async fn lookup(pool: &PgPool, partitions: i32, wanted: &[Wanted]) -> sqlx::Result<Vec<Found>> {
    let keys: Vec<[u8; 36]> = wanted.iter().map(|one| topics::key(one.order.0)).collect();
    let query = sqlx::query(
        "SELECT w.at, o.id, o.owner, o.body_hash, o.version, o.status, o.reason, o.currency, o.total, o.refunded,
                o.product_ids, o.quantities, o.unit_prices, o.shipping_address, o.payment_method, o.accepted_at,
                o.deadline, o.updated_at, o.timeline, p.record, k.body_hash AS kept
         FROM UNNEST($1::uuid[], $2::text[], $3::int[], $4::bytea[])
              WITH ORDINALITY AS w (id, owner, partition, key, at)
         LEFT JOIN orders.orders o ON o.id = w.id AND (w.owner IS NULL OR o.owner = w.owner)
         LEFT JOIN orders.kept_key k ON o.id IS NULL AND k.id = w.id
         LEFT JOIN LATERAL (
             SELECT parked.record, parked.turn FROM orders.parked
             WHERE o.id IS NULL AND parked.topic = $5 AND parked.partition = w.partition AND parked.key = w.key
             ORDER BY parked.turn LIMIT $6
         ) p ON true
         WHERE o.id IS NOT NULL OR p.record IS NOT NULL OR k.id IS NOT NULL
         ORDER BY w.at, p.turn",
    )
    .bind(wanted.iter().map(|one| one.order.0).collect::<Vec<Uuid>>())
    .bind(wanted.iter().map(|one| one.owner.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(keys.iter().map(|key| topics::partition_of(key, partitions)).collect::<Vec<i32>>())
    .bind(keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>())
    .bind(Topic::OrderCommands.name())
    .bind(PARKED_PER_KEY);
    let rows = postgres::read(pool, query).await?;

    let mut found = vec![Found::Nothing; wanted.len()];
    for row in &rows {
        let at = usize::try_from(row.try_get::<i64, _>("at")? - 1).unwrap_or(usize::MAX);
        let (Some(slot), Some(asked)) = (found.get_mut(at), wanted.get(at)) else { continue };
        if let Some(kept) = row.try_get::<Option<Vec<u8>>, _>("kept")? {
            *slot = Found::Kept(body_hash(kept)?);
            continue;
        }
        match row.try_get::<Option<Vec<u8>>, _>("record")? {
            None => *slot = Found::Row(Box::new(order_of(row)?)),
            Some(record) if *slot == Found::Nothing => *slot = parked(&record, asked),
            Some(_) => {}
        }
    }
    if found.iter().any(|found| matches!(found, Found::Kept(_))) {
        look_in_history(pool, wanted, &mut found).await?;
    }
    Ok(found)
}

/// Finds the rows of keys that were kept: in the history, or among the others again if a record has named them meanwhile.
/// Asked apart, for nearly every key is new, and the history has many parts.
async fn look_in_history(pool: &PgPool, wanted: &[Wanted], found: &mut [Found]) -> sqlx::Result<()> {
    let kept = wanted.iter().zip(&*found).filter(|(_, found)| matches!(found, Found::Kept(_)));
    let rows = sqlx::query(
        "SELECT id, owner, body_hash, version, status, reason, currency, total, refunded, product_ids, quantities,
                unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline
         FROM orders.every_order WHERE id = ANY ($1)",
    )
    .bind(kept.map(|(wanted, _)| wanted.order.0).collect::<Vec<Uuid>>())
    .fetch_all(pool)
    .await?;
    for row in &rows {
        let order = order_of(row)?;
        for (wanted, found) in wanted.iter().zip(&mut *found) {
            if wanted.order == order.order_id && matches!(found, Found::Kept(_)) {
                let is_theirs = wanted.owner.as_deref().is_none_or(|owner| owner == order.owner);
                *found = if is_theirs { Found::Row(Box::new(order.clone())) } else { Found::Nothing };
            }
        }
    }
    Ok(())
}

fn body_hash(bytes: Vec<u8>) -> sqlx::Result<BodyHash> {
    let unreadable = |_| sqlx::Error::Decode("an order's body hash does not read".into());
    Ok(BodyHash(bytes.try_into().map_err(unreadable)?))
}

/// What one parked record says of the order. A record of another kind says nothing: its submit is a row, or never was.
fn parked(record: &[u8], asked: &Wanted) -> Found {
    match OrderCommand::decode(record) {
        Ok(OrderCommand::SubmitOrder(submit))
            if asked.owner.as_deref().is_none_or(|owner| owner == submit.owner) =>
        {
            Found::Parked(Box::new(OrderState::pending(submit)))
        }
        Ok(_) => Found::Nothing,
        Err(_) => Found::Unreadable,
    }
}

fn order_of(row: &PgRow) -> sqlx::Result<OrderState> {
    let unreadable = |what: &str| sqlx::Error::Decode(format!("an order's {what} does not read").into());
    let at = |column| row.try_get::<DateTime<Utc>, _>(column).map(|at| Timestamp(at.timestamp_millis()));
    let products: Vec<Uuid> = row.try_get("product_ids")?;
    let quantities: Vec<i32> = row.try_get("quantities")?;
    let prices: Vec<i64> = row.try_get("unit_prices")?;
    let lines = products.into_iter().zip(quantities).zip(prices);
    Ok(OrderState {
        order_id: OrderId(row.try_get("id")?),
        owner: row.try_get("owner")?,
        body_hash: body_hash(row.try_get("body_hash")?)?,
        version: row.try_get("version")?,
        status: OrderStatus::from_name(row.try_get("status")?).ok_or_else(|| unreadable("status"))?,
        reason: row.try_get("reason")?,
        currency: row.try_get::<&str, _>("currency")?.parse().map_err(|_| unreadable("currency"))?,
        total: row.try_get("total")?,
        refunded: row.try_get("refunded")?,
        lines: lines
            .map(|((product, quantity), unit_price)| PricedLine {
                product_id: ProductId(product),
                quantity,
                unit_price,
            })
            .collect(),
        shipping_address: row.try_get("shipping_address")?,
        payment_method: row.try_get("payment_method")?,
        accepted_at: at("accepted_at")?,
        deadline: at("deadline")?,
        updated_at: at("updated_at")?,
        timeline: row.try_get::<Json<Vec<TimelineEntry>>, _>("timeline")?.0,
    })
}

/// A page of an owner's orders, newest first.
pub(crate) async fn list(
    pool: &PgPool,
    owner: &str,
    status: Option<OrderStatus>,
    after: Option<Cursor>,
    limit: i64,
) -> sqlx::Result<Vec<OrderState>> {
    let (before, id) = match after {
        Some(cursor) => (DateTime::from_timestamp_millis(cursor.sort), Some(cursor.id)),
        None => (None, None),
    };
    let query = sqlx::query(
        "SELECT id, owner, body_hash, version, status, reason, currency, total, refunded, product_ids, quantities,
                unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline
         FROM (SELECT * FROM orders.orders UNION ALL SELECT * FROM orders.history) AS every
         WHERE owner = $1 AND ($2::text IS NULL OR status = $2)
           AND ($3::timestamptz IS NULL OR (accepted_at, id) < ($3, $4))
         ORDER BY accepted_at DESC, id DESC LIMIT $5",
    )
    .bind(owner)
    .bind(status.map(OrderStatus::as_str))
    .bind(before)
    .bind(id)
    .bind(limit);
    let rows = postgres::read(pool, query).await?;
    rows.iter().map(order_of).collect()
}

/// Where the orders lanes stand.
pub(crate) async fn lanes(pool: &PgPool) -> sqlx::Result<Lanes> {
    let query = sqlx::query(
        "SELECT partition, next_offset FROM orders.lane WHERE consumer_group = $1 AND topic = $2",
    )
    .bind(ORDERS_GROUP)
    .bind(Topic::OrderCommands.name());
    let rows = postgres::read(pool, query).await?;
    rows.iter().map(|row| Ok((row.try_get("partition")?, row.try_get("next_offset")?))).collect()
}

/// The last packed row of each orders lane.
pub(crate) async fn outboxes(pool: &PgPool) -> sqlx::Result<Outboxes> {
    let query =
        sqlx::query("SELECT id, outbox_seq FROM orders.lane WHERE consumer_group = $1 AND topic = $2")
            .bind(ORDERS_GROUP)
            .bind(Topic::OrderCommands.name());
    let rows = postgres::read(pool, query).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("outbox_seq")?))).collect()
}

/// Whether no outbox holds any of these rows, or of those before them.
pub(crate) async fn are_drained(pool: &PgPool, outboxes: &Outboxes) -> sqlx::Result<bool> {
    let (lanes, seqs): (Vec<Uuid>, Vec<i64>) = outboxes.iter().copied().unzip();
    let query = sqlx::query(
        "SELECT NOT EXISTS (
             SELECT FROM UNNEST($1::uuid[], $2::bigint[]) AS w (lane, seq)
             JOIN orders.outbox o ON o.lane = w.lane AND o.seq <= w.seq
         ) AS drained",
    )
    .bind(lanes)
    .bind(seqs);
    let rows = postgres::read(pool, query).await?;
    rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get("drained")
}

/// A product's price as the catalogue has it.
pub(crate) struct PriceRow {
    pub(crate) product: ProductId,
    pub(crate) price: i64,
    pub(crate) currency: String,
    pub(crate) is_active: bool,
    pub(crate) updated_at: DateTime<Utc>,
}

/// The next page of prices behind `place` (time of change, id), oldest change first.
pub(crate) async fn prices(
    pool: &PgPool,
    place: (DateTime<Utc>, Uuid),
    page: i64,
) -> sqlx::Result<Vec<PriceRow>> {
    let query = sqlx::query(
        "SELECT id, price, currency, is_active, updated_at FROM catalog.products
         WHERE (updated_at, id) > ($1, $2) ORDER BY updated_at, id LIMIT $3",
    )
    .bind(place.0)
    .bind(place.1)
    .bind(page);
    let rows = postgres::read(pool, query).await?;
    rows.iter()
        .map(|row| {
            Ok(PriceRow {
                product: ProductId(row.try_get("id")?),
                price: row.try_get("price")?,
                currency: row.try_get("currency")?,
                is_active: row.try_get("is_active")?,
                updated_at: row.try_get("updated_at")?,
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
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
            lines: vec![PricedLine {
                product_id: ProductId(Uuid::from_u128(5)),
                quantity: 2,
                unit_price: 1_299,
            }],
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
    pub(crate) async fn park<M: Message>(
        pool: &PgPool,
        partitions: i32,
        key: Uuid,
        offset: i64,
        message: &M,
    ) {
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
        let wanted =
            |n, owner: &str| Wanted { order: OrderId(Uuid::from_u128(n)), owner: Some(owner.into()) };
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
            let put =
                "INSERT INTO orders.outbox (lane, seq, format, records, size) VALUES ($1, $2, 1, '', 0)";
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
        let ask =
            |n: u128, owner: &str| Wanted { order: OrderId(Uuid::from_u128(n)), owner: Some(owner.into()) };
        let asked =
            [ask(1, "issuer\nann"), ask(2, "issuer\nann"), ask(3, "issuer\nbob"), ask(9, "issuer\nann")];
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
}
