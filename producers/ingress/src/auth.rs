//! Who calls: bearer tokens (JWT, HS256), verified by fixed rules, and minted for the local stack.

use crate::problem::{Kind, Problem};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header, request::Parts},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use schemas::{ids, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// Longest subject or issuer, in bytes: both travel in every record of the order.
const MAX_NAME: usize = 255;
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// Shortest secret: HS256 wants as many bits as its hash has (RFC 7518 §3.2).
pub const MIN_SECRET: usize = 32;

/// The scope that may change stock.
pub const INVENTORY_WRITE: &str = "inventory:write";
/// The scope that may give money back.
pub const PAYMENTS_REFUND: &str = "payments:refund";

/// What a token must say to be believed.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// The shared key, at least [`MIN_SECRET`] bytes.
    pub secret: chassis::settings::Secret,
    /// The one issuer that is believed.
    pub issuer: String,
    /// The audience that must be named.
    pub audience: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: serde_json::Value,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// Checks tokens. The algorithm is fixed by the key: what the token's header asks for is never obeyed.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<(DecodingKey, Validation)>,
}

impl Verifier {
    /// A verifier for these rules.
    #[must_use]
    pub fn new(config: &AuthConfig) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[&config.issuer]);
        rules.set_audience(&[&config.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY.as_secs();
        Self { shared: Arc::new((DecodingKey::from_secret(config.secret.expose().as_bytes()), rules)) }
    }

    /// The caller that `token` names.
    ///
    /// # Errors
    /// A 401 problem with its challenge; why exactly is not told.
    pub fn verify(&self, token: &str) -> Result<Caller, Problem> {
        if token.len() > MAX_TOKEN {
            return Err(refused("the token is too long"));
        }
        let (key, rules) = &*self.shared;
        let claims = jsonwebtoken::decode::<Claims>(token, key, rules)
            .map_err(|_| refused("the token is not valid here, or no longer"))?
            .claims;
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
}

/// Issuer and subject become the owner, joined by a line feed, and reach logs: no control characters.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

fn refused(why: &str) -> Problem {
    Problem {
        challenge: Some(format!(
            "Bearer realm=\"mambogo\", error=\"invalid_token\", error_description=\"{why}\""
        )),
        ..Problem::new(Kind::Unauthenticated, why)
    }
}

/// Who calls. Extracted from `Authorization: Bearer …`; without a valid token the request ends with 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Issuer and subject ([`ids::owner`]).
    pub owner: Arc<str>,
    /// What the token allows beyond the caller's own orders.
    pub scopes: BTreeSet<String>,
}

impl Caller {
    /// Passes when the token has `scope`.
    ///
    /// # Errors
    /// A 403 problem that names the scope.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.scopes.contains(scope) {
            return Ok(());
        }
        Err(Problem {
            challenge: Some(format!(
                "Bearer realm=\"mambogo\", error=\"insufficient_scope\", scope=\"{scope}\""
            )),
            ..Problem::new(Kind::Forbidden, format!("this call needs the scope {scope}"))
        })
    }
}

impl<S> FromRequestParts<S> for Caller
where
    Verifier: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem {
                challenge: Some("Bearer realm=\"mambogo\"".to_owned()),
                ..Problem::new(
                    Kind::Unauthenticated,
                    "one Authorization header with a bearer token is required",
                )
            });
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| refused("the Authorization header does not hold a bearer token"))?;
        Verifier::from_ref(state).verify(token)
    }
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Nobody, or a name with control characters, or longer than 255 bytes.
    #[error("the user must be 1 to {MAX_NAME} bytes without control characters")]
    User,
    /// The library refused.
    #[error("signing the token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A token for `user` with `scopes`, valid from `now` for `ttl`.
///
/// # Errors
/// [`MintError`] for a name that no verifier would take.
pub fn mint(
    config: &AuthConfig,
    user: &str,
    scopes: &[String],
    now: Timestamp,
    ttl: Duration,
) -> Result<String, MintError> {
    if !is_name(user) {
        return Err(MintError::User);
    }
    let seconds = u64::try_from(now.0 / 1_000).unwrap_or(0);
    let claims = Claims {
        iss: config.issuer.clone(),
        sub: user.to_owned(),
        aud: config.audience.clone().into(),
        exp: seconds.saturating_add(ttl.as_secs()),
        nbf: Some(seconds),
        iat: Some(seconds),
        scope: (!scopes.is_empty()).then(|| scopes.join(" ")),
    };
    let key = EncodingKey::from_secret(config.secret.expose().as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::{clock::Clock, settings::Secret};
    use serde_json::{Value, json};

    fn config() -> AuthConfig {
        AuthConfig {
            secret: Secret::new("a-secret-that-is-long-enough-for-hs256"),
            issuer: "issuer".to_owned(),
            audience: "mambogo".to_owned(),
        }
    }

    fn now() -> Timestamp {
        Timestamp(Clock::system().now_millis())
    }

    fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn claims() -> Value {
        let seconds = now().0 / 1_000;
        json!({"iss": "issuer", "sub": "ann", "aud": "mambogo", "exp": seconds + 60})
    }

    #[test]
    fn a_minted_token_is_believed_and_carries_its_scopes() {
        let scopes = ["inventory:write".to_owned(), "x".to_owned()];
        let token = mint(&config(), "ann", &scopes, now(), Duration::from_secs(60)).unwrap();
        let caller = Verifier::new(&config()).verify(&token).unwrap();
        assert_eq!(&*caller.owner, "issuer\nann");
        assert!(caller.require(INVENTORY_WRITE).is_ok());
        let refused = caller.require("operator").unwrap_err();
        assert_eq!(refused.kind, Kind::Forbidden);
        assert!(refused.challenge.unwrap().contains("scope=\"operator\""));
    }

    #[test]
    fn each_bad_token_is_refused() {
        let verifier = Verifier::new(&config());
        let secret = config().secret;
        let with = |change: fn(&mut Value)| {
            let mut claims = claims();
            change(&mut claims);
            signed(Algorithm::HS256, secret.expose(), &claims)
        };
        assert!(verifier.verify(&with(|_| {})).is_ok());
        let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbm4ifQ.";
        let bad = [
            ("alg none", unsigned.to_owned()),
            ("another algorithm", signed(Algorithm::HS384, secret.expose(), &claims())),
            ("another key", signed(Algorithm::HS256, "another-secret-that-is-long-enough-too", &claims())),
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
            let problem = verifier.verify(&token).expect_err(why);
            assert_eq!(problem.kind, Kind::Unauthenticated, "{why}");
            assert!(problem.challenge.unwrap().contains("invalid_token"), "{why}");
        }
    }

    #[test]
    fn a_name_that_no_verifier_takes_is_not_minted() {
        for bad in ["", "a\nb", "\u{7f}"] {
            let minted = mint(&config(), bad, &[], now(), Duration::from_secs(60));
            assert!(matches!(minted, Err(MintError::User)), "{bad:?}");
        }
    }
}
