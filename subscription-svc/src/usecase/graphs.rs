//! Registering and deregistering graphs and subgraphs. No database is created here: the graph API does, and tells us.

use super::repeat::Repeat;
use super::{graph_not_found, owner_or_service, service_only};
use crate::saga::turn::halves;
use crate::service::{Outcome, Service, from_store};
use crate::store::rows::{Access, AuditEvent, AuditKind, Endpoint, Graph, Subgraph, TierChange};
use crate::store::{Key, Loaded, Write};
use serde::Serialize;
use std::collections::BTreeMap;
use subscription_core::access::{AccessRecord, Gate, Pace};
use subscription_core::status::GraphState;
use tiershift_common::caller::Caller;
use tiershift_core::ids::{AnyGraphId, GraphId, OrgId, RequestId, TierName};
use tiershift_core::{Error, Kind, Reason, UnixMs, Violation};

/// A graph to register.
#[derive(Clone, Debug, Serialize)]
pub struct RegisterGraph {
    /// The caller's id for it. Not part of its content.
    #[serde(skip)]
    pub request: RequestId,
    /// Whose it is.
    pub org: OrgId,
    /// The id it shall have; none: one is made.
    pub graph: Option<GraphId>,
    /// The tier it is on.
    pub tier: TierName,
    /// The platform's own graph.
    pub shared_repository: bool,
    /// A name for people; empty is none.
    pub display_name: String,
    /// Where it serves, if known.
    pub endpoint: Option<Endpoint>,
}

/// A graph as stored, with the number of its subgraphs and the change that runs.
pub type Registered = (Graph, Loaded);

impl Service {
    /// Adds a graph.
    pub async fn register_graph(&self, caller: &Caller, request: RegisterGraph) -> Outcome<Registered> {
        service_only(caller)?;
        let repeat = Repeat::of(caller, request.request.clone(), "RegisterGraph", &request);
        let id = request.graph.clone().map_or_else(|| self.new_graph_id(), Ok)?;
        let key = Key::graph(id.clone()).with_request(repeat.key.clone());
        let now = self.now();
        let made = self.committer.transact(&key, |loaded| {
            if let Some(earlier) = repeat.resource(loaded.request.as_ref())? {
                return Ok((Vec::new(), earlier));
            }
            if self.catalogue.get(&request.tier).is_none() {
                return Err(unknown_tier("tier"));
            }
            let graph = Graph {
                id: id.clone(),
                org: request.org.clone(),
                tier: request.tier.clone(),
                state: GraphState::Active,
                shared_repository: request.shared_repository,
                display_name: request.display_name.clone(),
                endpoint: request.endpoint.clone().map(|e| Endpoint { observed: now, ..e }),
                created: now,
                updated: now,
                deprovisioned: None,
            };
            if let Some(known) = &loaded.graph {
                if !same(known, &graph) {
                    return Err(exists("a graph of this id is registered with other content; choose another id"));
                }
                let remembered = Write::Request(repeat.remember(id.as_str()));
                return Ok((vec![remembered], id.to_string()));
            }
            let audit = self.audit(caller, &graph, AuditKind::GraphRegistered, "the graph was registered", now);
            let record = AccessRecord {
                revision: 0,
                graph: GraphState::Active,
                shared_repository: graph.shared_repository,
                subscription: None,
                ends_at: None,
                gate: Gate::Open,
                billing_off: false,
                pace: Pace::Calm,
            };
            let access = Access { graph: id.clone(), org: graph.org.clone(), record };
            let writes = vec![
                Write::Graph(graph),
                Write::Audit(Box::new(audit)),
                Write::Request(repeat.remember(id.as_str())),
                self.access(access),
            ];
            Ok((writes, id.to_string()))
        });
        let id = made.await.map_err(from_store)??;
        let id = AnyGraphId::parse(id).map_err(tiershift_common::status::Fault::internal)?;
        self.get_graph(caller, &id).await
    }

    /// Adds a subgraph. Refused at the tier's limit, and while the tier changes (H28).
    pub async fn register_subgraph(
        &self,
        caller: &Caller,
        request: RequestId,
        parent: &GraphId,
        name: &str,
    ) -> Outcome<Subgraph> {
        let id = AnyGraphId::parse(format!("{parent}_{name}"))
            .map_err(|m| Error::invalid_field("name", format!("must make {}", m.rule)))?;
        let repeat = Repeat::of(caller, request, "RegisterSubgraph", &id);
        let mut key = Key::graph(parent.clone()).with_request(repeat.key.clone());
        key.subgraph = Some(id.clone());
        let now = self.now();
        let made = self.committer.transact(&key, |loaded| {
            let graph = decidable(caller, loaded)?;
            if repeat.resource(loaded.request.as_ref())?.is_some() {
                let known = loaded.subgraph.clone().ok_or_else(graph_not_found)?;
                return Ok((Vec::new(), known));
            }
            if let Some(known) = loaded.subgraph.as_ref().filter(|s| s.deleted.is_none()) {
                let remembered = Write::Request(repeat.remember(id.as_str()));
                return Ok((vec![remembered], known.clone()));
            }
            self.may_grow(loaded, graph)?;
            let subgraph =
                Subgraph { id: id.clone(), parent: parent.clone(), name: name.to_owned(), created: now, deleted: None };
            let text = format!("the subgraph {name} was registered");
            let writes = vec![
                Write::Subgraph(subgraph.clone()),
                Write::Audit(Box::new(self.audit(caller, graph, AuditKind::SubgraphRegistered, &text, now))),
                Write::Request(repeat.remember(id.as_str())),
            ];
            Ok((writes, subgraph))
        });
        made.await.map_err(from_store)?.map_err(|error: Error| error.into())
    }

    /// Marks a graph with its subgraphs, or one subgraph, as gone. Refused while the tier changes (H28).
    pub async fn deregister_graph(
        &self,
        caller: &Caller,
        request: RequestId,
        id: &AnyGraphId,
        note: &str,
    ) -> Outcome<Registered> {
        let repeat = Repeat::of(caller, request, "DeregisterGraph", &(id, note));
        let mut key = Key::graph(id.parent()).with_request(repeat.key.clone());
        key.subgraph = id.subgraph().map(|_| id.clone());
        let now = self.now();
        let done = self.committer.transact(&key, |loaded| {
            if repeat.resource(loaded.request.as_ref())?.is_some() {
                return Ok((Vec::new(), ()));
            }
            let graph = decidable(caller, loaded)?;
            self.not_changing(loaded)?;
            let remember = Write::Request(repeat.remember(id.as_str()));
            if id.subgraph().is_some() {
                let known = loaded.subgraph.clone().filter(|s| s.deleted.is_none()).ok_or_else(graph_not_found)?;
                let text = format!("the subgraph {} was deregistered", known.name);
                let mut audit = self.audit(caller, graph, AuditKind::GraphDeregistered, &text, now);
                audit.detail.insert("note".to_owned(), note.to_owned());
                let gone = Subgraph { deleted: Some(now), ..known };
                return Ok((vec![Write::Subgraph(gone), Write::Audit(Box::new(audit)), remember], ()));
            }
            let gone =
                Graph { state: GraphState::Deprovisioned, updated: now, deprovisioned: Some(now), ..graph.clone() };
            let text = "the graph was deregistered";
            let mut audit = self.audit(caller, graph, AuditKind::GraphDeregistered, text, now);
            audit.detail.insert("note".to_owned(), note.to_owned());
            let mut writes = vec![
                Write::Graph(gone),
                Write::DeleteSubgraphs(graph.id.clone(), now),
                Write::Audit(Box::new(audit)),
                remember,
            ];
            if let Some(mut access) = loaded.access.clone() {
                access.record.graph = GraphState::Deprovisioned;
                writes.push(self.access(access));
            }
            Ok((writes, ()))
        });
        done.await.map_err(from_store)?.map_err(|error: Error| tiershift_common::status::Fault::from(error))?;
        let loaded = self.store.read(&Key::graph(id.parent())).await.map_err(from_store)?;
        // It was the caller's to see a moment ago, though it reads as not found from now on.
        let graph = loaded.graph.clone().ok_or_else(graph_not_found)?;
        Ok((graph, loaded))
    }

    /// Not while the tier of the graph changes. One that is scheduled looks at everything anew when its time comes.
    pub(super) fn not_changing(&self, loaded: &Loaded) -> Result<(), Error> {
        match self.busy(loaded) {
            Some(_) if loaded.change.as_ref().is_some_and(TierChange::waits) => Ok(()),
            Some(busy) if busy.reason == Reason::ChangeActive => {
                let text = "the tier of this graph is being changed; try again when that has ended";
                Err(Error::new(Kind::Aborted, Reason::ChangeActive, text)
                    .with("change_id", busy.change.as_str())
                    .retry_after_ms(busy.retry_after_ms))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn may_grow(&self, loaded: &Loaded, graph: &Graph) -> Result<(), Error> {
        let mut faults = Vec::new();
        if graph.state != GraphState::Active {
            faults.push(violation(Reason::GraphNotActive, "graph_id", None, "resume the graph's subscription first"));
        }
        match self.catalogue.get(&graph.tier) {
            // A tier that nobody knows has no limit that could be kept: it grows nowhere (D-69).
            None => return Err(unknown_tier("graph.tier")),
            Some(tier) if loaded.subgraphs >= tier.max_subgraphs => {
                let numbers = Some((tier.max_subgraphs, loaded.subgraphs + 1));
                let fix = "delete a subgraph, or choose a larger tier";
                faults.push(violation(Reason::TooManySubgraphs, "graph.subgraphs", numbers, fix));
            }
            Some(_) => {}
        }
        if !faults.is_empty() {
            return Err(Error::refused(faults, Vec::new()));
        }
        self.not_changing(loaded)
    }

    fn new_graph_id(&self) -> Result<GraphId, Error> {
        let [random, _] = halves(self.ids.random());
        GraphId::parse(format!("kg{random:016x}"))
            .map_err(|m| Error::new(Kind::Internal, Reason::Internal, m.to_string()))
    }

    /// A record under the next version.
    pub(super) fn access(&self, access: Access) -> Write {
        let [nonce, _] = halves(self.ids.random());
        Write::Access(Box::new(access), nonce)
    }

    /// An entry of the audit about a graph.
    pub(super) fn audit(
        &self,
        caller: &Caller,
        graph: &Graph,
        kind: AuditKind,
        message: &str,
        at: UnixMs,
    ) -> AuditEvent {
        AuditEvent {
            id: self.ids.audit(),
            org: graph.org.clone(),
            graph: Some(graph.id.clone()),
            subscription: None,
            change: None,
            kind,
            actor: caller.user.to_string(),
            at,
            message: message.to_owned(),
            detail: BTreeMap::new(),
        }
    }
}

/// The graph, if the caller may decide about it.
fn decidable<'a>(caller: &Caller, loaded: &'a Loaded) -> Result<&'a Graph, Error> {
    let graph = loaded.graph.as_ref().filter(|g| caller.may_see(&g.org) && !g.state.gone());
    let graph = graph.ok_or_else(graph_not_found)?;
    owner_or_service(caller, &graph.org)?;
    Ok(graph)
}

/// Whether a repeat under another request id says the same.
fn same(known: &Graph, new: &Graph) -> bool {
    known.org == new.org
        && known.tier == new.tier
        && known.state == new.state
        && known.shared_repository == new.shared_repository
        && known.display_name == new.display_name
}

pub(super) fn exists(text: &str) -> Error {
    Error::new(Kind::AlreadyExists, Reason::GraphExists, text)
}

pub(super) fn unknown_tier(field: &str) -> Error {
    let fix = "choose one of the tiers that ListTiers gives";
    Error::refused(vec![violation(Reason::UnknownTier, field, None, fix)], Vec::new())
}

pub(super) fn violation(reason: Reason, field: &str, numbers: Option<(i64, i64)>, fix: &str) -> Violation {
    Violation {
        reason,
        field: field.to_owned(),
        limit: numbers.map(|(limit, _)| limit),
        actual: numbers.map(|(_, actual)| actual),
        fix: fix.to_owned(),
    }
}
