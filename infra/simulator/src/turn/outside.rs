//! Transaction A of a batch that calls the outside, and the calls.

use super::{Hand, Turn};
use crate::{
    check::Violation,
    script::{Calls, Fate},
    shop::Shop,
    stage::Stage,
    tables::Tables,
};
use payments_worker::calls::{self, Answer};
use std::{collections::HashMap, sync::Arc};

impl<T: Tables> Shop<T> {
    /// Transaction A and the calls. `None`: the worker did not come so far.
    pub(super) fn call_outside(
        &mut self,
        stage: &mut Stage,
        turn: Turn,
        hand: &Hand,
    ) -> Result<Option<calls::Outcomes>, Violation> {
        let Some(worker) = self.workers.get(turn.worker) else { return Ok(None) };
        let taken = self.taken_in(worker, stage, turn, hand.clone());
        if taken.batch.to_decide().is_empty() {
            return Ok(Some(calls::Outcomes::default()));
        }
        let partitions: Vec<i32> = taken.lanes.keys().copied().collect();
        if !self.passes(stage, turn.worker, &partitions)? {
            return Ok(None);
        }
        let now = self.context(stage, turn.worker).now;
        let intents = self.tables.trace(now, taken.batch.to_decide())?;
        let part = self.part.name();
        if turn.fate == Fate::DiesBetween {
            stage.stragglers.extend(intents);
            self.die(turn.worker);
            stage
                .notes
                .note(stage.now, |_| format!("{part} worker {} dies with its trace written", turn.worker));
            return Ok(None);
        }
        let mut heard = HashMap::new();
        for intent in intents {
            let answer = match turn.calls {
                Calls::Answered => stage.provider.ask(&intent)?,
                Calls::Unheard => {
                    stage.provider.ask(&intent)?;
                    Answer::Running
                }
                Calls::Late => {
                    stage.stragglers.push(intent.clone());
                    Answer::Running
                }
                Calls::NotBegun => Answer::NotBegun,
            };
            stage
                .notes
                .note(stage.now, |_| format!("{part} worker {} calls the provider: {answer:?}", turn.worker));
            heard.insert(intent.effect, calls::Heard { answer, fresh: intent.fresh });
        }
        Ok(Some(calls::Outcomes(Arc::new(heard))))
    }
}
