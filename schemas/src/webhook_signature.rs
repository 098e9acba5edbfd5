//! The signature of a payment provider's webhook, as Stripe makes it: who may say what happened to a payment.
//!
//! The header is `t=<seconds>,v1=<hex>`, with a `v1` for each secret that is valid while one is being replaced; what is
//! signed is `<seconds>.<body>` by HMAC-SHA256 (<https://docs.stripe.com/webhooks#verify-manually>). The time is part of
//! what is signed, so a message that was overheard is of no use once the tolerance is over.

use crate::time::Timestamp;
use hmac::{
    Hmac, KeyInit, Mac,
    digest::{CtOutput, Key, Output},
};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The header that carries it, as HTTP/2 spells it.
pub const HEADER: &str = "stripe-signature";

/// How far a message's time may lie from ours, either way: what Stripe's own libraries take.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Signatures looked at in one header; a provider sends one for each secret that is valid.
const MOST_SIGNATURES: usize = 16;

/// Why a message is not believed. What is wrong is for our log: a sender who is not the provider learns nothing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not `t=…,v1=…`.
    #[error("the signature's header does not read as t=<seconds>,v1=<hex>")]
    Malformed,
    /// No signature of it is by our secret, over this time and body.
    #[error("no signature is by this endpoint's secret; compare it with the provider's")]
    NoMatch,
    /// Signed by our secret, but its time is not within the tolerance.
    #[error("signed {age_seconds} s ago, which the tolerance does not allow; is the clock right?")]
    NotNow {
        /// How long ago, by our clock; negative when it lies ahead.
        age_seconds: i64,
    },
}

/// The header for `body`, sent at `at`.
#[must_use]
pub fn sign(secret: &[u8], at: Timestamp, body: &[u8]) -> String {
    sign_by_all(&[secret], at, body)
}

/// The header for `body`, sent at `at`, with a signature by each of `secrets`: of one that is being replaced there are two.
#[must_use]
pub fn sign_by_all(secrets: &[&[u8]], at: Timestamp, body: &[u8]) -> String {
    let seconds = at.0.div_euclid(1_000).to_string();
    let mut header = format!("t={seconds}");
    for secret in secrets {
        header.push_str(",v1=");
        header.extend(mac(secret, &seconds, body).into_bytes().iter().map(|byte| format!("{byte:02x}")));
    }
    header
}

/// When the message was signed, if that was by `secret` and within `tolerance` of `now`.
///
/// Signatures are compared in constant time, the time only looked at when one matches.
///
/// # Errors
/// A [`SignatureError`] says what is wrong; the message is to be refused whatever it is.
pub fn verify(
    secret: &[u8],
    header: &str,
    body: &[u8],
    now: Timestamp,
    tolerance: Duration,
) -> Result<Timestamp, SignatureError> {
    let signed = Signed::read(header).ok_or(SignatureError::Malformed)?;
    let ours = mac(secret, signed.time, body);
    if !signed.signatures.iter().fold(false, |found, theirs| found | (*theirs == ours)) {
        return Err(SignatureError::NoMatch);
    }
    let age = now.0.saturating_sub(signed.at.0);
    if u128::from(age.unsigned_abs()) > tolerance.as_millis() {
        return Err(SignatureError::NotNow { age_seconds: age / 1_000 });
    }
    Ok(signed.at)
}

/// What a header says, not believed yet.
struct Signed<'a> {
    at: Timestamp,
    /// As it stands in the header, which is how it was signed.
    time: &'a str,
    signatures: Vec<CtOutput<HmacSha256>>,
}

impl<'a> Signed<'a> {
    /// Schemes other than `v1` are passed over, as is a `v1` that can't be one: the next one may be good.
    fn read(header: &'a str) -> Option<Self> {
        let mut time = None;
        let mut signatures = Vec::new();
        for part in header.split(',') {
            match part.trim().split_once('=')? {
                ("t", text) if time.replace(text).is_some() => return None,
                ("v1", _) if signatures.len() == MOST_SIGNATURES => return None,
                ("v1", hex) => signatures.extend(from_hex(hex).map(CtOutput::new)),
                _ => {}
            }
        }
        let time = time.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        let at = Timestamp(time.parse::<i64>().ok()?.checked_mul(1_000)?);
        Some(Self { at, time, signatures })
    }
}

fn from_hex(hex: &str) -> Option<Output<HmacSha256>> {
    let mut bytes = Output::<HmacSha256>::default();
    if hex.len() != 2 * bytes.len() {
        return None;
    }
    let mut digits = hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    for byte in &mut bytes {
        *byte = digits.next()?? << 4 | digits.next()??;
    }
    Some(bytes)
}

type HmacSha256 = Hmac<Sha256>;

fn mac(secret: &[u8], time: &str, body: &[u8]) -> CtOutput<HmacSha256> {
    let mut mac = HmacSha256::new(&key(secret));
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize()
}

/// The secret as a key of one block (RFC 2104 §2): padded with zeros, hashed first if it is longer. The crate's own way
/// from a slice returns a `Result`, for which there is no safe other arm here.
fn key(secret: &[u8]) -> Key<HmacSha256> {
    let mut key = Key::<HmacSha256>::default();
    let hashed = Sha256::digest(secret);
    let part = if secret.len() > key.len() { hashed.as_slice() } else { secret };
    for (to, from) in key.iter_mut().zip(part) {
        *to = *from;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"whsec_test_secret";
    const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
    const AT: Timestamp = Timestamp(1_760_000_000_000);
    /// By Python's `hmac`, as are the others below.
    const GOLDEN: &str = "t=1760000000,v1=710305f7feae110e97d01e071f9d466aadf50a718e23f9956b8252f8dc0acd23";

    fn check(header: &str) -> Result<Timestamp, SignatureError> {
        verify(SECRET, header, BODY, AT, TOLERANCE)
    }

    #[test]
    fn signatures_are_those_of_another_implementation() {
        for (secret, seconds, body, header) in [
            (SECRET, 1_760_000_000, BODY, GOLDEN),
            (
                b"k".repeat(131).as_slice(),
                1,
                b"".as_slice(),
                "t=1,v1=e36f2cdb6b61a4ad34956f145d7ef603ecd96ab794d4716e71b4ca25d79164d9",
            ),
            (b"", 0, b"\x00\xff", "t=0,v1=2f7c80522122b494f83920c7390279ff4a7f9e0fe6529f06a4b32382315e8b7c"),
            (
                b"s".repeat(64).as_slice(),
                1_760_000_000,
                b"x",
                "t=1760000000,v1=6a2cc8e0edc91fd0b363ec58e3a3cd59537cf7e384c6101cdee301dd318af3ba",
            ),
            (
                b"s".repeat(65).as_slice(),
                1_760_000_000,
                b"x",
                "t=1760000000,v1=db8e40e248cfebc4b10c4a4903cbd0909f692f5f3dc74473116540fea2545473",
            ),
        ] {
            let at = Timestamp(seconds * 1_000);
            assert_eq!(sign(secret, at, body), header);
            assert_eq!(verify(secret, header, body, at, TOLERANCE), Ok(at), "{header}");
        }
    }

    #[test]
    fn one_good_signature_among_others_is_enough_while_a_secret_is_replaced() {
        let good = GOLDEN.split_once(',').unwrap().1;
        let other = format!("v1={}", "0".repeat(64));
        for header in [
            format!("t=1760000000,{other},{good}"),
            format!("t=1760000000, {good}, {other}, v0=ab, v1=short"),
            format!("{good},t=1760000000"),
        ] {
            assert_eq!(check(&header), Ok(AT), "{header}");
        }
        assert_eq!(check(&format!("t=1760000000,{other}")), Err(SignatureError::NoMatch));
        assert_eq!(check("t=1760000000"), Err(SignatureError::NoMatch));
    }

    #[test]
    fn another_scheme_is_never_taken_for_ours() {
        let header = GOLDEN.replace("v1=", "v0=");
        assert_eq!(check(&header), Err(SignatureError::NoMatch));
    }

    #[test]
    fn the_time_may_lie_as_far_off_as_the_tolerance_and_no_further() {
        let five_minutes = 300_000;
        for (now, expected) in [
            (AT.0 + five_minutes, Ok(AT)),
            (AT.0 - five_minutes, Ok(AT)),
            (AT.0 + five_minutes + 1, Err(SignatureError::NotNow { age_seconds: 300 })),
            (AT.0 - five_minutes - 1, Err(SignatureError::NotNow { age_seconds: -300 })),
        ] {
            assert_eq!(verify(SECRET, GOLDEN, BODY, Timestamp(now), TOLERANCE), expected, "{now}");
        }
        // whoever cannot sign is not told that the time is wrong as well
        let late = Timestamp(AT.0 * 2);
        assert_eq!(verify(b"other", GOLDEN, BODY, late, TOLERANCE), Err(SignatureError::NoMatch));
    }

    #[test]
    fn what_does_not_read_is_malformed() {
        let good = GOLDEN.split_once(',').unwrap().1;
        let many = format!("t=1760000000{}", format!(",{good}").repeat(MOST_SIGNATURES + 1));
        for header in [
            "",
            "t",
            good,
            &format!("t=,{good}"),
            &format!("t=+1760000000,{good}"),
            &format!("t=1760000000,t=1760000000,{good}"),
            &format!("t=9223372036854775807,{good}"),
            &format!("t=99999999999999999999,{good}"),
            &many,
        ] {
            assert_eq!(check(header), Err(SignatureError::Malformed), "{header}");
        }
    }

    proptest! {
        #[test]
        fn what_was_signed_verifies_with_the_same_secret_alone(
            secret in any::<Vec<u8>>(), other in any::<Vec<u8>>(), body in any::<Vec<u8>>(), at in 0i64..4_102_444_800_000,
        ) {
            let header = sign(&secret, Timestamp(at), &body);
            let signed_at = Timestamp(at / 1_000 * 1_000);
            prop_assert_eq!(verify(&secret, &header, &body, Timestamp(at), TOLERANCE), Ok(signed_at));
            // HMAC pads keys with zeros, so two that differ in those alone are one
            let stem = |secret: &[u8]| {
                let end = secret.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                secret[..end].to_vec()
            };
            if stem(&secret) != stem(&other) {
                let verdict = verify(&other, &header, &body, Timestamp(at), TOLERANCE);
                prop_assert_eq!(verdict, Err(SignatureError::NoMatch));
            }
        }

        #[test]
        fn one_changed_bit_is_found(
            body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let header = sign(SECRET, AT, &body);
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= 1 << bit;
            prop_assert_eq!(verify(SECRET, &header, &changed, AT, TOLERANCE), Err(SignatureError::NoMatch));
        }

        #[test]
        fn no_header_is_a_panic(header in ".{0,300}", time in any::<i64>()) {
            let _ = verify(SECRET, &header, BODY, Timestamp(time), TOLERANCE);
            let _ = verify(SECRET, &format!("t={time},v1={header}"), BODY, Timestamp(time), TOLERANCE);
        }
    }
}
