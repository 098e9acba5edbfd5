//! Orders of long ago: what the tables would hold if so many had been taken in the last ninety days, and what is settled
//! and two weeks old had moved to the history. By sets, in the database: nothing of it goes through the system.

use sqlx::{Connection, PgConnection};
use std::time::Instant;

/// Rows of one transaction.
const AT_ONCE: i64 = 100_000;

/// One order each, confirmed: accepted evenly over the time, the oldest first. $1, $2: numbers from, to; $3, $4: those of the
/// whole fill; $5: partitions.
const ORDERS: &str = "
WITH goods AS (SELECT array_agg(id ORDER BY id) AS ids FROM inventory.products),
made AS (
    SELECT md5('order ' || n)::uuid AS id, md5('capture ' || n)::uuid AS capture, n % $5 AS partition,
           'https://issuer.example' || chr(10) || 'user-' || n % 100000 AS owner, sha256(n::text::bytea) AS hash,
           goods.ids[1 + n % array_length(goods.ids, 1)] AS product,
           date_trunc('milliseconds', now() - interval '90 days'
               + interval '90 days' * (n - $3)::float8 / greatest($4 - $3 + 1, 1)) AS at
    FROM generate_series($1, $2) AS n, goods),
whole AS (
    SELECT id, partition, owner, hash AS body_hash, 3::bigint AS version, 'CONFIRMED' AS status, NULL::text AS reason,
           'USD' AS currency, 1299::bigint AS total, 0::bigint AS refunded, capture AS capture_id,
           ARRAY[product] AS product_ids, ARRAY[1] AS quantities, ARRAY[1299::bigint] AS unit_prices,
           '1 Harbour Road, 20457 Hamburg' AS shipping_address, 'CREDIT_CARD' AS payment_method, at AS accepted_at,
           at + interval '15 minutes' AS deadline, at + interval '1 second' AS updated_at,
           jsonb_build_array(jsonb_build_object('at', 1700000000000, 'event', 'ACCEPTED'),
                             jsonb_build_object('at', 1700000000100, 'event', 'RESERVED'),
                             jsonb_build_object('at', 1700000000200, 'event', 'CONFIRMED')) AS timeline,
           NULL::jsonb AS seen, NULL::jsonb AS needs_human, NULL::jsonb AS actions,
           at < now() - interval '14 days' AS is_old
    FROM made),
hot AS (
    INSERT INTO orders.orders
    SELECT id, partition, owner, body_hash, version, status, reason, currency, total, refunded, capture_id, product_ids,
           quantities, unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline, seen,
           needs_human, actions FROM whole WHERE NOT is_old),
kept AS (INSERT INTO orders.kept_key SELECT id, accepted_at, body_hash, status FROM whole WHERE is_old ORDER BY id),
old AS (
    INSERT INTO orders.history
    SELECT id, partition, owner, body_hash, version, status, reason, currency, total, refunded, capture_id, product_ids,
           quantities, unit_prices, shipping_address, payment_method, accepted_at, deadline, updated_at, timeline, seen,
           needs_human, actions FROM whole WHERE is_old),
held AS (
    SELECT id AS order_id, partition, false AS outside, product_ids, quantities, accepted_at, deadline,
           'sold'::inventory.hold_state AS state, NULL::text AS reason, updated_at AS changed_at, is_old FROM whole),
hot_holds AS (
    INSERT INTO inventory.holds
    SELECT order_id, partition, outside, product_ids, quantities, accepted_at, deadline, state, reason, changed_at
    FROM held WHERE NOT is_old),
old_holds AS (
    INSERT INTO inventory.hold_history
    SELECT order_id, partition, outside, product_ids, quantities, accepted_at, deadline, state, reason, changed_at
    FROM held WHERE is_old),
paid AS (
    SELECT capture_id AS id, id AS order_id, 'CAPTURED' AS state, total, currency, payment_method, deadline, accepted_at,
           updated_at, partition, is_old FROM whole),
hot_captures AS (
    INSERT INTO payments.captures (id, order_id, state, amount, currency, method, deadline, first_called_at, reference,
                                   created_at, settled_at, partition)
    SELECT id, order_id, state, total, currency, payment_method, deadline, accepted_at, 'sandbox-' || id, accepted_at,
           updated_at, partition FROM paid WHERE NOT is_old),
old_captures AS (
    INSERT INTO payments.capture_history (id, order_id, state, amount, currency, method, deadline, first_called_at,
                                          reference, created_at, settled_at, partition)
    SELECT id, order_id, state, total, currency, payment_method, deadline, accepted_at, 'sandbox-' || id, accepted_at,
           updated_at, partition FROM paid WHERE is_old),
sold AS (SELECT product_ids[1] AS id, count(*) AS units FROM whole GROUP BY 1)
UPDATE inventory.products p SET initial = initial + units, sold = sold.units + p.sold FROM sold WHERE p.id = sold.id";

/// Fills the tables up to `orders`, with statistics and visibility as they would be.
pub(super) async fn fill(admin: &mut PgConnection, orders: u64, partitions: i32) -> sqlx::Result<()> {
    let orders = i64::try_from(orders).unwrap_or(i64::MAX);
    let there: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM orders.orders) + (SELECT count(*) FROM orders.history)",
    )
    .fetch_one(&mut *admin)
    .await?;
    if there >= orders {
        println!("  {there} orders are in the tables");
        return Ok(());
    }
    for service in ["orders", "inventory", "payments"] {
        let make = format!(
            "SELECT {service}.make_history(now() - interval '1 month' * back) FROM generate_series(0, 3) AS back"
        );
        sqlx::query(sqlx::AssertSqlSafe(make)).execute(&mut *admin).await?;
    }
    let begun = Instant::now();
    // numbers that no fill before had
    let mut from = there;
    while from < orders {
        let to = orders.min(from + AT_ONCE) - 1;
        let mut tx = admin.begin().await?;
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *tx).await?;
        let done = sqlx::query(ORDERS).bind(from).bind(to).bind(there).bind(orders - 1).bind(partitions);
        done.execute(&mut *tx).await?;
        tx.commit().await?;
        from = to + 1;
        eprintln!("  filled {from} of {orders} orders, {} s", begun.elapsed().as_secs());
    }
    for schema in ["orders", "inventory", "payments"] {
        for table in match schema {
            "orders" => ["orders", "history", "kept_key"].as_slice(),
            "inventory" => &["holds", "hold_history", "products"],
            _ => &["captures", "capture_history"],
        } {
            let vacuum = format!("VACUUM ANALYZE {schema}.{table}");
            sqlx::query(sqlx::AssertSqlSafe(vacuum)).execute(&mut *admin).await?;
        }
    }
    sqlx::query("CHECKPOINT").execute(admin).await?;
    println!("  {orders} orders are in the tables, filled in {} s", begun.elapsed().as_secs());
    Ok(())
}
