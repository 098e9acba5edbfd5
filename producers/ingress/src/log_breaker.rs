//! The log behind its circuit breaker: while Kafka acknowledges nothing, a command is refused at once, and was never
//! handed over, instead of waiting out the delivery time-out beside all others.

use crate::{
    downstream::{Call, CallError, Downstream},
    log::{Command, CommandLog, Delivered, Log, LogAway, SendError},
};
use async_trait::async_trait;
use schemas::topics::Topic;
use std::future::Future;

/// A log that is left alone while it fails.
pub struct LogBreaker {
    log: Log,
    kafka: Downstream,
}

impl LogBreaker {
    /// Puts `kafka` around `log`. Its time limit is for questions: a command has the delivery time-out.
    #[must_use]
    pub fn new(log: Log, kafka: Downstream) -> Self {
        Self { log, kafka }
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, LogAway>>) -> Result<T, LogAway> {
        self.kafka.call(question).await.map_err(LogAway::from)
    }
}

/// What an outcome shows of Kafka. One that was not handed over shows a full queue, which is ours.
fn shows(call: Call, outcome: &Result<Delivered, SendError>) {
    match outcome {
        Ok(_) => call.worked(),
        Err(SendError::Unknown(_)) => call.failed(),
        Err(SendError::NotSent(_)) => drop(call),
    }
}

#[async_trait]
impl CommandLog for LogBreaker {
    async fn send(&self, command: Command) -> Result<Delivered, SendError> {
        let call = self.kafka.admit().map_err(|left| SendError::NotSent(left.to_string()))?;
        let outcome = self.log.send(command).await;
        shows(call, &outcome);
        outcome
    }

    async fn send_all(&self, commands: Vec<Command>) -> Vec<Result<Delivered, SendError>> {
        let call = match self.kafka.admit() {
            Ok(call) => call,
            Err(left) => return commands.iter().map(|_| Err(SendError::NotSent(left.to_string()))).collect(),
        };
        let outcomes = self.log.send_all(commands).await;
        // one that is lost says more than many that are not
        let unknown = outcomes.iter().find(|outcome| matches!(outcome, Err(SendError::Unknown(_))));
        if let Some(outcome) = unknown.or_else(|| outcomes.iter().find(|outcome| outcome.is_ok())) {
            shows(call, outcome);
        }
        outcomes
    }

    async fn partitions(&self, topic: Topic) -> Result<i32, LogAway> {
        // known after the first answer: no question of Kafka's health
        self.log.partitions(topic).await
    }

    async fn ends(&self, topic: Topic) -> Result<Vec<i64>, LogAway> {
        self.ask(self.log.ends(topic)).await
    }

    async fn committed(&self, group: &'static str, topic: Topic) -> Result<Vec<Option<i64>>, LogAway> {
        self.ask(self.log.committed(group, topic)).await
    }

    async fn check(&self) -> Result<(), LogAway> {
        // a look is a probe as good as any: who is ready is called, too
        self.ask(self.log.check()).await
    }

    fn queued(&self) -> usize {
        self.log.queued()
    }
}

impl From<CallError> for LogAway {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}
