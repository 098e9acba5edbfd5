//! What browsers and proxies outside need of answers: JSON that is worth it compressed, and other sites' pages let in by
//! their exact origin (CORS), or not at all.

use axum::{
    Router,
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
    middleware,
    response::Response,
};
use ingress::trace;
use std::{str::FromStr, time::Duration};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate, predicate::SizeAbove},
    cors::{AllowOrigin, CorsLayer},
};

/// Smaller answers are sent as they are: a packet less is nothing won.
const WORTH_IT: u16 = 1_024;
/// How long a browser may remember what it was let do.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Sites whose pages may call, by their exact origins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

impl FromStr for Origins {
    type Err = ();

    /// `https://shop.example, http://localhost:5173`: no wildcards, no paths.
    fn from_str(text: &str) -> Result<Self, ()> {
        let one = |origin: &str| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).ok_or(())?;
            let is_host =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
            if host.is_empty() || !host.bytes().all(is_host) {
                return Err(());
            }
            HeaderValue::from_str(origin).map_err(|_| ())
        };
        let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        Ok(Self(origins.map(one).collect::<Result<_, ()>>()?))
    }
}

/// Puts both around `app`.
pub(crate) fn dressed(app: Router, origins: &Origins) -> Router {
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(WORTH_IT).and(is_json));
    let app = app.layer(compression).layer(middleware::map_response(weaken));
    if origins.0.is_empty() { app } else { app.layer(cors(origins)) }
}

/// What trickles (server-sent events) is no JSON, and is never held back to be compressed.
fn is_json(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';')
        .next()
        .is_some_and(|kind| matches!(kind.trim(), "application/json" | "application/problem+json"))
}

/// A strong tag stands for the bytes that were sent, and these are others now (RFC 9110 §8.8.3.3).
async fn weaken(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let strong = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(weak) = weak
        && headers.contains_key(header::CONTENT_ENCODING)
    {
        headers.insert(header::ETAG, weak);
    }
    response
}

fn cors(origins: &Origins) -> CorsLayer {
    let ours = ["idempotency-key", "x-idempotency-key", "prefer", "last-event-id", "cart-token"];
    let told = [
        "x-request-id",
        "ratelimit",
        "ratelimit-policy",
        "preference-applied",
        "downstream-state",
        "cart-token",
    ];
    let asked =
        [header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH, header::IF_MATCH, trace::HEADER];
    let answered = [header::ETAG, header::LOCATION, header::RETRY_AFTER];
    // no credentials: callers show a token, never a cookie
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.0.clone()))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(asked.into_iter().chain(ours.map(HeaderName::from_static)).collect::<Vec<_>>())
        .expose_headers(answered.into_iter().chain(told.map(HeaderName::from_static)).collect::<Vec<_>>())
        .max_age(REMEMBERED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request, routing::get};
    use tower::ServiceExt;

    fn app(origins: &str) -> Router {
        let long = || format!("[\"{}\"]", "x".repeat(5_000));
        let json = [(header::CONTENT_TYPE, "application/json"), (header::ETAG, "\"7\"")];
        let events = [(header::CONTENT_TYPE, "text/event-stream")];
        let app = Router::new()
            .route("/long", get(async move || (json, long())))
            .route("/short", get(async || ([(header::CONTENT_TYPE, "application/json")], "[]")))
            .route("/events", get(async move || (events, long())));
        dressed(app, &origins.parse().unwrap())
    }

    async fn call(app: Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn long_json_is_compressed_for_who_asks_and_nothing_else_is() {
        let gzip = [("accept-encoding", "gzip, br")];
        for (path, headers, is_compressed) in [
            ("/long", &gzip[..], true),
            ("/long", &[], false),
            ("/long", &[("accept-encoding", "gzip;q=0")], false),
            ("/short", &gzip, false),
            ("/events", &gzip, false),
        ] {
            let response = call(app(""), "GET", path, headers).await;
            assert_eq!(
                response.headers().contains_key(header::CONTENT_ENCODING),
                is_compressed,
                "{path} {headers:?}"
            );
            if path == "/long" {
                let tag = if is_compressed { "W/\"7\"" } else { "\"7\"" };
                assert_eq!(response.headers()[header::ETAG], tag);
            }
            let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
            assert_eq!(bytes.len() < 500, is_compressed || path == "/short", "{path}: {}", bytes.len());
        }
    }

    #[tokio::test]
    async fn pages_of_an_exact_origin_are_let_in_and_no_others() {
        let shop = "https://shop.example";
        let allowed = async |origins: &str, origin: &str| {
            let headers = [("origin", origin), ("access-control-request-method", "POST")];
            let response = call(app(origins), "OPTIONS", "/long", &headers).await;
            let value = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(allowed(shop, shop).await.as_deref(), Some(shop));
        for other in
            ["https://shop.example.evil.example", "http://shop.example", "https://shop.example:444", "null"]
        {
            assert_eq!(allowed(shop, other).await, None, "{other}");
        }
        assert_eq!(allowed("", shop).await, None);
        let headers = [("origin", shop), ("authorization", "Bearer x")];
        let response = call(app(shop), "GET", "/short", &headers).await;
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], shop);
    }

    #[tokio::test]
    async fn a_page_may_send_what_the_api_reads_and_read_what_it_answers() {
        let shop = "https://shop.example";
        let asks = [("origin", shop), ("access-control-request-method", "POST")];
        let preflight = call(app(shop), "OPTIONS", "/long", &asks).await;
        let answer = call(app(shop), "GET", "/short", &[("origin", shop)]).await;
        for (response, list, wanted) in [
            (
                preflight,
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                ["authorization", "idempotency-key", "prefer", "if-match", "traceparent"],
            ),
            (
                answer,
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                ["etag", "location", "retry-after", "ratelimit", "downstream-state"],
            ),
        ] {
            let named = response.headers()[&list].to_str().unwrap().to_ascii_lowercase();
            for header in wanted {
                assert!(named.split(',').any(|name| name.trim() == header), "{list}: {header} of {named}");
            }
        }
    }

    #[test]
    fn an_origin_is_exact_or_refused() {
        for bad in [
            "*",
            "https://*.example",
            "shop.example",
            "https://shop.example/",
            "https://a@b",
            "https://",
            "null",
        ] {
            assert_eq!(bad.parse::<Origins>(), Err(()), "{bad}");
        }
        let two: Origins = "https://shop.example, http://localhost:5173".parse().unwrap();
        assert_eq!(two.0.len(), 2);
    }
}
