//! Stripe as the provider: PaymentIntents, confirmed in the call that creates them, and Refunds.
//!
//! | it answers | to us that is |
//! |---|---|
//! | `succeeded`, of our amount and currency | approved; the reference is the intent's or refund's id |
//! | `card_error`, any other 402 that reads; `canceled`, `failed`; a request it names as one that can't be | declined |
//! | `requires_action` | declined: the customer is not there to act, and nobody else holds the intent's secret |
//! | `processing`; 409, "key in use" | pending: it works on it. Asked again, then looked up |
//! | a refund that is `pending` | approved: it has left our balance. Should it fail later, as even one that succeeded may, a notice says so |
//! | 429, 5xx, other 4xx, `idempotency_error`, a redirect, no answer, one that is too long or does not read | unknown |
//!
//! The idempotency key is the effect's, and what stands in the metadata ([`schemas::payment_metadata`]) finds the payment when
//! the key is forgotten, which Stripe does after a day. Stripe keeps a 5xx under its key like any answer; so after some
//! attempts the effect is looked up before it is called. Its search lags: what it does not find is not yet proven absent,
//! see [`crate::retry::STRAGGLERS`]. Refunds are listed by their payment, which does not lag.
//!
//! How it is paid: a payment method of Stripe's (`pm_…`) is passed on. The names that the edge knows stand for Stripe's own
//! test cards, and are declined with a live key: a name charges nobody.

use crate::provider::{CaptureRequest, Found, Outcome, Provider, RefundRequest, Sought};
use async_trait::async_trait;
use chassis::settings::Secret;
use link::Link;
use reply::{Intent, Page, Refund};
use std::time::Duration;

mod link;
mod reply;
mod request;

pub use link::LinkError;

/// How Stripe is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeSettings {
    /// `https://…`; plain HTTP on loopback only (`STRIPE_BASE_URL`).
    pub base_url: String,
    /// `sk_…` or `rk_…` (`STRIPE_SECRET_KEY`).
    pub secret_key: Secret,
    /// Longest time for one request, its answer read (`PAYMENT_CALL_TIMEOUT`).
    pub timeout: Duration,
}

/// Pages of one lookup: what does not stand on them is not known.
const MOST_PAGES: usize = 10;

/// The provider.
#[derive(Debug)]
pub struct Stripe {
    link: Link,
    is_live: bool,
}

impl Stripe {
    /// Stripe by these settings. Connects when it is first called.
    ///
    /// # Errors
    /// When the URL or the key cannot be one, or TLS is not to be had.
    pub fn new(settings: &StripeSettings) -> Result<Self, LinkError> {
        let is_live = settings.secret_key.expose().contains("_live_");
        Ok(Self { link: Link::new(settings)?, is_live })
    }

    /// The payments that carry this key: in general one.
    async fn find_intents(&self, request: &CaptureRequest) -> Result<Vec<Intent>, Outcome> {
        let mut found = Vec::new();
        let mut query = request::search(request.key);
        for _ in 0..MOST_PAGES {
            let page: Page<Intent> =
                self.link.get(&["payment_intents", "search"], &query).await?.read(Page::is_search)?;
            found.extend(page.data.into_iter().filter(|intent| intent.has_key(request.key)));
            match page.next_page {
                Some(next) if page.has_more => request::turn_to(&mut query, "page", next),
                _ => return Ok(found),
            }
        }
        Err(Outcome::unknown("stripe: too many payments with one key"))
    }

    /// The id of the payment that a refund is of.
    async fn payment_of(&self, request: &RefundRequest) -> Result<String, Outcome> {
        if let Some(reference) = &request.capture_reference {
            return reply::is_id(reference, "pi_")
                .then(|| reference.clone())
                .ok_or_else(|| Outcome::unknown("stripe: the capture's reference is no payment's id"));
        }
        let query = request::search(request.capture);
        let page: Page<Intent> =
            self.link.get(&["payment_intents", "search"], &query).await?.read(Page::is_search)?;
        let paid = page.data.into_iter().find(|intent| intent.has_key(request.capture) && intent.is_paid());
        paid.map(|intent| intent.id)
            .ok_or_else(|| Outcome::unknown("stripe: the refund's payment is not found"))
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<Refund>, Outcome> {
        let payment = self.payment_of(request).await?;
        let mut query = request::refunds_of(payment);
        for _ in 0..MOST_PAGES {
            let page: Page<Refund> = self.link.get(&["refunds"], &query).await?.read(Page::is_list)?;
            let last = page.data.last().map(|refund| refund.id.clone());
            if let Some(refund) = page.data.into_iter().find(|refund| refund.has_key(request.key)) {
                return Ok(Some(refund));
            }
            match last {
                Some(last) if page.has_more => request::turn_to(&mut query, "starting_after", last),
                _ => return Ok(None),
            }
        }
        Err(Outcome::unknown("stripe: too many refunds of one payment"))
    }

    async fn try_capture(&self, request: &CaptureRequest) -> Result<Outcome, Outcome> {
        let Some(form) = request::capture(request, self.is_live) else {
            return Ok(Outcome::declined("payment method not supported"));
        };
        let answer = self.link.post(&["payment_intents"], request.key, &form).await?;
        Ok(answer.read(Intent::is_one)?.outcome(request))
    }

    async fn try_refund(&self, request: &RefundRequest) -> Result<Outcome, Outcome> {
        let form = request::refund(request, self.payment_of(request).await?);
        let answer = self.link.post(&["refunds"], request.key, &form).await?;
        Ok(answer.read(Refund::is_one)?.outcome(request))
    }
}

#[async_trait]
impl Provider for Stripe {
    async fn capture(&self, request: &CaptureRequest) -> Outcome {
        self.try_capture(request).await.unwrap_or_else(|outcome| outcome)
    }

    async fn refund(&self, request: &RefundRequest) -> Outcome {
        self.try_refund(request).await.unwrap_or_else(|outcome| outcome)
    }

    async fn lookup(&self, sought: Sought<'_>) -> Found {
        let found = match sought {
            Sought::Capture(request) => {
                self.find_intents(request).await.map(|intents| reply::best_of(&intents, request))
            }
            Sought::Refund(request) => {
                self.find_refund(request).await.map(|refund| refund.map(|refund| refund.outcome(request)))
            }
        };
        match found {
            Ok(Some(outcome)) => Found::Known(outcome),
            Ok(None) => Found::Absent,
            // a refusal of the question says nothing about what was asked after
            Err(Outcome::Declined { reason }) => Found::Known(Outcome::unknown(reason)),
            Err(outcome) => Found::Known(outcome),
        }
    }
}
