//! What happens around every request: its id, its trace, a time limit, a net for panics, problems for bare errors, security
//! headers, counters.

use crate::{
    metrics,
    problem::{Kind, MEDIA_TYPE, Problem},
    request_id::{self, RequestId},
    trace::{self, Trace},
};
use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longest a request may run: the longest wait a client may ask for, and time to answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// Puts the layers around `app`.
pub fn around(app: Router) -> Router {
    app.layer(middleware::from_fn(surround))
}

async fn surround(mut request: Request, next: Next) -> Response {
    let id = RequestId::draw();
    request.extensions_mut().insert(id);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = Instant::now();
    let handling = trace::within(Trace::read(request.headers()), next.run(request));
    let handled = AssertUnwindSafe(tokio::time::timeout(REQUEST_TIMEOUT, handling)).catch_unwind().await;
    let mut response = match handled {
        Ok(Ok(response)) => as_problem(response),
        Ok(Err(_)) => Problem::unavailable("the request took too long").into_response(),
        Err(_) => {
            ::metrics::counter!(metrics::PANICS).increment(1);
            Problem::internal("handling a request", &"a handler panicked").into_response()
        }
    };
    dress(&mut response, id);
    let route = route.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    observe(&route, method, response.status(), id, began.elapsed());
    response
}

/// An error that a framework answered without a problem's body becomes one; its headers (`Allow`) stay.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_told = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == MEDIA_TYPE);
    if !is_error || is_told {
        return response;
    }
    let kind = Kind::of_status(status);
    let mut told =
        Problem::new(kind, status.canonical_reason().unwrap_or("the request failed")).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        told.headers_mut().insert(header::ALLOW, allow.clone());
    }
    told
}

fn dress(response: &mut Response, id: RequestId) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // a page that needs more says so itself
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    // what belongs to one user is kept by nobody in between; what is public says so itself
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(request_id::HEADER, value);
    }
}

fn observe(route: &str, method: &'static str, status: StatusCode, id: RequestId, took: Duration) {
    let class = match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    ::metrics::counter!(metrics::REQUESTS, "route" => route.to_owned(), "method" => method, "status" => class)
        .increment(1);
    ::metrics::histogram!(metrics::LATENCY, "route" => route.to_owned(), "method" => method)
        .record(took.as_secs_f64());
    if status.is_server_error() {
        let (status, took_ms) = (status.as_u16(), took.as_secs_f64() * 1_000.0);
        let since_last =
            ERRORS.lock().unwrap_or_else(PoisonError::into_inner).admit(route, status, Instant::now());
        if let Some(others) = since_last {
            tracing::warn!(request = %id, route, method, status, took_ms, others, "a request was answered with an error");
        }
    }
}

/// How often errors of one route and status are logged. The counters have all of them.
const EVERY: Duration = Duration::from_secs(1);

static ERRORS: Mutex<Sparing> = Mutex::new(Sparing(BTreeMap::new()));

/// When errors of each route and status were logged last, and how many were not since. Who refuses thousands of requests
/// a second has better things to do than to write each of them down.
struct Sparing(BTreeMap<(String, u16), (Instant, u64)>);

impl Sparing {
    /// Whether one is to be logged: then, how many were not since the last.
    fn admit(&mut self, route: &str, status: u16, now: Instant) -> Option<u64> {
        let Some((last, others)) = self.0.get_mut(&(route.to_owned(), status)) else {
            self.0.insert((route.to_owned(), status), (now, 0));
            return Some(0);
        };
        if now.duration_since(*last) < EVERY {
            *others += 1;
            return None;
        }
        *last = now;
        Some(std::mem::take(others))
    }
}

/// A bounded label: clients may invent methods.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, extract::Path, routing::get};
    use tower::ServiceExt;

    async fn panics() -> &'static str {
        panic!("a secret")
    }

    async fn call(method: &str, path: &str) -> (StatusCode, axum::http::HeaderMap, String) {
        let app = Router::new()
            .route("/fine", get(async || "fine"))
            .route("/panic", get(panics))
            .route("/{number}/x", get(async |Path(number): Path<u8>| number.to_string()));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = around(app).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_error_is_a_problem() {
        for (method, path, status) in [
            ("GET", "/nothing", 404),
            ("POST", "/fine", 405),
            ("GET", "/panic", 500),
            ("GET", "/300/x", 400),
            ("BREW", "/fine", 405),
        ] {
            let (got, headers, body) = call(method, path).await;
            assert_eq!(got.as_u16(), status, "{method} {path}");
            assert_eq!(headers[header::CONTENT_TYPE], MEDIA_TYPE, "{method} {path}");
            assert!(headers.contains_key(request_id::HEADER));
            assert!(!body.contains("a secret"), "{body}");
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(json["status"], status);
            if status == 405 {
                assert!(headers[header::ALLOW].to_str().unwrap().contains("GET"));
            }
        }
    }

    #[tokio::test]
    async fn an_answer_is_left_alone_but_for_its_headers() {
        let (status, headers, body) = call("GET", "/fine").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "fine"));
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn of_errors_of_one_kind_one_a_second_is_logged_and_says_how_many_were_not() {
        let (mut errors, begin) = (Sparing(BTreeMap::new()), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        assert_eq!(errors.admit("/a", 503, at(0)), Some(0));
        assert_eq!([1, 500, 999].map(|millis| errors.admit("/a", 503, at(millis))), [None; 3]);
        assert_eq!(errors.admit("/a", 500, at(999)), Some(0), "another status");
        assert_eq!(errors.admit("/b", 503, at(999)), Some(0), "another route");
        assert_eq!(errors.admit("/a", 503, at(1_000)), Some(3));
        assert_eq!(errors.admit("/a", 503, at(5_000)), Some(0));
    }
}
