//! The audit after a test: `sql/conservation.sql`, read as `mambogo_audit`.

use sqlx::Row;
use testbed::Database;

/// Every violation, one line each.
pub async fn violations(database: &Database) -> Vec<String> {
    let mut connection = database.connect("audit").await;
    let rows =
        sqlx::query(include_str!("../../../sql/conservation.sql")).fetch_all(&mut connection).await.unwrap();
    rows.iter()
        .map(|row| {
            let subject: Option<uuid::Uuid> = row.get("subject");
            let figures: Option<String> = row.get("figures");
            format!(
                "{}: {} ({})",
                row.get::<String, _>("violation"),
                subject.unwrap_or_default(),
                figures.unwrap_or_default()
            )
        })
        .collect()
}

/// Waits until all is settled, and then panics on any violation.
pub async fn assert_conserved(database: &Database) {
    let mut last = Vec::new();
    let settled = tokio::time::timeout(std::time::Duration::from_secs(90), async {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            tick.tick().await;
            last = violations(database).await;
            // what is still on its way is not wrong yet; anything left at the deadline is
            if last.is_empty() {
                return;
            }
        }
    });
    let settled = settled.await.is_ok();
    assert!(settled, "{} violations:\n{}", last.len(), last.join("\n"));
}
