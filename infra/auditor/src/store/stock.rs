//! Stock within inventory's own books. One statement is one snapshot, so nothing is ever under way in it.

use super::Database;
use crate::finding::{Finding, Kind, Subject};
use sqlx::Row;
use uuid::Uuid;

/// Most products named.
const MOST: i64 = 1_000;

/// Products whose row disagrees with itself, their holds, their queue or their adjustments; and how many products and
/// holds there are. Reads every hold once; the server keeps one line a product.
pub(crate) async fn compare(inventory: &mut Database) -> sqlx::Result<(u64, Vec<Finding>)> {
    let rows = sqlx::query(
        "WITH said AS (
             SELECT line.product_id AS id,
                    coalesce(sum(line.quantity) FILTER (WHERE state = 'held'), 0)::bigint AS held,
                    coalesce(sum(line.quantity) FILTER (WHERE state = 'sold'), 0)::bigint AS sold,
                    count(*) FILTER (WHERE state = 'waiting') AS waiting
             FROM every_hold, UNNEST(product_ids, quantities) AS line (product_id, quantity)
             WHERE state IN ('held', 'sold', 'waiting') GROUP BY 1),
         before AS (SELECT product_id AS id, units FROM sold_before),
         queued AS (SELECT product_id AS id, count(*) AS rows FROM waiters GROUP BY 1),
         moved AS (SELECT product_id AS id, sum(delta)::bigint AS units FROM adjustments
                   WHERE outcome = 'applied' GROUP BY 1),
         compared AS (
             SELECT coalesce(p.id, said.id, queued.id, moved.id) AS id,
                    coalesce(p.initial, 0) AS initial, coalesce(p.restocked, 0) AS restocked,
                    coalesce(p.available, 0) AS available, coalesce(p.held, 0) AS held, coalesce(p.sold, 0) AS sold,
                    coalesce(p.waiting, 0) AS waiting,
                    coalesce(said.held, 0) AS said_held, coalesce(said.sold, 0) + coalesce(before.units, 0) AS said_sold,
                    coalesce(said.waiting, 0) AS said_waiting, coalesce(queued.rows, 0) AS queued,
                    coalesce(moved.units, 0) AS moved
             FROM products p FULL JOIN said ON said.id = p.id FULL JOIN queued ON queued.id = coalesce(p.id, said.id)
             FULL JOIN moved ON moved.id = coalesce(p.id, said.id, queued.id)
             LEFT JOIN before ON before.id = p.id),
         wrong AS (SELECT * FROM compared
             WHERE initial + restocked <> available + held + sold OR held <> said_held OR sold <> said_sold
                OR waiting <> said_waiting OR waiting <> queued OR restocked <> moved
             ORDER BY id LIMIT $1)
         SELECT (SELECT count(*) FROM products) AS products, wrong.* FROM (SELECT) AS one LEFT JOIN wrong ON true",
    )
    .bind(MOST)
    .fetch_all(inventory.connection().await?)
    .await?;
    let mut found = Vec::new();
    for row in &rows {
        let Some(id) = row.try_get::<Option<Uuid>, _>("id")? else { continue };
        let of = |column: &str| row.try_get::<i64, _>(column);
        let mut say = |kind, what: String| found.push(Finding::new(kind, Subject::Product(id), what));
        let (initial, restocked, available) = (of("initial")?, of("restocked")?, of("available")?);
        let (held, sold, waiting) = (of("held")?, of("sold")?, of("waiting")?);
        let (said_held, said_sold, said_waiting) = (of("said_held")?, of("said_sold")?, of("said_waiting")?);
        let (queued, moved) = (of("queued")?, of("moved")?);
        if initial + restocked != available + held + sold {
            say(Kind::StockSum, format!("{initial} + {restocked} is not {available} + {held} + {sold}"));
        }
        if (held, sold) != (said_held, said_sold) {
            say(
                Kind::StockHolds,
                format!("held {held}, holds say {said_held}; sold {sold}, holds say {said_sold}"),
            );
        }
        if waiting != said_waiting || waiting != queued {
            say(Kind::StockQueue, format!("waiting {waiting}, holds say {said_waiting}, queue {queued}"));
        }
        if restocked != moved {
            say(Kind::StockRestocked, format!("restocked {restocked}, adjustments say {moved}"));
        }
    }
    let products: i64 = rows.first().map_or(Ok(0), |row| row.try_get("products"))?;
    Ok((u64::try_from(products).unwrap_or(0), found))
}
