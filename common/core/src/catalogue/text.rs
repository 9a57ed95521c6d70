//! Reads a catalogue from its TOML text, with other texts laid over it key by key.
//!
//! Everything is read before anything is refused: every fault of every layer at once, each with the key that it is about.
//! A key that nobody knows is a fault, because a misspelt limit would otherwise be the default's. Not here: where the
//! texts come from (the services' configuration) and what the values must be (`Catalogue::new`).

use super::{Catalogue, GIB, State, Tier, Volume};
use crate::ids::{OrgId, TierName};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The product's own tiers.
const DEFAULT: &str = include_str!("default.toml");

/// What the compiled-in text is called in a fault.
const DEFAULT_NAME: &str = "the compiled-in catalogue";

/// One text with its name, for faults.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Such as the file's path.
    pub name: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// Everything that is wrong, one sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Faults(pub Vec<String>);

/// The default with these layers over it, the last uppermost.
pub fn read(layers: &[Layer<'_>]) -> Result<Catalogue, Faults> {
    let mut faults = Vec::new();
    let mut whole = Table::new();
    let first = Layer { name: DEFAULT_NAME, text: DEFAULT };
    for layer in std::iter::once(&first).chain(layers) {
        match layer.text.parse::<Table>() {
            Ok(table) => {
                check_keys(layer.name, &table, &mut faults);
                lay_over(&mut whole, table);
            }
            Err(error) => faults.push(format!("{}: {}", layer.name, error.to_string().trim_end())),
        }
    }
    // Only what was read whole can be judged: after a fault of form, its consequences would only hide it.
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let tiers = tiers(&whole, &mut faults);
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    Catalogue::new(tiers).map_err(|all| Faults(all.iter().map(ToString::to_string).collect()))
}

/// The default with these files over it, read by `read_file`: nothing is opened here.
pub fn read_files(
    files: &[PathBuf],
    mut read_file: impl FnMut(&Path) -> std::io::Result<String>,
) -> Result<Catalogue, Faults> {
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match read_file(file) {
            Ok(text) => texts.push((file.display().to_string(), text)),
            Err(error) => faults.push(format!("cannot read {}: {error}", file.display())),
        }
    }
    let layers: Vec<Layer<'_>> = texts.iter().map(|(name, text)| Layer { name, text }).collect();
    match read(&layers) {
        Ok(catalogue) if faults.is_empty() => Ok(catalogue),
        Ok(_) => Err(Faults(faults)),
        Err(more) => Err(Faults([faults, more.0].concat())),
    }
}

/// The compiled-in tiers. That they can be read is held by a test; a catalogue without tiers refuses everything.
pub(super) fn compiled_in() -> Catalogue {
    read(&[]).unwrap_or(Catalogue { tiers: Vec::new() })
}

const TIER_KEYS: [&str; 14] = [
    "display_name",
    "rank",
    "price_cents",
    "currency",
    "monthly_credits",
    "storage_limit_gib",
    "max_subgraphs",
    "rate_multiplier_milli",
    "instance_type",
    "volume",
    "state",
    "organisations",
    "max_write_block_s",
    "group",
];

const VOLUME_KEYS: [&str; 3] = ["size_gib", "iops", "throughput_mibps"];

fn check_keys(layer: &str, table: &Table, faults: &mut Vec<String>) {
    let unknown = |table: &Table, path: &str, known: &[&str], faults: &mut Vec<String>| {
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            faults.push(format!("{layer}: {path}{key} is no key; there is {}", known.join(", ")));
        }
    };
    unknown(table, "", &["defaults", "tiers"], faults);
    let sections = table.iter().filter_map(|(key, value)| Some((key, value.as_table()?)));
    for (section, inner) in sections {
        let tiers: Vec<(String, &Value)> = match section.as_str() {
            "defaults" => vec![("defaults".to_owned(), &table[section])],
            "tiers" => inner.iter().map(|(name, tier)| (format!("tiers.{name}"), tier)).collect(),
            _ => Vec::new(),
        };
        for (path, tier) in tiers {
            let Some(tier) = tier.as_table() else {
                faults.push(format!("{layer}: {path} must be a table"));
                continue;
            };
            unknown(tier, &format!("{path}."), &TIER_KEYS, faults);
            if let Some(volume) = tier.get("volume").and_then(Value::as_table) {
                unknown(volume, &format!("{path}.volume."), &VOLUME_KEYS, faults);
            }
        }
    }
}

/// Tables are merged, everything else is replaced.
fn lay_over(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(lower)), Value::Table(upper)) => lay_over(lower, upper),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

fn tiers(whole: &Table, faults: &mut Vec<String>) -> Vec<Tier> {
    let empty = Table::new();
    let section = |name: &str| whole.get(name).and_then(Value::as_table).unwrap_or(&empty);
    let (defaults, all) = (section("defaults"), section("tiers"));
    let mut read = Vec::new();
    for (name, own) in all {
        let mut table = defaults.clone();
        lay_over(&mut table, own.as_table().cloned().unwrap_or_default());
        read.extend(Reader { name, table: &table, faults }.tier());
    }
    read
}

/// Takes typed values out of one tier's table and notes what is missing or of another type.
struct Reader<'a> {
    name: &'a str,
    table: &'a Table,
    faults: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn tier(&mut self) -> Option<Tier> {
        let name = TierName::parse(self.name);
        if let Err(malformed) = &name {
            self.faults.push(format!("tiers.{}: a tier's name must be {}", self.name, malformed.rule));
        }
        let gib = self.whole("storage_limit_gib");
        let block_s = self.whole("max_write_block_s");
        let display_name = self.text("display_name");
        let rank = self.small("rank");
        let price_cents = self.whole("price_cents");
        let currency = self.text("currency");
        let monthly_credits = self.whole("monthly_credits");
        let max_subgraphs = self.whole("max_subgraphs");
        let rate_multiplier_milli = self.small("rate_multiplier_milli");
        let instance_type = self.text("instance_type");
        let volume = self.volume();
        let state = self.state();
        let organisations = self.organisations();
        let group_template = self.text("group");
        Some(Tier {
            name: name.ok()?,
            display_name: display_name?,
            rank: rank?,
            price_cents: price_cents?,
            currency: currency?,
            monthly_credits: monthly_credits?,
            storage_limit_bytes: gib?.saturating_mul(GIB),
            max_subgraphs: max_subgraphs?,
            rate_multiplier_milli: rate_multiplier_milli?,
            instance_type: instance_type?,
            volume: volume?,
            state: state?,
            organisations,
            max_write_block_ms: block_s?.saturating_mul(1_000),
            group_template: group_template?,
        })
    }

    fn fault<T>(&mut self, key: &str, must: &str) -> Option<T> {
        let missing = if self.table.contains_key(key) { "" } else { "is missing: it " };
        self.faults.push(format!("tiers.{}.{key} {missing}must be {must}", self.name));
        None
    }

    fn whole(&mut self, key: &str) -> Option<i64> {
        match self.table.get(key).and_then(Value::as_integer) {
            Some(value) => Some(value),
            None => self.fault(key, "a whole number"),
        }
    }

    fn small(&mut self, key: &str) -> Option<u32> {
        match self.whole(key).map(u32::try_from) {
            Some(Ok(value)) => Some(value),
            Some(Err(_)) => self.fault(key, "a whole number that is not negative"),
            None => None,
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.table.get(key).and_then(Value::as_str) {
            Some(value) => Some(value.to_owned()),
            None => self.fault(key, "a text"),
        }
    }

    fn volume(&mut self) -> Option<Volume> {
        let Some(table) = self.table.get("volume").and_then(Value::as_table) else {
            return self.fault("volume", "a table with size_gib, iops and throughput_mibps");
        };
        let name = format!("{}.volume", self.name);
        let mut inner = Reader { name: &name, table, faults: &mut *self.faults };
        let (size, iops, throughput) = (inner.whole("size_gib"), inner.whole("iops"), inner.whole("throughput_mibps"));
        Some(Volume { size_gib: size?, iops: iops?, throughput_mibps: throughput? })
    }

    fn state(&mut self) -> Option<State> {
        match self.table.get("state").and_then(Value::as_str) {
            Some("offered") => Some(State::Offered),
            Some("hidden") => Some(State::Hidden),
            Some("retired") => Some(State::Retired),
            _ => self.fault("state", "offered, hidden or retired"),
        }
    }

    /// None for everybody; after a fault too, which is noted and refuses the whole.
    fn organisations(&mut self) -> Option<BTreeSet<OrgId>> {
        let given = self.table.get("organisations")?;
        let ids = given.as_array().and_then(|all| {
            let ids = all.iter().map(|id| id.as_str().and_then(|id| OrgId::parse(id).ok()));
            ids.collect::<Option<BTreeSet<OrgId>>>()
        });
        ids.or_else(|| self.fault("organisations", "a list of organisations, such as [\"org_acme\"]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Catalogue, Faults> {
        read(&[Layer { name: "prod.toml", text }])
    }

    #[test]
    fn the_default_is_a_valid_catalogue_of_three() {
        let catalogue = read(&[]).expect("good");
        assert_eq!(catalogue, Catalogue::default());
        let row = |t: &Tier| (t.rank, t.price_cents, t.monthly_credits, t.storage_limit_bytes / GIB, t.max_subgraphs);
        let rows: Vec<_> = catalogue.tiers().iter().map(row).collect();
        assert_eq!(rows, [(1, 9_900, 8_000, 20, 3), (2, 24_900, 32_000, 50, 10), (3, 59_900, 100_000, 100, 25)]);
        let group = catalogue.tiers()[1].group("dev").expect("a group name");
        assert_eq!(group.as_str(), "tiershift-ladybug-large-writers-dev-asg");
    }

    #[test]
    fn a_layer_says_only_what_is_different() {
        let text = r#"
            [defaults]
            group = "acme-{tier}-{env}"
            [tiers.ladybug-large]
            price_cents = 29_900
            state = "retired"
            volume = { iops = 6_000 }
            [tiers.ladybug-giant]
            display_name = "Giant"
            rank = 4
            price_cents = 99_900
            monthly_credits = 1
            storage_limit_gib = 500
            max_subgraphs = 50
            rate_multiplier_milli = 8_000
            instance_type = "r7g.4xlarge"
            volume = { size_gib = 500, iops = 12_000, throughput_mibps = 500 }
            organisations = ["org_acme"]
        "#;
        let catalogue = with(text).expect("good");
        let default = Catalogue::default();
        let (large, before) = (&catalogue.tiers()[1], &default.tiers()[1]);
        assert_eq!((large.price_cents, large.state), (29_900, State::Retired));
        assert_eq!((large.volume.iops, large.volume.size_gib), (6_000, before.volume.size_gib));
        assert_eq!(large.storage_limit_bytes, before.storage_limit_bytes);
        assert_eq!(large.group("prod").expect("a name").as_str(), "acme-ladybug-large-prod");
        assert_eq!(catalogue.tiers().len(), 4);
    }

    #[test]
    fn every_fault_comes_at_once_with_its_key() {
        let form =
            with("[tiers.ladybug-large]\nmax_subgraph = 3\n[other]\n[defaults]\nvolume = { iop = 1 }").unwrap_err();
        let keys: Vec<&str> = form.0.iter().filter_map(|f| f.split(' ').nth(1)).collect();
        assert_eq!(keys, ["other", "defaults.volume.iop", "tiers.ladybug-large.max_subgraph"], "{form}");
        let types = with("[tiers.new]\nrank = \"one\"\nprice_cents = 1.5\norganisations = [\"acme\"]").unwrap_err();
        assert_eq!(types.0.len(), 10, "{types}");
        assert!(types.0.iter().any(|f| f == "tiers.new.rank must be a whole number"), "{types}");
        assert!(types.0.iter().any(|f| f == "tiers.new.display_name is missing: it must be a text"), "{types}");
        let values = with("[tiers.ladybug-large]\nrank = 1\nprice_cents = 0").unwrap_err();
        assert_eq!(values.0.len(), 2, "{values}");
        let syntax = with("[tiers").unwrap_err();
        assert!(syntax.0[0].starts_with("prod.toml: "), "{syntax}");
    }
}
