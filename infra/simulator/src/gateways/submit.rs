//! A submit, step by step as `producers/orders/src/accept.rs` takes it.

use super::{
    DELIVERY, Flying, LEASE, PATIENCE, World, hash, key,
    redis::{Life, Reach},
};
use crate::check::Violation;
use orders_api::pure::{HAND_OVER, Mark, Road, Wanted, may_answer};
use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Submitting {
    pub(super) gateway: usize,
    pub(super) order: u8,
    pub(super) body: u8,
    began: u64,
    pub(super) at: At,
}

/// A claim that was answered.
#[derive(Debug, Clone)]
pub(super) struct Held {
    mark: Mark,
    proved: bool,
    unclaimed: u64,
    life: Life,
    id: String,
}

#[derive(Debug, Clone)]
pub(super) enum At {
    Claim,
    /// A new claim asks Postgres too.
    Judge(Held),
    Produce(Held),
    /// Handed over, with a claim or without.
    Flying(Option<Held>),
    Acknowledged(Held),
    /// Somebody else's body was claimed.
    Other(Held),
    JudgeUnclaimed,
    ProduceUnclaimed,
    /// Waits for the row until then.
    Row(u64),
    Done,
}

impl Submitting {
    pub(super) fn new(gateway: usize, order: u8, body: u8, began: u64) -> Self {
        Self { gateway, order, body, began, at: At::Claim }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }
}

impl World {
    /// The next step of a submit.
    pub(super) fn submit(
        &mut self,
        request: usize,
        mut submit: Submitting,
        reach: Reach,
    ) -> Result<Submitting, Violation> {
        let Submitting { gateway, order, body, began, .. } = submit;
        let at = std::mem::replace(&mut submit.at, At::Done);
        submit.at = match at {
            At::Claim => self.claim(request, &submit, reach)?,
            At::Judge(held) => match self.judged(order, body) {
                Some(is_same) => {
                    self.release(gateway, order, &held, reach);
                    self.answer(&submit, is_same)?
                }
                None => At::Produce(held),
            },
            At::Produce(held) => {
                if self.is_late(began) || reach == Reach::RequestLost {
                    self.release(gateway, order, &held, Reach::Answered);
                    self.unavailable(&submit)
                } else {
                    self.hand_over(request, &submit);
                    At::Flying(Some(held))
                }
            }
            At::Acknowledged(held) => {
                if self.holds(&submit, &held, reach) {
                    self.answer(&submit, true)?
                } else {
                    At::Row(self.now + PATIENCE)
                }
            }
            At::Other(held) => match self.judged(order, body) {
                Some(is_same) => self.answer(&submit, is_same)?,
                None if held.proved => self.answer(&submit, false)?,
                None => At::Row(self.now + PATIENCE),
            },
            At::JudgeUnclaimed => match self.judged(order, body) {
                Some(is_same) => self.answer(&submit, is_same)?,
                None => {
                    if let Some(gateway) = self.gateways.get_mut(gateway) {
                        gateway.unclaimed += 1;
                    }
                    At::ProduceUnclaimed
                }
            },
            At::ProduceUnclaimed if self.is_late(began) => self.unavailable(&submit),
            At::ProduceUnclaimed => {
                self.hand_over(request, &submit);
                At::Flying(None)
            }
            At::Row(until) => match self.judged(order, body) {
                Some(is_same) => self.answer(&submit, is_same)?,
                None if self.now > until => self.unavailable(&submit),
                None => At::Row(until),
            },
            at @ (At::Flying(_) | At::Done) => at,
        };
        Ok(submit)
    }

    fn claim(&mut self, request: usize, submit: &Submitting, reach: Reach) -> Result<At, Violation> {
        let Submitting { gateway: number, order, body, .. } = *submit;
        if self.regain_trust(number, reach).is_none() {
            self.note(|| {
                format!("gateway {number}: Redis is away, body {body} of order {order} goes unclaimed")
            });
            return Ok(At::JudgeUnclaimed);
        }
        let Some(gateway) = self.gateways.get(number) else { return Ok(At::Done) };
        let (unclaimed, proved) = (gateway.unclaimed, gateway.claims.proved_mark(0));
        let (order_key, body_hash, id) = (key(order), hash(body), format!("claim{request}"));
        let claimed = self.redis(number, reach, |server, life, now| {
            let wanted = Wanted {
                order: &order_key,
                run_id: &life.run_id,
                proved: proved.as_ref(),
                owner: "me",
                body_hash: &body_hash,
                id: &id,
                mark_id: &id,
                lease: Duration::from_millis(LEASE),
            };
            server.claim(wanted, now)
        });
        let now = self.instant();
        let trusts = self.trusts_links;
        let (Ok(((mark, age, outcome), life)), Some(gateway)) = (claimed, self.gateways.get_mut(number))
        else {
            self.note(|| {
                format!("gateway {number}: Redis is away, body {body} of order {order} goes unclaimed")
            });
            return Ok(At::JudgeUnclaimed);
        };
        gateway.claims.seen(&mark, age, now);
        let trusted = trusts || gateway.trusted == life.generation;
        let proved = gateway.claims.is_proved(&mark, 0) && trusted;
        self.note(|| {
            format!("gateway {number}: claims body {body} of order {order}: {outcome:?}, proved: {proved}")
        });
        let held = Held { mark, proved, unclaimed, life, id };
        match Road::after(outcome) {
            Road::Produce => Ok(At::Judge(held)),
            Road::Before => self.answer(submit, true),
            Road::InFlight(_) => {
                self.note(|| format!("gateway {number}: 409"));
                Ok(At::Done)
            }
            Road::Refused => self.answer(submit, false),
            Road::Look => Ok(At::Other(held)),
        }
    }

    /// `None`: Redis is away.
    fn regain_trust(&mut self, number: usize, reach: Reach) -> Option<()> {
        let generation = self.life(number).ok()?.generation;
        let gateway = self.gateways.get(number)?;
        let is_due =
            gateway.renewed < gateway.unclaimed || gateway.trusted != generation && !self.trusts_links;
        if !is_due {
            return Some(());
        }
        let followed = gateway.unclaimed;
        let id = format!("renewed{}.{}.{followed}", self.now, self.requests.len());
        let ((), life) =
            self.redis(number, reach, |server, life, now| server.renew(&life.run_id, &id, now)).ok()?;
        let gateway = self.gateways.get_mut(number)?;
        (gateway.renewed, gateway.trusted) = (followed, life.generation);
        self.note(|| format!("gateway {number}: renews the mark"));
        Some(())
    }

    /// Too late to hand anything over.
    fn is_late(&self, began: u64) -> bool {
        Duration::from_millis(self.now - began) > HAND_OVER
    }

    fn hand_over(&mut self, request: usize, submit: &Submitting) {
        let Submitting { gateway, order, body, .. } = *submit;
        self.note(|| format!("gateway {gateway}: hands body {body} of order {order} over"));
        let until = self.now + DELIVERY;
        self.flying.push(Flying { request, order, body, until });
    }

    /// Whether the acknowledgement is the answer.
    fn holds(&mut self, submit: &Submitting, held: &Held, reach: Reach) -> bool {
        let Submitting { gateway: number, order, body, .. } = *submit;
        let Some(gateway) = self.gateways.get(number) else { return false };
        if !may_answer(held.proved, held.unclaimed, gateway.unclaimed) {
            return false;
        }
        let Ok(life) = self.life(number) else { return false };
        let is_same_life = if self.trusts_links {
            life.run_id == held.life.run_id
        } else {
            life.generation == held.life.generation
        };
        if !is_same_life {
            return false;
        }
        let (key, hash, mark) = (key(order), hash(body), held.mark.clone());
        let answered = self.redis(number, reach, |server, _, _| server.answer(&key, &mark, &hash));
        matches!(answered, Ok((true, _)))
    }

    fn release(&mut self, gateway: usize, order: u8, held: &Held, reach: Reach) {
        let (key, id) = (key(order), held.id.clone());
        let _ = self.redis(gateway, reach, |server, _, _| server.release(&key, &id));
    }

    /// What Postgres says, if anything: whether it is the same body. A row found is written back.
    fn judged(&mut self, order: u8, body: u8) -> Option<bool> {
        let row = self.rows.get(&order).copied()?;
        if !self.is_away {
            self.write(order, row.version);
        }
        Some(row.body == body)
    }

    /// 202 or 422.
    fn answer(&mut self, submit: &Submitting, is_same: bool) -> Result<At, Violation> {
        let Submitting { gateway, order, body, .. } = *submit;
        let code = if is_same { 202 } else { 422 };
        self.note(|| format!("gateway {gateway}: {code} for body {body} of order {order}"));
        if is_same {
            self.promise(order, body)?;
        }
        Ok(At::Done)
    }

    fn unavailable(&mut self, submit: &Submitting) -> At {
        let Submitting { gateway, order, body, .. } = *submit;
        self.note(|| format!("gateway {gateway}: 503 for body {body} of order {order}"));
        At::Done
    }

    /// A record reaches the log. `heard`: its acknowledgement reaches the gateway.
    pub(super) fn land(&mut self, flying: Flying, heard: bool) {
        let Flying { request, order, body, .. } = flying;
        let offset = self.log.len();
        self.log.push((order, body));
        self.note(|| format!("log: offset {offset}: body {body} of order {order}"));
        let until = self.now + PATIENCE;
        self.came(request, |held| match held {
            _ if !heard => At::Done,
            Some(held) => At::Acknowledged(held),
            None => At::Row(until),
        });
    }

    /// A record's outcome is never known.
    pub(super) fn lost(&mut self, flying: Flying) {
        self.came(flying.request, |_| At::Done);
    }

    fn came(&mut self, request: usize, next: impl FnOnce(Option<Held>) -> At) {
        if let Some(super::Request::Submit(submit)) = self.requests.get_mut(request)
            && let At::Flying(held) = &submit.at
        {
            submit.at = next(held.clone());
        }
    }
}
