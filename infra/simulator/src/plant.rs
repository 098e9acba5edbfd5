//! Bugs that can be planted into the simulator's own adapters, to see that they are found. Production code has none of
//! this: what is planted is what the tables, the log and the workers around it do.

use std::{fmt, str::FromStr};

/// A bug of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A commit does not look at the lane's epoch.
    FenceIgnored,
    /// A number that was taken before is taken again.
    DedupeIgnored,
    /// Every record says that all before it was acknowledged.
    FloorIgnored,
    /// An order that is gone does not have its capture undone.
    LateCaptureKept,
    /// The head of a queue is overlooked.
    WaiterSkipped,
    /// A redrive looks only at the records it names, not at those parked before them.
    RedriveOutOfOrder,
    /// Records that were read before a seek are taken after it was asked for.
    ReadsBeforeSeek,
    /// A gateway that was not connected to Redis believes what it believed before.
    LinkTrusted,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::FenceIgnored,
        Self::DedupeIgnored,
        Self::FloorIgnored,
        Self::LateCaptureKept,
        Self::WaiterSkipped,
        Self::RedriveOutOfOrder,
        Self::ReadsBeforeSeek,
        Self::LinkTrusted,
    ];

    /// Those that random histories find. For the other two there are scripts among the tests: a seek that comes late has
    /// to meet a repeat in one place, and the edge has histories of its own.
    pub const DRAWN: [Self; 6] = [
        Self::FenceIgnored,
        Self::DedupeIgnored,
        Self::FloorIgnored,
        Self::LateCaptureKept,
        Self::WaiterSkipped,
        Self::RedriveOutOfOrder,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FenceIgnored => "fence",
            Self::DedupeIgnored => "dedupe",
            Self::FloorIgnored => "floor",
            Self::LateCaptureKept => "late-capture",
            Self::WaiterSkipped => "waiter",
            Self::RedriveOutOfOrder => "redrive-order",
            Self::ReadsBeforeSeek => "seek",
            Self::LinkTrusted => "edge-trust",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|bug| bug.name() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// What is planted, if anything.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plant(pub(crate) Option<Bug>);

macro_rules! planted {
    ($($name:ident = $bug:ident),+ $(,)?) => {
        impl Plant {
            $(pub(crate) fn $name(self) -> bool {
                self.0 == Some(Bug::$bug)
            })+
        }
    };
}

planted!(
    ignores_fence = FenceIgnored,
    ignores_dedupe = DedupeIgnored,
    ignores_floor = FloorIgnored,
    keeps_late_capture = LateCaptureKept,
    skips_waiter = WaiterSkipped,
    reads_before_seek = ReadsBeforeSeek,
    redrives_named_only = RedriveOutOfOrder,
    trusts_links = LinkTrusted,
);
