//! When a miss in Redis is a proof, and when a hit is. Pure: marks, times and offsets in, questions and verdicts out.
//!
//! Redis forgets (a flush, a restart, a failover). Its `since` mark says since when it has not: made by the first
//! claim script that misses it, naming the server's run id. What was claimed before the mark may be forgotten; but
//! after one lease every such claim's record is on the log or never will be. So: one lease after the mark was made,
//! the log's ends are asked, and once the orders lane of a partition has passed its end, all that could be forgotten
//! there is a row (or a parked record) in Postgres, where every miss looks. Then, and only then, a miss in both is a
//! proof.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// A `since` mark as it stands in Redis: run id, time of making, random id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mark(Arc<str>);

impl Mark {
    /// The mark that this text is.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// When it was made, in ms of the server's clock.
    #[must_use]
    pub fn made_at(&self) -> Option<i64> {
        self.0.split(' ').nth(1)?.parse().ok()
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it was made by the server process `run_id`: one of a restored snapshot was not.
    #[must_use]
    pub fn is_of(&self, run_id: &str) -> bool {
        self.0.strip_prefix(run_id).is_some_and(|rest| rest.starts_with(' '))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({})", self.0)
    }
}

/// The next position of each lane, by partition.
pub type Lanes = BTreeMap<i32, i64>;

/// Whether `position` has reached `end`. A topic that holds nothing is passed by a lane that was never made.
#[must_use]
pub fn has_passed(position: Option<i64>, end: i64) -> bool {
    position.unwrap_or(0) >= end
}

/// What to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Nothing to do before this.
    NotBefore(Instant),
    /// Where `order.commands` ends.
    Ends,
    /// Where the orders lanes stand.
    Lanes,
    /// Nothing: it is proved, or there is no mark.
    Nothing,
}

#[derive(Debug, Clone)]
struct Marked {
    mark: Mark,
    ripe: Instant,
    ends: Option<Vec<i64>>,
    proved: Vec<bool>,
}

/// Whether a miss proves that nothing was claimed before.
#[derive(Debug, Clone)]
pub struct ClaimProof {
    lease: Duration,
    marked: Option<Marked>,
}

impl ClaimProof {
    /// One that proves nothing yet. `lease` is that of a claim.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        Self { lease, marked: None }
    }

    /// A claim read `mark`, made `age` ago by the server's clock. Another mark than before begins anew.
    pub fn seen(&mut self, mark: &Mark, age: Duration, now: Instant) {
        if self.marked.as_ref().is_some_and(|marked| marked.mark == *mark) {
            return;
        }
        let ripe = now + self.lease.saturating_sub(age);
        self.marked = Some(Marked { mark: mark.clone(), ripe, ends: None, proved: Vec::new() });
    }

    /// What to ask next.
    #[must_use]
    pub fn ask(&self, now: Instant) -> Ask {
        match &self.marked {
            None => Ask::Nothing,
            Some(marked) if now < marked.ripe => Ask::NotBefore(marked.ripe),
            Some(Marked { ends: None, .. }) => Ask::Ends,
            Some(marked) if marked.proved.iter().all(|proved| *proved) => Ask::Nothing,
            Some(_) => Ask::Lanes,
        }
    }

    /// The mark that is being proved.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
        self.marked.as_ref().map(|marked| &marked.mark)
    }

    /// The log's ends, as asked at `asked_at` because of `mark`. An answer to an older question is dropped.
    pub fn ends(&mut self, mark: &Mark, asked_at: Instant, ends: Vec<i64>) {
        if let Some(marked) = &mut self.marked
            && marked.mark == *mark
            && asked_at >= marked.ripe
            && marked.ends.is_none()
        {
            marked.proved = ends.iter().map(|end| has_passed(None, *end)).collect();
            marked.ends = Some(ends);
        }
    }

    /// Where the lanes stand.
    pub fn lanes(&mut self, lanes: &Lanes) {
        let Some(Marked { ends: Some(ends), proved, .. }) = &mut self.marked else { return };
        for ((partition, end), proved) in (0..).zip(ends.iter()).zip(proved) {
            *proved |= has_passed(lanes.get(&partition).copied(), *end);
        }
    }

    /// Whether a miss under `mark` in `partition` is a proof.
    #[must_use]
    pub fn is_proved(&self, mark: &Mark, partition: i32) -> bool {
        self.marked.as_ref().is_some_and(|marked| {
            let at = usize::try_from(partition).ok();
            marked.mark == *mark && at.and_then(|at| marked.proved.get(at)).is_some_and(|proved| *proved)
        })
    }

    /// The mark whose misses prove something in `partition`, if there is one.
    #[must_use]
    pub fn proved_mark(&self, partition: i32) -> Option<Mark> {
        self.mark().filter(|mark| self.is_proved(mark, partition)).cloned()
    }
}

/// Which memory of Redis a view was read from: the mark, and this gateway's connection. A gateway that was cut off
/// may have told from Postgres what Redis has not heard yet, so a new connection is a new memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The mark.
    pub mark: Mark,
    /// The connection.
    pub generation: u64,
}

/// What to ask next about views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskView {
    /// Nothing to do before this.
    NotBefore(Instant),
    /// The last packed row of each orders lane.
    Outboxes,
    /// Whether the outboxes still hold any of these rows or of those before them.
    Drained(Outboxes),
    /// Where `order.events` ends.
    Ends,
    /// What the status group has committed there.
    Committed,
    /// Nothing.
    Nothing,
}

/// The last packed row of each lane, by the lane's id.
pub type Outboxes = Vec<(uuid::Uuid, i64)>;

#[derive(Debug, Clone)]
enum Stage {
    /// Not before this.
    Outboxes(Instant),
    Draining(Outboxes),
    Ends,
    Reading(Vec<i64>),
    Proved,
}

/// Whether a view in Redis is as new as any that a client saw before Redis lost its memory: every event decided
/// before that has left its outbox and was consumed by the status worker. Until then a read asks Postgres too.
///
/// What Redis lost for all, some gateways have back later than others, and those tell from Postgres meanwhile: the proof
/// begins only after a rest in which all are back.
#[derive(Debug, Clone)]
pub struct ViewProof {
    rest: Duration,
    of: Option<(Memory, Stage)>,
}

impl ViewProof {
    /// One that proves nothing yet, and rests for so long before it begins.
    #[must_use]
    pub fn new(rest: Duration) -> Self {
        Self { rest, of: None }
    }

    /// A read came from `memory`. Another one than before begins anew. Says whether it did.
    pub fn seen(&mut self, memory: &Memory, now: Instant) -> bool {
        let is_known = self.of.as_ref().is_some_and(|(known, _)| known == memory);
        if !is_known {
            self.of = Some((memory.clone(), Stage::Outboxes(now + self.rest)));
        }
        !is_known
    }

    /// Whether a hit from `memory` needs no second look.
    #[must_use]
    pub fn is_proved(&self, memory: &Memory) -> bool {
        matches!(&self.of, Some((known, Stage::Proved)) if known == memory)
    }

    /// What to ask next, and for which memory.
    #[must_use]
    pub fn ask(&self, now: Instant) -> (Option<Memory>, AskView) {
        let Some((memory, stage)) = &self.of else { return (None, AskView::Nothing) };
        let ask = match stage {
            Stage::Outboxes(ripe) if now < *ripe => AskView::NotBefore(*ripe),
            Stage::Outboxes(_) => AskView::Outboxes,
            Stage::Draining(outboxes) => AskView::Drained(outboxes.clone()),
            Stage::Ends => AskView::Ends,
            Stage::Reading(_) => AskView::Committed,
            Stage::Proved => AskView::Nothing,
        };
        (Some(memory.clone()), ask)
    }

    /// The answer to a question asked for `memory`. One to an older question is dropped.
    pub fn told(&mut self, memory: &Memory, answer: ViewAnswer) {
        let Some((known, stage)) = &mut self.of else { return };
        if known != memory {
            return;
        }
        let next = match (&stage, answer) {
            (Stage::Outboxes(_), ViewAnswer::Outboxes(outboxes)) => Stage::Draining(outboxes),
            (Stage::Draining(_), ViewAnswer::Drained(true)) => Stage::Ends,
            (Stage::Ends, ViewAnswer::Ends(ends)) => Stage::Reading(ends),
            (Stage::Reading(ends), ViewAnswer::Committed(committed)) => {
                let mut places = ends.iter().zip(committed.into_iter().chain(std::iter::repeat(None)));
                if !places.all(|(end, place)| has_passed(place, *end)) {
                    return;
                }
                Stage::Proved
            }
            _ => return,
        };
        *stage = next;
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewAnswer {
    /// See [`AskView::Outboxes`].
    Outboxes(Outboxes),
    /// See [`AskView::Drained`].
    Drained(bool),
    /// See [`AskView::Ends`].
    Ends(Vec<i64>),
    /// See [`AskView::Committed`].
    Committed(Vec<Option<i64>>),
}
