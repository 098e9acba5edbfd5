//! Takes calls: draws what befalls each, does it once a key, and says so, or does not.

use crate::{
    config::ProviderConfig,
    faults::{Chances, Fault, Faults, between},
    form::Form,
    keys::{Answer, Claim, Keys},
    ledger::{Ledger, Payment, Refund, Refusal},
    objects,
    webhooks::Webhooks,
};
use chassis::clock::Clock;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What is asked to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Pay,
    Refund,
}

/// An answer, and what becomes of it on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) answer: Answer,
    pub(crate) fault: Option<Fault>,
}

pub(crate) struct Desk {
    config: ProviderConfig,
    clock: Clock,
    books: Mutex<Books>,
    webhooks: Webhooks,
    /// Ends what hangs.
    pub(crate) stop: CancellationToken,
}

struct Books {
    faults: Faults,
    keys: Keys,
    ledger: Ledger,
    /// How often each thing was asked; forgotten when they are too many.
    times: HashMap<String, u64>,
    calls: u64,
    befallen: BTreeMap<Fault, u64>,
}

/// What befalls one call.
#[derive(Debug, Clone, Copy)]
struct Lot {
    fault: Option<Fault>,
    takes: Duration,
}

impl Desk {
    pub(crate) fn new(config: ProviderConfig, clock: Clock, stop: CancellationToken) -> Result<Self, String> {
        let webhooks =
            Webhooks::new(config.webhook_url.as_deref(), config.webhook_secret.clone(), clock.clone())?;
        let books = Books {
            faults: Faults::default(),
            keys: Keys::new(config.keep.saturating_mul(2)),
            ledger: Ledger::default(),
            times: HashMap::new(),
            calls: 0,
            befallen: BTreeMap::new(),
        };
        Ok(Self { config, clock, books: Mutex::new(books), webhooks, stop })
    }

    /// A call that does something, once for each key. What was begun goes on though the caller goes away.
    pub(crate) async fn deed(self: &Arc<Self>, deed: Deed, key: &str, body: &[u8]) -> Sent {
        let form = match deed {
            Deed::Pay => Form::read(body, &PAY_FIELDS),
            Deed::Refund => Form::read(body, &["payment_intent", "amount", "reason"]),
        };
        let form = match form {
            Ok(form) => form,
            Err(field) => return unspoilt(wrong(&field)),
        };
        let lot = self.draw(key);
        if let Some(answer) = undone(lot.fault) {
            tokio::time::sleep(lot.takes).await;
            return Sent { answer, fault: lot.fault };
        }
        let request = format!("{deed:?} {}", String::from_utf8_lossy(body));
        let claim = self.books().keys.claim(key, &request);
        let answer = match claim {
            Claim::First => self.first(deed, key, form, lot).await,
            Claim::Repeat(answer) => answer,
            Claim::InUse => objects::error(
                409,
                "invalid_request_error",
                "idempotency_key_in_use",
                "Another call uses this key.",
            ),
            Claim::OtherRequest => {
                let message = "The key was used with other parameters.";
                objects::error(400, "idempotency_error", "idempotency_key_reused", message)
            }
            Claim::Full => objects::error(429, "invalid_request_error", "rate_limit", "The sandbox is full."),
        };
        Sent { answer, fault: lot.fault }
    }

    /// A question.
    pub(crate) async fn question(&self, about: &str, ask: impl FnOnce(&Ledger, i64) -> Answer) -> Sent {
        let lot = self.draw(about);
        tokio::time::sleep(lot.takes).await;
        let answer = match (lot.fault, undone(lot.fault)) {
            (_, Some(answer)) => answer,
            (Some(Fault::Done500), _) => internal(),
            _ => {
                let books = self.books();
                let lag = i64::try_from(books.faults.search_lag_ms).unwrap_or(i64::MAX);
                ask(&books.ledger, self.clock.now_millis().saturating_sub(lag))
            }
        };
        Sent { answer, fault: lot.fault }
    }

    pub(crate) fn faults(&self) -> Faults {
        self.books().faults.clone()
    }

    pub(crate) fn set_faults(&self, faults: Faults) -> Result<(), String> {
        faults.check()?;
        tracing::info!(?faults, "the sandbox provider's faults are set");
        self.books().faults = faults;
        Ok(())
    }

    /// All that the provider believes.
    pub(crate) fn ledger(&self) -> Value {
        let books = self.books();
        json!({
            "totals": books.ledger.totals(),
            "calls": books.calls,
            "faults": books.befallen,
            "webhooks": self.webhooks.counts(),
            "payments": books.ledger.payments(),
            "refunds": books.ledger.refunds(),
        })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, about: &str) -> Lot {
        let mut books = self.books();
        if books.times.len() >= self.config.keep.saturating_mul(4) {
            books.times.clear();
        }
        let time = books.times.entry(about.to_owned()).or_default();
        *time += 1;
        let mut chances = Chances::of(self.config.seed, about, *time);
        books.calls += 1;
        let fault = books.faults.befalls(chances.chance());
        if let Some(fault) = fault {
            *books.befallen.entry(fault).or_default() += 1;
        }
        let takes = books.faults.takes_ms(chances.chance(), chances.chance());
        Lot { fault, takes: Duration::from_millis(takes) }
    }

    async fn first(self: &Arc<Self>, deed: Deed, key: &str, form: Form, lot: Lot) -> Answer {
        let (desk, key) = (Arc::clone(self), key.to_owned());
        let work = tokio::spawn(async move {
            tokio::time::sleep(lot.takes).await;
            // chances that are the key's own, however often it is called
            let mut chances = Chances::of(desk.config.seed, &key, 0);
            let done = match deed {
                Deed::Pay => desk.pay(&form, &mut chances),
                Deed::Refund => desk.refund(&form, &mut chances),
            };
            match done {
                Ok(answer) => {
                    let answer = if lot.fault == Some(Fault::Done500) { internal() } else { answer };
                    desk.books().keys.keep(&key, answer.clone());
                    answer
                }
                // a request that cannot be was not begun, and is not kept
                Err(answer) => {
                    desk.books().keys.release(&key);
                    answer
                }
            }
        });
        work.await.unwrap_or_else(|_| internal())
    }

    fn pay(&self, form: &Form, chances: &mut Chances) -> Result<Answer, Answer> {
        let payment_method = form.text("payment_method").map_err(|field| wrong(&field))?.to_owned();
        let mut books = self.books();
        if books.ledger.payments().len() >= self.config.keep {
            return Err(objects::error(429, "invalid_request_error", "rate_limit", "The sandbox is full."));
        }
        let is_declined =
            chances.chance() < books.faults.decline || payment_method.contains("chargeDeclined");
        let payment = Payment {
            id: format!("pi_{:016x}{:016x}", chances.number(), chances.number()),
            amount: form.amount().map_err(|field| wrong(&field))?,
            currency: form.text("currency").map_err(|field| wrong(&field))?.to_owned(),
            is_taken: !is_declined,
            refunded: 0,
            payment_method,
            metadata: form.metadata.clone(),
            created_ms: self.clock.now_millis(),
        };
        books.ledger.put(payment.clone());
        let kind = if is_declined { "payment_intent.payment_failed" } else { "payment_intent.succeeded" };
        self.tell(&books.faults, kind, &objects::payment(&payment), chances);
        Ok(if is_declined {
            objects::declined(&payment)
        } else {
            objects::answer(200, &objects::payment(&payment))
        })
    }

    fn refund(self: &Arc<Self>, form: &Form, chances: &mut Chances) -> Result<Answer, Answer> {
        let mut books = self.books();
        if books.ledger.refunds().len() >= self.config.keep {
            return Err(objects::error(429, "invalid_request_error", "rate_limit", "The sandbox is full."));
        }
        let chance = chances.chance();
        let id = form.text("payment_intent").map_err(|field| wrong(&field))?;
        let fails_later =
            books.ledger.payment(id).is_some_and(|paid| paid.payment_method.contains("refundFail"))
                || (chance - books.faults.refund_fails >= 0.0
                    && chance - books.faults.refund_fails < books.faults.refund_fails_later);
        let refund = Refund {
            id: format!("re_{:016x}{:016x}", chances.number(), chances.number()),
            payment: id.to_owned(),
            amount: form.amount().map_err(|field| wrong(&field))?,
            currency: String::new(),
            is_done: chance >= books.faults.refund_fails,
            metadata: form.metadata.clone(),
            created_ms: self.clock.now_millis(),
        };
        let refund = books.ledger.refund(refund).map_err(refused)?;
        let answer = objects::answer(200, &objects::refund(&refund));
        let kind = if refund.is_done { "refund.updated" } else { "refund.failed" };
        self.tell(&books.faults, kind, &objects::refund(&refund), chances);
        if refund.is_done
            && fails_later
            && let Some(failed) = books.ledger.fail_refund(&refund.id)
        {
            self.tell(&books.faults, "refund.failed", &objects::refund(&failed), chances);
        }
        Ok(answer)
    }

    fn tell(&self, faults: &Faults, kind: &'static str, object: &Value, chances: &mut Chances) {
        if chances.chance() < faults.webhooks.lost {
            return;
        }
        let id = format!("evt_{:016x}", chances.number());
        let event = objects::event(&id, kind, object, self.clock.now_millis());
        for _ in 0..=faults.webhooks.duplicates {
            let delay = Duration::from_millis(between(faults.webhooks.delay_ms, chances.chance()));
            self.webhooks.send(event.to_string(), delay);
        }
    }
}

const PAY_FIELDS: [&str; 7] = [
    "amount",
    "currency",
    "confirm",
    "payment_method",
    "automatic_payment_methods[enabled]",
    "automatic_payment_methods[allow_redirects]",
    "error_on_requires_action",
];

/// The answer of a call that does nothing.
fn undone(fault: Option<Fault>) -> Option<Answer> {
    match fault? {
        Fault::Error500 | Fault::Lost => Some(internal()),
        Fault::Error429 => {
            Some(objects::error(429, "invalid_request_error", "rate_limit", "Too many requests."))
        }
        Fault::Error409 => Some(objects::error(409, "invalid_request_error", "lock_timeout", "Try again.")),
        Fault::Done500 | Fault::Malformed | Fault::Huge | Fault::Drip | Fault::LostDone => None,
    }
}

fn internal() -> Answer {
    objects::error(500, "api_error", "internal", "An error on our side.")
}

fn unspoilt(answer: Answer) -> Sent {
    Sent { answer, fault: None }
}

fn wrong(field: &str) -> Answer {
    objects::error(400, "invalid_request_error", "parameter_invalid", &format!("What about {field:?}?"))
}

fn refused(refusal: Refusal) -> Answer {
    let (code, message) = match refusal {
        Refusal::NoPayment => ("resource_missing", "No such payment."),
        Refusal::NotTaken => ("payment_intent_unexpected_state", "Nothing was taken."),
        Refusal::AlreadyRefunded => ("charge_already_refunded", "It was given back already."),
        Refusal::TooMuch => ("amount_too_large", "More than is left of it."),
    };
    objects::error(400, "invalid_request_error", code, message)
}
