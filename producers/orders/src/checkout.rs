//! The order of a checkout: what `POST /api/orders` does, for a service that brings lines and key.

use crate::{
    intake::Asked,
    request::{self, Line, SubmitRequest},
    state::Orders,
};
use ingress::{
    auth::Caller,
    body::Json,
    form::{Findings, Form},
    problem::Problem,
};
use schemas::{
    ids::{self, OrderId, ProductId},
    messages::BodyHash,
};
use sha2::{Digest, Sha256};

/// Separates keys of checkouts from those of plain orders.
const SCOPE: &str = "checkout";

/// Where an order goes and how it is paid, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    shipping_address: String,
    payment_method: String,
}

impl Delivery {
    /// The same for the same address and method, and for no others.
    #[must_use]
    pub fn hash(&self) -> BodyHash {
        let mut hash = Sha256::new();
        for text in [&self.shipping_address, &self.payment_method] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        BodyHash(hash.finalize().into())
    }
}

impl Orders {
    /// Reads `{shippingAddress, paymentMethod}`, by the rules of `POST /api/orders`.
    ///
    /// # Errors
    /// 422 with every wrong field.
    pub fn read_delivery(&self, json: Json) -> Result<Delivery, Problem> {
        let mut findings = Findings::default();
        let read = Form::open(json, "", &mut findings).and_then(|mut form| {
            let delivery = request::delivery(&mut form, &self.shared.config, &mut findings);
            form.done(&mut findings);
            delivery
        });
        let read =
            read.map(|(shipping_address, payment_method)| Delivery { shipping_address, payment_method });
        findings.finish(read)
    }

    /// The order that a checkout of `caller` under `key` makes.
    #[must_use]
    pub fn order_of_checkout(&self, caller: &Caller, key: &str) -> OrderId {
        ids::order_id(&self.shared.config.namespace, &caller.owner, SCOPE, key)
    }

    /// Takes in the order of a checkout. `lines` name each product once and keep the bounds of an order; they are the same
    /// whenever `key` is. What a client reads of it then is [`Orders::receipt`].
    ///
    /// # Errors
    /// As a submit: 422 for what is not sold, and for a key that stands for another body; 409 while the first request
    /// is in flight; 503 when it is not known.
    pub async fn check_out(
        &self,
        caller: &Caller,
        key: &str,
        lines: &[(ProductId, i32)],
        delivery: Delivery,
    ) -> Result<(), Problem> {
        let lines = lines.iter().enumerate();
        let lines = lines.map(|(index, &(product, quantity))| Line { product, quantity, index }).collect();
        let Delivery { shipping_address, payment_method } = delivery;
        let request = SubmitRequest { lines, shipping_address, payment_method };
        self.take_in_one(caller, Asked { order: self.order_of_checkout(caller, key), request }).await
    }
}
