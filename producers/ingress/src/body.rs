//! Bodies: bounded in size, time and depth, plain JSON, no key twice.

use crate::problem::{Kind, Problem};
use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use std::{fmt, time::Duration};

/// Longest body of an ordinary call, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Up to so many keys of an object are compared one by one: most have fewer, and a set costs more than they do.
const FEW: usize = 16;
/// Longest time a body may take to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON value whose objects name each key once, in the order they were written. Depth is bounded by the parser (128).
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number; whole numbers keep all their digits.
    Number(serde_json::Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// A 400 problem that says where the text is broken, nests too deep or names a key twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(bytes).map_err(|error| {
            Problem::new(Kind::BadRequest, format!("the body is not JSON as we read it: {error}"))
        })
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
                let number = serde_json::Number::from_f64(value);
                number.map(Json::Number).ok_or_else(|| E::custom("a number out of range"))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
                let mut object: Vec<(String, Json)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = entries.next_entry::<String, Json>()? {
                    let is_there = if object.len() < FEW {
                        object.iter().any(|(known, _)| *known == key)
                    } else {
                        if seen.is_empty() {
                            seen.extend(object.iter().map(|(known, _)| known.clone()));
                        }
                        !seen.insert(key.clone())
                    };
                    if is_there {
                        let shown: String = key.chars().take(40).collect();
                        return Err(A::Error::custom(format!("the key {shown:?} stands there twice")));
                    }
                    object.push((key, value));
                }
                Ok(Json::Object(object))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The request's body as strict JSON, at most `MOST` bytes ([`MAX_BODY`] where nothing else is said).
#[derive(Debug, Clone, PartialEq)]
pub struct JsonBody<const MOST: usize = MAX_BODY>(pub Json);

impl<S: Send + Sync, const MOST: usize> FromRequest<S> for JsonBody<MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        UnreadJson::<MOST>::from_request(request, state).await?.read().map(Self)
    }
}

/// As [`JsonBody`], not parsed yet: for who may have no use for it. (It is taken from the connection all the same: one that
/// is closed on a body half-way may lose its answer.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadJson<const MOST: usize = MAX_BODY>(Vec<u8>);

impl<const MOST: usize> UnreadJson<MOST> {
    /// Parses it.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub fn read(self) -> Result<Json, Problem> {
        Json::parse(&self.0)
    }
}

impl<S: Send + Sync, const MOST: usize> FromRequest<S> for UnreadJson<MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_encoding(request.headers())?;
        check_media_type(request.headers())?;
        read(request, MOST).await.map(Self)
    }
}

/// As [`JsonBody`]; an empty body is `None`, whatever its media type.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionalJsonBody(pub Option<Json>);

impl<S: Send + Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_encoding(request.headers())?;
        let headers = request.headers().clone();
        let bytes = read(request, MAX_BODY).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        check_media_type(&headers)?;
        Json::parse(&bytes).map(|json| Self(Some(json)))
    }
}

/// The body as it came, at most [`MAX_BODY`] bytes: where a signature is over its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBody(pub Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_encoding(request.headers())?;
        read(request, MAX_BODY).await.map(Self)
    }
}

/// Nothing here unpacks: a compressed body is refused, and so is what it might unpack to.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(value) if value != "identity" => {
            Err(Problem::new(Kind::UnsupportedMediaType, "the body must come without Content-Encoding"))
        }
        _ => Ok(()),
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = named.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(Kind::UnsupportedMediaType, "the body must be Content-Type: application/json"))
}

async fn read(request: Request, most: usize) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(Kind::TooLarge, format!("the body is longer than {most} bytes"));
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(bytes)) => Ok(bytes.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Kind::BadRequest, "the body broke off")),
        Err(_) => Err(Problem::new(Kind::TooSlow, "the body did not come in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn parse(text: &str) -> Result<Json, Kind> {
        Json::parse(text.as_bytes()).map_err(|problem| problem.kind)
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        let deep = "[".repeat(10_000);
        let bad = [
            "",
            "{",
            "{\"a\":1,\"a\":2}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            "NaN",
            "[Infinity]",
            "1e400",
            "\"\\ud800\"",
            "\u{feff}{}",
            "{} {}",
            "01",
            &deep,
        ];
        for text in bad {
            assert_eq!(parse(text), Err(Kind::BadRequest), "{}", text.chars().take(30).collect::<String>());
        }
        assert_eq!(Json::parse(b"\"\xff\"").map_err(|problem| problem.kind), Err(Kind::BadRequest));
    }

    #[test]
    fn no_key_stands_twice_in_an_object_however_large() {
        let of = |keys: &[usize]| {
            let fields: Vec<String> = keys.iter().map(|key| format!("\"{key}\":0")).collect();
            parse(&format!("{{{}}}", fields.join(",")))
        };
        let keys: Vec<usize> = (0..40).collect();
        assert!(of(&keys).is_ok());
        for repeated in [0, 10, 15, 16, 17, 39] {
            assert_eq!(of(&[&keys[..], &[repeated]].concat()), Err(Kind::BadRequest), "{repeated}");
        }
    }

    #[test]
    fn whole_numbers_keep_their_digits() {
        let Ok(Json::List(items)) = parse("[9223372036854775807, 9223372036854775808, -0, 1.0]") else {
            panic!("not a list")
        };
        let whole: Vec<_> = items
            .iter()
            .map(|item| match item {
                Json::Number(number) => number.as_i64(),
                _ => None,
            })
            .collect();
        assert_eq!(whole, [Some(i64::MAX), None, None, None]);
    }

    async fn kind_of(request: Request) -> Result<JsonBody, Kind> {
        <JsonBody>::from_request(request, &()).await.map_err(|problem| problem.kind)
    }

    #[tokio::test]
    async fn size_media_type_and_encoding_are_checked() {
        let request = || Request::post("/").header("content-type", "application/json; charset=utf-8");
        assert!(kind_of(request().body(Body::from("{}")).unwrap()).await.is_ok());
        let long = || Body::from(vec![b' '; MAX_BODY + 1]);
        assert_eq!(kind_of(request().body(long()).unwrap()).await, Err(Kind::TooLarge));
        let larger = JsonBody::<{ MAX_BODY + 1 }>::from_request(request().body(long()).unwrap(), &()).await;
        assert_eq!(larger.map_err(|problem| problem.kind), Err(Kind::BadRequest), "it was read");
        let announced = request().header("content-length", "99999999").body(Body::empty()).unwrap();
        assert_eq!(kind_of(announced).await, Err(Kind::TooLarge));
        let packed = request().header("content-encoding", "gzip").body(Body::from("{}")).unwrap();
        assert_eq!(kind_of(packed).await, Err(Kind::UnsupportedMediaType));
        let text = Request::post("/").header("content-type", "text/plain").body(Body::from("{}")).unwrap();
        assert_eq!(kind_of(text).await, Err(Kind::UnsupportedMediaType));
        let untyped = Request::post("/").body(Body::from("{}")).unwrap();
        assert_eq!(kind_of(untyped).await, Err(Kind::UnsupportedMediaType));
    }
}
