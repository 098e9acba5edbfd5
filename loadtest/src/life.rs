//! An order's life as its client lives it: submit, insist, repeat, cancel, watch; and the last look at what is still
//! open when a run ends.

use crate::{
    client::{Client, ReadAnswer, SubmitAnswer},
    draw::{Drawn, Shop},
    history::{History, Record, What, fnv1a},
    plan::{Follow, Plan, Way},
    report::Second,
    tally::Tally,
};
use bytes::Bytes;
use hdrhistogram::CreationError;
use schemas::messages::OrderStatus;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Seconds that one long poll asks for.
const LONG_POLL: u8 = 10;
/// Who looks for ends after the last submit, at once.
const SETTLERS: usize = 32;
/// Pause before an undecided submit is repeated, and before a read that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What all orders of a run share.
#[derive(Debug)]
pub(crate) struct Lives {
    pub(crate) plan: Plan,
    pub(crate) began: Instant,
    pub(crate) tally: Tally,
    shop: Shop,
    client: Client,
    history: Arc<History>,
    open: Mutex<Open>,
}

/// Accepted orders whose end nobody has seen.
#[derive(Debug, Default)]
struct Open {
    by_number: BTreeMap<u32, Uuid>,
    /// Those whose ends are watched on the log, and when they were intended.
    watched: HashMap<Uuid, (u32, Instant)>,
    /// Ends that were on the log before the answer to the submit was here, or of other people's orders.
    early: HashMap<Uuid, (OrderStatus, Instant)>,
}

/// Most ends kept of orders that are not known: more than can be under way in the time of an answer.
const MOST_EARLY: usize = 100_000;

impl Lives {
    pub(crate) fn new(
        plan: Plan,
        shop: Shop,
        client: Client,
        history: Arc<History>,
    ) -> Result<Self, CreationError> {
        let (tally, open) = (Tally::new()?, Mutex::default());
        Ok(Self { plan, began: Instant::now(), tally, shop, client, history, open })
    }

    /// Lives the orders of one call, from submit to whatever the plan follows them to.
    pub(crate) async fn live(self: &Arc<Self>, numbers: Range<u32>, intended: Instant) {
        let drawn: Vec<Drawn> = numbers.map(|number| self.shop.order(&self.plan, number)).collect();
        match self.plan.way {
            Way::Single => {
                for order in &drawn {
                    if let Some(id) = self.submit(order, intended).await {
                        self.after(order, id, intended).await;
                    }
                }
            }
            Way::Bulk(_) => self.live_in_bulk(drawn, intended).await,
        }
    }

    async fn live_in_bulk(self: &Arc<Self>, drawn: Vec<Drawn>, intended: Instant) {
        let accepted = self.submit_in_bulk(&drawn, intended).await;
        let mut tasks = JoinSet::new();
        for order in drawn {
            let Some(id) = accepted.get(&order.number).copied() else { continue };
            if order.follow == Follow::Nothing && !order.repeated && !order.cancelled && order.other.is_none()
            {
                continue;
            }
            let lives = self.clone();
            tasks.spawn(async move { lives.after(&order, id, intended).await });
        }
        finish(tasks).await;
    }

    /// Submits until it is decided, or patience ends. The order's id when it was accepted.
    async fn submit(&self, order: &Drawn, intended: Instant) -> Option<Uuid> {
        let key = self.plan.key(order.number);
        let mut first = Some(intended);
        let give_up = intended + self.plan.insist;
        loop {
            let answer = self.say(order.number, &key, &order.body, first.take()).await;
            if let Some(id) = answer.id {
                self.accepted(order.number, id, intended);
                return Some(id);
            }
            if !self.comes_again(&answer, give_up).await {
                return None;
            }
        }
    }

    /// The same for the orders of one call. Those not decided go into the next call. Ids by number.
    async fn submit_in_bulk(&self, drawn: &[Drawn], intended: Instant) -> BTreeMap<u32, Uuid> {
        let mut accepted = BTreeMap::new();
        let mut left: Vec<&Drawn> = drawn.iter().collect();
        let mut first = Some(intended);
        let give_up = intended + self.plan.insist;
        while !left.is_empty() {
            let orders: Vec<(String, Bytes)> =
                left.iter().map(|order| (self.plan.key(order.number), order.body.clone())).collect();
            let sent = Instant::now();
            let answers = self.client.submit_batch(&orders).await;
            let intended_now = first.take();
            let mut undecided = None;
            for (order, answer) in std::mem::take(&mut left).into_iter().zip(answers) {
                self.submitted(order.number, &order.body, intended_now, sent, &answer);
                if let Some(id) = answer.id {
                    self.accepted(order.number, id, intended);
                    accepted.insert(order.number, id);
                } else if is_undecided(answer.status) {
                    left.push(order);
                    undecided = Some(answer);
                }
            }
            match undecided {
                Some(answer) if self.comes_again(&answer, give_up).await => {}
                _ => break,
            }
        }
        accepted
    }

    /// Whether the submit is worth repeating; waits until it is time.
    async fn comes_again(&self, answer: &SubmitAnswer, give_up: Instant) -> bool {
        let pause = answer.retry_after.unwrap_or(PAUSE).clamp(PAUSE, Duration::from_secs(2));
        if !is_undecided(answer.status) || Instant::now() + pause > give_up {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    /// One submit of a body under a key, into the history.
    async fn say(&self, number: u32, key: &str, body: &Bytes, intended: Option<Instant>) -> SubmitAnswer {
        let sent = Instant::now();
        let answer = self.client.submit(key, body.clone()).await;
        self.submitted(number, body, intended, sent, &answer);
        answer
    }

    fn submitted(
        &self,
        order: u32,
        body: &Bytes,
        intended: Option<Instant>,
        sent: Instant,
        answer: &SubmitAnswer,
    ) {
        let late = intended.map_or(Duration::ZERO, |intended| sent.saturating_duration_since(intended));
        if intended.is_some() {
            self.tally.late(late);
        }
        self.tally.answered(answer.status);
        self.history.add(Record {
            order,
            what: What::Submit,
            body: fnv1a(body),
            sent: micros(sent.saturating_duration_since(self.began)),
            late: short_micros(late),
            took: short_micros(sent.elapsed()),
            answer: answer.status,
            version: None,
            status: None,
            id: answer.id,
        });
    }

    fn accepted(&self, number: u32, id: Uuid, intended: Instant) {
        self.tally.accepted(intended.elapsed());
        let mut open = self.open();
        open.by_number.insert(number, id);
        if self.plan.on_log {
            open.watched.insert(id, (number, intended));
            let early = open.early.remove(&id);
            drop(open);
            if let Some((end, at)) = early {
                self.ended_on_log(id, end, at);
            }
        }
    }

    /// An order's end was on the log.
    pub(crate) fn ended_on_log(&self, id: Uuid, end: OrderStatus, at: Instant) {
        let mut open = self.open();
        let Some((order, intended)) = open.watched.remove(&id) else {
            if open.early.len() >= MOST_EARLY {
                open.early.clear();
            }
            open.early.insert(id, (end, at));
            return;
        };
        open.by_number.remove(&order);
        drop(open);
        self.tally.ended(end, Some(at.saturating_duration_since(intended)));
        self.history.add(Record {
            order,
            what: What::Event,
            body: 0,
            sent: micros(at.saturating_duration_since(self.began)),
            late: 0,
            took: 0,
            answer: 200,
            version: None,
            status: Some(end),
            id: Some(id),
        });
    }

    /// Ends a second; `ahead` is how much of it has not passed yet.
    pub(crate) fn tick(&self, ahead: u64) -> Second {
        self.tally.tick(self.began.elapsed().as_secs() + ahead, self.open_orders())
    }

    /// How many accepted orders have not been seen at an end.
    pub(crate) fn open_orders(&self) -> u64 {
        self.open().by_number.len() as u64
    }

    /// HTTP calls made.
    pub(crate) fn calls(&self) -> u64 {
        self.client.calls()
    }

    /// What the client does once its order is accepted.
    async fn after(&self, order: &Drawn, id: Uuid, intended: Instant) {
        let key = self.plan.key(order.number);
        if order.repeated {
            self.say(order.number, &key, &order.body, None).await;
        }
        if let Some(other) = &order.other {
            self.say(order.number, &key, other, None).await;
        }
        if order.cancelled {
            let sent = Instant::now();
            let answer = self.client.cancel(id).await;
            self.seen(order.number, id, What::Cancel, sent, &answer);
        }
        match order.follow {
            Follow::Nothing => {}
            Follow::ReadOnce => drop(self.read(order.number, id, None).await),
            Follow::Poll(pause) => self.watch(order.number, id, intended, None, pause).await,
            Follow::Wait => self.watch(order.number, id, intended, Some(LONG_POLL), Duration::ZERO).await,
            Follow::Events => self.listen(order.number, id, intended).await,
        }
    }

    /// Reads events to the end, or until patience ends; comes again when a stream ends before.
    async fn listen(&self, number: u32, id: Uuid, intended: Instant) {
        let give_up = intended + self.plan.insist.max(self.plan.settle).max(self.plan.patience);
        while Instant::now() < give_up {
            let (sent, patience) = (Instant::now(), give_up.saturating_duration_since(Instant::now()));
            let mut heard = false;
            let last = self.client.watch(id, patience, |state| {
                heard = true;
                self.seen(number, id, What::Read, sent, state);
            });
            let last = last.await;
            if let Some(end) = last.order_status.filter(|status| status.is_terminal()) {
                return self.ended(number, end, Some(intended.elapsed()));
            }
            if !heard {
                self.seen(number, id, What::Read, sent, &last);
            }
            tokio::time::sleep(last.retry_after.unwrap_or(PAUSE)).await;
        }
    }

    /// Reads to the end, or until patience ends.
    async fn watch(&self, number: u32, id: Uuid, intended: Instant, wait: Option<u8>, pause: Duration) {
        let give_up = intended + self.plan.insist.max(self.plan.settle).max(self.plan.patience);
        while Instant::now() < give_up {
            let answer = self.read(number, id, wait).await;
            if let Some(end) = answer.order_status.filter(|status| status.is_terminal()) {
                self.ended(number, end, Some(intended.elapsed()));
                return;
            }
            let failed = answer.order_status.is_none();
            let pause = if failed { answer.retry_after.unwrap_or(PAUSE).max(pause) } else { pause };
            tokio::time::sleep(pause).await;
        }
    }

    async fn read(&self, number: u32, id: Uuid, wait: Option<u8>) -> ReadAnswer {
        let sent = Instant::now();
        let answer = self.client.read(id, wait).await;
        if wait.is_none() {
            self.tally.read(sent.elapsed());
        }
        self.seen(number, id, What::Read, sent, &answer);
        answer
    }

    fn seen(&self, order: u32, id: Uuid, what: What, sent: Instant, answer: &ReadAnswer) {
        self.history.add(Record {
            order,
            what,
            body: 0,
            sent: micros(sent.saturating_duration_since(self.began)),
            late: 0,
            took: short_micros(sent.elapsed()),
            answer: answer.status,
            version: answer.version,
            status: answer.order_status,
            id: Some(id),
        });
    }

    fn ended(&self, number: u32, end: OrderStatus, took: Option<Duration>) {
        if self.open().by_number.remove(&number).is_some() {
            self.tally.ended(end, took);
        }
    }

    /// After the last submit: looks for the end of every order that is still open, until the plan's time for that has
    /// passed.
    pub(crate) async fn settle(self: &Arc<Self>) {
        let give_up = Instant::now() + self.plan.settle;
        if self.plan.on_log {
            while Instant::now() < give_up && self.open_orders() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return;
        }
        let mut tasks = JoinSet::new();
        let open: Vec<(u32, Uuid)> =
            self.open().by_number.iter().map(|(number, id)| (*number, *id)).collect();
        let open = Arc::new(Mutex::new(open.into_iter()));
        for _ in 0..SETTLERS {
            let (lives, open) = (self.clone(), open.clone());
            tasks.spawn(async move {
                while Instant::now() < give_up {
                    let next = open.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((number, id)) = next else { break };
                    lives.settle_one(number, id, give_up).await;
                }
            });
        }
        finish(tasks).await;
    }

    async fn settle_one(&self, number: u32, id: Uuid, give_up: Instant) {
        while Instant::now() < give_up {
            let answer = self.read(number, id, Some(LONG_POLL)).await;
            if let Some(end) = answer.order_status.filter(|status| status.is_terminal()) {
                self.ended(number, end, None);
                return;
            }
            if answer.order_status.is_none() {
                tokio::time::sleep(answer.retry_after.unwrap_or(PAUSE)).await;
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In flight, too many, away, or no answer: the same submit again finds out.
fn is_undecided(status: u16) -> bool {
    matches!(status, 0 | 408 | 409 | 429) || status >= 500
}

/// Waits for all of them.
pub(crate) async fn finish(mut tasks: JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn short_micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
