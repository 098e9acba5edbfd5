//! What is told of one call: its parameters, body, answers and refusals. Refusals that a part of a call brings with it
//! (a body, a guard) are added by that part.

use super::{
    headers::{AnswerHeader, HeaderParameter},
    shape::Shape,
};
use crate::problem::Kind;
use axum::http::StatusCode;
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// What is told of one call.
#[derive(Clone)]
pub struct About {
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: Option<String>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) answers: BTreeMap<u16, Answer>,
    pub(super) refusals: Vec<Kind>,
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

#[derive(Clone)]
pub(super) struct Parameter {
    pub(super) place: Place,
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) says: String,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

#[derive(Clone)]
pub(super) struct Body {
    pub(super) required: bool,
    pub(super) shape: Shape,
    pub(super) example: Value,
}

/// An answer that is no problem.
#[derive(Clone)]
pub struct Answer {
    pub(super) says: &'static str,
    pub(super) content: Option<(&'static str, Shape, Value)>,
    pub(super) headers: Vec<AnswerHeader>,
}

impl Answer {
    /// JSON; `example` is best written by the code that writes the answer.
    #[must_use]
    pub fn json(says: &'static str, shape: Shape, example: Value) -> Self {
        Self::of(says, "application/json", shape, example)
    }

    /// Content of another media type.
    #[must_use]
    pub fn of(says: &'static str, media_type: &'static str, shape: Shape, example: Value) -> Self {
        Self { says, content: Some((media_type, shape, example)), headers: Vec::new() }
    }

    /// No content.
    #[must_use]
    pub fn empty(says: &'static str) -> Self {
        Self { says, content: None, headers: Vec::new() }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, header: AnswerHeader) -> Self {
        self.headers.push(header);
        self
    }
}

impl About {
    /// A call of that operation id, in a few words.
    #[must_use]
    pub fn of(id: &'static str, summary: &'static str) -> Self {
        // whoever calls may call too often; whatever is called may be full, or broken
        let refusals = vec![Kind::TooMany, Kind::Internal, Kind::Unavailable];
        let (parameters, answers) = (Vec::new(), BTreeMap::new());
        Self { id, summary, description: None, parameters, body: None, answers, refusals }
    }

    /// More words (Markdown).
    #[must_use]
    pub fn says(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// A part of the path.
    #[must_use]
    pub fn path(self, name: &'static str, says: &str, shape: Shape) -> Self {
        self.parameter(Place::Path, name, true, says, shape)
    }

    /// A parameter of the query; one that does not read is refused.
    #[must_use]
    pub fn query(self, name: &'static str, says: &str, shape: Shape) -> Self {
        self.parameter(Place::Query, name, false, says, shape).refuses(&[Kind::BadRequest])
    }

    /// A header of the request.
    #[must_use]
    pub fn header(self, header: HeaderParameter) -> Self {
        let told = if header.name == "Idempotency-Key" { self.refuses(&[Kind::BadKey]) } else { self };
        told.parameter(Place::Header, header.name, header.required, &header.says, header.shape)
    }

    fn parameter(
        mut self,
        place: Place,
        name: &'static str,
        required: bool,
        says: &str,
        shape: Shape,
    ) -> Self {
        self.parameters.push(Parameter { place, name, required, says: says.to_owned(), shape });
        self
    }

    /// A JSON body, and the refusals of one that is none.
    #[must_use]
    pub fn body(self, shape: Shape, example: Value) -> Self {
        self.with_body(Body { required: true, shape, example })
    }

    /// A JSON body that may be left out.
    #[must_use]
    pub fn optional_body(self, shape: Shape, example: Value) -> Self {
        self.with_body(Body { required: false, shape, example })
    }

    fn with_body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self.refuses(&[
            Kind::BadRequest,
            Kind::TooSlow,
            Kind::TooLarge,
            Kind::UnsupportedMediaType,
            Kind::Invalid,
        ])
    }

    /// An answer.
    #[must_use]
    pub fn answers(mut self, status: StatusCode, answer: Answer) -> Self {
        self.answers.insert(status.as_u16(), answer);
        self
    }

    /// Problems that this call can end with, besides those of its parts.
    #[must_use]
    pub fn refuses(mut self, kinds: &[Kind]) -> Self {
        for kind in kinds {
            if !self.refusals.contains(kind) {
                self.refusals.push(*kind);
            }
        }
        self
    }
}
