//! The trace that a request belongs to (W3C Trace Context, level 1): whoever samples it says so by `traceparent`, and
//! every record that comes of the request carries that on, from lane to lane. Without one nothing is carried.

use axum::http::{HeaderMap, HeaderName};
use schemas::envelope::TRACEPARENT;
use std::future::Future;
use tokio::task::JoinHandle;

/// The request header.
pub const HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);
/// `00-<32 digits of the trace>-<16 of the span>-<2 of flags>`.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

tokio::task_local! {
    static CURRENT: Option<Trace>;
}

/// A sampled trace, as its caller named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace([u8; LENGTH]);

impl Trace {
    /// The trace that `headers` name. None when they name none or more than one, when it is not sampled, or not of
    /// version 00: a trace that cannot be read is begun anew by whoever likes (§3.2.2.2), and never refused.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(HEADER).iter();
        let (Some(value), None) = (all.next(), all.next()) else { return None };
        let bytes: [u8; LENGTH] = value.as_bytes().try_into().ok()?;
        let text = std::str::from_utf8(&bytes).ok()?;
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let are_digits = |part: &str, count| {
            part.len() == count && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |part: &str, count| are_digits(part, count) && part.bytes().any(|b| b != b'0');
        let is_sampled =
            are_digits(flags, 2) && u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & SAMPLED != 0);
        (version == "00" && is_id(trace, 32) && is_id(span, 16) && is_sampled).then_some(Self(bytes))
    }

    /// The trace of the request that this task works for.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|trace| *trace).ok().flatten()
    }

    /// The bytes of the header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Runs `work` as part of `trace`.
pub(crate) async fn within<F: Future>(trace: Option<Trace>, work: F) -> F::Output {
    CURRENT.scope(trace, work).await
}

/// [`tokio::spawn`] of work that belongs to the same request.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(CURRENT.scope(Trace::current(), work))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(values: &[&str]) -> Option<Trace> {
        Trace::read(&values.iter().map(|value| (HEADER, value.parse().unwrap())).collect())
    }

    #[test]
    fn only_one_sampled_trace_of_the_known_version_counts() {
        assert_eq!(read(&[GOOD]).unwrap().as_bytes(), GOOD.as_bytes());
        for bad in [
            &[][..],
            &[GOOD, GOOD],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"],
            &["01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"],
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_task_of_its_own_stays_in_the_trace() {
        let trace = read(&[GOOD]);
        let seen = within(trace, async { spawn(async { Trace::current() }).await.unwrap() }).await;
        assert_eq!(seen, trace);
        assert_eq!(Trace::current(), None);
    }
}
