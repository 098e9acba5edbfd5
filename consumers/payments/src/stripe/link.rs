//! The way to Stripe: every request with its headers and limits, every answer bounded before it is looked at.

use super::{StripeSettings, reply::Answered, request::Fields};
use crate::provider::Outcome;
use reqwest::{
    Client, RequestBuilder, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use schemas::ids::EffectId;
use std::time::Duration;

/// The version that the answers are read by, whatever the account's own is.
const API_VERSION: &str = "2025-09-30.clover";

/// Longest time to connect, TLS included.
const CONNECT: Duration = Duration::from_secs(2);

/// Longest answer, in bytes. A page of 50 refunds has about 40 KiB.
const MOST_BYTES: usize = 512 * 1024;

/// Why there is no way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The URL.
    #[error("STRIPE_BASE_URL is not https://host, or http://host on loopback, without user or query")]
    Url,
    /// The key.
    #[error("STRIPE_SECRET_KEY is no key: it begins with sk_ or rk_ and has no spaces")]
    Key,
    /// The client.
    #[error("no HTTP client could be made: {0}; is OpenSSL there, with its certificates?")]
    Client(String),
}

#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    base: Url,
}

impl Link {
    pub(super) fn new(settings: &StripeSettings) -> Result<Self, LinkError> {
        let base = base(&settings.base_url).ok_or(LinkError::Url)?;
        let client = Client::builder()
            .default_headers(headers(settings.secret_key.expose()).ok_or(LinkError::Key)?)
            .user_agent(concat!("mambogo/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            // a repeat is our own decision, made with the effect's row
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(settings.timeout)
            .build()
            .map_err(|error| LinkError::Client(error.to_string()))?;
        Ok(Self { client, base })
    }

    pub(super) async fn get(&self, path: &[&str], query: &Fields) -> Result<Answered, Outcome> {
        send(self.client.get(self.url(path)).query(query)).await
    }

    pub(super) async fn post(
        &self,
        path: &[&str],
        key: EffectId,
        form: &Fields,
    ) -> Result<Answered, Outcome> {
        let request = self.client.post(self.url(path)).header("idempotency-key", key.to_string());
        send(request.form(form)).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        url
    }
}

async fn send(request: RequestBuilder) -> Result<Answered, Outcome> {
    let response = request.send().await.map_err(|error| broken(&error))?;
    let status = response.status();
    let is_json =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
            value.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
        });
    // whatever is in them: neither says what became of the request
    if status.is_redirection() || status.is_server_error() || status.as_u16() == 429 {
        return Err(Outcome::unknown(format!("stripe: {}", status.as_u16())));
    }
    if !is_json {
        return Err(Outcome::unknown(format!("stripe: {} with a body that is not JSON", status.as_u16())));
    }
    Ok(Answered { status: status.as_u16(), body: bounded(response).await? })
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, Outcome> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(Outcome::unknown("stripe: an answer beyond all bounds"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error's kind; its text may hold what was sent.
fn broken(error: &reqwest::Error) -> Outcome {
    Outcome::unknown(if error.is_timeout() {
        "stripe: no answer in time"
    } else if error.is_connect() {
        "stripe: no connection"
    } else {
        "stripe: the connection broke"
    })
}

fn base(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let is_loopback = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    (is_private && is_plain && url.fragment().is_none()).then_some(url)
}

fn headers(key: &str) -> Option<HeaderMap> {
    let is_key =
        (key.starts_with("sk_") || key.starts_with("rk_")) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).ok().filter(|_| is_key)?;
    bearer.set_sensitive(true);
    Some(HeaderMap::from_iter([
        (AUTHORIZATION, bearer),
        (ACCEPT, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("stripe-version"), HeaderValue::from_static(API_VERSION)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::settings::Secret;

    fn link(base_url: &str, key: &str) -> Result<Link, LinkError> {
        let timeout = Duration::from_secs(1);
        Link::new(&StripeSettings { base_url: base_url.to_owned(), secret_key: Secret::new(key), timeout })
    }

    #[test]
    fn the_key_travels_over_tls_or_loopback_alone() {
        for good in
            ["https://api.stripe.com", "https://10.0.0.1:8443/", "http://127.0.0.1:12111", "http://[::1]:1"]
        {
            assert!(link(good, "sk_test_1").is_ok(), "{good}");
        }
        for bad in [
            "http://api.stripe.com",
            "http://127.0.0.1.example.com",
            "https://user@api.stripe.com",
            "https://api.stripe.com?key=1",
            "ftp://127.0.0.1",
            "api.stripe.com",
            "",
        ] {
            assert_eq!(link(bad, "sk_test_1").unwrap_err(), LinkError::Url, "{bad}");
        }
    }

    #[test]
    fn a_key_is_one_and_never_shows() {
        for bad in ["", "pk_test_1", "sk_test 1", "sk_test\n1", "sk_té"] {
            assert_eq!(link("https://api.stripe.com", bad).unwrap_err(), LinkError::Key, "{bad:?}");
        }
        let shown = format!("{:?}", link("https://api.stripe.com", "sk_test_verysecret").unwrap());
        assert!(!shown.contains("verysecret"), "{shown}");
    }

    #[test]
    fn paths_are_segments_whatever_the_base() {
        for base in ["https://proxy.example/stripe", "https://proxy.example/stripe/"] {
            let url = link(base, "sk_test_1").unwrap().url(&["refunds", "a/../b"]);
            assert_eq!(url.as_str(), "https://proxy.example/stripe/v1/refunds/a%2F..%2Fb");
        }
    }
}
