//! Where the money is: payments and their refunds. Pure.

use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Words of ours beside a payment.
pub(crate) type Metadata = BTreeMap<String, String>;

/// A payment, as the ledger shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// Whether the money was taken.
    pub(crate) is_taken: bool,
    /// Of it, given back.
    pub(crate) refunded: i64,
    pub(crate) payment_method: String,
    pub(crate) metadata: Metadata,
    pub(crate) created_ms: i64,
}

/// A refund, as the ledger shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) payment: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// Whether the money went back.
    pub(crate) is_done: bool,
    pub(crate) metadata: Metadata,
    pub(crate) created_ms: i64,
}

/// Why a refund cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NoPayment,
    NotTaken,
    AlreadyRefunded,
    TooMuch,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    payments: Vec<Payment>,
    refunds: Vec<Refund>,
    payment_at: HashMap<String, usize>,
    refunds_at: HashMap<String, Vec<usize>>,
}

/// What it all comes to, in minor units, by currency.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Totals {
    captured: BTreeMap<String, i64>,
    refunded: BTreeMap<String, i64>,
    payments: usize,
    declined: usize,
    refunds: usize,
}

impl Ledger {
    pub(crate) fn payments(&self) -> &[Payment] {
        &self.payments
    }

    pub(crate) fn refunds(&self) -> &[Refund] {
        &self.refunds
    }

    pub(crate) fn put(&mut self, payment: Payment) {
        self.payment_at.insert(payment.id.clone(), self.payments.len());
        self.payments.push(payment);
    }

    pub(crate) fn payment(&self, id: &str) -> Option<&Payment> {
        self.payments.get(*self.payment_at.get(id)?)
    }

    /// Gives back, unless it cannot be.
    pub(crate) fn refund(&mut self, refund: Refund) -> Result<Refund, Refusal> {
        let at = *self.payment_at.get(&refund.payment).ok_or(Refusal::NoPayment)?;
        let payment = self.payments.get_mut(at).ok_or(Refusal::NoPayment)?;
        match payment.amount - payment.refunded {
            _ if !payment.is_taken => return Err(Refusal::NotTaken),
            0 => return Err(Refusal::AlreadyRefunded),
            left if refund.amount > left => return Err(Refusal::TooMuch),
            _ => {}
        }
        let refund = Refund { currency: payment.currency.clone(), ..refund };
        if refund.is_done {
            payment.refunded += refund.amount;
        }
        self.refunds_at.entry(refund.payment.clone()).or_default().push(self.refunds.len());
        self.refunds.push(refund.clone());
        Ok(refund)
    }

    /// The money of a refund that was done comes back after all.
    pub(crate) fn fail_refund(&mut self, id: &str) -> Option<Refund> {
        let refund = self.refunds.iter_mut().find(|refund| refund.id == id && refund.is_done)?;
        refund.is_done = false;
        let at = *self.payment_at.get(&refund.payment)?;
        self.payments.get_mut(at)?.refunded -= refund.amount;
        Some(refund.clone())
    }

    /// Payments with that word in their metadata, made before that.
    pub(crate) fn search(&self, name: &str, value: &str, before_ms: i64) -> Vec<Payment> {
        let has = |payment: &&Payment| payment.metadata.get(name).is_some_and(|text| text == value);
        self.payments.iter().filter(has).filter(|payment| payment.created_ms <= before_ms).cloned().collect()
    }

    /// Refunds of a payment, newest first.
    pub(crate) fn refunds_of(&self, payment: &str) -> Vec<Refund> {
        let places = self.refunds_at.get(payment).map_or(&[][..], Vec::as_slice);
        places.iter().rev().filter_map(|at| self.refunds.get(*at)).cloned().collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals { refunds: self.refunds.len(), ..Totals::default() };
        for payment in &self.payments {
            if payment.is_taken {
                totals.payments += 1;
                *totals.captured.entry(payment.currency.clone()).or_default() += payment.amount;
                *totals.refunded.entry(payment.currency.clone()).or_default() += payment.refunded;
            } else {
                totals.declined += 1;
            }
        }
        totals
    }
}
