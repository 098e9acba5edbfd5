//! Bugs that tests plant into the simulator's own adapters, to see that they are found. Production code has none of
//! this, and outside of tests nothing can be planted here either.

/// A planted bug of each class.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
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
    /// Records that were read before a seek are taken after it was asked for.
    ReadsBeforeSeek,
    /// A redrive looks only at the records it names, not at those parked before them.
    RedriveOutOfOrder,
    /// A redrive that was done is done again when it is asked for again.
    ActionsForgotten,
}

/// What is planted: nothing, outside of tests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plant {
    #[cfg(test)]
    pub(crate) bug: Option<Bug>,
}

macro_rules! planted {
    ($($name:ident = $bug:ident),+ $(,)?) => {
        impl Plant {
            $(pub(crate) fn $name(self) -> bool {
                #[cfg(test)]
                return self.bug == Some(Bug::$bug);
                #[cfg(not(test))]
                return false;
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
    forgets_actions = ActionsForgotten,
);
