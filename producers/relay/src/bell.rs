//! What wakes a source's loop: a worker says whose outbox has grown, and only that source is read.

use chassis::settings::Secret;
use std::sync::Arc;
use tokio::sync::Notify;

/// The bell of one source.
#[derive(Clone)]
pub(crate) struct Bell {
    /// The database that it is in.
    pub(crate) url: Secret,
    pub(crate) schema: String,
    pub(crate) notify: Arc<Notify>,
}

/// Rings for the source of that schema; for all when there is none of that name: whoever rings may be of a release that
/// names none.
pub(crate) fn ring(bells: &[Bell], schema: &str) {
    let is_known = bells.iter().any(|bell| bell.schema == schema);
    for bell in bells.iter().filter(|bell| !is_known || bell.schema == schema) {
        bell.notify.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_source_that_is_named_is_rung_and_all_by_a_name_that_none_has() {
        let bell = |schema: &str| Bell {
            url: Secret::new("postgres://one"),
            schema: schema.to_owned(),
            notify: Arc::default(),
        };
        let bells = [bell("orders"), bell("inventory")];
        for (named, rung) in [("orders", [true, false]), ("", [true, true])] {
            ring(&bells, named);
            for (bell, rung) in bells.iter().zip(rung) {
                let heard = tokio::time::timeout(std::time::Duration::ZERO, bell.notify.notified()).await;
                assert_eq!(heard.is_ok(), rung, "{} by {named:?}", bell.schema);
            }
        }
    }
}
