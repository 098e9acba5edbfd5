//! Names of this crate's metrics.

/// Findings that stand, by kind ([`crate::Kind::name`]). Alarm above 0 for all but `parked`.
pub(crate) const DRIFT: &str = "mambogo_audit_drift";
/// Orders that look wrong and wait for what is on its way to pass.
pub(crate) const SUSPECTS: &str = "mambogo_audit_suspects";
/// When the last look was done, in seconds since 1970.
pub(crate) const LAST_LOOK: &str = "mambogo_audit_last_look_timestamp_seconds";
/// When the last pass over all books was done, in seconds since 1970.
pub(crate) const LAST_PASS: &str = "mambogo_audit_last_pass_timestamp_seconds";
/// How long the looks of a tick took.
pub(crate) const LOOK_SECONDS: &str = "mambogo_audit_look_seconds";
/// How long the last pass over all books took, pauses included.
pub(crate) const PASS_SECONDS: &str = "mambogo_audit_pass_seconds";
/// Orders looked at.
pub(crate) const LOOKED: &str = "mambogo_audit_looked_total";
/// How far the look at new orders is behind them, in seconds of their deadlines.
pub(crate) const BEHIND: &str = "mambogo_audit_behind_seconds";
/// Ticks that failed: a database did not answer.
pub(crate) const ERRORS: &str = "mambogo_audit_errors_total";
/// Age of the oldest open transaction of a client in a service's database, in seconds; the auditor's own comparison of all
/// stock is one. Alarm above 600: nothing of ours runs so long.
pub(crate) const OLDEST_TRANSACTION: &str = "mambogo_audit_oldest_transaction_seconds";
/// How long the quietest session has said nothing inside its transaction, in seconds. Alarm above 30: ours are ended after 5.
pub(crate) const OLDEST_IDLE_TRANSACTION: &str = "mambogo_audit_oldest_idle_transaction_seconds";

#[cfg(test)]
mod tests {
    /// Dashboards and alarms name these.
    #[test]
    fn the_names_stay_as_they_are() {
        let names = [
            super::DRIFT,
            super::SUSPECTS,
            super::LAST_LOOK,
            super::LAST_PASS,
            super::LOOK_SECONDS,
            super::PASS_SECONDS,
            super::LOOKED,
            super::BEHIND,
            super::ERRORS,
            super::OLDEST_TRANSACTION,
            super::OLDEST_IDLE_TRANSACTION,
        ];
        let expected = [
            "mambogo_audit_drift",
            "mambogo_audit_suspects",
            "mambogo_audit_last_look_timestamp_seconds",
            "mambogo_audit_last_pass_timestamp_seconds",
            "mambogo_audit_look_seconds",
            "mambogo_audit_pass_seconds",
            "mambogo_audit_looked_total",
            "mambogo_audit_behind_seconds",
            "mambogo_audit_errors_total",
            "mambogo_audit_oldest_transaction_seconds",
            "mambogo_audit_oldest_idle_transaction_seconds",
        ];
        assert_eq!(names, expected);
    }
}
