//! `Read-After`: what a change answered, sent back with a read, so that whoever made it reads it. The value is a place in
//! Postgres's log; what has not come that far is not asked.

use crate::databases::Lsn;
use axum::http::HeaderMap;
use ingress::{
    api::{
        headers::{self, AnswerHeader, HeaderParameter},
        shape::{self, Shape},
    },
    problem::Problem,
    response_cache::READ_AFTER,
};

fn place() -> Shape {
    shape::matching("^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$", 3, 17).example("0/16B3748")
}

/// What is told of it where it may be asked by.
pub(crate) fn told() -> HeaderParameter {
    let says = "The `Read-After` of a change: what is read knows of it.";
    headers::header("Read-After", false, says, place())
}

/// What is told of it where it is answered.
pub(crate) fn given() -> AnswerHeader {
    ("Read-After", "Sent with a read, it makes sure that the read knows of this change.", place())
}

/// The place that the request names, if it names one.
///
/// # Errors
/// A 400 problem for a value that no answer ever gave.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Lsn>, Problem> {
    let Some(value) = headers.get(READ_AFTER) else { return Ok(None) };
    let place = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || Problem::bad_parameter("Read-After", "must be the Read-After of an earlier answer");
    place.ok_or_else(wrong).map(Some)
}
