//! Whether the worker can do its job: in its group, and Redis takes writes. Says so once a change, and when it began.

use chassis::health::Part;
use std::time::Instant;

/// One of the two that the worker stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leg {
    Kafka,
    Redis,
}

impl Leg {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }
}

/// State of one leg: up, or away since then and why.
type State = Option<(Instant, String)>;

/// The worker's readiness, shown in its health part.
#[derive(Debug)]
pub(crate) struct Readiness {
    part: Part,
    kafka: State,
    redis: State,
}

impl Readiness {
    pub(crate) fn new(part: Part) -> Self {
        let starting = || Some((Instant::now(), "starting".to_owned()));
        Self { part, kafka: starting(), redis: starting() }
    }

    /// Whether that leg holds.
    pub(crate) fn is_up(&self, leg: Leg) -> bool {
        match leg {
            Leg::Kafka => self.kafka.is_none(),
            Leg::Redis => self.redis.is_none(),
        }
    }

    /// It holds.
    pub(crate) fn up(&mut self, leg: Leg) {
        if let Some((since, _)) = self.state(leg).take() {
            tracing::info!(part = leg.name(), after_ms = millis(since), "up");
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
        tracing::warn!(part = leg.name(), %why, "away; the status view waits");
        self.show();
    }

    fn state(&mut self, leg: Leg) -> &mut State {
        match leg {
            Leg::Kafka => &mut self.kafka,
            Leg::Redis => &mut self.redis,
        }
    }

    fn show(&self) {
        let away: Vec<String> = [(Leg::Kafka, &self.kafka), (Leg::Redis, &self.redis)]
            .into_iter()
            .filter_map(|(leg, state)| state.as_ref().map(|(_, why)| format!("{}: {why}", leg.name())))
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
        let mut readiness = Readiness::new(health.part("status"));
        readiness.up(Leg::Redis);
        assert!(!health.is_ready());
        readiness.up(Leg::Kafka);
        assert!(health.is_ready());
        readiness.down(Leg::Redis, "refused");
        assert_eq!(health.parts()["status"], Err("redis: refused".to_owned()));
        assert!(readiness.is_up(Leg::Kafka) && !readiness.is_up(Leg::Redis));
        readiness.up(Leg::Redis);
        assert!(health.is_ready());
    }
}
