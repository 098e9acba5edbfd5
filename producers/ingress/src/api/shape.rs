//! Shapes of JSON values, as the document tells them (JSON Schema 2020-12). Bounds are the constants that the reader of
//! the value checks by.

use crate::problem::Kind;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::openapi::{
    OneOfBuilder, Ref, RefOr,
    schema::{
        AdditionalProperties, ArrayBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat,
        SchemaType, Type,
    },
};

/// The shape of a value, and the named shapes in it.
#[derive(Clone)]
pub struct Shape {
    pub(super) schema: RefOr<Schema>,
    pub(super) named: BTreeMap<String, RefOr<Schema>>,
}

impl Shape {
    fn of(schema: impl Into<RefOr<Schema>>) -> Self {
        Self { schema: schema.into(), named: BTreeMap::new() }
    }

    /// The same as a component of that name, which every use refers to.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let mut named = self.named;
        named.insert(name.to_owned(), self.schema);
        Self { schema: RefOr::Ref(Ref::from_schema_name(name)), named }
    }

    /// The same with a description.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        self.change(|object| object.description = Some(text.to_owned()))
    }

    /// The same with an example.
    #[must_use]
    pub fn example(self, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.change(|object| object.examples.push(value))
    }

    /// The same, or `null`.
    #[must_use]
    pub fn or_null(self) -> Self {
        self.change(|object| {
            if let SchemaType::Type(one) = object.schema_type.clone() {
                object.schema_type = SchemaType::Array(vec![one, Type::Null]);
            }
        })
    }

    /// What only plain values and objects have; others are told by what is in them.
    fn change(mut self, change: impl FnOnce(&mut Object)) -> Self {
        if let RefOr::T(Schema::Object(object)) = &mut self.schema {
            change(object);
        }
        self
    }
}

fn plain(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// Any text.
#[must_use]
pub fn text() -> Shape {
    Shape::of(plain(Type::String))
}

/// A text of `least` to `most` characters that matches `pattern` as a whole.
#[must_use]
pub fn matching(pattern: &str, least: usize, most: usize) -> Shape {
    let text = plain(Type::String).pattern(Some(pattern));
    Shape::of(text.min_length(Some(least)).max_length(Some(most)))
}

/// What [`crate::form::Form::words`] takes: 1 to `most` characters, more than blanks, no control characters but line
/// feeds and tabs.
#[must_use]
pub fn words(most: usize) -> Shape {
    const FINE: &str = r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]*";
    matching(&format!(r"^{FINE}[^\s\x00-\x1f\x7f-\x9f]{FINE}$"), 1, most)
}

/// A UUID.
#[must_use]
pub fn uuid() -> Shape {
    Shape::of(plain(Type::String).format(Some(SchemaFormat::Custom("uuid".to_owned()))))
}

/// A time, RFC 3339.
#[must_use]
pub fn time() -> Shape {
    Shape::of(plain(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
}

/// One of these words.
pub fn choice<W: Into<Value>>(words: impl IntoIterator<Item = W>) -> Shape {
    Shape::of(plain(Type::String).enum_values(Some(words)))
}

/// A whole number from `least` to `most`.
#[must_use]
pub fn whole(least: i64, most: i64) -> Shape {
    let number = plain(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
    let bound = |value| Some(isize::try_from(value).unwrap_or(isize::MAX));
    Shape::of(number.minimum(bound(least)).maximum(bound(most)))
}

/// `true` or `false`.
#[must_use]
pub fn flag() -> Shape {
    Shape::of(plain(Type::Boolean))
}

/// `least` to `most` values of one shape.
#[must_use]
pub fn list(of: Shape, least: usize, most: usize) -> Shape {
    let items = ArrayBuilder::new().items(of.schema).min_items(Some(least)).max_items(Some(most));
    Shape { schema: RefOr::T(Schema::Array(items.build())), named: of.named }
}

/// An object without fields yet; see [`Shape::must`] and [`Shape::may`].
#[must_use]
pub fn object() -> Shape {
    Shape::of(plain(Type::Object))
}

impl Shape {
    /// The object with a field that is always there.
    #[must_use]
    pub fn must(self, field: &'static str, shape: Shape) -> Self {
        self.may(field, shape).change(|object| object.required.push(field.to_owned()))
    }

    /// The object with a field that may be left out.
    #[must_use]
    pub fn may(mut self, field: &'static str, shape: Shape) -> Self {
        self.named.extend(shape.named);
        self.change(|object| {
            object.properties.insert(field.to_owned(), shape.schema);
        })
    }

    /// The object, and no field more: what a body is held to.
    #[must_use]
    pub fn closed(self) -> Self {
        self.change(|object| {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        })
    }
}

/// One of several shapes.
pub fn either(shapes: impl IntoIterator<Item = Shape>) -> Shape {
    let mut named = BTreeMap::new();
    let mut one_of = OneOfBuilder::new();
    for shape in shapes {
        named.extend(shape.named);
        one_of = one_of.item(shape.schema);
    }
    Shape { schema: RefOr::T(Schema::OneOf(one_of.build())), named }
}

/// An amount of money.
#[must_use]
pub fn money() -> Shape {
    object()
        .must("amount", whole(i64::MIN, i64::MAX).says("In minor units: cents, for USD."))
        .must("currency", matching("^[A-Z]{3}$", 3, 3).says("ISO 4217.").example("USD"))
        .named("Money")
}

/// A page of a list ([`crate::page::Page`]).
#[must_use]
pub fn page(item: Shape) -> Shape {
    let most = usize::try_from(crate::page::MAX_LIMIT).unwrap_or_default();
    object()
        .must("items", list(item, 0, most))
        .must("nextCursor", cursor().or_null().says("Where the next page begins; `null` on the last."))
}

/// The cursor of a page ([`crate::page::Cursor`]).
#[must_use]
pub fn cursor() -> Shape {
    matching("^[0-9a-fA-F]{48}$", 48, 48)
}

/// The number of items on a page.
#[must_use]
pub fn limit() -> Shape {
    whole(1, crate::page::MAX_LIMIT)
        .change(|object| object.default = Some(Value::from(crate::page::DEFAULT_LIMIT)))
}

/// A problem ([`crate::problem::Problem`]).
#[must_use]
pub fn problem() -> Shape {
    let error = object()
        .must("field", text().says("The field as the client wrote it; empty for the body itself."))
        .must("message", text().says("What is expected there."));
    object()
        .must("type", choice(Kind::ALL.map(Kind::urn)).says("Tells problems apart; each has one status."))
        .must("title", text().says("The same for each problem of this type."))
        .must("status", whole(400, 599).says("The HTTP status."))
        .must("detail", text().says("What happened here, for a person."))
        .may("orderStatus", text().says("Where the order stands, where that is the reason."))
        .may("errors", list(error, 1, 100))
        .says("RFC 9457.")
        .named("Problem")
}
