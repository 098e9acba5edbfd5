//! A submit as the client means it: read, checked, its lines merged, and its hash.

use crate::config::OrdersConfig;
use ingress::{
    body::Json,
    form::{Findings, Form},
    idempotency::IdempotencyKey,
    problem::Problem,
};
use schemas::{ids::ProductId, messages::BodyHash};
use sha2::{Digest, Sha256};

/// Most lines of an order.
pub const MAX_LINES: usize = 100;
/// Most units of a product in an order.
pub const MAX_QUANTITY: i64 = 10_000;
/// Longest address, in characters.
pub(crate) const MAX_ADDRESS: usize = 500;

/// One line as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) product: ProductId,
    pub(crate) quantity: i32,
    /// Where the client wrote it first, for problems found later.
    pub(crate) index: usize,
}

/// A valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubmitRequest {
    /// One line a product, in the order in which products were first named.
    pub(crate) lines: Vec<Line>,
    pub(crate) shipping_address: String,
    pub(crate) payment_method: String,
}

impl SubmitRequest {
    /// Reads and checks a body; all that is wrong with it is said at once.
    pub(crate) fn read(json: Json, config: &OrdersConfig) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let request =
            Form::open(json, "", &mut findings).and_then(|form| fields(form, config, &mut findings));
        findings.finish(request)
    }

    /// The same of an order that brings its key with it, in the field `idempotencyKey`.
    pub(crate) fn read_keyed(
        json: Json,
        config: &OrdersConfig,
    ) -> (Option<IdempotencyKey>, Result<Self, Problem>) {
        let mut findings = Findings::default();
        let mut key = None;
        let request = Form::open(json, "", &mut findings).and_then(|mut form| {
            let text = form.text("idempotencyKey", &mut findings);
            key = text.as_ref().and_then(|text| IdempotencyKey::read(text.as_bytes()));
            if text.is_some() && key.is_none() {
                findings.add("idempotencyKey", "must be 1 to 255 visible ASCII characters");
            }
            fields(form, config, &mut findings)
        });
        (key, findings.finish(request))
    }

    /// Hash of what was asked, whatever its spelling in JSON: lengths before texts, so that no two requests share
    /// their bytes.
    pub(crate) fn hash(&self) -> BodyHash {
        let mut hash = Sha256::new();
        hash.update(b"mambogo submit 1");
        hash.update((self.lines.len() as u64).to_be_bytes());
        for line in &self.lines {
            hash.update(line.product.0.as_bytes());
            hash.update(line.quantity.to_be_bytes());
        }
        for text in [&self.shipping_address, &self.payment_method] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        BodyHash(hash.finalize().into())
    }
}

fn fields(mut form: Form, config: &OrdersConfig, findings: &mut Findings) -> Option<SubmitRequest> {
    let lines = form.list("items", findings).and_then(|items| lines(items, findings));
    let delivery = delivery(&mut form, config, findings);
    form.done(findings);
    let (shipping_address, payment_method) = delivery?;
    Some(SubmitRequest { lines: lines?, shipping_address, payment_method })
}

/// Where an order goes and how it is paid: the address and the method.
pub(crate) fn delivery(
    form: &mut Form,
    config: &OrdersConfig,
    findings: &mut Findings,
) -> Option<(String, String)> {
    let shipping_address = form.words("shippingAddress", MAX_ADDRESS, findings);
    let payment_method = form.text("paymentMethod", findings).filter(|method| {
        let is_known = config.takes(method);
        if !is_known {
            findings.add("paymentMethod", "is not a payment method of this shop");
        }
        is_known
    });
    Some((shipping_address?, payment_method?))
}

fn lines(items: Vec<Json>, findings: &mut Findings) -> Option<Vec<Line>> {
    if items.is_empty() || items.len() > MAX_LINES {
        findings.add("items", format!("must have 1 to {MAX_LINES} lines"));
        return None;
    }
    let mut lines: Vec<Line> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Some(line) = line(item, index, findings) else { continue };
        match lines.iter_mut().find(|other| other.product == line.product) {
            None => lines.push(line),
            Some(first) => match first.quantity.checked_add(line.quantity) {
                Some(sum) if i64::from(sum) <= MAX_QUANTITY => first.quantity = sum,
                _ => findings.add(
                    format!("items[{index}].quantity"),
                    format!("makes more than {MAX_QUANTITY} of this product, together with its other lines"),
                ),
            },
        }
    }
    Some(lines)
}

fn line(item: Json, index: usize, findings: &mut Findings) -> Option<Line> {
    let mut form = Form::open(item, &format!("items[{index}]"), findings)?;
    let product = form.parsed("productId", "a product's id (a UUID)", findings);
    let quantity = form.whole("quantity", 1, MAX_QUANTITY, findings);
    form.done(findings);
    Some(Line { product: product?, quantity: i32::try_from(quantity?).ok()?, index })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::settings::Environment;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const A: &str = "00000000-0000-0000-0000-00000000000a";
    const B: &str = "00000000-0000-0000-0000-00000000000b";

    fn read(value: &Value) -> Result<SubmitRequest, Vec<String>> {
        let config = OrdersConfig::from_environment(&Environment::of([])).unwrap();
        let json = Json::parse(value.to_string().as_bytes()).unwrap();
        SubmitRequest::read(json, &config)
            .map_err(|problem| problem.errors.into_iter().map(|error| error.field).collect())
    }

    fn order(items: Value) -> Value {
        json!({"items": items, "shippingAddress": "1 Harbour Road", "paymentMethod": "CREDIT_CARD"})
    }

    #[test]
    fn lines_of_one_product_are_merged() {
        let items = json!([{"productId": A, "quantity": 4_000}, {"productId": B, "quantity": 1},
                           {"productId": A, "quantity": 6_000}]);
        let request = read(&order(items)).unwrap();
        let quantities: Vec<_> = request.lines.iter().map(|line| (line.quantity, line.index)).collect();
        assert_eq!(quantities, [(10_000, 0), (1, 1)]);
        let items = json!([{"productId": A, "quantity": 4_001}, {"productId": A, "quantity": 6_000}]);
        assert_eq!(read(&order(items)), Err(vec!["items[1].quantity".to_owned()]));
    }

    #[test]
    fn each_bad_field_is_named_all_at_once() {
        let bad = json!({
            "items": [{"productId": "x", "quantity": 0}, {"quantity": -1}, 7,
                      {"productId": A, "quantity": 2_147_483_648_u64}, {"productId": A, "quantity": 1.5},
                      {"productId": A, "quantity": "1"}, {"productId": A, "quantity": 10_001},
                      {"productId": A, "quantity": 1, "price": 1}],
            "shippingAddress": " ", "paymentMethod": "IOU", "total": 1
        });
        assert_eq!(
            read(&bad).unwrap_err(),
            [
                "items[0].productId",
                "items[0].quantity",
                "items[1].productId",
                "items[1].quantity",
                "items[2]",
                "items[3].quantity",
                "items[4].quantity",
                "items[5].quantity",
                "items[6].quantity",
                "items[7].price",
                "shippingAddress",
                "paymentMethod",
                "total"
            ]
        );
        assert_eq!(read(&json!([])).unwrap_err(), [""]);
        assert_eq!(read(&json!({})).unwrap_err(), ["items", "shippingAddress", "paymentMethod"]);
    }

    #[test]
    fn lines_and_address_are_bounded() {
        let line = json!({"productId": A, "quantity": 1});
        assert!(read(&order(json!(vec![line.clone(); 100]))).is_ok());
        assert_eq!(read(&order(json!(vec![line.clone(); 101]))).unwrap_err(), ["items"]);
        assert_eq!(read(&order(json!([]))).unwrap_err(), ["items"]);
        let mut long = order(json!([line]));
        long["shippingAddress"] = json!("é".repeat(500));
        assert!(read(&long).is_ok());
        long["shippingAddress"] = json!("é".repeat(501));
        assert_eq!(read(&long).unwrap_err(), ["shippingAddress"]);
    }

    #[test]
    fn spelling_does_not_change_the_hash_and_meaning_does() {
        let spelled = |text: &str| {
            let config = OrdersConfig::from_environment(&Environment::of([])).unwrap();
            SubmitRequest::read(Json::parse(text.as_bytes()).unwrap(), &config).unwrap().hash()
        };
        let one = format!(
            r#"{{"items":[{{"productId":"{A}","quantity":1}}],"shippingAddress":"x","paymentMethod":"PAYPAL"}}"#
        );
        let same = format!(
            r#"{{ "paymentMethod":"\u0050AYPAL", "shippingAddress":"x", "items":[{{"quantity":1,"productId":"{}"}}] }}"#,
            A.to_uppercase()
        );
        assert_eq!(spelled(&one), spelled(&same));
        assert_ne!(spelled(&one), spelled(&one.replace("\"quantity\":1", "\"quantity\":2")));
        assert_ne!(spelled(&one), spelled(&one.replace("PAYPAL", "DEBIT_CARD")));
    }

    proptest! {
        #[test]
        fn two_requests_with_one_hash_are_one_request(
            a in ("[a-c]{1,3}", "[a-c]{1,3}", 1i32..3), b in ("[a-c]{1,3}", "[a-c]{1,3}", 1i32..3),
        ) {
            let request = |(address, method, quantity): (String, String, i32)| SubmitRequest {
                lines: vec![Line { product: A.parse().unwrap(), quantity, index: 0 }],
                shipping_address: address,
                payment_method: method,
            };
            let (a, b) = (request(a), request(b));
            prop_assert_eq!(a == b, a.hash() == b.hash());
        }
    }
}
