//! Makes a failing history short: decisions are left out, in ever smaller pieces, as long as it still fails (delta
//! debugging; Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).

/// Most histories that are run for it.
const TRIES: usize = 4_000;

/// The shortest list found that still fails.
pub(crate) fn shrink<S: Clone>(mut steps: Vec<S>, fails: impl Fn(&[S]) -> bool) -> Vec<S> {
    let mut tries = 0;
    let mut piece = steps.len().div_ceil(2);
    while piece > 0 && tries < TRIES {
        let mut at = 0;
        let mut shorter = false;
        while at < steps.len() && tries < TRIES {
            tries += 1;
            let without: Vec<S> =
                steps.iter().take(at).chain(steps.iter().skip(at + piece)).cloned().collect();
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
