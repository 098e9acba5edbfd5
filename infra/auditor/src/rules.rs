//! The rules, pure: what must hold of one order across all books once its records have passed. The one definition;
//! stock within inventory's own books is compared where it lies (`store/stock.rs`).

use crate::{
    case::{Capture, CaptureState, Case, Hold, HoldState, Order},
    finding::{Finding, Kind, Subject},
};
use schemas::{
    messages::OrderStatus::{Cancelled, Confirmed, Expired, Pending, Rejected, Reserved},
    time::Timestamp,
};
use std::time::Duration;

/// What is past its deadline by more than this should have been seen to.
pub(crate) const OVERDUE: Duration = Duration::from_secs(60);
/// A call whose outcome is not known after this is shown to people.
pub(crate) const UNKNOWN_FOR_LONG: Duration = Duration::from_secs(15 * 60);

/// What does not hold of `case` at `now`, the database's time.
pub(crate) fn judge(case: &Case, now: Timestamp) -> Vec<Finding> {
    let mut judge = Judge { case, now, found: Vec::new() };
    judge.attention();
    // what waits behind a parked record explains the rest; what has left was compared while it was there
    if case.parked.is_empty() && !case.has_left {
        match (&case.order, &case.hold) {
            (Some(order), hold) => judge.order(order, hold.as_ref()),
            (None, Some(hold)) => judge.hold_alone(hold),
            (None, None) => {}
        }
        judge.money();
        judge.provider();
        judge.calls();
    }
    judge.found
}

struct Judge<'a> {
    case: &'a Case,
    now: Timestamp,
    found: Vec<Finding>,
}

impl Judge<'_> {
    fn say(&mut self, kind: Kind, what: impl Into<String>) {
        self.found.push(Finding::new(kind, Subject::Order(self.case.id), what));
    }

    fn is_overdue(&self, deadline: Timestamp) -> bool {
        self.now.since(deadline) > OVERDUE
    }

    /// What waits for a person.
    fn attention(&mut self) {
        let subject = Subject::Order(self.case.id);
        for service in &self.case.parked {
            let id = self.case.id;
            self.found.push(
                Finding::new(Kind::Parked, subject, format!("records of it are parked in {service}"))
                    .repaired_by(format!("mambogo dlq redrive --by NAME --service {service} --key {id}")),
            );
        }
        let failed = self.case.refunds.iter().filter(|refund| refund.has_failed).count();
        if failed > 0 || self.case.order.as_ref().is_some_and(|order| order.needs_human) {
            let what = format!("an effect failed for good; refunds given up: {failed}");
            let retry = format!("mambogo orders retry {} --by NAME", self.case.id);
            self.found.push(Finding::new(Kind::NeedsHuman, subject, what).repaired_by(retry));
        }
        let since = |at: Option<Timestamp>| at.is_some_and(|at| self.now.since(at) > UNKNOWN_FOR_LONG);
        let captures = self.case.captures.iter();
        let unknown =
            captures.filter(|c| c.state == CaptureState::Unknown && since(c.first_called_at)).count();
        let refunds = self.case.refunds.iter().filter(|r| !r.has_failed && since(r.first_called_at)).count();
        if unknown + refunds > 0 {
            self.say(
                Kind::UnknownOutcome,
                format!("{unknown} captures and {refunds} refunds for over 15 min"),
            );
        }
    }

    fn order(&mut self, order: &Order, hold: Option<&Hold>) {
        let state = hold.map(|hold| hold.state);
        let is = || format!("order {}, hold {}", order.status, state.map_or("missing", HoldState::name));
        match order.status {
            Pending | Reserved if self.is_overdue(order.deadline) => {
                let late = self.now.since(order.deadline).as_secs();
                self.say(Kind::Stuck, format!("{} {late} s past its deadline", order.status));
            }
            Pending if state != Some(HoldState::Waiting) => self.say(Kind::Unheard, is()),
            Reserved if state != Some(HoldState::Held) => self.say(Kind::Unheard, is()),
            Reserved if self.own(order).is_none_or(|capture| capture.state != CaptureState::Unknown) => {
                let what = self.own(order).map_or("no capture was begun", |_| "its capture is known");
                self.say(Kind::Unheard, format!("order {}, {what}", order.status));
            }
            Confirmed if state != Some(HoldState::Sold) => self.say(Kind::UnitsSold, is()),
            Rejected | Cancelled | Expired if state == Some(HoldState::Sold) => {
                self.say(Kind::UnitsSold, is())
            }
            Rejected | Cancelled | Expired if state.is_some_and(HoldState::is_live) => {
                self.say(Kind::HoldWithoutOrder, is());
            }
            _ => {}
        }
        if hold.is_some_and(|hold| hold.lines != order.lines) {
            self.say(Kind::HoldLines, "the hold's lines are not the order's");
        }
    }

    fn hold_alone(&mut self, hold: &Hold) {
        let state = hold.state;
        if !hold.outside && (state.is_live() || state == HoldState::Sold) {
            self.say(Kind::HoldWithoutOrder, format!("hold {}, no such order", state.name()));
        } else if hold.outside && state.is_live() && self.is_overdue(hold.deadline) {
            let late = self.now.since(hold.deadline).as_secs();
            self.say(Kind::OutsideOverdue, format!("{} {late} s past its deadline", state.name()));
        }
    }

    fn own(&self, order: &Order) -> Option<&Capture> {
        self.case.captures.iter().find(|capture| order.capture == Some(capture.id))
    }

    /// Captured less given back is what the order owes. What is being given back counts as given back: it is at its
    /// end soon, or needs a human, and both are said elsewhere.
    fn money(&mut self) {
        let owes = match &self.case.order {
            // a live order's capture may be known before the order hears of it
            Some(order) if !order.status.is_terminal() => return,
            Some(order) if order.status == Confirmed => order.total - order.refunded,
            _ => 0,
        };
        let captures = &self.case.captures;
        let is_unknown = captures.iter().any(|capture| capture.state == CaptureState::Unknown);
        let kept: i64 = captures.iter().map(Capture::kept).sum();
        let refunding: i64 = captures.iter().map(|capture| capture.refunding).sum();
        let is_confirmed = self.case.order.as_ref().is_some_and(|order| order.status == Confirmed);
        if kept - refunding == owes || (is_unknown && !is_confirmed && kept == refunding) {
            return;
        }
        let status = self.case.order.as_ref().map_or("no such order", |order| order.status.as_str());
        let currency = self.case.order.as_ref().map_or("", |order| order.currency.as_str());
        let captured: i64 = kept + captures.iter().map(|capture| capture.refunded).sum::<i64>();
        self.say(
            Kind::Money,
            format!(
                "{status}: captured {captured}, given back {}, being given back {refunding}, owes {owes} {currency}",
                captured - kept
            ),
        );
    }

    /// The provider has charged what we have captured, once, and gave back what we gave back.
    fn provider(&mut self) {
        let Some(charges) = &self.case.charges else { return };
        let mut said = Vec::new();
        for capture in self.case.captures.iter().filter(|capture| capture.state != CaptureState::Unknown) {
            let charge = charges.iter().find(|charge| charge.key == capture.id);
            let (charged, back) =
                charge.filter(|c| c.is_charged).map_or((0, 0), |charge| (charge.amount, charge.refunded));
            let ours = if capture.state == CaptureState::Captured { capture.amount } else { 0 };
            let is_back = (capture.refunded..=capture.refunded + capture.refunding).contains(&back);
            if ours != charged || !is_back {
                said.push(format!(
                    "capture {}: ours {ours}, given back {}; its {charged}, given back {back}",
                    capture.id, capture.refunded
                ));
            }
        }
        let known = |key| self.case.captures.iter().any(|capture| capture.id == key);
        let stray = charges.iter().filter(|charge| !known(charge.key) && charge.is_charged);
        said.extend(stray.filter(|charge| charge.amount != charge.refunded).map(|c| {
            format!("charge {} of {}, given back {}, is not in our books", c.key, c.amount, c.refunded)
        }));
        let charged =
            charges.iter().filter(|charge| charge.is_charged && charge.amount > charge.refunded).count();
        if charged > 1 {
            said.push(format!("charged {charged} times"));
        }
        if !said.is_empty() {
            self.say(Kind::Provider, said.join("; "));
        }
    }

    fn calls(&mut self) {
        let captures =
            self.case.captures.iter().filter(|capture| capture.is_forgotten).map(|capture| capture.id);
        let refunds = self.case.refunds.iter().filter(|refund| refund.is_forgotten).map(|refund| refund.id);
        let forgotten: Vec<String> = captures.chain(refunds).map(|id| id.to_string()).collect();
        if !forgotten.is_empty() {
            let what =
                format!("{} under way, and nothing is due that looks at it again", forgotten.join(", "));
            self.say(Kind::ForgottenCall, what);
        }
    }
}

#[cfg(test)]
mod tests;
