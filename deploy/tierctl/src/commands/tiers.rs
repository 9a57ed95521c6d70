//! `tierctl tiers`: the catalogue.

use crate::connect::Target;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Row};
use crate::table::Align;
use crate::words::{bytes, money, word};
use serde::Serialize;
use tiershift_proto::subscription::v1::{ListTiersRequest, Tier};

/// Lists the tiers by rank.
pub async fn run(target: &Target, room: bool, graph: Option<String>, output: &mut Output) -> Result<Exit, Fault> {
    let request = ListTiersRequest { with_room: room, graph_id: graph.unwrap_or_default() };
    let response = target.tiers()?.list_tiers(request).await?.into_inner();
    let rows: Vec<TierRow> = response.tiers.into_iter().map(TierRow::of).collect();
    output.rows(&rows)?;
    Ok(Exit::Succeeded)
}

/// A tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TierRow {
    /// Its name in requests.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// Its place in the ladder.
    pub rank: i32,
    /// What one month costs.
    pub price: String,
    /// What it grants each month.
    pub monthly_credits: i64,
    /// The most that a graph may store.
    pub storage_limit_bytes: i64,
    /// The most subgraphs.
    pub max_subgraphs: i32,
    /// The EC2 type of its instances.
    pub instance_type: String,
    /// Whether it can be bought.
    pub offered: bool,
    /// `available`, `full`, `unknown`; `unspecified` if it was not asked.
    pub room: String,
}

impl TierRow {
    fn of(tier: Tier) -> Self {
        let room = word(tier.room().as_str_name(), "TIER_ROOM_");
        Self {
            price: tier.price.as_ref().map(money).unwrap_or_default(),
            room,
            name: tier.name,
            display_name: tier.display_name,
            rank: tier.rank,
            monthly_credits: tier.monthly_credits,
            storage_limit_bytes: tier.storage_limit_bytes,
            max_subgraphs: tier.max_subgraphs,
            instance_type: tier.instance_type,
            offered: tier.offered,
        }
    }
}

impl Row for TierRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("RANK", Align::Right),
        ("TIER", Align::Left),
        ("PRICE", Align::Right),
        ("CREDITS", Align::Right),
        ("STORAGE", Align::Right),
        ("SUBGRAPHS", Align::Right),
        ("INSTANCE", Align::Left),
        ("OFFERED", Align::Left),
        ("ROOM", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.rank.to_string(),
            self.name.clone(),
            self.price.clone(),
            self.monthly_credits.to_string(),
            bytes(self.storage_limit_bytes),
            self.max_subgraphs.to_string(),
            self.instance_type.clone(),
            if self.offered { "yes" } else { "no" }.to_owned(),
            if self.room == "unspecified" { "-".to_owned() } else { self.room.clone() },
        ]
    }
}
