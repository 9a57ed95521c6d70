//! Reads: what may be seen by whom, in pages.

use super::{change_not_found, graph_not_found, subscription_not_found};
use crate::service::{Outcome, Service, from_store};
use crate::store::rows::{AuditEvent, Graph, Subgraph, Subscription, TierChange};
use crate::store::{AuditFilter, ChangeFilter, Key, Loaded, SubscriptionFilter};
use tiershift_common::caller::Caller;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, SubscriptionId};
use tiershift_core::{Error, Kind, Reason};

/// One page: the rows, and whether there are more after the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// There are more.
    pub more: bool,
}

impl<T> Page<T> {
    /// Of rows that were read with one more than asked for.
    pub(super) fn of(mut rows: Vec<T>, size: u32) -> Self {
        let size = size as usize;
        let more = rows.len() > size;
        rows.truncate(size);
        Self { rows, more }
    }
}

impl Service {
    /// A graph with all that belongs to it, if the caller may see it. Operators see what is gone.
    pub async fn get_graph(&self, caller: &Caller, id: &AnyGraphId) -> Outcome<(Graph, Loaded)> {
        let loaded = self.store.read(&Key::graph(id.parent())).await.map_err(from_store)?;
        let visible = |g: &Graph| caller.may_see(&g.org) && (!g.state.gone() || caller.is_operator());
        let graph = loaded.graph.clone().filter(visible).ok_or_else(graph_not_found)?;
        Ok((graph, loaded))
    }

    /// Subgraphs of a graph, by id.
    pub async fn list_subgraphs(
        &self,
        caller: &Caller,
        parent: &GraphId,
        after: Option<&AnyGraphId>,
        size: u32,
    ) -> Outcome<Page<Subgraph>> {
        self.get_graph(caller, &parent.clone().into()).await?;
        let rows = self.store.subgraphs(parent, after, size + 1).await.map_err(from_store)?;
        Ok(Page::of(rows, size))
    }

    /// A subscription by its id.
    pub async fn get_subscription(&self, caller: &Caller, id: &SubscriptionId) -> Outcome<Subscription> {
        let found = self.store.subscription(id).await.map_err(from_store)?;
        Ok(found.filter(|s| caller.may_see(&s.org)).ok_or_else(subscription_not_found)?)
    }

    /// The subscription that counts for a graph: the live one, else the newest.
    pub async fn subscription_of(&self, caller: &Caller, graph: &GraphId) -> Outcome<Subscription> {
        let loaded = self.store.read(&Key::graph(graph.clone())).await.map_err(from_store)?;
        Ok(loaded.subscription.filter(|s| caller.may_see(&s.org)).ok_or_else(subscription_not_found)?)
    }

    /// Subscriptions, newest first.
    pub async fn list_subscriptions(
        &self,
        caller: &Caller,
        filter: &SubscriptionFilter,
        before: Option<&SubscriptionId>,
        size: u32,
    ) -> Outcome<Page<Subscription>> {
        self.may_list(caller, filter.org.as_ref(), filter.graph.as_ref()).await?;
        let rows = self.store.subscriptions(filter, before, size + 1).await.map_err(from_store)?;
        Ok(Page::of(rows, size))
    }

    /// A change.
    pub async fn get_change(&self, caller: &Caller, id: &ChangeId) -> Outcome<TierChange> {
        let found = self.store.changes_by_id(std::slice::from_ref(id)).await.map_err(from_store)?.pop();
        Ok(found.filter(|c| caller.may_see(&c.org)).ok_or_else(change_not_found)?)
    }

    /// Changes, newest first.
    pub async fn list_changes(
        &self,
        caller: &Caller,
        filter: &ChangeFilter,
        before: Option<&ChangeId>,
        size: u32,
    ) -> Outcome<Page<TierChange>> {
        self.may_list(caller, filter.org.as_ref(), filter.graph.as_ref()).await?;
        let rows = self.store.changes(filter, before, size + 1).await.map_err(from_store)?;
        Ok(Page::of(rows, size))
    }

    /// The audit, newest first. Of an organisation for its owners and admins; of a graph, subscription or change for those of
    /// the organisation that it belongs to; of everything for operators.
    pub async fn list_audit(
        &self,
        caller: &Caller,
        mut filter: AuditFilter,
        before: Option<&AuditId>,
        size: u32,
    ) -> Outcome<Page<AuditEvent>> {
        let mut of = filter.org.clone();
        if let Some(graph) = &filter.graph {
            of = Some(self.get_graph(caller, &graph.clone().into()).await?.0.org);
        }
        if let Some(id) = &filter.subscription {
            of = Some(self.get_subscription(caller, id).await?.org);
        }
        if let Some(id) = &filter.change {
            of = Some(self.get_change(caller, id).await?.org);
        }
        if !caller.is_operator() {
            let Some(of) = of else {
                let text = "only operators may list everything; give an org_id, graph_id, subscription_id or change_id";
                return Err(Error::new(Kind::PermissionDenied, Reason::OperatorOnly, text).into());
            };
            if !caller.may_audit(&of) {
                let text = "only owners and admins of the organisation, or operators, may read its audit";
                return Err(Error::new(Kind::PermissionDenied, Reason::PermissionDenied, text).into());
            }
            // Whatever else is asked for: nothing of another organisation is in the answer.
            filter.org = Some(filter.org.unwrap_or(of));
        }
        let rows = self.store.audit_events(&filter, before, size + 1).await.map_err(from_store)?;
        Ok(Page::of(rows, size))
    }

    /// A list belongs to an organisation or to a graph; of everything only for operators.
    async fn may_list(&self, caller: &Caller, org: Option<&OrgId>, graph: Option<&GraphId>) -> Outcome<()> {
        if let Some(org) = org
            && !caller.may_see(org)
        {
            let text = "you have no role in this organisation";
            return Err(Error::new(Kind::PermissionDenied, Reason::PermissionDenied, text).into());
        }
        if let Some(graph) = graph {
            self.get_graph(caller, &graph.clone().into()).await?;
        }
        if org.is_none() && graph.is_none() && !caller.is_operator() {
            let text = "only operators may list everything; give an org_id or a graph_id";
            return Err(Error::new(Kind::PermissionDenied, Reason::OperatorOnly, text).into());
        }
        Ok(())
    }
}
