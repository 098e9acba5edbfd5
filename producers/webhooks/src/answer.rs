//! An endpoint as its owner sees it. Never its secret.

use chassis::egress::MAX_URL;
use ingress::api::{
    example,
    shape::{self, Shape},
};
use schemas::{time::Timestamp, view::rfc3339};
use serde::Serialize;
use uuid::Uuid;

/// The URL of all examples.
pub(crate) const URL: &str = "https://shop.example/hooks/orders";

/// How an endpoint fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Active,
    Failing,
    Disabled,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    pub(crate) id: Uuid,
    pub(crate) url: String,
    pub(crate) state: State,
    pub(crate) created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disabled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Its shape.
pub(crate) fn endpoint() -> Shape {
    shape::object()
        .must("id", shape::uuid())
        .must("url", url())
        .must(
            "state",
            shape::choice(["active", "failing", "disabled"]).says(
                "`failing`: events are tried again and again; `disabled`: nothing is sent or kept any more.",
            ),
        )
        .must("createdAt", shape::time())
        .may("failingSince", shape::time().says("The first failure since the last success."))
        .may("disabledAt", shape::time())
        .may("reason", shape::text().says("The last failure, or why it is disabled."))
        .named("Webhook")
}

/// The shape of a URL that may be called.
pub(crate) fn url() -> Shape {
    shape::matching("^https?://[!-~]+$", 9, MAX_URL)
        .says("`https`, of a public address, without user, password or fragment; `http` on loopback, where a local stack allows it.")
}

/// One that fails.
pub(crate) fn example() -> Endpoint {
    let at = |seconds: i64| rfc3339(Timestamp((1_767_225_600 + seconds) * 1_000));
    Endpoint {
        id: example::EFFECT,
        url: URL.to_owned(),
        state: State::Failing,
        created_at: at(0),
        failing_since: Some(at(3_600)),
        disabled_at: None,
        reason: Some("it answered 503".to_owned()),
    }
}
