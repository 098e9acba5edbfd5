//! Reads the log as a lane would, from its first record, and notices what a lane must never see: numbers of a source
//! that are missing for good, versions of an order that do not rise by one, a repeat that is another message. Pure;
//! `log.rs` feeds it.

use crate::verdict::{Findings, Invariant};
use schemas::topics::Topic;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// A record, as `replay` prints it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<String>,
    message_id: Option<Uuid>,
    source: Option<Source>,
    schema: Option<Schema>,
    value: Option<Value>,
    error: Option<String>,
    header_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Source {
    lane: Uuid,
    n: u64,
}

#[derive(Debug, Deserialize)]
struct Schema {
    record: String,
}

/// A place in the log, and a source that sends there.
type Place = (Topic, i32);

/// What was heard of a source at one place.
#[derive(Debug, Default)]
struct Heard {
    /// The message of each number taken, from 1 on.
    taken: Vec<Uuid>,
    /// Numbers that came while one before them was missing.
    refused: BTreeMap<u64, Uuid>,
}

/// What the log has said so far.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    next: HashMap<Place, i64>,
    heard: HashMap<(Uuid, Place), Heard>,
    submitted: HashMap<String, Uuid>,
    orders: HashMap<String, (i64, String)>,
    /// Records that were sent again and dropped.
    pub(crate) repeats: u64,
    /// Records that came before one that was missing, and were refused until it came.
    pub(crate) refused: u64,
    /// Records read.
    pub(crate) records: u64,
}

impl Trail {
    /// Takes one record in. One that was taken in before is left alone.
    pub(crate) fn take(&mut self, line: &Line, findings: &Findings) {
        let at = format!("{} {} offset {}", line.topic, line.partition, line.offset);
        let Some(topic) = Topic::from_name(&line.topic) else {
            return findings.add(Invariant::InOrder, format!("{at}: not a topic of ours"));
        };
        let place = (topic, line.partition);
        let next = self.next.entry(place).or_insert(0);
        if line.offset < *next {
            return;
        }
        if line.offset > *next {
            findings.add(Invariant::OnLog, format!("{at}: offsets from {next} on are gone"));
        }
        *next = line.offset + 1;
        self.records += 1;
        if let Some(error) = line.error.as_ref().or(line.header_error.as_ref()) {
            return findings.add(Invariant::InOrder, format!("{at}: {error}"));
        }
        if matches!(topic, Topic::OrdersDlq | Topic::InventoryDlq | Topic::PaymentsDlq) {
            let key = line.key.as_deref().unwrap_or_default();
            findings.add(
                Invariant::Settled,
                format!("{at}: a dead letter of {key}; mambogo dlq show --key {key}"),
            );
        }
        match &line.source {
            None => self.of_the_edge(line, &at, findings),
            Some(source) if self.is_taken(place, line, source, &at, findings) => {
                if topic == Topic::OrderEvents {
                    self.event(line, &at, findings);
                }
            }
            Some(_) => {}
        }
    }

    /// What is refused by now will be missing for ever, when nothing more is sent.
    pub(crate) fn at_rest(&self, findings: &Findings) {
        for ((lane, (topic, partition)), heard) in &self.heard {
            if let Some(first) = heard.refused.keys().next() {
                let missing = heard.taken.len() + 1;
                let topic = topic.name();
                findings.add(
                    Invariant::InOrder,
                    format!("{topic} {partition}: lane {lane} sent {first}, and {missing} is not there"),
                );
            }
        }
    }

    /// Whether the order's submit is on the log.
    pub(crate) fn has_submit(&self, order: &str) -> bool {
        self.submitted.contains_key(order)
    }

    /// The order's last status and version on the log.
    pub(crate) fn order(&self, order: &str) -> Option<(&str, i64)> {
        self.orders.get(order).map(|(version, status)| (status.as_str(), *version))
    }

    fn of_the_edge(&mut self, line: &Line, at: &str, findings: &Findings) {
        let is_submit = line.schema.as_ref().is_some_and(|schema| schema.record == "SubmitOrder");
        let (true, Some(key), Some(message)) = (is_submit, &line.key, line.message_id) else { return };
        let first = *self.submitted.entry(key.clone()).or_insert(message);
        if first != message {
            findings.add(Invariant::Once, format!("{at}: order {key} submitted as {first} and as {message}"));
        }
    }

    fn is_taken(
        &mut self,
        place: Place,
        line: &Line,
        source: &Source,
        at: &str,
        findings: &Findings,
    ) -> bool {
        let message = line.message_id.unwrap_or_default();
        let heard = self.heard.entry((source.lane, place)).or_default();
        let last = heard.taken.len() as u64;
        if source.n <= last {
            self.repeats += 1;
            let place = usize::try_from(source.n).unwrap_or(usize::MAX).wrapping_sub(1);
            if heard.taken.get(place) != Some(&message) {
                let key = line.key.as_deref().unwrap_or_default();
                let what = format!(
                    "{at}: number {} of lane {} again, as another message; key {key}",
                    source.n, source.lane
                );
                findings.add(Invariant::Once, what);
            }
            return false;
        }
        if source.n > last + 1 {
            self.refused += 1;
            heard.refused.insert(source.n, message);
            return false;
        }
        heard.refused.remove(&source.n);
        heard.taken.push(message);
        true
    }

    fn event(&mut self, line: &Line, at: &str, findings: &Findings) {
        let order = line.value.as_ref().and_then(|value| value.get("order"));
        let text = |field: &str| order.and_then(|order| order.get(field)).and_then(Value::as_str);
        let version = order.and_then(|order| order.get("version")).and_then(Value::as_i64);
        let (Some(id), Some(status), Some(version)) = (text("orderId"), text("status"), version) else {
            return findings.add(Invariant::InOrder, format!("{at}: an event without an order's state"));
        };
        let known = self.orders.entry(id.to_owned()).or_default();
        if version != known.0 + 1 {
            let what = format!("{at}: order {id}: version {version} after {}", known.0);
            findings.add(Invariant::InOrder, what);
        }
        *known = (version, status.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(offset: i64, n: u64, order: u128, version: i64) -> Line {
        let id = Uuid::from_u128(order);
        serde_json::from_value(json!({
            "topic": Topic::OrderEvents.name(), "partition": 0, "offset": offset, "key": id,
            "messageId": Uuid::from_u128(order * 100 + u128::try_from(version).unwrap()),
            "source": {"lane": Uuid::from_u128(7), "n": n, "floor": 0},
            "schema": {"id": 1, "record": "OrderAccepted"},
            "value": {"order": {"orderId": id, "status": "PENDING", "version": version}},
        }))
        .unwrap()
    }

    fn submit(offset: i64, order: u128, message: u128) -> Line {
        serde_json::from_value(json!({
            "topic": Topic::OrderCommands.name(), "partition": 1, "offset": offset,
            "key": Uuid::from_u128(order), "messageId": Uuid::from_u128(message),
            "schema": {"id": 1, "record": "SubmitOrder"}, "value": {},
        }))
        .unwrap()
    }

    fn found(lines: &[Line]) -> Vec<Invariant> {
        let (mut trail, findings) = (Trail::default(), Findings::default());
        lines.iter().for_each(|line| trail.take(line, &findings));
        trail.at_rest(&findings);
        findings.take().into_keys().collect()
    }

    #[test]
    fn repeats_and_holes_that_fill_are_no_violation() {
        let lines = [
            event(0, 1, 1, 1),
            event(1, 3, 2, 1), // before 2: refused
            event(2, 2, 1, 2),
            event(3, 3, 2, 1),
            event(4, 2, 1, 2), // once more
        ];
        assert_eq!(found(&lines), []);
        let (mut trail, findings) = (Trail::default(), Findings::default());
        lines.iter().for_each(|line| trail.take(line, &findings));
        assert_eq!((trail.repeats, trail.refused, trail.records), (1, 1, 5));
        assert_eq!(trail.order(&Uuid::from_u128(1).to_string()), Some(("PENDING", 2)));
        lines.iter().for_each(|line| trail.take(line, &findings));
        assert_eq!(trail.records, 5, "what was read before is left alone");
    }

    #[test]
    fn what_stays_missing_is_found() {
        assert_eq!(found(&[event(0, 1, 1, 1), event(1, 3, 2, 1)]), [Invariant::InOrder]);
    }

    #[test]
    fn a_version_that_jumps_or_comes_again_is_found() {
        assert_eq!(found(&[event(0, 1, 1, 1), event(1, 2, 1, 3)]), [Invariant::InOrder]);
        assert_eq!(found(&[event(0, 1, 1, 1), event(1, 2, 1, 1)]), [Invariant::InOrder]);
    }

    #[test]
    fn a_repeat_that_is_another_message_is_found() {
        assert_eq!(found(&[event(0, 1, 1, 1), event(1, 1, 2, 1)]), [Invariant::Once]);
        assert_eq!(found(&[submit(0, 1, 5), submit(1, 1, 5)]), []);
        assert_eq!(found(&[submit(0, 1, 5), submit(1, 1, 6)]), [Invariant::Once]);
    }

    #[test]
    fn records_that_are_gone_are_found() {
        assert_eq!(found(&[submit(0, 1, 5), submit(2, 2, 6)]), [Invariant::OnLog]);
    }
}
