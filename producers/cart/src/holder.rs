//! Whose cart: a user's, named by the bearer token, or a guest's, named by a cart token that the server drew.

use axum::{extract::FromRequestParts, http::request::Parts};
use ingress::{
    auth::Caller,
    problem::{FieldError, Kind, Problem},
};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use uuid::Uuid;

/// The header that carries a guest's token, both ways.
pub(crate) const CART_TOKEN: &str = "cart-token";

/// What a guest shows to get its cart: 122 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CartToken(Uuid);

impl CartToken {
    pub(crate) fn draw() -> Self {
        Self(chassis::ids::random())
    }

    pub(crate) fn text(self) -> String {
        self.0.simple().to_string()
    }

    /// The token that the request shows, if any.
    fn of(parts: &Parts) -> Result<Option<Self>, Problem> {
        let mut values = parts.headers.get_all(CART_TOKEN).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                let text = value.to_str().ok().filter(|text| text.len() == uuid::fmt::Simple::LENGTH);
                let token = text.and_then(|text| Uuid::try_parse(text).ok());
                token
                    .map(|token| Some(Self(token)))
                    .ok_or_else(|| bad("must be a token that a cart came with"))
            }
            (Some(_), Some(_)) => Err(bad("must be given once")),
        }
    }
}

fn bad(expected: &str) -> Problem {
    let errors = vec![FieldError::new("Cart-Token", expected)];
    Problem { errors, ..Problem::new(Kind::BadRequest, format!("Cart-Token {expected}")) }
}

/// Whose cart it is.
#[derive(Clone)]
pub(crate) enum Holder {
    /// A user's.
    User(Arc<str>),
    /// A guest's.
    Guest(CartToken),
}

impl Holder {
    /// The cart's key in Redis; what stands in braces decides about the slot of a cluster. Hashed: whoever reads Redis learns
    /// neither subjects nor tokens.
    pub(crate) fn key(&self) -> String {
        let (kind, hash) = match self {
            Self::User(owner) => ('u', Sha256::digest(owner.as_bytes())),
            Self::Guest(token) => ('g', Sha256::digest(token.0.as_bytes())),
        };
        format!("cart:{{{kind}{}}}", schemas::messages::BodyHash(hash.into()))
    }
}

/// Who asks for a cart: a caller with a bearer token; else a guest, with the token that came along.
pub(crate) enum Visitor {
    User(Caller),
    Guest(Option<CartToken>),
}

impl Visitor {
    /// The cart that may be there.
    pub(crate) fn holder(&self) -> Option<Holder> {
        match self {
            Self::User(caller) => Some(Holder::User(caller.owner.clone())),
            Self::Guest(token) => token.map(Holder::Guest),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Option::<Caller>::from_request_parts(parts, state).await?;
        caller.map_or_else(|| CartToken::of(parts).map(Self::Guest), |caller| Ok(Self::User(caller)))
    }
}

/// The guest's token that a merge names: required.
pub(crate) struct Brought(pub(crate) CartToken);

impl<S: Send + Sync> FromRequestParts<S> for Brought {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        CartToken::of(parts)?.map(Self).ok_or_else(|| bad("is required: it names the cart to merge"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn read(values: &[&str]) -> Result<Option<String>, Kind> {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(CART_TOKEN, value.parse().unwrap());
        }
        let token = CartToken::of(&request.into_parts().0);
        token.map(|token| token.map(CartToken::text)).map_err(|problem| problem.kind)
    }

    #[test]
    fn a_token_is_read_as_it_was_given_and_nothing_else_is_one() {
        let token = CartToken::draw().text();
        assert_eq!(read(&[&token]), Ok(Some(token.clone())));
        assert_eq!(read(&[]), Ok(None));
        for bad in ["", "x", "00000000-0000-0000-0000-000000000000", &format!("{token}0")] {
            assert_eq!(read(&[bad]), Err(Kind::BadRequest), "{bad}");
        }
        assert_eq!(read(&[&token, &token]), Err(Kind::BadRequest));
    }

    #[test]
    fn whoever_reads_redis_learns_no_names_and_each_holder_has_a_key_of_its_own() {
        let token = CartToken::draw();
        let holders = [Holder::User("i\nann".into()), Holder::User("i\nbob".into()), Holder::Guest(token)];
        let keys = holders.map(|holder| holder.key());
        assert!(!keys.iter().any(|key| key.contains("ann") || key.contains(&token.text())), "{keys:?}");
        assert!(keys[0] != keys[1] && keys[1] != keys[2], "{keys:?}");
    }
}
