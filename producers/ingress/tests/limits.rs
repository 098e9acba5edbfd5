//! The rate limit on a real Redis: exact over several limiters that share the buckets, sufficient in each while Redis is
//! away, and nothing that a client can choose gives it another bucket.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::Response,
};
use chassis::{
    clock::Clock,
    settings::{Environment, Secret},
};
use ingress::{
    auth::{AuthConfig, Caller, Verifier, mint},
    config,
    downstream::Downstream,
    layers,
    limit::{EXEMPT, Limiter, Peer, Policy, Whose},
    redis_link::{RedisConfig, RedisLink},
    surface::{Class, Rule},
};
use schemas::time::Timestamp;
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};
use testbed::Redis;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

const SECRET: &str = "a-secret-that-is-long-enough-for-hs256";

async fn link(redis: &Redis, stop: &CancellationToken) -> RedisLink {
    let patience = Duration::from_secs(2);
    let url = Secret::new(redis.url());
    let config = RedisConfig { url, response_timeout: patience, connect_timeout: patience };
    let link = RedisLink::start(config, stop.clone()).unwrap();
    link.connects().wait_for(|generation| *generation > 0).await.unwrap();
    link
}

fn limiter(link: &RedisLink, settings: &[(&str, &str)]) -> Limiter {
    // a machine that has other things to do must not pass for a Redis that is away
    let patient = [("RATE_LIMIT_PATIENCE", "5s")];
    let pairs = settings.iter().chain(&patient).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = config::limits(&Environment::of(pairs)).unwrap().unwrap();
    let downstream = Downstream::new("redis", config.patience);
    Limiter::start(config, link.clone(), downstream)
}

fn caller(name: &str) -> Caller {
    Caller { owner: format!("issuer\n{name}").into(), scopes: BTreeSet::new() }
}

/// Microseconds by Redis's clock.
async fn redis_time(link: &RedisLink) -> u64 {
    let life = link.life().unwrap();
    let ((seconds, micros),): ((u64, u64),) = link.query(&life, redis::pipe().cmd("TIME")).await.unwrap();
    seconds * 1_000_000 + micros
}

/// Calls until `stop` through both limiters from many tasks; returns how many were granted.
async fn hammer(limiters: [&Limiter; 2], who: &Caller, stop: &CancellationToken) -> u64 {
    let tasks = (0..64_usize).map(async |task| {
        let mut granted = 0;
        while !stop.is_cancelled() {
            let counted = limiters[task % 2].count(Policy::Writes, Whose::Subject(who)).await;
            granted += u64::from(counted.is_granted());
            tokio::task::yield_now().await;
        }
        granted
    });
    futures_util::future::join_all(tasks).await.into_iter().sum()
}

#[tokio::test]
async fn two_limiters_grant_together_what_one_bucket_holds_and_gets_back() {
    let (redis, stop) = (Redis::start().await, CancellationToken::new());
    let (one, other) = (link(&redis, &stop).await, link(&redis, &stop).await);
    let settings = [("RATE_LIMIT_WRITES", "3000/s,6000")];
    let (left, right) = (limiter(&one, &settings), limiter(&other, &settings));
    let (done, ann) = (CancellationToken::new(), caller("ann"));
    let before = redis_time(&one).await;
    let (granted, elapsed) = tokio::join!(hammer([&left, &right], &ann, &done), async {
        testbed::eventually("two seconds by Redis's clock", async || {
            redis_time(&one).await > before + 2_000_000
        })
        .await;
        let elapsed = redis_time(&one).await - before;
        done.cancel();
        elapsed
    });
    // the bucket's content, and what came back: to within what came while the clock was read
    let (least, after) = (6_000 + 3 * elapsed / 1_000, redis_time(&one).await - before);
    let most = 6_000 + 3 * after / 1_000;
    assert!(granted * 100 >= least * 99, "{granted} of {least}");
    assert!(granted * 100 <= most * 101, "{granted} of {most}");
    stop.cancel();
}

#[tokio::test]
async fn without_redis_each_process_counts_for_itself_and_with_it_together_again() {
    let (mut redis, stop) = (Redis::start().await, CancellationToken::new());
    let link = link(&redis, &stop).await;
    let mut connects = link.connects();
    let settings = [("RATE_LIMIT_WRITES", "1/s,50")];
    let (left, right) = (limiter(&link, &settings), limiter(&link, &settings));
    let who = caller("ann");
    let granted = async |limiter: &Limiter| {
        let asked = (0..200).map(|_| limiter.count(Policy::Writes, Whose::Subject(&who)));
        let answers = futures_util::future::join_all(asked).await;
        answers.iter().filter(|counted| counted.is_granted()).count()
    };
    redis.stop();
    for limiter in [&left, &right] {
        let own = granted(limiter).await;
        assert!((50..=60).contains(&own), "{own}");
    }
    redis.restart().await;
    let life = *connects.borrow_and_update();
    let _ = tokio::time::timeout(
        Duration::from_secs(20),
        connects.wait_for(|now| *now > life || link.life().is_ok()),
    )
    .await;
    testbed::eventually("Redis is back", async || link.life().is_ok()).await;
    let together = granted(&left).await + granted(&right).await;
    assert!((50..=60).contains(&together), "{together}");
    stop.cancel();
}

struct Port {
    app: Router,
    auth: AuthConfig,
    _redis: Redis,
    _stop: DropGuard,
}

impl Port {
    async fn open() -> Self {
        let (redis, stop) = (Redis::start().await, CancellationToken::new());
        let link = link(&redis, &stop).await;
        let settings = [
            ("RATE_LIMIT_READS", "1/s,20"),
            ("RATE_LIMIT_WRITES", "1/s,10"),
            ("RATE_LIMIT_BULK", "1/s,3"),
            ("RATE_LIMIT_ANONYMOUS", "1/s,5"),
            ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ];
        let auth = AuthConfig::shared(Secret::new(SECRET), "issuer", "mambogo");
        let guard = ingress::guard::Guard::new(Verifier::start(&auth, stop.clone()).unwrap())
            .with_limits(Some(limiter(&link, &settings)));
        let about = || ingress::api::About::of("x", "Something");
        let surface = ingress::surface::Surface::new()
            .get("/things/{id}", Rule::caller(), async || "read", about())
            .post("/things/{id}", Rule::caller(), async || "written", about())
            .post("/things", Rule::caller().of(Class::Bulk), async || "many", about())
            .get("/open", Rule::public(), async || "open", about())
            .post("/operators", Rule::scope("operate"), async || "operated", about());
        let app = layers::around(surface.guarded(guard));
        Self { app, auth, _redis: redis, _stop: stop.drop_guard() }
    }

    fn token(&self, user: &str, scope: &str, nth: u64) -> String {
        let now = Timestamp(Clock::system().now_millis());
        let scopes: Vec<String> =
            Some(scope).filter(|scope| !scope.is_empty()).map(str::to_owned).into_iter().collect();
        mint(&self.auth, user, &scopes, now, Duration::from_secs(600 + nth)).unwrap()
    }

    async fn call(&self, method: &str, path: &str, peer: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
        self.app.clone().oneshot(request).await.unwrap()
    }
}

/// Calls that are not 429 among those with these arguments.
async fn passed<'a>(
    port: &Port,
    calls: impl IntoIterator<Item = (&'a str, String, String, String)>,
) -> usize {
    let mut passed = 0;
    for (method, path, peer, token) in calls {
        let bearer = format!("Bearer {token}");
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("authorization", &bearer)] };
        let response = port.call(method, &path, &peer, headers).await;
        passed += usize::from(response.status() != StatusCode::TOO_MANY_REQUESTS);
    }
    passed
}

/// One or two tokens may come back while a slow machine counts.
fn about(expected: usize) -> std::ops::RangeInclusive<usize> {
    expected..=expected + 3
}

#[tokio::test]
async fn nothing_that_a_client_chooses_gives_it_another_bucket() {
    let port = Port::open().await;
    let own = |text: &str| text.to_owned();
    // one subject: by new tokens, other objects, other addresses
    let calls = (0..40_u64)
        .map(|n| ("POST", format!("/things/{n}"), format!("203.0.113.{n}"), port.token("ann", "", n)));
    assert!(about(10).contains(&passed(&port, calls).await));
    // each class is counted for itself, and another subject has its own
    let reads =
        (0..40_u64).map(|n| ("GET", format!("/things/{n}"), own("203.0.113.1"), port.token("ann", "", 0)));
    assert!(about(20).contains(&passed(&port, reads).await));
    let many = (0..9_u64).map(|_| ("POST", own("/things"), own("203.0.113.1"), port.token("ann", "", 0)));
    assert!(about(3).contains(&passed(&port, many).await));
    let other = (0..5_u64).map(|_| ("POST", own("/things/1"), own("203.0.113.1"), port.token("bob", "", 0)));
    assert_eq!(passed(&port, other).await, 5);
    // a refusal for want of a scope is counted as well
    let lacking =
        (0..20_u64).map(|_| ("POST", own("/operators"), own("203.0.113.1"), port.token("eve", "", 0)));
    assert!(about(10).contains(&passed(&port, lacking).await));
    let exempt =
        (0..50_u64).map(|_| ("POST", own("/things/1"), own("203.0.113.1"), port.token("load", EXEMPT, 0)));
    assert_eq!(passed(&port, exempt).await, 50);
    // one address: by paths that are none, their case, a slash more, tokens that do not hold, other methods
    let spellings = ["/open", "/OPEN", "/open/", "//open", "/nothing", "/things/7", "/%6fpen"];
    let calls = (0..40_usize).map(|n| {
        let token = if n % 3 == 0 { format!("{n}.not.a.token") } else { String::new() };
        (["GET", "PUT"][n % 2], own(spellings[n % spellings.len()]), own("198.51.100.1"), token)
    });
    assert!(about(5).contains(&passed(&port, calls).await));
    // one IPv6 network
    let hopping =
        (0..40_u64).map(|n| ("GET", own("/open"), format!("2001:db8:7:7:{n:x}::{n:x}"), String::new()));
    assert!(about(5).contains(&passed(&port, hopping).await));
}

#[tokio::test]
async fn a_forwarded_address_counts_when_a_trusted_hop_names_it() {
    let port = Port::open().await;
    let passed = async |peer: &str, forwarded: fn(u32) -> String| {
        let mut passed = 0;
        for n in 0..20 {
            let response = port.call("GET", "/open", peer, &[("x-forwarded-for", &forwarded(n))]).await;
            passed += usize::from(response.status() == StatusCode::OK);
        }
        passed
    };
    let invented = passed("203.0.113.9", |n| format!("1.2.3.{n}")).await;
    assert!(about(5).contains(&invented), "{invented}");
    let prepended = passed("10.0.0.1", |n| format!("1.2.3.{n}, 203.0.113.10")).await;
    assert!(about(5).contains(&prepended), "{prepended}");
    assert_eq!(passed("10.0.0.1", |n| format!("203.0.114.{n}")).await, 20, "each is a client of its own");
}

#[tokio::test]
async fn answers_say_where_the_client_stands_and_a_refusal_when_to_come_again() {
    let port = Port::open().await;
    let call = async || {
        let bearer = format!("Bearer {}", port.token("ann", "", 0));
        let response = port.call("POST", "/things", "203.0.113.1", &[("authorization", &bearer)]).await;
        let of = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        (response.status().as_u16(), of("ratelimit"), of("ratelimit-policy"), of("retry-after"))
    };
    let (status, left, policy, retry) = call().await;
    assert_eq!((status, policy.as_str(), retry.as_str()), (200, "\"bulk\";q=3;w=3", ""));
    assert_eq!(left, "\"bulk\";r=2;t=1");
    let refused = loop {
        let answer = call().await;
        if answer.0 != 200 {
            break answer;
        }
    };
    assert_eq!((refused.0, refused.3.as_str()), (429, "1"));
    assert!(refused.1.starts_with("\"bulk\";r=0;t="), "{}", refused.1);
}
