//! The tier catalogue: tiers as data. The compiled-in default carries the newest values of the product; an
//! unknown tier is an error everywhere and never means "no limit" (D-69).
//!
//! Not here: prices as the provider knows them, and overrides per environment.

use crate::ids::{GroupName, TierName};
use serde::{Deserialize, Serialize};

/// 2^30 bytes: every limit of the catalogue is in this unit.
pub const GIB: i64 = 1 << 30;

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
    /// Whether customers may choose it.
    pub offered: bool,
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
    #[error("tier {0} shares its rank with another")]
    DuplicateRank(TierName),
    /// A limit, price or multiplier is out of range.
    #[error("tier {0}: {1} must be positive")]
    NotPositive(TierName, &'static str),
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
                    faults.push(Fault::DuplicateRank(tier.name.clone()));
                }
            }
            let positive = [
                ("price_cents", tier.price_cents > 0),
                ("storage_limit_bytes", tier.storage_limit_bytes > 0),
                ("rate_multiplier_milli", tier.rate_multiplier_milli > 0),
                ("max_write_block_ms", tier.max_write_block_ms > 0),
            ];
            faults.extend(
                positive.iter().filter(|(_, ok)| !ok).map(|(what, _)| Fault::NotPositive(tier.name.clone(), what)),
            );
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

impl Default for Catalogue {
    /// The product's tiers, newest values.
    fn default() -> Self {
        struct Row(&'static str, &'static str, u32, i64, i64, i64, i64, u32, &'static str);
        let rows = [
            Row("ladybug-standard", "LadybugDB Standard", 1, 9_900, 8_000, 20, 3, 1_000, "m7g.medium"),
            Row("ladybug-large", "LadybugDB Large", 2, 24_900, 32_000, 50, 10, 2_000, "m7g.large"),
            Row("ladybug-xlarge", "LadybugDB XLarge", 3, 59_900, 100_000, 100, 25, 4_000, "r7g.xlarge"),
        ];
        let tiers = rows
            .into_iter()
            .filter_map(|Row(name, display, rank, price, credits, gib, subgraphs, milli, instance_type)| {
                Some(Tier {
                    name: TierName::parse(name).ok()?,
                    display_name: display.to_owned(),
                    rank,
                    price_cents: price,
                    currency: "USD".to_owned(),
                    monthly_credits: credits,
                    storage_limit_bytes: gib * GIB,
                    max_subgraphs: subgraphs,
                    rate_multiplier_milli: milli,
                    instance_type: instance_type.to_owned(),
                    offered: true,
                    max_write_block_ms: 300_000,
                    group_template: "tiershift-{tier}-writers-{env}-asg".to_owned(),
                })
            })
            .collect();
        Self { tiers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_valid_catalogue_of_three() {
        let catalogue = Catalogue::default();
        assert_eq!(catalogue.tiers().len(), 3);
        assert_eq!(Catalogue::new(catalogue.tiers().to_vec()), Ok(catalogue.clone()));
        let group = catalogue.tiers()[1].group("dev").expect("a group name");
        assert_eq!(group.as_str(), "tiershift-ladybug-large-writers-dev-asg");
    }

    #[test]
    fn all_faults_come_at_once() {
        let mut tiers = Catalogue::default().tiers().to_vec();
        tiers[1].name = tiers[0].name.clone();
        tiers[2].rank = tiers[0].rank;
        tiers[2].price_cents = 0;
        let faults = Catalogue::new(tiers).expect_err("three faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn an_unknown_tier_is_none() {
        let name = TierName::parse("ladybug-huge").expect("well formed");
        assert!(Catalogue::default().get(&name).is_none());
    }
}
