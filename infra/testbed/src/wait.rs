//! Waiting for a state with a deadline. Tests never sleep for a time and hope.

use std::time::Duration;

/// Looks again and again until `state` holds; panics naming `what` after 30 s.
pub async fn eventually(what: &str, state: impl AsyncFnMut() -> bool) {
    eventually_within(Duration::from_secs(30), what, state).await;
}

/// The same with another deadline.
pub async fn eventually_within(deadline: Duration, what: &str, mut state: impl AsyncFnMut() -> bool) {
    let looked = tokio::time::timeout(deadline, async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if state().await {
                return;
            }
        }
    });
    assert!(looked.await.is_ok(), "not within {deadline:?}: {what}");
}
