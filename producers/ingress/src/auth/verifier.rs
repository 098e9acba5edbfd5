//! Checks tokens: which key, by which algorithm, from when and until when, and what a token has to say.

use super::{
    AuthConfig, Caller, Keys, KeysError, is_name, missing,
    published::{NoKey, PublishedKeys},
};
use crate::problem::{Kind, Problem};
use axum::http::{HeaderMap, header};
use chassis::clock::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use schemas::ids;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Longest token that is looked at, in bytes.
pub(super) const MAX_TOKEN: usize = 8 * 1024;
/// How far the issuer's clock and ours may differ.
const LEEWAY: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: serde_json::Value,
    pub(super) exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
}

impl Claims {
    /// Whether `now`, in milliseconds since 1970, lies in the token's time (RFC 7519 §4.1.4 and §4.1.5).
    fn is_time(&self, now: i64) -> bool {
        let now = u64::try_from(now / 1_000).unwrap_or(0);
        let leeway = LEEWAY.as_secs();
        now < self.exp.saturating_add(leeway)
            && self.nbf.is_none_or(|begin| begin <= now.saturating_add(leeway))
    }
}

/// Checks tokens. The algorithm is fixed by the key: what the token's header asks for is never obeyed. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Rules>,
    clock: Clock,
}

struct Rules {
    keys: Believed,
    issuer: String,
    audience: String,
}

enum Believed {
    Shared(Box<(DecodingKey, Validation)>),
    Published(PublishedKeys),
}

impl Verifier {
    /// A verifier for these rules, by the system's clock. Published keys are fetched beside it, until `stop`.
    ///
    /// # Errors
    /// When the URL of published keys is none that keys may come from.
    pub fn start(config: &AuthConfig, stop: CancellationToken) -> Result<Self, KeysError> {
        let keys = match &config.keys {
            Keys::Shared(secret) => Believed::Shared(Box::new((
                DecodingKey::from_secret(secret.expose().as_bytes()),
                rules(Algorithm::HS256, &config.issuer, &config.audience),
            ))),
            Keys::Published(published) => Believed::Published(PublishedKeys::start(published.clone(), stop)?),
        };
        let (issuer, audience) = (config.issuer.clone(), config.audience.clone());
        Ok(Self { shared: Arc::new(Rules { keys, issuer, audience }), clock: Clock::system() })
    }

    /// The same, by `clock`.
    #[must_use]
    pub fn by(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The caller that the one `Authorization: Bearer …` header names.
    ///
    /// # Errors
    /// A 401 problem with its challenge; 503 while the issuer's keys are not known.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
        let token = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| refused("the Authorization header does not hold a bearer token"))?;
        self.verify(token).await
    }

    /// The caller that `token` names.
    ///
    /// # Errors
    /// As [`Verifier::caller`]; why exactly is not told.
    pub async fn verify(&self, token: &str) -> Result<Caller, Problem> {
        if token.len() > MAX_TOKEN {
            return Err(refused("the token is too long"));
        }
        let TokenData { header, claims } = match &self.shared.keys {
            Believed::Shared(rule) => decode(token, &rule.0, &rule.1)?,
            Believed::Published(keys) => self.by_published(keys, token).await?,
        };
        // RFC 7515 §4.1.11: who does not understand what is marked as critical has to refuse it, and we know none
        if header.crit.is_some() {
            return Err(not_valid());
        }
        if !claims.is_time(self.clock.now_millis()) {
            return Err(not_valid());
        }
        if !is_name(&claims.iss) || !is_name(&claims.sub) {
            return Err(refused("the token's issuer or subject is not usable"));
        }
        Ok(Caller {
            owner: ids::owner(&claims.iss, &claims.sub).into(),
            scopes: claims
                .scope
                .iter()
                .flat_map(|text| text.split(' '))
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }

    async fn by_published(&self, keys: &PublishedKeys, token: &str) -> Result<TokenData<Claims>, Problem> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| not_valid())?;
        let kid = header.kid.ok_or_else(not_valid)?;
        let key = keys.find(&kid).await.map_err(|why| match why {
            NoKey::Unknown => not_valid(),
            NoKey::NotFetched => {
                Problem::unavailable("the keys that tokens are signed with are not known yet")
            }
        })?;
        // the key's algorithm, not the header's
        decode(token, &key.key, &rules(key.algorithm, &self.shared.issuer, &self.shared.audience))
    }
}

fn rules(algorithm: Algorithm, issuer: &str, audience: &str) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // by our clock, which that library does not ask
    rules.validate_exp = false;
    rules
}

fn decode(token: &str, key: &DecodingKey, rules: &Validation) -> Result<TokenData<Claims>, Problem> {
    jsonwebtoken::decode::<Claims>(token, key, rules).map_err(|_| not_valid())
}

fn not_valid() -> Problem {
    refused("the token is not valid here, or no longer")
}

fn refused(why: &str) -> Problem {
    Problem {
        challenge: Some(format!(
            "Bearer realm=\"mambogo\", error=\"invalid_token\", error_description=\"{why}\""
        )),
        ..Problem::new(Kind::Unauthenticated, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{INVENTORY_WRITE, mint};
    use chassis::{clock::Clock, settings::Secret};
    use jsonwebtoken::{EncodingKey, Header};
    use schemas::time::Timestamp;
    use serde_json::{Value, json};

    const SECRET: &str = "a-secret-that-is-long-enough-for-hs256";

    fn config() -> AuthConfig {
        AuthConfig::shared(Secret::new(SECRET), "issuer", "mambogo")
    }

    fn verifier() -> Verifier {
        Verifier::start(&config(), CancellationToken::new()).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp(Clock::system().now_millis())
    }

    fn signed(header: &Header, secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn claims() -> Value {
        let seconds = now().0 / 1_000;
        json!({"iss": "issuer", "sub": "ann", "aud": "mambogo", "exp": seconds + 60})
    }

    #[tokio::test]
    async fn a_minted_token_is_believed_and_carries_its_scopes() {
        let scopes = ["inventory:write".to_owned(), "x".to_owned()];
        let token = mint(&config(), "ann", &scopes, now(), Duration::from_secs(60)).unwrap();
        let caller = verifier().verify(&token).await.unwrap();
        assert_eq!(&*caller.owner, "issuer\nann");
        assert!(caller.require(INVENTORY_WRITE).is_ok());
        let refused = caller.require("operator").unwrap_err();
        assert_eq!(refused.kind, Kind::Forbidden);
        assert!(refused.challenge.unwrap().contains("scope=\"operator\""));
    }

    #[tokio::test]
    async fn a_token_is_good_from_its_begin_to_its_end_by_the_clock_that_was_given() {
        let mut claims = claims();
        (claims["nbf"], claims["exp"]) = (json!(1_000), json!(2_000));
        let token = signed(&Header::new(Algorithm::HS256), SECRET, &claims);
        let clock = Clock::fixed(0);
        let verifier = verifier().by(clock.clone());
        for (seconds, is_good) in
            [(0, false), (969, false), (970, true), (2_029, true), (2_030, false), (9_000, false)]
        {
            clock.set(seconds * 1_000);
            assert_eq!(verifier.verify(&token).await.is_ok(), is_good, "at {seconds}");
        }
    }

    #[tokio::test]
    async fn each_bad_token_is_refused() {
        let verifier = verifier();
        let plain = Header::new(Algorithm::HS256);
        let with = |change: fn(&mut Value)| {
            let mut claims = claims();
            change(&mut claims);
            signed(&plain, SECRET, &claims)
        };
        assert!(verifier.verify(&with(|_| {})).await.is_ok());
        let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm4ifQ.";
        let critical = Header { crit: Some(vec!["b64".to_owned()]), ..plain.clone() };
        let bad = [
            ("alg none", unsigned.to_owned()),
            ("another algorithm", signed(&Header::new(Algorithm::HS384), SECRET, &claims())),
            ("another key", signed(&plain, "another-secret-that-is-long-enough-too", &claims())),
            ("critical header", signed(&critical, SECRET, &claims())),
            ("issuer", with(|claims| claims["iss"] = json!("other"))),
            ("audience", with(|claims| claims["aud"] = json!("other"))),
            ("no audience", with(|claims| drop(claims.as_object_mut().unwrap().remove("aud")))),
            ("no expiry", with(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
            ("no subject", with(|claims| drop(claims.as_object_mut().unwrap().remove("sub")))),
            ("expired", with(|claims| claims["exp"] = json!(claims["exp"].as_i64().unwrap() - 200))),
            ("not yet", with(|claims| claims["nbf"] = json!(claims["exp"].as_i64().unwrap() + 200))),
            ("line feed", with(|claims| claims["sub"] = json!("ann\nbob"))),
            ("escape", with(|claims| claims["sub"] = json!("\u{1b}[31mann"))),
            ("empty subject", with(|claims| claims["sub"] = json!(""))),
            ("huge", "x".repeat(MAX_TOKEN + 1)),
            ("rubbish", "a.b.c".to_owned()),
            ("empty", String::new()),
        ];
        for (why, token) in bad {
            let problem = verifier.verify(&token).await.expect_err(why);
            assert_eq!(problem.kind, Kind::Unauthenticated, "{why}");
            assert!(problem.challenge.unwrap().contains("invalid_token"), "{why}");
        }
    }
}
