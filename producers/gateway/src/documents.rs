//! What is told of the whole API: `/openapi.json` for machines, `/docs` for people. Both are made once, of the calls of
//! the services composed here, and need nothing from elsewhere: no script, no font, no other host.

use crate::{page, parts::declared};
use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
};
use ingress::{
    api::{self, About, Answer, headers, shape},
    surface::{Rule, Surface},
};
use serde_json::json;
use std::sync::Arc;
use utoipa::openapi::OpenApi;

const TITLE: &str = "Mambogo";
const DESCRIPTION: &str = "Orders, stock and payments. A 202 is a promise: what was accepted is on the log, is never \
    lost, and is done once. Every error is a problem (RFC 9457) whose `type` tells it apart. Money is in whole minor \
    units, times are RFC 3339 in UTC. What is full or away answers 503 with `Retry-After`: try again then, with the \
    same `Idempotency-Key`.";
/// A page without scripts; its one style sheet is ours.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const KEEP: &str = "public, max-age=300";

/// The OpenAPI document of the gateway.
#[must_use]
pub fn document() -> OpenApi {
    api::open_api(TITLE, DESCRIPTION, &declared())
}

/// The document as it is served and kept in `openapi.json`.
///
/// # Errors
/// None in practice: there is nothing in it that JSON cannot hold.
pub fn document_json() -> Result<String, serde_json::Error> {
    document().to_pretty_json().map(|text| text + "\n")
}

/// The texts, made at the start.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    json: Arc<str>,
    page: Arc<str>,
}

impl Texts {
    /// Both texts.
    ///
    /// # Errors
    /// As [`document_json`].
    pub(crate) fn make() -> Result<Self, serde_json::Error> {
        let document = serde_json::to_value(document())?;
        Ok(Self { json: document_json()?.into(), page: page::of(&document).into() })
    }
}

/// The calls that tell of all others.
pub(crate) fn surface() -> Surface<Texts> {
    let text = |says, media_type, example: &str| {
        Answer::of(says, media_type, shape::text(), json!(example)).with(headers::cache_control())
    };
    let document = Answer::json("OpenAPI 3.1.", shape::object(), json!({"openapi": "3.1.0"}));
    let json = About::of("getOpenApi", "This document, for machines")
        .answers(StatusCode::OK, document.with(headers::cache_control()));
    let page = About::of("getDocs", "This document, for people")
        .answers(StatusCode::OK, text("A page.", "text/html", "<!doctype html>…"));
    let style = About::of("getDocsStyle", "The style sheet of that page")
        .answers(StatusCode::OK, text("A style sheet.", "text/css", "body { … }"));
    Surface::new()
        .get("/openapi.json", Rule::public(), json_text, json)
        .get("/docs", Rule::public(), page_text, page)
        .get("/docs/style.css", Rule::public(), style_text, style)
}

type Told<T> = ([(HeaderName, &'static str); 3], T);

fn told<T>(media_type: &'static str, text: T) -> Told<T> {
    let policy = (header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, KEEP), policy], text)
}

async fn json_text(State(texts): State<Texts>) -> Told<String> {
    told("application/json", texts.json.to_string())
}

async fn page_text(State(texts): State<Texts>) -> Told<String> {
    told("text/html; charset=utf-8", texts.page.to_string())
}

async fn style_text() -> Told<&'static str> {
    told("text/css; charset=utf-8", page::STYLE)
}
