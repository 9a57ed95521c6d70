//! Which tier changes are switched on, and for whom: the global switch, the rollout, the switch for downgrades.
//!
//! A change that was accepted goes on whatever is switched off meanwhile. Not here: where the switches are set (the
//! service's configuration), and everything else that a change must be allowed by (`rules`).

use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use tiershift_core::ids::OrgId;

/// For whom tier changes are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// For nobody.
    Off,
    /// For everybody.
    All,
    /// For some.
    Some {
        /// These organisations, whatever the share.
        orgs: BTreeSet<OrgId>,
        /// And for so many of a hundred of all organisations, 0 to 100. Who is among 10 is among 20, on every replica and
        /// after every restart.
        percent: u8,
    },
}

/// All switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// For whom tier changes are on.
    pub changes: Rollout,
    /// Whether downgrades are on; where changes are off they are too.
    pub downgrades: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Self { changes: Rollout::All, downgrades: true }
    }
}

impl Rollout {
    /// Whether it is on for an organisation.
    pub fn includes(&self, org: &OrgId) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Some { orgs, percent } => orgs.contains(org) || place(org) < *percent,
        }
    }

    /// Reads `all`, `off`, or organisations and one share with commas between: `10%,org_acme`. Every part that is none of
    /// these is given back.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        match text {
            "all" => return Ok(Self::All),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        let (mut orgs, mut percent, mut bad) = (BTreeSet::new(), None, Vec::new());
        for part in text.split(',') {
            let share = part.strip_suffix('%').map(|number| number.parse::<u8>().ok().filter(|n| *n <= 100));
            match (share, OrgId::parse(part)) {
                (Some(Some(share)), _) if percent.is_none() => percent = Some(share),
                (None, Ok(org)) => {
                    orgs.insert(org);
                }
                _ => bad.push(part.to_owned()),
            }
        }
        if bad.is_empty() { Ok(Self::Some { orgs, percent: percent.unwrap_or(0) }) } else { Err(bad) }
    }
}

/// An organisation's place among a hundred: a hash of its name and of what is rolled out, so that not the same few are
/// always first.
fn place(org: &OrgId) -> u8 {
    let hash = Sha256::digest(format!("tier-changes/{org}"));
    let number = hash.iter().take(4).fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    u8::try_from(number % 100).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(id: &str) -> OrgId {
        OrgId::parse(id).expect("well formed")
    }

    #[test]
    fn what_can_be_said_is_read_and_the_rest_is_named() {
        assert_eq!(Rollout::parse("all"), Ok(Rollout::All));
        assert_eq!(Rollout::parse("off"), Ok(Rollout::Off));
        let some = Rollout::parse("org_a,25%,org_b").expect("good");
        assert_eq!(some, Rollout::Some { orgs: BTreeSet::from([org("org_a"), org("org_b")]), percent: 25 });
        let bad = Rollout::parse("org_a,101%,b,5%,6%,,%").expect_err("bad");
        assert_eq!(bad, ["101%", "b", "6%", "", "%"]);
    }

    #[test]
    fn a_share_is_that_share_and_grows_without_losing_anybody() {
        let all: Vec<OrgId> = (0..10_000).map(|n| org(&format!("org_{n}"))).collect();
        let at = |percent| Rollout::Some { orgs: BTreeSet::new(), percent };
        let mut before: BTreeSet<&OrgId> = BTreeSet::new();
        for percent in [0, 10, 50, 100] {
            let now: BTreeSet<&OrgId> = all.iter().filter(|org| at(percent).includes(org)).collect();
            let (count, expected) = (now.len(), usize::from(percent) * 100);
            assert!(count.abs_diff(expected) <= 200, "{count} of 10,000 at {percent} %");
            assert!(before.is_subset(&now));
            before = now;
        }
    }

    #[test]
    fn an_organisation_keeps_its_place_for_ever() {
        let places: Vec<u8> = ["org_acme", "org_globex", "org_initech"].iter().map(|id| place(&org(id))).collect();
        assert_eq!(places, PLACES);
    }

    /// Computed apart from this code; a change of it would switch customers off.
    const PLACES: [u8; 3] = [74, 8, 70];
}
