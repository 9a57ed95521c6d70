//! `tierctl graphs`: what there is to change.

use super::{PAGE, absent};
use crate::cli::Graphs;
use crate::connect::Target;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Row};
use crate::table::Align;
use crate::words::{money, or_dash, word};
use serde::Serialize;
use tiershift_common::client::CallerChannel;
use tiershift_proto::subscription::v1::graph_service_client::GraphServiceClient;
use tiershift_proto::subscription::v1::{
    GetGraphRequest, GetSubscriptionRequest, Graph, ListSubscriptionsRequest, Subscription, get_subscription_request,
};
use tonic::Code;

/// Runs the command; without one, the list.
pub async fn run(target: &Target, command: Option<Graphs>, output: &mut Output) -> Result<Exit, Fault> {
    match command.unwrap_or(Graphs::List { org: None }) {
        Graphs::List { org } => {
            let rows = list(target, org).await?;
            output.rows(&rows)?;
        }
        Graphs::Show { graph } => output.one(&show(target, graph).await?)?,
    }
    Ok(Exit::Succeeded)
}

/// A graph with its subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GraphRow {
    /// `kg` and 16 hex digits.
    pub graph_id: String,
    /// Whose it is.
    pub org_id: String,
    /// Its name for people; empty if it has none.
    pub display_name: String,
    /// The tier it is on.
    pub tier: String,
    /// `active`, `suspended`, `deprovisioned`; `gone` if only its subscription can be seen.
    pub state: String,
    /// The billing state; empty if it has no subscription.
    pub subscription_status: String,
    /// What one interval costs; empty if it has no subscription.
    pub price: String,
    /// How many subgraphs it has.
    pub subgraph_count: i32,
    /// Whether it belongs to the platform.
    pub shared_repository: bool,
    /// The zone it was last seen in; empty if it was never seen.
    pub availability_zone: String,
    /// The instance it was last seen on; empty if it was never seen.
    pub instance_id: String,
    /// The change that runs; empty if none does.
    pub active_change_id: String,
}

impl Row for GraphRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("GRAPH", Align::Left),
        ("ORGANISATION", Align::Left),
        ("TIER", Align::Left),
        ("STATE", Align::Left),
        ("SUBSCRIPTION", Align::Left),
        ("PRICE", Align::Right),
        ("SUBGRAPHS", Align::Right),
        ("ZONE", Align::Left),
        ("CHANGE", Align::Left),
        ("NAME", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        let subscription = if self.shared_repository { "shared repository" } else { &self.subscription_status };
        vec![
            self.graph_id.clone(),
            self.org_id.clone(),
            self.tier.clone(),
            self.state.clone(),
            or_dash(subscription),
            or_dash(&self.price),
            self.subgraph_count.to_string(),
            or_dash(&self.availability_zone),
            or_dash(&self.active_change_id),
            self.display_name.clone(),
        ]
    }
}

impl GraphRow {
    /// What is known of a graph from what may be seen of it; at least one of the two is there.
    fn of(graph: Option<Graph>, subscription: Option<Subscription>) -> Self {
        let state = graph.as_ref().map_or_else(|| "gone".to_owned(), |g| word(g.state().as_str_name(), "GRAPH_STATE_"));
        let status = |s: &Subscription| word(s.status().as_str_name(), "SUBSCRIPTION_STATUS_");
        let subscription_status = subscription.as_ref().map(status).unwrap_or_default();
        let subscription = subscription.unwrap_or_default();
        let graph = graph.unwrap_or_else(|| Graph {
            graph_id: subscription.graph_id.clone(),
            org_id: subscription.org_id.clone(),
            tier: subscription.tier.clone(),
            active_change_id: subscription.active_change_id.clone(),
            ..Graph::default()
        });
        let endpoint = graph.endpoint.unwrap_or_default();
        Self {
            graph_id: graph.graph_id,
            org_id: graph.org_id,
            display_name: graph.display_name,
            tier: graph.tier,
            state,
            subscription_status,
            price: subscription.price.as_ref().map(money).unwrap_or_default(),
            subgraph_count: graph.subgraph_count,
            shared_repository: graph.shared_repository,
            availability_zone: endpoint.availability_zone,
            instance_id: endpoint.instance_id,
            active_change_id: graph.active_change_id,
        }
    }
}

/// The graphs that the caller sees through their subscriptions, by id. The contract has no list of graphs.
pub async fn list(target: &Target, org: Option<String>) -> Result<Vec<GraphRow>, Fault> {
    let caller = target.caller();
    let orgs: Vec<String> = match org {
        Some(org) => vec![org],
        None if caller.is_operator() || caller.is_service() => vec![String::new()],
        None => caller.orgs.keys().map(ToString::to_string).collect(),
    };
    let mut graphs = target.graphs()?;
    let mut subscriptions = target.subscriptions()?;
    let mut rows = std::collections::BTreeMap::new();
    for org_id in orgs {
        let mut page_token = String::new();
        loop {
            let request =
                ListSubscriptionsRequest { org_id: org_id.clone(), page_size: PAGE, page_token, ..Default::default() };
            let page = subscriptions.list_subscriptions(request).await?.into_inner();
            for subscription in page.subscriptions {
                // Newest first: the one that counts for a graph comes before those that ended.
                if !rows.contains_key(&subscription.graph_id) {
                    let graph = get(&mut graphs, &subscription.graph_id).await?;
                    rows.insert(subscription.graph_id.clone(), GraphRow::of(graph, Some(subscription)));
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    Ok(rows.into_values().collect())
}

async fn get(graphs: &mut GraphServiceClient<CallerChannel>, graph_id: &str) -> Result<Option<Graph>, Fault> {
    match graphs.get_graph(GetGraphRequest { graph_id: graph_id.to_owned() }).await {
        Ok(response) => response.into_inner().graph.ok_or_else(|| absent("the graph")).map(Some),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

async fn show(target: &Target, graph_id: String) -> Result<GraphRow, Fault> {
    let response = target.graphs()?.get_graph(GetGraphRequest { graph_id }).await?.into_inner();
    let graph = response.graph.ok_or_else(|| absent("the graph"))?;
    let key = Some(get_subscription_request::Key::GraphId(graph.graph_id.clone()));
    let subscription = match target.subscriptions()?.get_subscription(GetSubscriptionRequest { key }).await {
        Ok(response) => response.into_inner().subscription,
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => return Err(status.into()),
    };
    Ok(GraphRow::of(Some(graph), subscription))
}
