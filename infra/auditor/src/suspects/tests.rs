//! A suspicion becomes a drift only when all that was on its way has passed, twice, and changed nothing.

use super::*;
use crate::{
    finding::{Kind, Subject},
    note::LaneRow,
};
use schemas::time::Timestamp;

/// A lane that has sent `n` records to the only partition there is, of which `taken` are taken.
fn lanes(n: u64, taken: u64) -> Lanes {
    let id = Uuid::from_u128(1);
    Lanes(vec![LaneRow {
        service: "orders",
        partition: 0,
        partitions: 1,
        id,
        due_mark: Timestamp(0),
        heard: BTreeMap::from([(id, taken)]),
        sent: BTreeMap::from([(("orders", 0), n)]),
    }])
}

fn case() -> Case {
    Case::of(Uuid::from_u128(7))
}

fn changed() -> Case {
    Case { parked: vec!["orders"], ..case() }
}

fn wrong(kind: Kind) -> Vec<Finding> {
    vec![Finding::new(kind, Subject::Order(case().id), "figures")]
}

struct Watch {
    suspects: Suspects,
    now: Instant,
}

impl Watch {
    /// A money drift seen once, while three records were on their way.
    fn suspecting() -> Self {
        let mut watch = Self { suspects: Suspects::default(), now: Instant::now() };
        watch.hear(case(), wrong(Kind::Money), 3);
        watch
    }

    fn hear(&mut self, case: Case, found: Vec<Finding>, sent: u64) {
        self.suspects.hear(case, found, &Arc::new(lanes(sent, 0).note()), self.now, true);
    }

    fn is_due(&mut self, taken: u64) -> bool {
        self.now += AGAIN;
        !self.suspects.due(&lanes(3, taken), self.now, 10).is_empty()
    }

    fn proved(&self) -> usize {
        self.suspects.findings().count()
    }
}

#[test]
fn a_suspect_waits_until_what_was_on_its_way_has_passed() {
    let mut watch = Watch::suspecting();
    assert!(!watch.is_due(2), "a record is not taken yet");
    assert!(watch.is_due(3));
    assert_eq!((watch.proved(), watch.suspects.unproved().count()), (0, 1));
    watch.hear(case(), wrong(Kind::Money), 3);
    assert_eq!(watch.proved(), 0, "once is not enough");
    watch.hear(case(), wrong(Kind::Money), 3);
    assert_eq!((watch.proved(), watch.suspects.unproved().count()), (1, 0));
}

#[test]
fn a_look_that_was_not_due_proves_nothing() {
    let mut watch = Watch::suspecting();
    for _ in 0..5 {
        let note = Arc::new(lanes(4, 0).note());
        watch.suspects.hear(case(), wrong(Kind::Money), &note, watch.now, false);
    }
    assert!(watch.proved() == 0 && watch.is_due(3), "its first note is still the one that has to pass");
}

#[test]
fn a_case_that_moves_is_no_drift() {
    let mut watch = Watch::suspecting();
    for n in 0..5 {
        watch.hear(if n % 2 == 0 { changed() } else { case() }, wrong(Kind::Money), 3);
        assert_eq!(watch.proved(), 0);
    }
}

#[test]
fn what_is_put_right_is_forgotten() {
    let mut watch = Watch::suspecting();
    watch.hear(case(), wrong(Kind::Money), 3);
    watch.hear(case(), wrong(Kind::Money), 3);
    watch.hear(changed(), wrong(Kind::Money), 3);
    assert_eq!(watch.proved(), 1, "what was wrong stays so while its figures change");
    watch.hear(changed(), wrong(Kind::UnitsSold), 3);
    assert_eq!(watch.proved(), 0, "another fault begins anew");
    watch.hear(case(), vec![], 3);
    assert_eq!(watch.suspects.watched.len(), 0);
}

#[test]
fn what_waits_for_a_person_needs_no_proof() {
    let mut watch = Watch::suspecting();
    watch.hear(case(), wrong(Kind::NeedsHuman), 3);
    assert_eq!((watch.proved(), watch.suspects.unproved().count()), (1, 0));
}
