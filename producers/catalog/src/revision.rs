//! What may be changed of a product, as a client writes it, and what a change makes of one. Pure.

use ingress::{
    api::shape::{self, Shape},
    body::Json,
    form::{Findings, Form},
    problem::Problem,
};
use schemas::{ids::ProductId, money::Money, shelf::Facts};

/// Longest name and description, in characters.
const MAX_NAME: usize = 200;
const MAX_DESCRIPTION: usize = 4_000;
/// Longest category slug, in characters.
const MAX_SLUG: usize = 100;
/// Highest price, in minor units.
const MAX_PRICE: i64 = 1_000_000_000_000;

/// How the document tells of a body: of a new product, or of a change.
pub(crate) fn told(is_new: bool) -> Shape {
    let field = |shape: Shape, name, of| if is_new { shape.must(name, of) } else { shape.may(name, of) };
    let price = shape::object()
        .must("amount", shape::whole(1, MAX_PRICE).says("In minor units: cents, for USD."))
        .must("currency", shape::matching("^[A-Z]{3}$", 3, 3).says("ISO 4217.").example("USD"))
        .closed();
    let shape = field(shape::object(), "name", shape::words(MAX_NAME));
    let shape = field(shape, "description", shape::words(MAX_DESCRIPTION));
    let shape = field(shape, "category", shape::words(MAX_SLUG).says("The category's slug."));
    field(shape, "price", price).may("active", shape::flag().says("Whether it is on sale.")).closed()
}

/// How the document tells of what the catalogue says of a product.
pub(crate) fn told_facts() -> Shape {
    shape::object()
        .must("id", shape::uuid())
        .must("version", shape::whole(1, i64::MAX).says("Grows by one with every change."))
        .must("name", shape::text())
        .must("description", shape::text())
        .must("category", shape::text().says("The category's slug."))
        .must("price", shape::money())
        .must("active", shape::flag().says("Whether it is on sale."))
        .named("ProductFacts")
}

/// The fields that change; those left out stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    name: Option<String>,
    description: Option<String>,
    category: Option<String>,
    price: Option<Money>,
    active: Option<bool>,
}

impl Revision {
    /// Reads the body of a change.
    ///
    /// # Errors
    /// A 422 problem that names every wrong field.
    pub(crate) fn read(json: Json) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let revision = Form::open(json, "", &mut findings).map(|mut form| {
            let revision = Self::of(&mut form, false, &mut findings);
            form.done(&mut findings);
            revision
        });
        findings.finish(revision)
    }

    /// Reads the body of a new product: all but `active` is required.
    ///
    /// # Errors
    /// A 422 problem that names every wrong field.
    pub(crate) fn read_new(json: Json, id: ProductId) -> Result<Facts, Problem> {
        let mut findings = Findings::default();
        let facts = Form::open(json, "", &mut findings).and_then(|mut form| {
            let all = Self::of(&mut form, true, &mut findings);
            form.done(&mut findings);
            Some(Facts {
                id,
                version: 1,
                name: all.name?,
                description: all.description?,
                category: all.category?,
                price: all.price?,
                active: all.active.unwrap_or(true),
            })
        });
        findings.finish(facts)
    }

    fn of(form: &mut Form, is_new: bool, findings: &mut Findings) -> Self {
        let wants = |form: &Form, name| is_new || form.holds(name);
        Self {
            name: wants(form, "name").then(|| form.words("name", MAX_NAME, findings)).flatten(),
            description: wants(form, "description")
                .then(|| form.words("description", MAX_DESCRIPTION, findings))
                .flatten(),
            category: wants(form, "category").then(|| form.words("category", MAX_SLUG, findings)).flatten(),
            price: wants(form, "price").then(|| price(form, findings)).flatten(),
            active: form.holds("active").then(|| form.flag("active", findings)).flatten(),
        }
    }

    /// The product afterwards, one version on, and the names of what is another then; the same product where nothing is.
    pub(crate) fn apply(self, known: Facts) -> (Facts, Vec<&'static str>) {
        let mut changed = Vec::new();
        let mut facts = known;
        set(&mut facts.name, self.name, "name", &mut changed);
        set(&mut facts.description, self.description, "description", &mut changed);
        set(&mut facts.category, self.category, "category", &mut changed);
        set(&mut facts.price, self.price, "price", &mut changed);
        set(&mut facts.active, self.active, "active", &mut changed);
        if !changed.is_empty() {
            facts.version += 1;
        }
        (facts, changed)
    }
}

fn price(form: &mut Form, findings: &mut Findings) -> Option<Money> {
    let mut price = form.object("price", findings)?;
    let amount = price.whole("amount", 1, MAX_PRICE, findings);
    let currency = price.parsed("currency", "an ISO 4217 code such as USD", findings);
    price.done(findings);
    Some(Money::new(amount?, currency?))
}

fn set<T: PartialEq>(field: &mut T, new: Option<T>, name: &'static str, changed: &mut Vec<&'static str>) {
    if let Some(new) = new.filter(|new| new != field) {
        *field = new;
        changed.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn json_of(value: &Value) -> Json {
        Json::parse(value.to_string().as_bytes()).unwrap()
    }

    fn new(value: &Value) -> Result<Facts, Vec<String>> {
        Revision::read_new(json_of(value), ProductId(Uuid::nil())).map_err(fields)
    }

    fn fields(problem: Problem) -> Vec<String> {
        problem.errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_change_counts_where_it_makes_a_difference() {
        let price = json!({"amount": 100, "currency": "USD"});
        let body = json!({"name": "a", "description": "b", "category": "c", "price": price});
        let facts = new(&body).unwrap();
        assert_eq!((facts.version, facts.active), (1, true));
        let change = |value: Value| Revision::read(json_of(&value)).unwrap().apply(facts.clone());
        let (same, changed) = change(json!({"name": "a", "active": true, "price": price}));
        assert_eq!((same, changed), (facts.clone(), vec![]));
        let (revised, changed) = change(json!({"price": {"amount": 90, "currency": "USD"}, "active": false}));
        assert_eq!((revised.version, revised.price.amount, revised.active), (2, 90, false));
        assert_eq!(changed, ["price", "active"]);
    }

    #[test]
    fn each_bad_field_is_named() {
        assert_eq!(new(&json!({})).unwrap_err(), ["name", "description", "category", "price"]);
        let body =
            json!({"name": "", "active": 1, "price": {"amount": 0, "currency": "usd", "x": 1}, "id": 1});
        let found = fields(Revision::read(json_of(&body)).unwrap_err());
        assert_eq!(found, ["name", "price.amount", "price.currency", "price.x", "active", "id"]);
    }
}
