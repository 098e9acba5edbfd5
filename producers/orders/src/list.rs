//! `GET /api/orders`: the caller's orders, newest first. An order appears once its row is there, milliseconds after
//! its 202.

use crate::{
    look::Seen,
    read,
    state::{Orders, Shared},
    told,
};
use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use ingress::{
    api::{About, Answer, shape},
    auth::Caller,
    page::{self, Cursor, Page},
    problem::{Kind, Problem},
};
use schemas::messages::OrderStatus;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

#[derive(Debug, Deserialize)]
pub(crate) struct Parameters {
    status: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

pub(crate) fn about() -> About {
    let example = json!({"items": [told::order_example()], "nextCursor": null});
    About::of("listOrders", "The caller's orders, newest first")
        .says("An order appears milliseconds after its 202.")
        .query("status", "Only orders of this status.", told::status())
        .query("cursor", "The `nextCursor` of the page before.", shape::cursor())
        .query("limit", "Orders on a page.", shape::limit())
        .answers(StatusCode::OK, Answer::json("A page.", shape::page(told::order()), example))
}

pub(crate) async fn list(
    State(orders): State<Orders>,
    caller: Caller,
    parameters: Result<Query<Parameters>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(parameters) = parameters.map_err(|error| Problem::new(Kind::BadRequest, error.body_text()))?;
    let status = parameters.status.as_deref().map(status).transpose()?;
    let after = parameters.cursor.as_deref().map(Cursor::parse).transpose()?;
    let limit = page::limit(parameters.limit.as_deref())?;
    // in a task of its own: a query is never dropped half-way
    let rows = tokio::spawn(async move {
        let Shared { pool, postgres, .. } = &*orders.shared;
        postgres.query(read::list(pool, &caller.owner, status, after, limit + 1)).await
    });
    let rows = tokio::time::timeout(std::time::Duration::from_secs(3), rows).await;
    let Ok(Ok(Ok(mut rows))) = rows else {
        tracing::warn!(outcome = ?rows.map(|ran| ran.map(|rows| rows.err())), "orders could not be listed");
        return Err(Problem::unavailable("the orders cannot be read at the moment"));
    };
    let has_more = rows.len() as i64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or_default());
    let last = rows.last().filter(|_| has_more);
    let next_cursor = last.map(|order| Cursor { sort: order.accepted_at.0, id: order.order_id.0 }.to_text());
    let raw = |json| RawValue::from_string(json).map_err(|error| Problem::internal("writing a page", &error));
    let items = rows.iter().map(|order| Seen::of(order).and_then(|seen| raw(seen.json)));
    Ok(Json(Page { items: items.collect::<Result<_, _>>()?, next_cursor }))
}

fn status(text: &str) -> Result<OrderStatus, Problem> {
    let expected = "must be PENDING, RESERVED, CONFIRMED, REJECTED, CANCELLED or EXPIRED";
    OrderStatus::from_name(text).ok_or_else(|| Problem::bad_parameter("status", expected))
}
