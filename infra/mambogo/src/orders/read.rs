//! What the orders service's tables say about effects that failed for good.

use chrono::{DateTime, Utc};
use schemas::ids::{EffectId, OrderId};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, Row, types::Json};
use uuid::Uuid;

/// Most effects shown at once, the oldest failures.
const MOST: i64 = 10_000;

/// An effect that failed for good.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Needing {
    pub(super) order: OrderId,
    pub(super) effect: EffectId,
    pub(super) status: String,
    pub(super) since: DateTime<Utc>,
    pub(super) reason: String,
    /// What operators had tried again, as the order's row has it.
    pub(super) actions: Vec<Value>,
}

/// What needs a human, of that order or of all, the oldest first.
pub(super) async fn needing(audit: &mut PgConnection, order: Option<OrderId>) -> sqlx::Result<Vec<Needing>> {
    let rows = sqlx::query(
        "SELECT f.order_id, f.effect_id, f.reason, f.since, o.status, o.actions
         FROM orders.failed_effects f JOIN orders.orders o ON o.id = f.order_id
         WHERE $1::uuid IS NULL OR f.order_id = $1
         ORDER BY f.since, f.effect_id LIMIT $2",
    )
    .bind(order.map(|order| order.0))
    .bind(MOST)
    .fetch_all(audit)
    .await?;
    rows.iter()
        .map(|row| {
            let effect = row.try_get::<Uuid, _>("effect_id")?;
            let mut actions = row.try_get::<Option<Json<Vec<Value>>>, _>("actions")?.unwrap_or_default().0;
            actions.retain(|action| action["effectId"] == effect.to_string());
            Ok(Needing {
                order: OrderId(row.try_get("order_id")?),
                effect: EffectId(effect),
                status: row.try_get("status")?,
                since: row.try_get("since")?,
                reason: row.try_get("reason")?,
                actions,
            })
        })
        .collect()
}

/// An action as the order's row has it.
pub(super) struct Came {
    pub(super) by: String,
    /// None while it is under way.
    pub(super) outcome: Option<String>,
}

/// What came of an action; none when the order has not heard of it yet.
pub(super) async fn came(
    audit: &mut PgConnection,
    order: OrderId,
    action: Uuid,
) -> sqlx::Result<Option<Came>> {
    let row = sqlx::query(
        "SELECT a.by, a.result ->> 'outcome' AS outcome
         FROM orders.every_order o, jsonb_to_recordset(o.actions) AS a (id uuid, by text, result jsonb)
         WHERE o.id = $1 AND a.id = $2",
    )
    .bind(order.0)
    .bind(action)
    .fetch_optional(audit)
    .await?;
    row.map(|row| Ok(Came { by: row.try_get("by")?, outcome: row.try_get("outcome")? })).transpose()
}
