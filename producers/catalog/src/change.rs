//! `PATCH /api/products/{id}`: changes text, category or price, takes a product off sale or puts it back. `If-Match` names
//! the version that was seen; a product that has moved on is left alone.

use crate::{
    metrics, product, read_after,
    revision::{self, Revision},
    routes::Catalog,
    store::{Made, Order, Refused},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ingress::{
    api::{About, Answer, headers as told_headers, shape},
    auth::Caller,
    body::JsonBody,
    problem::{FieldError, Kind, Problem},
    response_cache::READ_AFTER,
};
use schemas::{ids::ProductId, shelf::Facts};
use serde_json::json;

pub(crate) fn about() -> About {
    let seen = "The `ETag` of the product as you saw it, of which only the part before `-` counts: 412 when it has moved on.";
    let tag = shape::matching(r#"^"[0-9]{1,18}(-[0-9]+)?"$"#, 3, 50).example("\"1-7\"");
    let example = serde_json::to_value(product::told_facts()).unwrap_or_default();
    let changed = Answer::json("As it is now.", revision::told_facts(), example);
    About::of("changeProduct", "Change text, category or price, take it off sale or put it back")
        .path("id", "The product.", shape::uuid())
        .says("Fields that are left out stay as they are. Where nothing is another, nothing is changed or said.")
        .header(told_headers::header("If-Match", true, seen, tag))
        .body(revision::told(false), json!({"price": {"amount": 1_990, "currency": "USD"}}))
        .answers(
            StatusCode::OK,
            changed.with(told_headers::etag()).with(told_headers::location()).with(read_after::given()),
        )
        .refuses(&[Kind::NotFound, Kind::PreconditionFailed])
}

pub(crate) async fn change(
    State(catalog): State<Catalog>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(json): JsonBody,
) -> Result<Response, Problem> {
    let id: ProductId = id.parse().map_err(|_| Problem::new(Kind::NotFound, "there is no such product"))?;
    let version = version(&headers)?;
    let revision = Revision::read(json)?;
    let writer = catalog.writer.as_ref().ok_or_else(read_only)?;
    let order = Order::Revise(id, version, revision);
    let made = writer.write(order, caller.owner.to_string()).await.map_err(refused)?;
    told(&made)
}

/// The product's version in `If-Match`: an entity tag of a product, whose part after `-` is inventory's and no matter here.
fn version(headers: &HeaderMap) -> Result<i64, Problem> {
    let tag = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let tag = tag.and_then(|tag| tag.trim().strip_prefix('"')?.strip_suffix('"'));
    let version = tag.and_then(|tag| tag.split('-').next()?.parse().ok());
    version.ok_or_else(|| Problem::bad_parameter("If-Match", "must be the ETag of the product as you saw it"))
}

/// What the product is now, and how to read it.
pub(crate) fn told(made: &Made) -> Result<Response, Problem> {
    let outcome = if made.place.is_some() { "made" } else { "already" };
    ::metrics::counter!(metrics::WRITES, "outcome" => outcome).increment(1);
    let mut response = Json::<&Facts>(&made.facts).into_response();
    let headers = response.headers_mut();
    let value = |text: String| {
        HeaderValue::try_from(text).map_err(|error| Problem::internal("answering a change", &error))
    };
    headers.insert(header::ETAG, value(format!("\"{}\"", made.facts.version))?);
    headers.insert(header::LOCATION, value(format!("/api/products/{}", made.facts.id))?);
    if let Some(place) = made.place {
        headers.insert(READ_AFTER, value(place.to_string())?);
    }
    Ok(response)
}

/// This process has no writer.
pub(crate) fn read_only() -> Problem {
    Problem::unavailable("the catalogue cannot be changed here")
}

/// A refusal as clients see it.
pub(crate) fn refused(why: Refused) -> Problem {
    let is_ours = matches!(why, Refused::Log(..) | Refused::Event(_) | Refused::Database(_));
    let outcome = if is_ours { "unavailable" } else { "refused" };
    ::metrics::counter!(metrics::WRITES, "outcome" => outcome).increment(1);
    let said = why.to_string();
    match why {
        Refused::NoProduct => Problem::new(Kind::NotFound, said),
        Refused::NoCategory => Problem::invalid(vec![FieldError::new("category", "is no category's slug")]),
        Refused::There | Refused::Version(_) => Problem::new(Kind::PreconditionFailed, said),
        Refused::Event(error) => Problem::internal("writing an event of the catalogue", &error),
        Refused::Log(..) => {
            tracing::warn!(why = %said, "a change of the catalogue was not made");
            Problem::unavailable("the change could not be made; nothing was done")
        }
        Refused::Database(_) => {
            tracing::warn!(why = %said, "it is not known whether a change of the catalogue was made");
            Problem::unavailable(
                "it is not known whether the change was made; read the product, then try again",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_part_of_a_products_tag() {
        let of = |tag: &'static str| {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(tag))]);
            version(&headers).ok()
        };
        assert_eq!(["\"3\"", "\"3-17\"", " \"12-0\""].map(of), [Some(3), Some(3), Some(12)]);
        assert_eq!(["3", "*", "\"x\"", "\"\"", "W/\"3\"", ""].map(of), [None; 6]);
        assert!(version(&HeaderMap::new()).is_err());
    }
}
