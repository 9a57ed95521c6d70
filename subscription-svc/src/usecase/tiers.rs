//! ListTiers: the tiers that a caller may know of, with room if it is asked for.
//!
//! Operators and services see the whole catalogue. A person sees what is sold to one of their organisations, and the tier
//! that the graph in question has, whatever became of it.

use super::facts::Asked;
use crate::service::{Outcome, Service};
use crate::store::rows::Graph;
use tiershift_common::caller::Caller;
use tiershift_core::Reason;
use tiershift_core::catalogue::Tier;
use tiershift_core::ids::GraphId;

/// Whether a move to a tier could begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It was not asked.
    NotAsked,
    /// An instance is idle or can be launched; or the graph is there already.
    Available,
    /// Neither.
    Full,
    /// Nobody could say.
    Unknown,
}

/// A tier as one caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The tier.
    pub tier: Tier,
    /// Whether this caller could choose it for the graph in question, or for any of their organisations.
    pub sold: bool,
    /// Whether there is room.
    pub room: Room,
}

impl Service {
    /// Lists them by rank.
    pub async fn list_tiers(&self, caller: &Caller, with_room: bool, graph: Option<&GraphId>) -> Outcome<Vec<Listed>> {
        let graph = match graph {
            Some(id) => Some(self.get_graph(caller, &id.clone().into()).await?.0),
            None => None,
        };
        let everything = caller.is_operator() || caller.is_service();
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
            let room = if with_room { self.room(graph.as_ref(), tier).await } else { Room::NotAsked };
            listed.push(Listed { tier: tier.clone(), sold, room });
        }
        Ok(listed)
    }

    /// Only a graph has a zone, so without one nothing can be said.
    async fn room(&self, graph: Option<&Graph>, tier: &Tier) -> Room {
        let Some(graph) = graph else { return Room::Unknown };
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
