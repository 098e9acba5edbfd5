//! The SQL of what needs a human: a small table beside the orders, written with them, for whoever lists and counts.

use super::{Time, time};
use saga::Order;
use sqlx::PgConnection;
use uuid::Uuid;

/// Writes what needs a human of these orders, and nothing else of them.
pub(crate) async fn write_in_tx(tx: &mut PgConnection, orders: &[&Order]) -> sqlx::Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = orders.iter().map(|order| order.public.order_id.0).collect();
    sqlx::query("DELETE FROM failed_effects WHERE order_id = ANY($1)").bind(ids).execute(&mut *tx).await?;
    let (mut of, mut effects, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    let mut since: Vec<Time> = Vec::new();
    for order in orders {
        for failed in &order.needs_human {
            of.push(order.public.order_id.0);
            effects.push(failed.effect_id.0);
            reasons.push(failed.reason.as_str());
            since.push(time(failed.at)?);
        }
    }
    sqlx::query(
        "INSERT INTO failed_effects (order_id, effect_id, reason, since)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])",
    )
    .bind(of)
    .bind(effects)
    .bind(reasons)
    .bind(since)
    .execute(tx)
    .await?;
    Ok(())
}

/// How many orders need a human.
pub(crate) async fn orders(connection: &mut PgConnection) -> sqlx::Result<u32> {
    let orders: i64 = sqlx::query_scalar("SELECT count(DISTINCT order_id) FROM failed_effects")
        .fetch_one(connection)
        .await?;
    Ok(u32::try_from(orders).unwrap_or(u32::MAX))
}
