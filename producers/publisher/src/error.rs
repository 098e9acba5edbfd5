//! What is known about a record that was not acknowledged. One match says which error of Kafka means what.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

/// Why a record was not sent, or not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The queue is full. The record was never handed over: sending it again cannot make it twice.
    #[error("the producer's queue is full")]
    QueueFull,
    /// It was handed over and no answer came: it may be on the topic or not.
    #[error("the record's outcome is unknown: {0}")]
    Unknown(String),
    /// Kafka (or its client) refuses it, and will refuse it again.
    #[error("the record is refused ({cause}): {detail}")]
    Refused {
        /// What is wrong with it.
        cause: Refusal,
        /// What was said.
        detail: String,
    },
    /// The producer is of no use any more and takes no records. The record was never handed over.
    #[error("the producer has failed: {0}")]
    Fatal(String),
}

impl PublishError {
    /// A short, stable name for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unknown(_) => "unknown",
            Self::Refused { .. } => "refused",
            Self::Fatal(_) => "fatal",
        }
    }
}

/// Why a record is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Larger than client, topic or broker take. A broker says so for a whole produce batch: others in it may be
    /// innocent.
    TooLarge,
    /// There is no such topic or partition.
    NoSuchTopic,
    /// This client may not write there.
    NotAllowed,
    /// The broker finds fault with the record itself.
    Invalid,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "too large",
            Self::NoSuchTopic => "no such topic or partition",
            Self::NotAllowed => "not allowed",
            Self::Invalid => "invalid",
        })
    }
}

/// Why a question to the cluster had no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The cluster did not answer in time, or part of the answer was an error. Worth asking again.
    #[error("Kafka did not answer: {0}")]
    Unanswered(String),
    /// The cluster has no such topic.
    #[error("topic {0} does not exist; make it with `mambogo topics`")]
    NoSuchTopic(String),
}

/// What an error at hand-over means: the record was not taken.
pub(crate) fn at_send(error: &KafkaError) -> PublishError {
    match code(error) {
        Some(Code::QueueFull) => PublishError::QueueFull,
        Some(code) => refusal(code).map_or_else(
            || PublishError::Fatal(error.to_string()),
            |cause| PublishError::Refused { cause, detail: error.to_string() },
        ),
        None => PublishError::Fatal(error.to_string()),
    }
}

/// What an error in a delivery report means: the record was handed over, and perhaps sent.
pub(crate) fn at_delivery(error: &KafkaError) -> PublishError {
    match code(error).and_then(refusal) {
        Some(cause) => PublishError::Refused { cause, detail: error.to_string() },
        None => PublishError::Unknown(error.to_string()),
    }
}

fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::MessageProduction(code) | KafkaError::Global(code) => Some(*code),
        _ => None,
    }
}

/// `UnknownTopicOrPartition` from a broker is missing on purpose: it may be a broker that has not heard yet.
/// The client's own `UnknownTopic` comes only once metadata had time to spread.
fn refusal(code: Code) -> Option<Refusal> {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Some(Refusal::TooLarge)
        }
        Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic => Some(Refusal::NoSuchTopic),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Some(Refusal::NotAllowed),
        Code::InvalidRecord | Code::InvalidTimestamp | Code::PolicyViolation => Some(Refusal::Invalid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_handed_over_is_queue_full_or_fatal() {
        let error = |code| KafkaError::MessageProduction(code);
        assert_eq!(at_send(&error(Code::QueueFull)), PublishError::QueueFull);
        assert_eq!(at_send(&error(Code::Fatal)).kind(), "fatal");
        assert_eq!(at_send(&error(Code::MessageSizeTooLarge)).kind(), "refused");
        for code in [
            Code::MessageTimedOut,
            Code::PurgeQueue,
            Code::PurgeInflight,
            Code::Fatal,
            Code::QueueFull,
            Code::OutOfOrderSequenceNumber,
            Code::UnknownTopicOrPartition,
        ] {
            assert_eq!(at_delivery(&error(code)).kind(), "unknown", "{code:?}");
        }
        for code in [Code::MessageSizeTooLarge, Code::UnknownTopic, Code::TopicAuthorizationFailed] {
            assert_eq!(at_delivery(&error(code)).kind(), "refused", "{code:?}");
        }
    }
}
