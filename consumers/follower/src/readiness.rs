//! Whether a follower can do its job: in its group, and its target takes writes. Says so once a change, and when it began.

use chassis::health::Part;
use std::time::Instant;

/// One of the two that a follower stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leg {
    Kafka,
    Target,
}

/// State of one leg: up, or away since then and why.
type State = Option<(Instant, String)>;

/// The follower's readiness, shown in its health part.
#[derive(Debug)]
pub(crate) struct Readiness {
    part: Part,
    group: &'static str,
    target_name: &'static str,
    kafka: State,
    target: State,
}

impl Readiness {
    pub(crate) fn new(part: Part, group: &'static str, target_name: &'static str) -> Self {
        let starting = || Some((Instant::now(), "starting".to_owned()));
        Self { part, group, target_name, kafka: starting(), target: starting() }
    }

    /// Whether that leg holds.
    pub(crate) fn is_up(&self, leg: Leg) -> bool {
        match leg {
            Leg::Kafka => self.kafka.is_none(),
            Leg::Target => self.target.is_none(),
        }
    }

    /// It holds.
    pub(crate) fn up(&mut self, leg: Leg) {
        if let Some((since, _)) = self.state(leg).take() {
            tracing::info!(group = self.group, part = self.name(leg), after_ms = millis(since), "up");
            self.show();
        }
    }

    /// It does not, and why. Logged when it falls, not each time it is tried.
    pub(crate) fn down(&mut self, leg: Leg, why: impl Into<String>) {
        let why = why.into();
        let state = self.state(leg);
        match state {
            Some((_, known)) if *known == why => return,
            Some((_, known)) => *known = why.clone(),
            None => *state = Some((Instant::now(), why.clone())),
        }
        tracing::warn!(group = self.group, part = self.name(leg), %why, "away; what was read waits");
        self.show();
    }

    fn name(&self, leg: Leg) -> &'static str {
        match leg {
            Leg::Kafka => "kafka",
            Leg::Target => self.target_name,
        }
    }

    fn state(&mut self, leg: Leg) -> &mut State {
        match leg {
            Leg::Kafka => &mut self.kafka,
            Leg::Target => &mut self.target,
        }
    }

    fn show(&self) {
        let away: Vec<String> = [(Leg::Kafka, &self.kafka), (Leg::Target, &self.target)]
            .into_iter()
            .filter_map(|(leg, state)| state.as_ref().map(|(_, why)| format!("{}: {why}", self.name(leg))))
            .collect();
        if away.is_empty() {
            self.part.ready();
        } else {
            self.part.not_ready(away.join("; "));
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::health::Health;

    #[test]
    fn ready_means_both() {
        let health = Health::default();
        let mut readiness = Readiness::new(health.part("status"), "status", "redis");
        readiness.up(Leg::Target);
        assert!(!health.is_ready());
        readiness.up(Leg::Kafka);
        assert!(health.is_ready());
        readiness.down(Leg::Target, "refused");
        assert_eq!(health.parts()["status"], Err("redis: refused".to_owned()));
        assert!(readiness.is_up(Leg::Kafka) && !readiness.is_up(Leg::Target));
        readiness.up(Leg::Target);
        assert!(health.is_ready());
    }
}
