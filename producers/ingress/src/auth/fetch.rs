//! Fetches the set of keys that an issuer publishes (RFC 7517) and reads it with suspicion: bounded in size and time,
//! over TLS, without redirects; and of its keys those alone that may sign tokens here, each for one algorithm.

use super::published::PublishedConfig;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc};

/// Longest key id, in bytes.
const MAX_KID: usize = 255;
/// Shortest RSA modulus, in characters of base64: 2048 bits (RFC 7518 §3.3).
const MIN_MODULUS: usize = 342;
/// Longest, 8192 bits: a verification costs with the square of it.
const MAX_MODULUS: usize = 1_366;

/// A key that may sign tokens, and the one algorithm that it signs by.
pub(crate) struct Key {
    pub(crate) key: DecodingKey,
    pub(crate) algorithm: Algorithm,
}

/// The keys by their ids.
pub(crate) type KeySet = HashMap<String, Arc<Key>>;

/// Why no keys can be fetched from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The URL.
    #[error("JWKS_URL is not https://…, or http://… on loopback, without a user")]
    Url,
    /// The client.
    #[error("no HTTP client could be made: {0}; is OpenSSL there, with its certificates?")]
    Client(String),
}

/// Why a set of keys was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no answer: {0}")]
    Http(#[from] reqwest::Error),
    #[error("the answer was {0}")]
    Status(u16),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer is no set of keys: {0}")]
    NotKeys(#[from] serde_json::Error),
    #[error("none of its {0} keys may sign tokens here (RS256 of 2048 bits or more, ES256)")]
    NoUsable(usize),
    #[error("it has {0} keys, more than {1}")]
    TooMany(usize, usize),
}

/// Where keys are fetched.
pub(super) struct Source {
    client: Client,
    url: Url,
    most_bytes: usize,
    most_keys: usize,
}

impl Source {
    pub(super) fn new(config: &PublishedConfig) -> Result<Self, KeysError> {
        let url = Url::parse(&config.url).ok().filter(is_private).ok_or(KeysError::Url)?;
        let client = Client::builder()
            .user_agent(concat!("mambogo/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(config.timeout)
            .timeout(config.timeout)
            .build()
            .map_err(|error| KeysError::Client(error.to_string()))?;
        Ok(Self { client, url, most_bytes: config.most_bytes, most_keys: config.most_keys })
    }

    pub(super) async fn fetch(&self) -> Result<KeySet, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > self.most_bytes {
                return Err(FetchError::TooLong(self.most_bytes));
            }
            body.extend_from_slice(&chunk);
        }
        read(&body, self.most_keys)
    }
}

/// What is fetched decides who everybody is: over TLS, or from this machine.
fn is_private(url: &Url) -> bool {
    let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    is_private && url.username().is_empty() && url.password().is_none()
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

fn read(body: &[u8], most_keys: usize) -> Result<KeySet, FetchError> {
    let published: Published = serde_json::from_slice(body)?;
    let count = published.keys.len();
    if count > most_keys {
        return Err(FetchError::TooMany(count, most_keys));
    }
    let mut set = KeySet::new();
    let mut twice = Vec::new();
    // an issuer publishes keys for other ends too, and of kinds that came after us: they are none of ours
    for (kid, key) in published.keys.into_iter().filter_map(|key| usable(serde_json::from_value(key).ok()?)) {
        if set.insert(kid.clone(), Arc::new(key)).is_some() {
            twice.push(kid);
        }
    }
    // which of two keys an id means is not for us to guess
    for kid in &twice {
        set.remove(kid);
    }
    if set.is_empty() {
        return Err(FetchError::NoUsable(count));
    }
    Ok(set)
}

/// The key by its id, if it may sign tokens.
fn usable(jwk: Jwk) -> Option<(String, Key)> {
    let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID)?;
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature)
        && jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if (MIN_MODULUS..=MAX_MODULUS).contains(&rsa.n.len()) => {
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let is_for_it = jwk.common.key_algorithm.is_none_or(|wanted| wanted == named);
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (signs && is_for_it).then_some((kid, Key { key, algorithm }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rsa(kid: &str, more: &Value) -> Value {
        let mut key = json!({"kty": "RSA", "kid": kid, "n": "A".repeat(MIN_MODULUS), "e": "AQAB"});
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn kids(keys: &[Value]) -> Vec<String> {
        let set = read(json!({"keys": keys}).to_string().as_bytes(), 16).unwrap_or_default();
        let mut kids: Vec<String> = set.into_keys().collect();
        kids.sort_unstable();
        kids
    }

    #[test]
    fn of_a_set_the_keys_that_sign_tokens_are_taken_and_no_others() {
        let coordinate = "A".repeat(43);
        let keys = [
            rsa("plain", &json!({})),
            rsa("said", &json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"]})),
            rsa("seals", &json!({"use": "enc"})),
            rsa("wraps", &json!({"key_ops": ["wrapKey"]})),
            rsa("other", &json!({"alg": "RS512"})),
            rsa("shared", &json!({"alg": "HS256"})),
            rsa("short", &json!({"n": "A".repeat(171)})),
            rsa("", &json!({})),
            json!({"kty": "EC", "kid": "curve", "crv": "P-256", "x": coordinate, "y": coordinate}),
            json!({"kty": "EC", "kid": "larger", "crv": "P-384", "x": coordinate, "y": coordinate}),
            json!({"kty": "oct", "kid": "secret", "k": "AAAA", "alg": "HS256"}),
            json!({"kty": "of tomorrow", "kid": "new"}),
            json!(7),
        ];
        assert_eq!(kids(&keys), ["curve", "plain", "said"]);
        assert_eq!(kids(&[rsa("a", &json!({})), rsa("b", &json!({})), rsa("a", &json!({}))]), ["b"]);
        let many: Vec<Value> = (0..17).map(|n| rsa(&n.to_string(), &json!({}))).collect();
        assert!(kids(&many).is_empty(), "more than there may be");
    }

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        let private = |url: &str| is_private(&Url::parse(url).unwrap());
        assert!(private("https://issuer.example/keys") && private("http://127.0.0.1:1/keys"));
        for bad in [
            "http://issuer.example/keys",
            "https://a:b@issuer.example/",
            "ftp://127.0.0.1/",
            "file:///etc/keys",
        ] {
            assert!(!private(bad), "{bad}");
        }
    }
}
