//! Tokens of an issuer that publishes its keys: believed by those keys alone, each by its own algorithm; keys come and go
//! without a restart, and neither strangers' tokens nor an issuer in trouble cost more than they may.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by failing"
)]

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use axum::{Router, extract::State, response::Response, routing::get};
use chassis::clock::Clock;
use ingress::{
    auth::{AuthConfig, Keys, PublishedConfig, Verifier},
    problem::Kind,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Least time between two looks, in these tests.
const REST: Duration = Duration::from_millis(300);

#[derive(Clone)]
struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn curve(kid: &'static str) -> Self {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self { kid, algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(made.as_ref()) }
    }

    /// RSA keys take long to make: one for all.
    fn rsa(kid: &'static str) -> Self {
        static MADE: OnceLock<Vec<u8>> = OnceLock::new();
        let key = MADE.get_or_init(|| {
            let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
            let der: Pkcs8V1Der = pair.as_der().unwrap();
            // PKCS#8 of a 2048 bit key puts 26 bytes before the PKCS#1 that is wanted
            der.as_ref()[26..].to_vec()
        });
        Self { kid, algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_der(key) }
    }

    fn public(&self) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) }
    }

    fn token(&self) -> String {
        self.token_with(&self.header(), &claims())
    }

    fn token_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).unwrap()
    }
}

fn claims() -> Value {
    let seconds = Clock::system().now_millis() / 1_000;
    json!({"iss": "issuer", "sub": "ann", "aud": "mambogo", "exp": seconds + 60, "scope": "a:b c:d"})
}

/// What the issuer answers.
#[derive(Clone)]
enum Mood {
    Publishes(Value),
    Says(u16, &'static str, String),
    Hangs,
}

#[derive(Clone)]
struct Issuer {
    mood: Arc<Mutex<Mood>>,
    asked: Arc<Mutex<u32>>,
}

impl Issuer {
    fn of(keys: &[&Signer]) -> Self {
        let issuer = Self { mood: Arc::new(Mutex::new(Mood::Hangs)), asked: Arc::default() };
        issuer.publish(keys);
        issuer
    }

    fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|signer| signer.public()).collect();
        self.is(Mood::Publishes(json!({"keys": keys})));
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    async fn answer(State(issuer): State<Self>) -> Response<String> {
        *issuer.asked.lock().unwrap() += 1;
        let mood = issuer.mood.lock().unwrap().clone();
        match mood {
            Mood::Publishes(keys) => Response::new(keys.to_string()),
            Mood::Says(status, location, body) => {
                Response::builder().status(status).header("location", location).body(body).unwrap()
            }
            Mood::Hangs => std::future::pending().await,
        }
    }

    async fn serve(&self, listener: TcpListener) -> JoinHandle<()> {
        let app = Router::new().route("/keys", get(Self::answer)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
    }
}

struct Stage {
    verifier: Verifier,
    _stop: DropGuard,
}

impl Stage {
    fn at(address: std::net::SocketAddr) -> Self {
        let config = PublishedConfig {
            refresh: 2 * REST,
            rest: REST,
            timeout: 2 * REST,
            ..PublishedConfig::at(format!("http://{address}/keys"))
        };
        let auth = AuthConfig {
            keys: Keys::Published(config),
            issuer: "issuer".to_owned(),
            audience: "mambogo".to_owned(),
        };
        let stop = CancellationToken::new();
        Self { verifier: Verifier::start(&auth, stop.clone()).unwrap(), _stop: stop.drop_guard() }
    }

    async fn of(issuer: &Issuer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        issuer.serve(listener).await;
        Self::at(address)
    }

    async fn kind(&self, token: &str) -> Option<Kind> {
        self.verifier.verify(token).await.err().map(|problem| problem.kind)
    }
}

#[tokio::test]
async fn a_token_is_believed_by_its_key_and_that_keys_algorithm_alone() {
    let (rsa, curve, stranger) = (Signer::rsa("rsa"), Signer::curve("curve"), Signer::curve("curve"));
    let issuer = Issuer::of(&[&rsa, &curve]);
    let stage = Stage::of(&issuer).await;
    for signer in [&rsa, &curve] {
        let caller = stage.verifier.verify(&signer.token()).await.unwrap();
        assert_eq!(&*caller.owner, "issuer\nann");
        assert!(caller.require("c:d").is_ok());
    }
    // the published key as a shared secret, in the forms in which it has been taken for one
    let published = rsa.public();
    let secrets =
        [published["n"].as_str().unwrap().as_bytes().to_vec(), published.to_string().into_bytes(), vec![]];
    let shared = secrets.map(|secret| {
        let header = Header { kid: Some("rsa".to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap()
    });
    for token in &shared {
        assert_eq!(stage.kind(token).await, Some(Kind::Unauthenticated), "signed with what is public");
    }
    let claims_with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let named = |kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..curve.header() };
    let own =
        Header { jwk: Jwk::from_encoding_key(&stranger.key, Algorithm::ES256).ok(), ..stranger.header() };
    let elsewhere = Header { jku: Some("http://127.0.0.1:1/keys".to_owned()), ..stranger.header() };
    let bad = [
        ("another key under that id", stranger.token()),
        ("a key that the token brings along", stranger.token_with(&own, &claims())),
        ("a key from where the token says", stranger.token_with(&elsewhere, &claims())),
        ("another key's id", curve.token_with(&named(Some("rsa")), &claims())),
        ("no key id", curve.token_with(&named(None), &claims())),
        ("a path as key id", curve.token_with(&named(Some("../../../dev/null")), &claims())),
        ("a control character in it", curve.token_with(&named(Some("curve\0")), &claims())),
        ("another hash", Signer { algorithm: Algorithm::RS384, ..rsa.clone() }.token()),
        ("another padding", Signer { algorithm: Algorithm::PS256, ..rsa.clone() }.token()),
        ("another issuer", curve.token_with(&curve.header(), &claims_with("iss", json!("other")))),
        ("another audience", curve.token_with(&curve.header(), &claims_with("aud", json!(["other"])))),
        ("expired", curve.token_with(&curve.header(), &claims_with("exp", json!(1)))),
        ("not yet", curve.token_with(&curve.header(), &claims_with("nbf", json!(99_999_999_999_u64)))),
        (
            "unsigned",
            format!("eyJhbGciOiJub25lIiwia2lkIjoiY3VydmUifQ.{}.", curve.token().split('.').nth(1).unwrap()),
        ),
    ];
    for (why, token) in bad {
        assert_eq!(stage.kind(&token).await, Some(Kind::Unauthenticated), "{why}");
    }
}

#[tokio::test]
async fn keys_come_and_go_without_a_restart_and_strangers_cannot_make_us_ask() {
    let (old, new) = (Signer::curve("old"), Signer::curve("new"));
    let issuer = Issuer::of(&[&old]);
    let stage = Stage::of(&issuer).await;
    assert_eq!(stage.kind(&old.token()).await, None);
    issuer.publish(&[&old, &new]);
    testbed::eventually("the new key is known", async || stage.kind(&new.token()).await.is_none()).await;
    assert_eq!(stage.kind(&old.token()).await, None, "both are good");
    issuer.publish(&[&new]);
    testbed::eventually("the old key is gone", async || stage.kind(&old.token()).await.is_some()).await;
    // a flood of tokens that name keys nobody has
    let (before, began) = (issuer.asked(), tokio::time::Instant::now());
    let token = Signer::curve("nobody").token();
    let flood = (0..20_u32).map(async |_| {
        for _ in 0..100 {
            assert_eq!(stage.kind(&token).await, Some(Kind::Unauthenticated));
        }
    });
    futures_util::future::join_all(flood).await;
    // a look at the start, one for each rest since, and one under way
    let most = 2 + began.elapsed().as_millis() / REST.as_millis();
    let asked = issuer.asked() - before;
    assert!(u128::from(asked) <= most, "asked {asked} times, {most} were due");
    assert_eq!(stage.kind(&new.token()).await, None, "and whoever has a key passes all the while");
}

#[tokio::test]
async fn an_issuer_in_trouble_costs_no_key_that_is_known() {
    let signer = Signer::curve("key");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let stage = Stage::at(address);
    assert_eq!(stage.kind(&signer.token()).await, Some(Kind::Unavailable), "nobody can be told yet");
    let issuer = Issuer::of(&[&signer]);
    let server = issuer.serve(TcpListener::bind(address).await.unwrap()).await;
    testbed::eventually("the issuer is asked until it answers", async || {
        stage.kind(&signer.token()).await.is_none()
    })
    .await;
    let keys = json!({"keys": [signer.public()]}).to_string();
    for mood in [
        Mood::Says(500, "", keys.clone()),
        Mood::Says(302, "http://127.0.0.1:1/keys", keys.clone()),
        Mood::Says(200, "", "{\"keys\": []}".to_owned()),
        Mood::Says(200, "", "<html>".to_owned()),
        Mood::Says(200, "", format!("{}{keys}", " ".repeat(70_000))),
        Mood::Hangs,
    ] {
        issuer.is(mood);
        let before = issuer.asked();
        testbed::eventually("it is asked once more", async || issuer.asked() > before + 1).await;
        assert_eq!(stage.kind(&signer.token()).await, None);
    }
    server.abort();
    assert_eq!(stage.kind(&signer.token()).await, None);
}
