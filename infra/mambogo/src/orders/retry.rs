//! Has what failed for good tried again: one command for each effect, then waits for what comes of it.

use super::{
    Outcome, Retry,
    read::{self, Needing},
};
use chassis::{clock::Clock, settings::Environment};
use publisher::{Destination, OutboundRecord, Publisher, PublisherConfig};
use schemas::{
    envelope::{Envelope, HEADER},
    ids::MessageId,
    messages::RetryEffect,
    time::Timestamp,
    topics::{self, Topic},
    wire,
};
use sqlx::PgConnection;
use tokio::time::{Instant, interval};
use uuid::Uuid;

const TICK: std::time::Duration = std::time::Duration::from_millis(100);

pub(super) async fn run(environment: &Environment, audit: &mut PgConnection, retry: Retry) -> Outcome {
    let mut needing = read::needing(audit, Some(retry.order)).await?;
    needing.retain(|one| retry.effect.is_none_or(|effect| effect == one.effect));
    if needing.is_empty() {
        return Err(format!(
            "nothing of order {} failed for good; see `mambogo orders needs-human`",
            retry.order
        )
        .into());
    }
    let publisher = Publisher::start(PublisherConfig::from_environment(environment, "mambogo-orders")?)?;
    let outcome = send_and_wait(&publisher, audit, &retry, &needing).await;
    publisher.shutdown(retry.wait).await;
    outcome
}

async fn send_and_wait(
    publisher: &Publisher,
    audit: &mut PgConnection,
    retry: &Retry,
    needing: &[Needing],
) -> Outcome {
    for one in needing {
        let now = Timestamp(Clock::system().now_millis());
        publisher.send(&record(one, retry, now)?)?.await?;
    }
    let deadline = Instant::now() + retry.wait;
    let mut failed = 0;
    for one in needing {
        let (outcome, by) = result(audit, one, deadline).await?;
        failed += usize::from(outcome != "done");
        println!("{} {}: {outcome}, asked by {by}", one.order, one.effect);
    }
    if failed > 0 {
        return Err(format!("{failed} of {} still need a human", needing.len()).into());
    }
    Ok(())
}

/// The action is made of the failure: whoever asks, and however often, this failure is tried again once.
fn action(one: &Needing) -> Uuid {
    let failure = format!("retry of the failure at {}", one.since.timestamp_millis());
    Uuid::new_v5(&one.effect.0, failure.as_bytes())
}

fn record(one: &Needing, retry: &Retry, now: Timestamp) -> Outcome<OutboundRecord> {
    let message = MessageId(action(one));
    let body = RetryEffect {
        order_id: one.order,
        effect_id: one.effect,
        action_id: action(one),
        requested_by: retry.by.clone(),
        reason: retry.reason.clone(),
    };
    let envelope = Envelope { message, causation: message, occurred_at: now, deadline: None, source: None };
    Ok(OutboundRecord {
        topic: Topic::OrderCommands,
        destination: Destination::ByKey,
        key: topics::key(one.order.0).to_vec(),
        payload: wire::encode(&body)?,
        headers: vec![(HEADER.to_owned(), envelope.to_bytes())],
    })
}

async fn result(audit: &mut PgConnection, one: &Needing, deadline: Instant) -> Outcome<(String, String)> {
    let mut tick = interval(TICK);
    loop {
        tick.tick().await;
        let came = read::came(audit, one.order, action(one)).await?;
        if let Some((outcome, by)) = came.and_then(|came| Some((came.outcome?, came.by))) {
            return Ok((outcome.replace('_', " "), by));
        }
        if Instant::now() > deadline {
            let why = "it is on its way; `mambogo orders needs-human --json` will show what came of it";
            return Err(format!("order {}: no result yet: {why}", one.order).into());
        }
    }
}
