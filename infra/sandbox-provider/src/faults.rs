//! What goes wrong, and how often. Pure: chance is a number that comes in.

use serde::{Deserialize, Serialize};

/// What goes wrong. Shares are between 0 and 1; at most one of those in `Faults::of_call` befalls a call, so that they sum up to
/// 1 at most. As JSON: the body of `PUT /_sandbox/faults`, names in camel case, what is left out is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Faults {
    /// How long a call takes: at least and at most, in milliseconds.
    pub latency_ms: [u64; 2],
    /// Share of calls that take ten times as long.
    pub slow: f64,
    /// 500, nothing done, nothing kept under the key.
    pub error500: f64,
    /// 500 although it was done; kept under the key, as Stripe keeps it: every repeat gets it, only a lookup tells.
    pub done500: f64,
    /// 429, nothing done.
    pub error429: f64,
    /// 409, as if another call used the key.
    pub error409: f64,
    /// Done, and the answer is cut off in the middle.
    pub malformed: f64,
    /// Done, and the answer has 16 MiB.
    pub huge: f64,
    /// Done, and the answer comes a byte at a time.
    pub drip: f64,
    /// No answer, nothing done.
    pub lost: f64,
    /// No answer, and done.
    pub lost_done: f64,
    /// How long a call without an answer hangs before its connection is closed, in milliseconds; 30,000 when it is 0.
    pub hang_ms: u64,
    /// Share of payments that are declined.
    pub decline: f64,
    /// Share of refunds that fail at once.
    pub refund_fails: f64,
    /// Share of refunds that are said to be done, and fail afterwards: told by a webhook alone.
    pub refund_fails_later: f64,
    /// How far the search lags behind, in milliseconds.
    pub search_lag_ms: u64,
    /// What becomes of webhooks.
    pub webhooks: WebhookFaults,
}

/// What becomes of webhooks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebhookFaults {
    /// How long after the fact each is sent: at least and at most, in milliseconds. A range puts them out of order.
    pub delay_ms: [u64; 2],
    /// How often each is sent again although it was taken.
    pub duplicates: u32,
    /// Share that is never sent.
    pub lost: f64,
}

/// What befalls one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// [`Faults::error500`].
    Error500,
    /// [`Faults::done500`].
    Done500,
    /// [`Faults::error429`].
    Error429,
    /// [`Faults::error409`].
    Error409,
    /// [`Faults::malformed`].
    Malformed,
    /// [`Faults::huge`].
    Huge,
    /// [`Faults::drip`].
    Drip,
    /// [`Faults::lost`].
    Lost,
    /// [`Faults::lost_done`].
    LostDone,
}

impl Faults {
    /// How long a call without an answer hangs, in milliseconds.
    #[must_use]
    pub fn hang_ms(&self) -> u64 {
        if self.hang_ms == 0 { 30_000 } else { self.hang_ms }
    }

    /// Whether they can be; else what is wrong.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn check(&self) -> Result<(), String> {
        let of_outcomes =
            [self.slow, self.decline, self.refund_fails, self.refund_fails_later, self.webhooks.lost];
        let mut shares = self.of_call().map(|(_, share)| share).into_iter().chain(of_outcomes);
        if !shares.all(|share| (0.0..=1.0).contains(&share)) {
            return Err("every share is between 0 and 1".to_owned());
        }
        // a sum of tenths may be a hair above 1
        if self.of_call().iter().map(|(_, share)| share).sum::<f64>() > 1.000_001 {
            return Err("the shares of what befalls a call sum up to 1 at most".to_owned());
        }
        if self.refund_fails + self.refund_fails_later > 1.000_001 {
            return Err("refundFails and refundFailsLater sum up to 1 at most".to_owned());
        }
        for [least, most] in [self.latency_ms, self.webhooks.delay_ms] {
            if least > most {
                return Err("latencyMs and webhooks.delayMs are [least, most]".to_owned());
            }
        }
        Ok(())
    }

    /// The fault of a call whose chance, from 0 to 1, came out like this.
    #[must_use]
    pub fn befalls(&self, chance: f64) -> Option<Fault> {
        let mut below = 0.0;
        self.of_call().into_iter().find_map(|(fault, share)| {
            below += share;
            (chance < below).then_some(fault)
        })
    }

    /// How long a call takes, in milliseconds.
    #[must_use]
    pub fn takes_ms(&self, chance: f64, slow_chance: f64) -> u64 {
        let took = between(self.latency_ms, chance);
        if slow_chance < self.slow { took.saturating_mul(10) } else { took }
    }

    fn of_call(&self) -> [(Fault, f64); 9] {
        [
            (Fault::Error500, self.error500),
            (Fault::Done500, self.done500),
            (Fault::Error429, self.error429),
            (Fault::Error409, self.error409),
            (Fault::Malformed, self.malformed),
            (Fault::Huge, self.huge),
            (Fault::Drip, self.drip),
            (Fault::Lost, self.lost),
            (Fault::LostDone, self.lost_done),
        ]
    }
}

/// That far into a range.
#[must_use]
pub fn between([least, most]: [u64; 2], chance: f64) -> u64 {
    let width = u32::try_from(most.saturating_sub(least)).unwrap_or(u32::MAX);
    // a chance below 1 of a u32 is one
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and width")]
    let part = (f64::from(width) * chance) as u64;
    least.saturating_add(part)
}

/// Chances from 0 to 1 for one call: the seed, what it is about, and how often that was asked make them (FNV-1a, then
/// SplitMix64).
#[derive(Debug, Clone)]
pub struct Chances {
    state: u64,
}

impl Chances {
    /// Those of that call.
    #[must_use]
    pub fn of(seed: u64, about: &str, time: u64) -> Self {
        let bytes = seed.to_le_bytes().into_iter().chain(about.bytes()).chain(time.to_le_bytes());
        let state = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { state }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next chance, below 1.
    pub fn chance(&mut self) -> f64 {
        f64::from(u32::try_from(self.number() >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_as_often_as_its_share_says() {
        let faults = Faults { error500: 0.2, lost_done: 0.3, ..Faults::default() };
        let mut counts = std::collections::BTreeMap::new();
        for call in 0..10_000 {
            let mut chances = Chances::of(7, &format!("key-{call}"), 1);
            *counts.entry(faults.befalls(chances.chance())).or_insert(0) += 1;
        }
        let near = |fault, expected: i32| (counts[&fault] - expected).abs() < 300;
        assert!(near(Some(Fault::Error500), 2_000) && near(Some(Fault::LostDone), 3_000), "{counts:?}");
        assert_eq!(counts.len(), 3, "{counts:?}");
    }

    #[test]
    fn the_same_call_meets_the_same_chance_and_its_repeat_another() {
        let chance = |seed, about, time| Chances::of(seed, about, time).number();
        assert_eq!(chance(1, "a", 1), chance(1, "a", 1));
        assert_ne!(chance(1, "a", 1), chance(1, "a", 2));
        assert_ne!(chance(1, "a", 1), chance(2, "a", 1));
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (json, word) in [
            (r#"{"error500":1.5}"#, "between"),
            (r#"{"error500":0.6,"lost":0.6}"#, "sum"),
            (r#"{"latencyMs":[5,1]}"#, "latencyMs"),
        ] {
            let faults: Faults = serde_json::from_str(json).unwrap();
            assert!(faults.check().unwrap_err().contains(word), "{json}");
        }
        assert!(serde_json::from_str::<Faults>(r#"{"eror500":0.5}"#).is_err(), "a misspelt fault is none");
    }
}
