//! Deliberate bugs, one at a time, for the test of the tests: the simulation must find each of them
//! (`tests/sim`). Without the feature `mutants` there are none: `on` is a constant, and the compiler takes the line out.
//!
//! A mutant is armed for one thread, which is all that a simulated history runs on. No service's own build has the
//! feature. To add one: a row here, one `on` at the place of the bug, and the test finds it or fails.

macro_rules! mutants {
    ($($(#[$doc:meta])* $mutant:ident = $name:literal, $about:literal;)*) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $about] $mutant,)*
        }

        impl Mutant {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$mutant,)*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$mutant => $name,)* }
            }

            /// What it does wrong, in one sentence.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$mutant => $about,)* }
            }

            /// The one of that name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
            }
        }
    };
}

mutants! {
    TrustOneRead = "trust-one-read", "One read that does not show an instance is enough to call it gone.";
    ReuseDevice = "reuse-device", "An attach takes a device name that was used before.";
    ReuseToken = "reuse-token", "Every attempt of a call has the same token.";
    UndoUnknown = "undo-unknown", "The way back forgets an effect whose outcome is not known.";
    ForgetUnmount = "forget-unmount", "The release of the source is taken for done without its agent.";
    LeaveDoorOpen = "leave-door-open", "Writers are counted with the engine's door open.";
    SkipSafety = "skip-safety", "The safety snapshot is not waited for.";
    OpenDoorEarly = "open-door-early", "The target's door is opened before the commit.";
    ReleaseAssetsEarly = "release-assets-early", "The source is retired without a completed final snapshot and the soak.";
    EndWithoutLooking = "end-without-looking", "An instance that was launched is ended by what the journal says, without a look at its volumes.";
    OfferEarly = "offer-early", "The volume's row says available as soon as it is detached.";
    RecordEarly = "record-early", "The volume's row says attached when the attach is decided.";
    DropFence = "drop-fence", "The journal takes an append whatever the head's version and fence are.";
    BlindSnapshot = "blind-snapshot", "A snapshot call without an answer is made again without looking.";
    SkipGateWait = "skip-gate-wait", "The gate is confirmed at once, without the wait for leases.";
    SkipCalmWait = "skip-calm-wait", "The gate closes without the wait for calm leases.";
    OpenOnCommitted = "open-on-committed", "The gate opens with Committed, before the target serves.";
    OpenOnCancel = "open-on-cancel", "The gate opens with the wish to cancel.";
    ChargeAgain = "charge-again", "A charge without an answer is made again under another key.";
    ForgetRefund = "forget-refund", "A change that went back keeps the money.";
    ApplyTwice = "apply-twice", "The follower keeps no place, and an event that comes again is applied again.";
    KeepLocks = "keep-locks", "A migration ends without freeing its locks.";
}

/// Whether a mutant is armed on this thread. Never, without the feature.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "the line that asks must vanish")]
pub const fn on(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod armed {
    use super::Mutant;
    use std::cell::Cell;

    thread_local!(static ARMED: Cell<Option<Mutant>> = const { Cell::new(None) });

    /// Whether a mutant is armed on this thread.
    pub fn on(mutant: Mutant) -> bool {
        ARMED.get() == Some(mutant)
    }

    /// Arms one on this thread, or none, for as long as the guard lives.
    #[must_use]
    pub fn arm(mutant: Option<Mutant>) -> Guard {
        Guard(ARMED.replace(mutant))
    }

    /// Puts back what was armed before.
    #[derive(Debug)]
    pub struct Guard(Option<Mutant>);

    impl Drop for Guard {
        fn drop(&mut self) {
            ARMED.set(self.0);
        }
    }
}

#[cfg(feature = "mutants")]
pub use armed::{Guard, arm, on};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_parse() {
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::parse(mutant.name()), Some(*mutant));
        }
        assert_eq!(Mutant::parse("none"), None);
    }
}
