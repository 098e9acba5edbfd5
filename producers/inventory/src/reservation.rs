//! A reserve of another system: how it is named, read and checked. The caller names it (`ownerId`), and it is one reserve
//! for that name, however often it is asked for; a name is the caller's own, so nobody meets another's.

use chrono::DateTime;
use ingress::{
    auth::Caller,
    body::Json,
    form::{Findings, Form},
    problem::{Kind, Problem},
};
use schemas::{
    ids::{self, OrderId, ProductId},
    messages::{BodyHash, StockLine},
    time::Timestamp,
};
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

/// Separates reserves from orders.
const SCOPE: &str = "reserve";
/// Longest name.
pub(crate) const MAX_NAME: usize = 64;
/// Most lines of a reserve.
pub(crate) const MAX_LINES: usize = 100;
/// Most units of a product.
pub(crate) const MAX_QUANTITY: i64 = 10_000;
/// How far ahead a deadline may lie: units that another system forgets come back by then.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What the caller calls its reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnerId(pub(crate) String);

impl OwnerId {
    /// 1 to 64 letters, digits and `.`, `_`, `:`, `-`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let is_name = (1..=MAX_NAME).contains(&text.len()) && text.chars().all(is_plain);
        is_name.then(|| Self(text.to_owned()))
    }

    /// The reserve that this name stands for.
    pub(crate) fn reserve_of(&self, namespace: &Uuid, caller: &Caller) -> OrderId {
        ids::order_id(namespace, &caller.owner, SCOPE, &self.0)
    }

    /// A name of the path; one that cannot be is the name of nothing.
    pub(crate) fn of_path(text: &str) -> Result<Self, Problem> {
        Self::read(text).ok_or_else(|| Problem::new(Kind::NotFound, "there is no such reserve"))
    }
}

/// A valid request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) owner: OwnerId,
    pub(crate) deadline: Timestamp,
    /// One line a product.
    pub(crate) lines: Vec<StockLine>,
}

impl Reservation {
    /// Reads and checks a body; all that is wrong with it is said at once.
    pub(crate) fn read(json: Json, now: Timestamp) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let read = Form::open(json, "", &mut findings).and_then(|mut form| {
            let owner = form.text("ownerId", &mut findings).and_then(|text| {
                let owner = OwnerId::read(&text);
                if owner.is_none() {
                    findings.add("ownerId", "must be 1 to 64 letters, digits or any of . _ : -");
                }
                owner
            });
            let deadline = form.text("deadline", &mut findings);
            let deadline = deadline.and_then(|text| deadline_of(&text, now, &mut findings));
            let lines = form.list("items", &mut findings).and_then(|items| lines(items, &mut findings));
            form.done(&mut findings);
            Some(Self { owner: owner?, deadline: deadline?, lines: lines? })
        });
        findings.finish(read)
    }

    /// Hash of what was asked.
    pub(crate) fn hash(&self) -> BodyHash {
        let mut hash = Sha256::new();
        hash.update(b"mambogo reserve 1");
        hash.update(self.deadline.0.to_be_bytes());
        for line in &self.lines {
            hash.update(line.product_id.0.as_bytes());
            hash.update(line.quantity.to_be_bytes());
        }
        BodyHash(hash.finalize().into())
    }
}

fn deadline_of(text: &str, now: Timestamp, findings: &mut Findings) -> Option<Timestamp> {
    let deadline = DateTime::parse_from_rfc3339(text).ok().map(|at| Timestamp(at.timestamp_millis()));
    let message = match deadline {
        None => "must be a time as 2026-01-31T08:00:00Z (RFC 3339)",
        Some(at) if at <= now => "must lie ahead",
        Some(at) if at > now.plus(LONGEST) => "must lie at most 15 minutes ahead",
        Some(at) => return Some(at),
    };
    findings.add("deadline", message);
    None
}

fn lines(items: Vec<Json>, findings: &mut Findings) -> Option<Vec<StockLine>> {
    if items.is_empty() || items.len() > MAX_LINES {
        findings.add("items", format!("must have 1 to {MAX_LINES} lines"));
        return None;
    }
    let mut lines: Vec<StockLine> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Some(line) = line(item, index, findings) else { continue };
        if lines.iter().any(|other| other.product_id == line.product_id) {
            findings.add(format!("items[{index}].productId"), "is named twice");
        }
        lines.push(line);
    }
    Some(lines)
}

fn line(item: Json, index: usize, findings: &mut Findings) -> Option<StockLine> {
    let mut form = Form::open(item, &format!("items[{index}]"), findings)?;
    let product: Option<ProductId> = form.parsed("productId", "a product's id (a UUID)", findings);
    let quantity = form.whole("quantity", 1, MAX_QUANTITY, findings);
    form.done(findings);
    Some(StockLine { product_id: product?, quantity: i32::try_from(quantity?).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp(1_767_225_600_000); // 2026-01-01T00:00:00Z
    const A: &str = "00000000-0000-0000-0000-00000000000a";

    fn read(value: &Value) -> Result<Reservation, Vec<String>> {
        let json = Json::parse(value.to_string().as_bytes()).unwrap();
        Reservation::read(json, NOW)
            .map_err(|problem| problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = json!({"ownerId": "order:7", "deadline": "2026-01-01T01:15:00+01:00",
                          "items": [{"productId": A, "quantity": 2}]});
        let read_good = read(&good).unwrap();
        assert_eq!((read_good.deadline.0 - NOW.0, read_good.lines.len()), (900_000, 1));
        for (field, bad) in [
            ("ownerId", json!("a b")),
            ("ownerId", json!("x".repeat(65))),
            ("deadline", json!("2026-01-01T00:15:00.001Z")),
            ("deadline", json!("2026-01-01T00:00:00Z")),
            ("deadline", json!("tomorrow")),
            ("items", json!([])),
        ] {
            let mut body = good.clone();
            body[field] = bad;
            assert_eq!(read(&body), Err(vec![field.to_owned()]));
        }
        let mut twice = good;
        twice["items"] = json!([{"productId": A, "quantity": 1}, {"productId": A, "quantity": 10_001},
                                {"productId": A, "quantity": 1}]);
        assert_eq!(read(&twice), Err(vec!["items[1].quantity".to_owned(), "items[2].productId".to_owned()]));
    }
}
