//! ListTiers: the tiers that a caller may know of, with room if it is asked for.
//!
//! Operators and services see the whole catalogue. A person sees what is sold to one of their organisations, and the tier
//! that the graph in question has, whatever became of it.

use super::facts::Asked;
use crate::migrations::Room;
use crate::service::{Outcome, Service};
use crate::store::rows::Graph;
use std::collections::BTreeMap;
use tiershift_common::caller::Caller;
use tiershift_core::catalogue::Tier;
use tiershift_core::ids::{GraphId, TierName};
use tiershift_core::{Error, Reason};

/// A tier as one caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The tier.
    pub tier: Tier,
    /// Whether this caller could choose it for the graph in question, or for any of their organisations.
    pub sold: bool,
    /// Whether a move to it could begin now; the tier that the graph is in has room. None: it was not asked.
    pub room: Option<Room>,
}

impl Service {
    /// Lists them by rank.
    pub async fn list_tiers(&self, caller: &Caller, with_room: bool, graph: Option<&GraphId>) -> Outcome<Vec<Listed>> {
        let graph = match graph {
            Some(id) => Some(self.get_graph(caller, &id.clone().into()).await?.0),
            None => None,
        };
        let everything = caller.is_operator() || caller.is_service();
        // A graph has a zone, and its move is planned; without one the best of all zones is told.
        let anywhere = if with_room && graph.is_none() { self.anywhere().await } else { None };
        let mut listed = Vec::new();
        for tier in self.catalogue.tiers() {
            let has_it = graph.as_ref().is_some_and(|graph| graph.tier == tier.name);
            if !everything && !has_it && !tier.listed_to(caller.orgs.keys()) {
                continue;
            }
            let sold = match &graph {
                Some(graph) => tier.sold_to(&graph.org),
                None => everything || caller.orgs.keys().any(|org| tier.sold_to(org)),
            };
            let room = match (with_room, &graph, &anywhere) {
                (false, _, _) => None,
                (true, Some(graph), _) => Some(self.room(graph, tier).await),
                (true, None, Some(rooms)) => Some(rooms.get(&tier.name).copied().unwrap_or(Room::Full)),
                (true, None, None) => Some(Room::Unknown),
            };
            listed.push(Listed { tier: tier.clone(), sold, room });
        }
        Ok(listed)
    }

    /// Room by tier, whatever the zone; none if nobody could say.
    async fn anywhere(&self) -> Option<BTreeMap<TierName, Room>> {
        let rooms = self.migrations.rooms().await;
        let told =
            |error: &Error| tracing::info!(reason = error.reason.as_str(), "the room in tiers could not be read");
        rooms.inspect_err(told).ok()
    }

    async fn room(&self, graph: &Graph, tier: &Tier) -> Room {
        match self.ask(graph, &tier.name).await {
            Asked::Plan(plan) => {
                let full =
                    |v: &tiershift_core::Violation| matches!(v.reason, Reason::NoCapacity | Reason::NoRoomInZone);
                if plan.not_checked.iter().any(|n| n.check == Reason::NoCapacity) {
                    Room::Unknown
                } else if plan.violations.iter().any(full) {
                    Room::Full
                } else {
                    Room::Available
                }
            }
            Asked::Not(Reason::SameTier) => Room::Available,
            Asked::Not(_) => Room::Unknown,
        }
    }
}
