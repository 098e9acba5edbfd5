//! `POST /api/payments/webhooks`: what the provider tells by itself. Acknowledged once it is on the log; until then the
//! provider is asked to send it again.

use crate::{
    event::{self, Told},
    metrics,
    routes::Payments,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use chassis::crash::{self, CrashPoint};
use ingress::{
    api::{About, Answer, headers, shape},
    body::RawBody,
    log::Command,
    problem::{Kind, Problem},
};
use schemas::{
    ids::message_id,
    messages::ProviderNotice,
    webhook_signature::{self, HEADER, SignatureError},
};
use serde_json::json;

pub(crate) fn about() -> About {
    let signature =
        "When, and what over time and body, by the secret that was agreed on (Stripe's scheme v1).";
    About::of("paymentWebhook", "What the payment provider tells by itself")
        .says("An event of Stripe's. Acknowledged once it is on the log; until then it is to be sent again.")
        .header(headers::header(
            HEADER,
            true,
            signature,
            shape::text()
                .example("t=1795377569,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"),
        ))
        .body(shape::object(), json!({"id": "evt_1", "type": "payment_intent.succeeded"}))
        .answers(StatusCode::OK, Answer::empty("Taken, or none of ours."))
}

pub(crate) async fn webhook(
    State(payments): State<Payments>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<StatusCode, Problem> {
    payments.check_signature(&headers, &body)?;
    let notice = match event::read(&body) {
        Ok(Told::Notice(notice)) => notice,
        Ok(Told::Nothing(why)) => return Ok(done(why)),
        Err(error) => {
            count("unreadable");
            tracing::error!(%error, "the provider sent what cannot be read");
            return Err(Problem::new(Kind::BadRequest, "the body is no event"));
        }
    };
    payments.take(&notice).await.map(done)
}

impl Payments {
    fn check_signature(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let secrets = &self.config.webhook_secrets;
        if secrets.is_empty() {
            count("not_set_up");
            tracing::warn!("a webhook came, and STRIPE_WEBHOOK_SECRET is not set");
            return Err(Problem::unavailable("webhooks are not set up here"));
        }
        let mut given = headers.get_all(HEADER).iter();
        let header = match (given.next(), given.next()) {
            (Some(value), None) => value.to_str().unwrap_or_default(),
            _ => "",
        };
        let verify = |secret: &str| {
            let tolerance = self.config.webhook_tolerance;
            webhook_signature::verify(secret.as_bytes(), header, body, self.now(), tolerance)
        };
        // the refusal that says most: too old by one secret is more than unknown by another
        let mut refusal = SignatureError::NoMatch;
        for secret in secrets {
            match verify(secret.expose()) {
                Ok(_) => return Ok(()),
                Err(SignatureError::NoMatch) => {}
                Err(error) => refusal = error,
            }
        }
        count("bad_signature");
        tracing::warn!(error = %refusal, "a webhook is not believed");
        Err(Problem::new(Kind::BadRequest, "the signature is not good for this body, or no longer"))
    }

    /// An order that is provably not here is another deployment's, of the same account: nothing of it is ours to undo.
    async fn take(&self, notice: &ProviderNotice) -> Result<&'static str, Problem> {
        let order = notice.order_id;
        match self.orders.find_anybodys(order).await {
            Ok(_) => {}
            Err(problem) if problem.kind == Kind::NotFound => {
                tracing::warn!(%order, event = notice.event_id, "the provider tells of an order that is not here");
                return Ok("unknown_order");
            }
            Err(problem) => {
                count("unavailable");
                return Err(problem);
            }
        }
        let message = message_id(order.0, &format!("provider event {}", notice.event_id));
        let command = Command::new(order.0, message, self.now(), None, notice)?;
        crash::point(CrashPoint::WebhookBefore);
        if let Err(error) = self.log.send(command).await {
            count("unavailable");
            tracing::warn!(%error, %order, event = notice.event_id, "a webhook was not acknowledged by Kafka");
            return Err(Problem::unavailable("the event could not be taken; send it again"));
        }
        crash::point(CrashPoint::WebhookAfter);
        Ok("taken")
    }
}

fn done(outcome: &'static str) -> StatusCode {
    count(outcome);
    StatusCode::OK
}

fn count(outcome: &'static str) {
    ::metrics::counter!(metrics::WEBHOOKS, "outcome" => outcome).increment(1);
}
