//! The tier catalogue: tiers as data. An unknown tier is an error everywhere and never means "no limit" (D-69).
//!
//! The compiled-in default is `catalogue/default.toml`; how files are read and laid over each other is `text`. Not here:
//! prices as the provider knows them.

pub mod text;

use crate::ids::{GroupName, OrgId, TierName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// 2^30 bytes: every limit of the catalogue is in this unit.
pub const GIB: i64 = 1 << 30;

/// Who may still buy a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Listed and sold.
    Offered,
    /// Not listed, but sold to who asks for it by name.
    Hidden,
    /// Kept by who has it, sold to nobody.
    Retired,
}

/// The EBS volume that a graph of a tier begins with, and the least that it is kept at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// GiB.
    pub size_gib: i64,
    /// Provisioned operations per second.
    pub iops: i64,
    /// Provisioned MiB per second.
    pub throughput_mibps: i64,
}

/// One tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Its name in the API and in registries.
    pub name: TierName,
    /// Its name for people.
    pub display_name: String,
    /// Order of the ladder: direction of a change is decided by rank and never by price (D-67).
    pub rank: u32,
    /// Price of one month in cents of `currency`.
    pub price_cents: i64,
    /// ISO 4217, upper case.
    pub currency: String,
    /// Credits granted per month.
    pub monthly_credits: i64,
    /// Most bytes of engine data, inclusive.
    pub storage_limit_bytes: i64,
    /// Most subgraphs, inclusive.
    pub max_subgraphs: i64,
    /// API rate limit relative to the lowest tier, in thousandths.
    pub rate_multiplier_milli: u32,
    /// EC2 instance type of the tier's group.
    pub instance_type: String,
    /// The volume of a graph on it.
    pub volume: Volume,
    /// Who may still buy it.
    pub state: State,
    /// The only organisations that may have it; none: everybody.
    pub organisations: Option<BTreeSet<OrgId>>,
    /// Past this the migration decides whether to turn back (a decision, not a bound: H36).
    pub max_write_block_ms: i64,
    /// Name of the tier's Auto Scaling group, with `{tier}` and `{env}`.
    pub group_template: String,
}

impl Tier {
    /// The tier's Auto Scaling group in an environment.
    pub fn group(&self, environment: &str) -> Result<GroupName, crate::ids::Malformed> {
        GroupName::parse(self.group_template.replace("{tier}", self.name.as_str()).replace("{env}", environment))
    }

    /// Whether an organisation may choose it.
    pub fn sold_to(&self, org: &OrgId) -> bool {
        self.state != State::Retired && self.organisations.as_ref().is_none_or(|only| only.contains(org))
    }

    /// Whether it is shown to somebody of these organisations. What somebody has is shown to them beside this.
    pub fn listed_to<'a>(&self, mut orgs: impl Iterator<Item = &'a OrgId>) -> bool {
        self.state == State::Offered
            && self.organisations.as_ref().is_none_or(|only| orgs.any(|org| only.contains(org)))
    }
}

/// All tiers, by rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    tiers: Vec<Tier>,
}

/// Why a list of tiers is no catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No tier at all.
    #[error("a catalogue needs at least one tier")]
    Empty,
    /// Two tiers share a name.
    #[error("tier {0} stands twice")]
    DuplicateName(TierName),
    /// Two tiers share a rank, so that direction would be undefined.
    #[error("tier {0} shares its rank with {1}; give each a rank of its own")]
    DuplicateRank(TierName, TierName),
    /// A number is out of range.
    #[error("tier {0}: {1} must be {2}..={3}")]
    OutOfRange(TierName, &'static str, i64, i64),
    /// A text has not its form.
    #[error("tier {0}: {1} must be {2}")]
    Form(TierName, &'static str, &'static str),
    /// Two prices that could not be compared.
    #[error("tier {0} has another currency than {1}; a change between them would have no price")]
    Currencies(TierName, TierName),
}

impl Catalogue {
    /// Checks a list of tiers whole: every fault at once.
    pub fn new(mut tiers: Vec<Tier>) -> Result<Self, Vec<Fault>> {
        tiers.sort_by_key(|t| t.rank);
        let mut faults = Vec::new();
        if tiers.is_empty() {
            faults.push(Fault::Empty);
        }
        for (i, tier) in tiers.iter().enumerate() {
            for other in &tiers[..i] {
                if other.name == tier.name {
                    faults.push(Fault::DuplicateName(tier.name.clone()));
                }
                if other.rank == tier.rank {
                    faults.push(Fault::DuplicateRank(tier.name.clone(), other.name.clone()));
                }
            }
            if let Some(first) = tiers.first().filter(|first| first.currency != tier.currency) {
                faults.push(Fault::Currencies(tier.name.clone(), first.name.clone()));
            }
            faults.extend(faults_of(tier));
        }
        if faults.is_empty() { Ok(Self { tiers }) } else { Err(faults) }
    }

    /// All tiers, lowest rank first.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// The tier of that name, if the catalogue has it.
    pub fn get(&self, name: &TierName) -> Option<&Tier> {
        self.tiers.iter().find(|t| &t.name == name)
    }
}

/// The limits are the contract's (`tier.proto`): what the API could not say is not taken.
fn faults_of(tier: &Tier) -> Vec<Fault> {
    let name = || tier.name.clone();
    let ranges = [
        ("rank", i64::from(tier.rank), 1, 1_000),
        ("price_cents", tier.price_cents, 1, 1_000_000_000),
        ("monthly_credits", tier.monthly_credits, 0, 1_000_000_000),
        ("storage_limit_bytes", tier.storage_limit_bytes, 1, 1 << 60),
        ("max_subgraphs", tier.max_subgraphs, 0, 1_000),
        ("rate_multiplier_milli", i64::from(tier.rate_multiplier_milli), 1, 1_000_000),
        ("max_write_block_ms", tier.max_write_block_ms, 1, 86_400_000),
        ("volume.size_gib", tier.volume.size_gib, 1, 16_384),
        ("volume.iops", tier.volume.iops, 3_000, 16_000),
        ("volume.throughput_mibps", tier.volume.throughput_mibps, 125, 1_000),
    ];
    let out = ranges.into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
    let mut faults: Vec<Fault> =
        out.map(|(what, _, least, most)| Fault::OutOfRange(name(), what, least, most)).collect();
    let capitals = tier.currency.len() == 3 && tier.currency.bytes().all(|b| b.is_ascii_uppercase());
    let forms = [
        ("display_name", (1..=100).contains(&tier.display_name.chars().count()), "1 to 100 characters"),
        ("currency", capitals, "an ISO 4217 code in capitals, such as USD"),
        ("instance_type", (1..=32).contains(&tier.instance_type.len()), "an EC2 instance type, such as m7g.large"),
        ("group", tier.group("environment").is_ok(), "the name of an Auto Scaling group, with {tier} and {env} in it"),
        ("organisations", tier.organisations.as_ref().is_none_or(|only| !only.is_empty()), "left out, or not empty"),
    ];
    faults.extend(forms.into_iter().filter(|(_, ok, _)| !ok).map(|(what, _, form)| Fault::Form(name(), what, form)));
    faults
}

impl Default for Catalogue {
    /// The product's tiers, newest values: `catalogue/default.toml`.
    fn default() -> Self {
        text::compiled_in()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(id: &str) -> OrgId {
        OrgId::parse(id).expect("well formed")
    }

    #[test]
    fn all_faults_come_at_once() {
        let mut tiers = Catalogue::default().tiers().to_vec();
        tiers[1].name = tiers[0].name.clone();
        tiers[2].rank = tiers[0].rank;
        tiers[2].price_cents = 0;
        tiers[2].currency = "eur".to_owned();
        tiers[2].organisations = Some(BTreeSet::new());
        let faults = Catalogue::new(tiers).expect_err("faults");
        assert_eq!(faults.len(), 6, "{faults:?}");
    }

    #[test]
    fn an_unknown_tier_is_none() {
        let name = TierName::parse("ladybug-huge").expect("well formed");
        assert!(Catalogue::default().get(&name).is_none());
    }

    #[test]
    fn who_may_choose_and_who_is_shown() {
        let mut tier = Catalogue::default().tiers()[0].clone();
        let (a, b) = (org("org_a"), org("org_b"));
        let seen = |tier: &Tier, org: &OrgId| (tier.sold_to(org), tier.listed_to([org].into_iter()));
        assert_eq!(seen(&tier, &a), (true, true));
        tier.organisations = Some(BTreeSet::from([a.clone()]));
        assert_eq!((seen(&tier, &a), seen(&tier, &b)), ((true, true), (false, false)));
        tier.state = State::Hidden;
        assert_eq!((seen(&tier, &a), seen(&tier, &b)), ((true, false), (false, false)));
        tier.state = State::Retired;
        assert_eq!(seen(&tier, &a), (false, false));
    }
}
