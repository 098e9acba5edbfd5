//! What becomes of a batch that did not commit; each failure has one fate, and is logged here only.

use super::*;
use chassis::postgres::within;

impl<S: Service> Worker<S> {
    pub(super) async fn give_fate(&mut self, trouble: Trouble, records: usize, connection: PgConnection) {
        let count = |fate: &'static str| {
            counter!(names::FAILURES, "group" => self.set.group, "fate" => fate).increment(1)
        };
        match trouble {
            Trouble::Fenced(partitions) => {
                count("fenced");
                tracing::warn!(
                    group = self.set.group,
                    ?partitions,
                    "fenced: another owner claimed these lanes"
                );
                self.connection = Some(connection);
                for partition in partitions {
                    self.let_go(partition);
                    self.inbox.forget(partition);
                }
                self.rejoin("fenced");
            }
            Trouble::Answered(partitions) => {
                count("answer_lost");
                tracing::info!(
                    group = self.set.group,
                    ?partitions,
                    "the commit whose answer was lost had happened"
                );
                self.read_again(&partitions, connection).await;
            }
            Trouble::Halt { partitions, why } => {
                self.connection = Some(connection);
                for partition in partitions {
                    self.halt(partition, why.clone());
                }
            }
            Trouble::Poison { place, message } => {
                count("poison");
                self.connection = Some(connection);
                tracing::error!(
                    group = self.set.group,
                    partition = place.0,
                    offset = place.1,
                    message,
                    "a record made the service panic; it is parked"
                );
                self.poison.insert(place, Rejection::new(PANIC, message));
            }
            Trouble::Database { error, ends, again } => {
                if let Some(ends) = ends {
                    self.unanswered.extend(ends);
                }
                match fate::of(&error) {
                    Fate::Bisect => {
                        count("bisect");
                        self.connection = Some(connection);
                        self.bisect(records, &again, &error);
                    }
                    Fate::Again => {
                        count("again");
                        self.connection = Some(connection);
                        let jitter = rand::rng().random_range(1..20);
                        self.retry_at = Some(Instant::now() + Duration::from_millis(jitter));
                    }
                    Fate::Pause => {
                        count("pause");
                        self.fail(error);
                    }
                }
            }
        }
    }

    /// Half the batch, until it is one record: that one is the culprit. If it has parked records run again, half of
    /// them, until it is one.
    pub(super) fn bisect(&mut self, records: usize, again: &[Place], error: &sqlx::Error) {
        if records > 1 {
            self.limit = (records / 2).max(1);
            return;
        }
        match again {
            [] => {}
            [(partition, offset)] => {
                tracing::error!(
                    group = self.set.group,
                    partition,
                    offset,
                    %error,
                    "the database refuses the effects of a parked record again"
                );
                self.poison.insert((*partition, *offset), Rejection::new(DATABASE, error.to_string()));
                return;
            }
            several => {
                self.most_again = several.len() / 2;
                return;
            }
        }
        let culprit = self.inbox.take(Bound { records: 1, bytes: 1 }, |partition| self.reads(partition));
        match culprit.first() {
            Some(record) => {
                tracing::error!(
                    group = self.set.group,
                    partition = record.partition,
                    offset = record.offset,
                    %error,
                    "the database refuses a record's effects; it is parked"
                );
                self.poison
                    .insert((record.partition, record.offset), Rejection::new(DATABASE, error.to_string()));
                self.inbox.put_back(culprit);
            }
            None => self.wait_out(),
        }
    }

    pub(super) async fn read_again(&mut self, partitions: &[i32], mut connection: PgConnection) {
        match within(self.config.batch_timeout, self.set.read(&mut connection, partitions)).await {
            Ok(lanes) => {
                self.connection = Some(connection);
                for lane in lanes {
                    self.unanswered.remove(&lane.partition);
                    match self.lanes.get(&lane.partition) {
                        Some(held) if held.epoch == lane.epoch => {
                            self.lanes.insert(lane.partition, lane);
                        }
                        _ => {}
                    }
                }
                // what the commit said may still wait for a relay
                self.wake.notify(self.set.group);
            }
            Err(error) => self.fail(error),
        }
    }

    /// The database is away, or refused for a reason that time may mend: wait with backoff, alive.
    pub(super) fn fail(&mut self, error: sqlx::Error) {
        self.connection = None;
        self.database = Err(format!("Postgres: {error}"));
        tracing::warn!(group = self.set.group, %error, failures = self.failures, "database; waiting before the next try");
        self.wait_out();
    }

    pub(super) fn wait_out(&mut self) {
        self.failures = self.failures.saturating_add(1);
        let full = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_LAST);
        self.retry_at = Some(Instant::now() + full.mul_f64(rand::rng().random_range(0.5..1.0)));
    }

    pub(super) async fn take_connection(&mut self) -> Option<PgConnection> {
        self.connected().await?;
        self.connection.take()
    }

    pub(super) async fn connected(&mut self) -> Option<&mut PgConnection> {
        if self.connection.is_none() {
            let name = format!("mambogo {}", self.set.group);
            match connect(self.config.database.expose(), &name, SessionLimits::WORKER).await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    self.fail(error);
                    return None;
                }
            }
        }
        self.connection.as_mut()
    }
}
