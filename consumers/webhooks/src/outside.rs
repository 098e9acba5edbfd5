//! The one way out: a name is resolved here, once a connection; every address it has is checked, and what was checked is
//! what is connected to. No redirect is followed, no proxy asked, and of an answer nothing is read but its head.

use crate::config::WebhooksConfig;
use chassis::egress::{Egress, Refused};
use reqwest::{
    Certificate, Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use uuid::Uuid;

/// Longest time to connect, name and TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept. It leads to the address that was checked when it was made.
const IDLE: Duration = Duration::from_secs(30);

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// 2xx.
    Heard,
    /// Another status; a redirect too.
    Refused(u16),
    /// No answer in time, or no connection.
    Silent(&'static str),
    /// Nobody was called.
    Forbidden(&'static str),
}

impl Reply {
    /// For the endpoint's owner. Never what the endpoint said: that may be somebody else's.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Heard => "it was heard".to_owned(),
            Self::Refused(status) => format!("it answered {status}"),
            Self::Silent(why) | Self::Forbidden(why) => (*why).to_owned(),
        }
    }

    /// For metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Heard => "heard",
            Self::Refused(_) => "refused",
            Self::Silent(_) => "silent",
            Self::Forbidden(_) => "forbidden",
        }
    }
}

/// What is sent.
pub(crate) struct Letter<'a> {
    pub(crate) url: &'a str,
    pub(crate) event: Uuid,
    pub(crate) signature: String,
    pub(crate) body: String,
}

/// The way out.
pub(crate) struct Outside {
    client: Client,
    egress: Egress,
}

impl Outside {
    pub(crate) fn new(config: &WebhooksConfig) -> reqwest::Result<Self> {
        Self::resolving(config, |name| Box::pin(system(name)), Vec::new())
    }

    /// `roots` vouch for endpoints beside those that the system knows.
    fn resolving(
        config: &WebhooksConfig,
        lookup: impl Fn(String) -> Looking + Send + Sync + 'static,
        roots: Vec<Certificate>,
    ) -> reqwest::Result<Self> {
        let checked = Checked { egress: config.egress.clone(), lookup: Arc::new(lookup) };
        let client = Client::builder()
            .user_agent(concat!("mambogo-webhooks/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .dns_resolver(checked)
            .tls_certs_merge(roots)
            .connect_timeout(CONNECT)
            .timeout(config.timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { client, egress: config.egress.clone() })
    }

    pub(crate) async fn send(&self, letter: Letter<'_>) -> Reply {
        // what was registered may be allowed no more, and an address that stands in a URL is resolved by nobody
        if let Err(Refused(_)) = self.egress.check(letter.url) {
            return Reply::Forbidden("its address is not called from here any more");
        }
        let sent = self
            .client
            .post(letter.url)
            .header("content-type", "application/json")
            .header("mambogo-event-id", letter.event.to_string())
            .header("mambogo-signature", letter.signature)
            .body(letter.body)
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => Reply::Heard,
            Ok(answer) => Reply::Refused(answer.status().as_u16()),
            Err(error) if is_forbidden(&error) => {
                Reply::Forbidden("its name leads to an address that is not called from here")
            }
            Err(error) if error.is_connect() => Reply::Silent("it could not be connected to"),
            Err(error) if error.is_timeout() => Reply::Silent("it did not answer in time"),
            Err(_) => Reply::Silent("the connection broke"),
        }
    }
}

/// One of a name's addresses must not be called.
#[derive(Debug, thiserror::Error)]
#[error("an address that is not called")]
struct Forbidden;

fn is_forbidden(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Forbidden>() {
            return true;
        }
        cause = error.source();
    }
    false
}

type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

async fn system(name: String) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.collect())
}

/// Resolves a name, and lets none of its addresses pass if one of them must not be called.
struct Checked {
    egress: Egress,
    lookup: Arc<dyn Fn(String) -> Looking + Send + Sync>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, looking) = (self.egress.clone(), (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let found = looking.await?;
            if found.iter().any(|address| !egress.may_call(address.ip())) {
                return Err(Forbidden.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
