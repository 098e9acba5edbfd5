//! Who calls: bearer tokens (JWT), verified by fixed rules, and minted for the local stack.

mod fetch;
mod mint;
mod published;
mod verifier;

pub use fetch::KeysError;
pub use mint::{MintError, mint};
pub use published::PublishedConfig;
pub use verifier::Verifier;

use crate::problem::{Kind, Problem};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
};
use chassis::settings::Secret;
use std::{collections::BTreeSet, sync::Arc};

/// Shortest secret: HS256 wants as many bits as its hash has (RFC 7518 §3.2).
pub const MIN_SECRET: usize = 32;
/// Longest subject or issuer, in bytes: both travel in every record of the order.
const MAX_NAME: usize = 255;

/// The scope that may change stock.
pub const INVENTORY_WRITE: &str = "inventory:write";
/// The scope that may change the catalogue.
pub const CATALOG_WRITE: &str = "catalog:write";
/// The scope that may hold units for another system.
pub const INVENTORY_RESERVE: &str = "inventory:reserve";
/// The scope that may give money back.
pub const PAYMENTS_REFUND: &str = "payments:refund";

/// What a token must say to be believed.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// What it is signed with.
    pub keys: Keys,
    /// The one issuer that is believed.
    pub issuer: String,
    /// The audience that must be named.
    pub audience: String,
}

/// What tokens are signed with. One kind or the other, never both: a public key that served as a shared secret as well
/// would let everybody sign (RFC 8725 §2.1).
#[derive(Debug, Clone)]
pub enum Keys {
    /// HS256 with a shared key of at least [`MIN_SECRET`] bytes: for the local stack.
    Shared(Secret),
    /// RS256 or ES256 by keys that the issuer publishes.
    Published(PublishedConfig),
}

impl AuthConfig {
    /// Tokens of `issuer` for `audience`, signed with `secret`.
    #[must_use]
    pub fn shared(secret: Secret, issuer: &str, audience: &str) -> Self {
        Self { keys: Keys::Shared(secret), issuer: issuer.to_owned(), audience: audience.to_owned() }
    }
}

/// Who calls, as the guard found out ([`crate::guard`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Issuer and subject ([`schemas::ids::owner`]).
    pub owner: Arc<str>,
    /// What the token allows beyond the caller's own objects.
    pub scopes: BTreeSet<String>,
}

impl Caller {
    /// Whether the token has `scope`.
    #[must_use]
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// Passes when the token has `scope`.
    ///
    /// # Errors
    /// A 403 problem that names the scope.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.has(scope) {
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

/// A handler behind a rule that asks for no token, and which asks for a caller all the same, answers 401.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// Who called, if anybody said so.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// Issuer and subject become the owner, joined by a line feed, and reach logs: no control characters.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

fn missing() -> Problem {
    Problem {
        challenge: Some("Bearer realm=\"mambogo\"".to_owned()),
        ..Problem::new(Kind::Unauthenticated, "one Authorization header with a bearer token is required")
    }
}
