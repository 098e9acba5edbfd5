//! Answers that are the same for everybody, kept for a moment: a shared cache in front of the handlers (RFC 9111), for
//! reads that the handler marks `public` and gives a tag. Fresh ones are told as they are; older ones are told once more
//! while one request fetches the answer anew beside them; and while that fails, they are told for a while instead of an
//! error. Callers who meet an empty place wait for the first of them. Bounded in bytes; the oldest answer goes first.

mod shelf;

use crate::{background::Background, metrics};
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use chassis::clock::Clock;
use shelf::{Kept, Place, Shelf};
use std::{sync::Arc, time::Duration};

/// The header of a request that wants to read what it wrote, or what is newer: nothing kept will do for it.
pub const READ_AFTER: HeaderName = HeaderName::from_static("read-after");

/// Largest answer that is kept, in bytes.
const LARGEST: usize = 256 * 1024;
/// Longest wait for whoever fetches the same answer.
const COMPANY: Duration = Duration::from_secs(1);

/// For how long, and how much.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// Told without a look.
    pub fresh: Duration,
    /// Told after that, while it is fetched anew.
    pub stale: Duration,
    /// Told after that, while it cannot be fetched.
    pub if_error: Duration,
    /// Most bytes kept, keys included.
    pub bytes: usize,
}

impl Default for CacheConfig {
    /// A quarter of a second; one second more while it is fetched; a minute while it cannot be; 16 MiB.
    fn default() -> Self {
        Self {
            fresh: Duration::from_millis(250),
            stale: Duration::from_secs(1),
            if_error: Duration::from_secs(60),
            bytes: 16 * 1024 * 1024,
        }
    }
}

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct ResponseCache {
    inner: Arc<Inner>,
}

struct Inner {
    config: CacheConfig,
    paths: &'static [&'static str],
    shelf: Shelf,
    background: Background,
    clock: Clock,
}

impl ResponseCache {
    /// Keeps answers of the routes of these templates; `background` fetches anew.
    #[must_use]
    pub fn new(
        config: CacheConfig,
        paths: &'static [&'static str],
        background: Background,
        clock: Clock,
    ) -> Self {
        let shelf = Shelf::of(config.bytes);
        Self { inner: Arc::new(Inner { config, paths, shelf, background, clock }) }
    }

    /// Puts it around the routes of `app`.
    pub fn around(self, app: Router) -> Router {
        app.layer(middleware::from_fn_with_state(self, answer))
    }

    fn is_for(&self, request: &Request) -> bool {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        request.method() == Method::GET
            && !request.headers().contains_key(header::AUTHORIZATION)
            && !request.headers().contains_key(READ_AFTER)
            && path.is_some_and(|path| self.inner.paths.contains(&path))
    }

    fn now(&self) -> i64 {
        self.inner.clock.now_millis()
    }

    /// Runs the handler, and keeps what it says.
    async fn fetch(&self, key: &str, place: &Place, request: Request, next: Next) -> Fetched {
        let response = next.run(request).await;
        let (parts, body) = response.into_parts();
        if parts.status.is_server_error() {
            place.failed();
        }
        let is_small = body.size_hint().upper().is_some_and(|upper| upper <= LARGEST as u64);
        if parts.status != StatusCode::OK || !is_public(&parts.headers) || !is_small {
            return Fetched::Other(Response::from_parts(parts, body));
        }
        let Ok(bytes) = axum::body::to_bytes(body, LARGEST).await else {
            return Fetched::Other(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let kept = Kept::of(parts.headers, bytes, self.now());
        self.inner.shelf.put(key, place, kept.clone());
        Fetched::Kept(kept)
    }
}

/// What a handler said.
enum Fetched {
    Kept(Kept),
    /// Nothing that is kept.
    Other(Response),
}

async fn answer(State(cache): State<ResponseCache>, request: Request, next: Next) -> Response {
    if !cache.is_for(&request) {
        return next.run(request).await;
    }
    let key = request.uri().path_and_query().map_or("", |text| text.as_str()).to_owned();
    let asked = request.headers().clone();
    let place = cache.inner.shelf.place(&key);
    let config = cache.inner.config;
    let plain = plain(request);
    let now = cache.now();
    if let Some(kept) = place.kept() {
        let age = kept.age(now);
        if age < config.fresh {
            return tell(&kept, age, &asked, "hit");
        }
        let stale = config.fresh + config.stale;
        // nobody waits again for what failed a moment ago
        let how = if age < stale { Some("stale") } else { None };
        let how = how.or((age < stale + config.if_error && place.has_failed()).then_some("stale-if-error"));
        if let Some(how) = how {
            fetch_anew(&cache, key, &place, plain, next).await;
            return tell(&kept, age, &asked, how);
        }
    }
    // whoever comes second waits for the first, and not for ever
    let company = tokio::time::timeout(COMPANY, place.alone.lock()).await;
    let now = cache.now();
    if let Some(kept) = place.kept().filter(|kept| kept.age(now) < config.fresh) {
        return tell(&kept, kept.age(now), &asked, "hit");
    }
    let fetched = cache.fetch(&key, &place, plain, next).await;
    drop(company);
    match fetched {
        Fetched::Kept(kept) => tell(&kept, Duration::ZERO, &asked, "miss"),
        Fetched::Other(response) if response.status().is_server_error() => {
            let most = config.fresh + config.stale + config.if_error;
            let old = place.kept().map(|kept| (kept.age(now), kept)).filter(|(age, _)| *age < most);
            old.map_or(response, |(age, kept)| tell(&kept, age, &asked, "stale-if-error"))
        }
        Fetched::Other(response) => response,
    }
}

/// One request at a time fetches an answer that is being told.
async fn fetch_anew(cache: &ResponseCache, key: String, place: &Place, request: Request, next: Next) {
    let Ok(alone) = place.alone.clone().try_lock_owned() else { return };
    let (cache, place) = (cache.clone(), place.clone());
    let background = cache.inner.background.clone();
    let fetching = async move {
        let _alone = alone;
        let _ = cache.fetch(&key, &place, request, next).await;
    };
    background.run(fetching).await;
}

/// The same request without conditions: what is kept is whole.
fn plain(request: Request) -> Request {
    let (mut parts, _) = request.into_parts();
    parts.headers = HeaderMap::new();
    Request::from_parts(parts, Body::empty())
}

fn is_public(headers: &HeaderMap) -> bool {
    let control =
        headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    control.split(',').any(|directive| directive.trim() == "public") && headers.contains_key(header::ETAG)
}

fn tell(kept: &Kept, age: Duration, asked: &HeaderMap, how: &'static str) -> Response {
    ::metrics::counter!(metrics::RESPONSE_CACHE, "how" => how).increment(1);
    let is_known = kept.headers.get(header::ETAG).is_some_and(|tag| holds(asked, tag.as_bytes()));
    let mut response = if is_known {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        *response.headers_mut() = kept.headers.clone();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    } else {
        let mut response = Response::new(Body::from(kept.body.clone()));
        *response.headers_mut() = kept.headers.clone();
        response
    };
    response.headers_mut().insert(header::AGE, HeaderValue::from(age.as_secs()));
    response
}

/// Whether `If-None-Match` names the tag (RFC 9110 §13.1.2: any of a list, compared weakly, or `*`).
fn holds(asked: &HeaderMap, tag: &[u8]) -> bool {
    let values = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags =
        values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    tags.any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests;
