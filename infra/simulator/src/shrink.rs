//! Makes a failing history short: decisions are left out, in ever smaller pieces, as long as it still fails (delta
//! debugging; Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).

use crate::script::Step;

/// Most histories that are run for it.
const TRIES: usize = 4_000;

/// The shortest list found that still fails.
pub(crate) fn shrink(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut tries = 0;
    let mut piece = steps.len().div_ceil(2);
    while piece > 0 && tries < TRIES {
        let mut at = 0;
        let mut shorter = false;
        while at < steps.len() && tries < TRIES {
            tries += 1;
            let without: Vec<Step> =
                steps.iter().take(at).chain(steps.iter().skip(at + piece)).copied().collect();
            if fails(&without) {
                steps = without;
                shorter = true;
            } else {
                at += piece;
            }
        }
        if !(shorter && piece == 1) {
            piece /= 2;
        }
    }
    steps
}
