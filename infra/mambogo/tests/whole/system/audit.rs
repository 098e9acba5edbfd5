//! The audit after a test: all books, read as `mambogo_audit`, by the auditor itself.

use auditor::{AuditConfig, Auditor, Report, Scope};
use chassis::settings::Secret;
use std::time::Duration;
use testbed::Database;

/// Waits until every order is settled, and panics on any drift, on what needs a person, and on what does not settle.
pub async fn assert_conserved(database: &Database) {
    assert_agree(AuditConfig::new(&Secret::new(database.url("audit")))).await;
}

/// The same for books that do not all lie in one database.
pub async fn assert_agree(config: AuditConfig) {
    let mut auditor = Auditor::new(config);
    let mut last = Report::default();
    let settled = tokio::time::timeout(Duration::from_secs(90), async {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            last = auditor.pass(Scope::Everything).await.unwrap();
            // what was proved is wrong for good: a drift is never on its way
            assert!(!last.has_drift(), "{last}");
            if last.is_settled() {
                return;
            }
        }
    });
    let is_settled = settled.await.is_ok();
    assert!(is_settled, "not settled:\n{last}");
}
