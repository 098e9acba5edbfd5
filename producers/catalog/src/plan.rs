//! How Postgres reads a page of the list: for who measures, and asks why.

use crate::{read, wanted::Wanted};
use axum::{extract::Query, http::Uri};
use sqlx::PgPool;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The list would refuse it.
    #[error("{0:?} is no page of the list")]
    NoPage(String),
    /// Postgres refused, or is away.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
}

/// How Postgres reads the page at `path`, as `EXPLAIN ANALYZE` tells it; `pool` is of [`crate::pool`].
///
/// # Errors
/// [`PlanError`].
pub async fn plan(pool: &PgPool, path: &str) -> Result<String, PlanError> {
    let wanted = read_page(path).ok_or_else(|| PlanError::NoPage(path.to_owned()))?;
    Ok(read::page_plan(pool, &wanted).await?)
}

fn read_page(path: &str) -> Option<Wanted> {
    let uri: Uri = path.parse().ok()?;
    let Query(pairs) = Query::try_from_uri(&uri).ok()?;
    let mut wanted = Wanted::read(pairs).ok()?;
    // as the list asks: one more shows whether there is another page
    wanted.limit += 1;
    Some(wanted)
}
