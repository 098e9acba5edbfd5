//! Tokens for the local stack, where nobody else issues any.

use super::{AuthConfig, Keys, MAX_NAME, is_name, verifier::Claims};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use schemas::time::Timestamp;
use std::time::Duration;

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Nobody, or a name with control characters, or longer than 255 bytes.
    #[error("the user must be 1 to {MAX_NAME} bytes without control characters")]
    User,
    /// The issuer keeps its keys to itself.
    #[error("tokens are signed by the issuer behind JWKS_URL: ask it for one")]
    NotOurs,
    /// The library refused.
    #[error("signing the token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A token for `user` with `scopes`, valid from `now` for `ttl`.
///
/// # Errors
/// [`MintError`] for a name that no verifier would take, and where tokens are signed by somebody else.
pub fn mint(
    config: &AuthConfig,
    user: &str,
    scopes: &[String],
    now: Timestamp,
    ttl: Duration,
) -> Result<String, MintError> {
    let Keys::Shared(secret) = &config.keys else { return Err(MintError::NotOurs) };
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
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::settings::Secret;

    #[test]
    fn a_name_that_no_verifier_takes_is_not_minted() {
        let config = AuthConfig::shared(Secret::new("a-secret-that-is-long-enough-for-hs256"), "issuer", "x");
        for bad in ["", "a\nb", "\u{7f}"] {
            let minted = mint(&config, bad, &[], Timestamp(0), Duration::from_secs(60));
            assert!(matches!(minted, Err(MintError::User)), "{bad:?}");
        }
    }
}
