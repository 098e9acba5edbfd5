//! Makes a batch's calls: bounded in number and time, no transaction open.
//!
//! What is not known when the budget ends runs on by itself, up to its time-out, and its answer is kept for the effect's
//! next turn. Nothing depends on that: a process that dies forgets, asks again with the same key, and finds the truth.

use crate::{
    metrics::{Operation, call_answered},
    plan::{Ask, First, Intent},
    provider::{CaptureRequest, Found, Outcome, Provider, RefundRequest, Sought},
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use schemas::ids::EffectId;
use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

/// Captures that are asked for at once, where many go as one set.
const PART: usize = 500;

/// What is known of a call when the budget ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The provider said it is done.
    Approved {
        /// Its own name for it.
        reference: String,
    },
    /// The provider said it never will be, under this key.
    Declined {
        /// Why.
        reason: String,
    },
    /// It may have been done.
    Unknown {
        /// What happened.
        why: String,
    },
    /// The provider is sure it never happened, and nothing can be under way any more.
    Absent,
    /// Begun, and no answer yet.
    Running,
    /// Never begun: the budget was spent.
    NotBegun,
    /// Never begun: the provider is left alone for a while.
    PutOff {
        /// How long.
        again_in: Duration,
    },
}

/// An answer, and whether this batch wrote the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What is known.
    pub answer: Answer,
    /// As [`Intent::fresh`].
    pub fresh: bool,
}

/// What a batch's calls brought.
#[derive(Debug, Clone, Default)]
pub struct Outcomes(pub Arc<HashMap<EffectId, Heard>>);

/// How many calls there may be, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls of one batch under way at once.
    pub concurrency: usize,
    /// Calls of earlier batches still under way, or answered and not yet asked for. Above it calls are abandoned.
    pub left_running: usize,
    /// Longest time for one call.
    pub timeout: Duration,
}

impl Default for CallLimits {
    /// 64 at once, 8,192 left running, 10 s.
    fn default() -> Self {
        Self { concurrency: 64, left_running: 8_192, timeout: Duration::from_secs(10) }
    }
}

/// Makes calls, and keeps those that outlast their batch.
pub struct Caller {
    provider: Arc<dyn Provider>,
    limits: CallLimits,
    running: Mutex<HashMap<EffectId, InFlight>>,
}

impl Caller {
    /// A caller of `provider`.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, limits: CallLimits) -> Self {
        Self { provider, limits, running: Mutex::default() }
    }

    /// Makes the calls; returns when all are known or `budget` is spent.
    pub async fn call(&self, intents: Vec<Intent>, budget: Duration) -> Outcomes {
        let end = Instant::now() + budget;
        let mut heard = HashMap::with_capacity(intents.len());
        let mut note = |effect, fresh, answer| heard.insert(effect, Heard { answer, fresh });
        let (mut flight, mut queue) = self.set_off(intents);
        let mut under_way = 0;
        loop {
            while under_way < self.limits.concurrency
                && let Some(intent) = queue.pop_front()
            {
                flight.push(self.single(intent));
                under_way += 1;
            }
            match timeout_at(end, flight.next()).await {
                Ok(Some(done)) => {
                    under_way -= usize::from(done.counts);
                    note(done.effect, done.fresh, done.answer);
                }
                Ok(None) | Err(_) => break,
            }
        }
        for intent in queue {
            note(intent.effect, intent.fresh, Answer::NotBegun);
        }
        for call in flight {
            note(call.effect, call.fresh, Answer::Running);
            self.leave_running(call);
        }
        Outcomes(Arc::new(heard))
    }

    /// Takes up what runs already, sends off what goes as one set, and returns the rest.
    fn set_off(&self, intents: Vec<Intent>) -> (FuturesUnordered<InFlight>, VecDeque<Intent>) {
        let mut flight = FuturesUnordered::new();
        let mut set = Vec::new();
        let mut queue = VecDeque::new();
        for intent in intents {
            match self.take_up(&intent) {
                Some(call) => flight.push(call),
                None => match intent.ask {
                    Ask::Capture { request, first: First::Call } if self.provider.takes_as_set(&request) => {
                        set.push((intent.effect, intent.fresh, request));
                    }
                    _ => queue.push_back(intent),
                },
            }
        }
        flight.extend(self.set(set));
        (flight, queue)
    }

    /// The call of an earlier batch for the same key, unless it ended without saying anything certain.
    fn take_up(&self, intent: &Intent) -> Option<InFlight> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut call = running.remove(intent.ask.key())?;
        call.look();
        let is_useless = matches!(call.early, Some(Answer::Unknown { .. } | Answer::PutOff { .. }));
        call.counts = false;
        call.fresh = intent.fresh;
        (!is_useless).then_some(call)
    }

    fn leave_running(&self, mut call: InFlight) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.len() >= self.limits.left_running {
            // an answer that nobody came for can be had again
            running.retain(|_, other| {
                other.look();
                other.early.is_none()
            });
        }
        if running.len() < self.limits.left_running {
            running.insert(call.key, call);
        } else if let Some(task) = call.task.take() {
            task.abort();
        }
    }

    fn set(&self, calls: Vec<(EffectId, bool, CaptureRequest)>) -> Vec<InFlight> {
        if calls.is_empty() {
            return Vec::new();
        }
        let mut flight = Vec::with_capacity(calls.len());
        let mut senders = Vec::with_capacity(calls.len());
        let mut requests = Vec::with_capacity(calls.len());
        for (effect, fresh, request) in calls {
            let (sender, answer) = oneshot::channel();
            flight.push(InFlight::new(effect, request.key, fresh, answer, None));
            senders.push(sender);
            requests.push(request);
        }
        let (provider, limit) = (Arc::clone(&self.provider), self.limits.timeout);
        tokio::spawn(async move {
            let end = Instant::now() + limit;
            let mut senders = senders.into_iter();
            // in parts: what is answered when the budget ends has not to be asked for again with the rest
            for part in requests.chunks(PART) {
                let began = Instant::now();
                let outcomes = timeout_at(end, provider.capture_set(part)).await.unwrap_or_default();
                let mut outcomes = outcomes.into_iter();
                for sender in senders.by_ref().take(part.len()) {
                    let answer = outcomes.next().map_or_else(timed_out, Answer::from);
                    call_answered(Operation::Capture, &answer, began.elapsed());
                    // nobody waits for an abandoned one
                    let _ = sender.send(answer);
                }
            }
        });
        flight
    }

    fn single(&self, intent: Intent) -> InFlight {
        let (sender, answer) = oneshot::channel();
        let (provider, limit) = (Arc::clone(&self.provider), self.limits.timeout);
        let (key, operation) = (*intent.ask.key(), intent.ask.operation());
        let task = tokio::spawn(async move {
            let answer = match timeout(limit, ask(&*provider, intent.ask)).await {
                Ok(answer) => answer,
                Err(_) => {
                    call_answered(operation, &timed_out(), limit);
                    timed_out()
                }
            };
            // nobody waits for an abandoned one
            let _ = sender.send(answer);
        });
        let mut call = InFlight::new(intent.effect, key, intent.fresh, answer, Some(task.abort_handle()));
        call.counts = true;
        call
    }
}

impl Ask {
    fn key(&self) -> &EffectId {
        match self {
            Self::Capture { request, .. } => &request.key,
            Self::Refund { request, .. } => &request.key,
        }
    }

    fn operation(&self) -> Operation {
        match self {
            Self::Capture { .. } => Operation::Capture,
            Self::Refund { .. } => Operation::Refund,
        }
    }
}

async fn ask(provider: &dyn Provider, ask: Ask) -> Answer {
    match ask {
        Ask::Capture { request, first } => match look(provider, Sought::Capture(&request), first).await {
            Some(answer) => answer,
            None => capture(provider, &request).await,
        },
        Ask::Refund { request, first } => match look(provider, Sought::Refund(&request), first).await {
            Some(answer) => answer,
            None => refund(provider, &request).await,
        },
    }
}

/// What a lookup settles; `None` when it is time for the call itself.
async fn look(provider: &dyn Provider, sought: Sought<'_>, first: First) -> Option<Answer> {
    if first == First::Call {
        return None;
    }
    let began = Instant::now();
    let answer = match (provider.lookup(sought).await, first) {
        (Found::Known(outcome), _) => Some(Answer::from(outcome)),
        (Found::Absent, First::LookAndSettle) => Some(Answer::Absent),
        (Found::Absent, First::LookOnly) => Some(Answer::unknown("the provider does not know it yet")),
        (Found::Absent, First::Call | First::LookThenCall) => None,
    };
    call_answered(Operation::Lookup, answer.as_ref().unwrap_or(&Answer::Absent), began.elapsed());
    answer
}

async fn capture(provider: &dyn Provider, request: &CaptureRequest) -> Answer {
    let began = Instant::now();
    let answer = Answer::from(provider.capture(request).await);
    call_answered(Operation::Capture, &answer, began.elapsed());
    answer
}

async fn refund(provider: &dyn Provider, request: &RefundRequest) -> Answer {
    let began = Instant::now();
    let answer = Answer::from(provider.refund(request).await);
    call_answered(Operation::Refund, &answer, began.elapsed());
    answer
}

impl Answer {
    /// [`Answer::Unknown`], because of that.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Self::Unknown { why: why.to_owned() }
    }

    /// Whether nothing was called.
    #[must_use]
    pub fn is_not_begun(&self) -> bool {
        matches!(self, Self::NotBegun | Self::PutOff { .. })
    }
}

fn timed_out() -> Answer {
    Answer::unknown("no answer in time")
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Approved { reference } => Self::Approved { reference: bearable(&reference) },
            Outcome::Declined { reason } => Self::Declined { reason: bearable(&reason) },
            Outcome::Pending { why } | Outcome::Unknown { why } => Self::Unknown { why: bearable(&why) },
            Outcome::NotBegun { again_in } => Self::PutOff { again_in },
        }
    }
}

/// A provider's text as a row takes it: no control characters, 200 characters at most.
fn bearable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A call under way.
struct InFlight {
    effect: EffectId,
    key: EffectId,
    fresh: bool,
    /// Against the batch's concurrency.
    counts: bool,
    answer: oneshot::Receiver<Answer>,
    /// An answer that was there when somebody looked.
    early: Option<Answer>,
    task: Option<AbortHandle>,
}

impl InFlight {
    fn new(
        effect: EffectId,
        key: EffectId,
        fresh: bool,
        answer: oneshot::Receiver<Answer>,
        task: Option<AbortHandle>,
    ) -> Self {
        Self { effect, key, fresh, counts: false, answer, early: None, task }
    }

    /// Takes the answer if it is there.
    fn look(&mut self) {
        if self.early.is_none() {
            self.early = match self.answer.try_recv() {
                Ok(answer) => Some(answer),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(cut_off()),
            };
        }
    }
}

fn cut_off() -> Answer {
    Answer::unknown("the call ended without an answer")
}

struct Done {
    effect: EffectId,
    fresh: bool,
    counts: bool,
    answer: Answer,
}

impl Future for InFlight {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match self.early.take() {
            Some(answer) => answer,
            None => match Pin::new(&mut self.answer).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answer) => answer.unwrap_or_else(|_| cut_off()),
            },
        };
        Poll::Ready(Done { effect: self.effect, fresh: self.fresh, counts: self.counts, answer })
    }
}

#[cfg(test)]
mod tests;
