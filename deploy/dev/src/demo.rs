//! `./x demo`: one tier change, drawn, with a customer who writes meanwhile; then the check that every acknowledged
//! write is readable.

use crate::cli::Demo;
use crate::cloud::Cloud;
use crate::run::{self, RunError, SPEED};
use crate::seed;
use crate::stack::{Options, Stack};
use crate::workload::{self, Audit, Counts, Customer};
use cloud_sim::faults::catalogue::{self, CATALOGUE, ParameterKind};
use cloud_sim::seed::Fleet;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tierctl::commands::change;
use tierctl::connect::Target;
use tierctl::draw::Progress;
use tierctl::exit::{Exit, Fault};
use tierctl::feeds::ChangeFeed;
use tierctl::follow::{Patience, Watcher, follow};
use tierctl::output::Output;
use tierctl::summary::Summary;
use tiershift_core::event::ChangeEvent;
use tiershift_proto::subscription::v1::{
    CancelTierChangeRequest, ChangeTierRequest, ChangeTiming, GetGraphRequest, GetTierChangeRequest,
};

/// The demo's stack: one that runs already, or its own, which ends with it.
struct Place {
    own: Option<(Stack, tempfile::TempDir)>,
    stack: tierctl::stack::Stack,
    fleet: Fleet,
}

async fn place(args: &Demo) -> Result<Place, RunError> {
    let file = args.data.join("stack.json");
    if let Ok(Some(stack)) = tierctl::stack::Stack::read(&file)
        && run::answers(&stack.subscription_url).await
    {
        if let Some(asked) = args.speed.filter(|s| *s != stack.speed) {
            let data = args.data.display();
            return Err(RunError::Usage(format!("the stack in {data} runs at speed {}, not {asked}", stack.speed)));
        }
        let fleet = seed::fleet(&Cloud::at(&stack.cloud_url)).await?;
        return Ok(Place { own: None, stack, fleet });
    }
    let folder = tempfile::tempdir().map_err(|e| RunError::Io("cannot make a temporary folder".to_owned(), e))?;
    let options = Options {
        data: folder.path().to_owned(),
        speed: args.speed.unwrap_or(SPEED),
        cors_origins: Vec::new(),
        database: None,
        logs: args.logs.clone().unwrap_or_else(|| folder.path().join("logs")),
    };
    eprintln!("starting a stack of its own (speed {}) ...", options.speed);
    let (stack, fleet) = run::start(options).await?;
    Ok(Place { stack: stack.describe(), own: Some((stack, folder)), fleet })
}

/// Runs the demo; the exit status says how the change ended.
pub async fn run(args: Demo) -> Result<Exit, RunError> {
    let place = place(&args).await?;
    let exit = on(&args, &place).await;
    if let Some((stack, _folder)) = place.own {
        stack.stop().await;
    }
    exit
}

async fn on(args: &Demo, place: &Place) -> Result<Exit, RunError> {
    let target = seed::target(&place.stack)?;
    let mut output = Output::stdout(args.json);
    match story(args, place, &target).await {
        Ok(exit) => Ok(exit),
        Err(Broken::Run(error)) => Err(error),
        Err(Broken::Fault(fault)) => Ok(tierctl::exit::report(&fault, &mut output)),
    }
}

enum Broken {
    Run(RunError),
    Fault(Fault),
}

impl From<RunError> for Broken {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<tonic::Status> for Broken {
    fn from(status: tonic::Status) -> Self {
        Self::Fault(status.into())
    }
}

/// A small graph of the seed that still has its first tier, and the instance that serves it.
async fn choose(args: &Demo, place: &Place, target: &Target) -> Result<(String, String), Broken> {
    let mut graphs = target.graphs()?;
    if let Some(graph) = &args.graph {
        let instance = place.fleet.graphs.iter().find(|g| g.graph_id == *graph).map(|g| g.instance_id.clone());
        let known = graphs.get_graph(GetGraphRequest { graph_id: graph.clone() }).await;
        let now = known.ok().and_then(|g| g.into_inner().graph).and_then(|g| g.endpoint).map(|e| e.instance_id);
        return Ok((graph.clone(), now.filter(|i| !i.is_empty()).or(instance).unwrap_or_default()));
    }
    for seeded in place.fleet.graphs.iter().filter(|g| g.name.starts_with("upgrade-") && g.name != "upgrade-idle") {
        let request = GetGraphRequest { graph_id: seeded.graph_id.clone() };
        let graph = graphs.get_graph(request).await?.into_inner().graph.unwrap_or_default();
        if graph.tier == seeded.tier && graph.active_change_id.is_empty() {
            return Ok((seeded.graph_id.clone(), seeded.instance_id.clone()));
        }
    }
    let usage = "every small graph of the seed was upgraded; name one with --graph, or begin a new data folder";
    Err(Broken::Run(RunError::Usage(usage.to_owned())))
}

async fn story(args: &Demo, place: &Place, target: &Target) -> Result<Exit, Broken> {
    let cloud = Cloud::at(&place.stack.cloud_url);
    let (graph, instance) = choose(args, place, target).await?;
    for fault in &args.fault {
        let wanted = fault_of(fault).map_err(RunError::Usage)?;
        let set: Result<serde_json::Value, _> = cloud.post("/sim/faults", &wanted).await;
        set.map_err(|e| RunError::Usage(format!("--fault {fault}: {e}")))?;
    }
    if !args.json {
        eprintln!("changing {graph} to {} while a customer writes to it", args.to);
    }
    let customer = Customer::start(target.clone(), cloud.clone(), graph.clone(), instance);
    let ended = changed(args, target, &graph, &customer).await;
    let counts = customer.stop().await;
    let (change_id, mut progress) = match ended {
        Ok(ended) => ended,
        Err(Broken::Fault(Fault::Service(error))) if Exit::of(&error) == Exit::Refused => {
            let summary = Summary { graph_id: Some(graph), to: Some(args.to.clone()), ..Summary::refused(&error) };
            return Ok(tierctl::exit::report_refusal(&error, &summary, &mut Output::stdout(args.json)));
        }
        Err(error) => return Err(error),
    };
    let request = GetTierChangeRequest { change_id };
    let change = target.tiers()?.get_tier_change(request).await?.into_inner().tier_change.unwrap_or_default();
    let summary = Summary::of(&change, progress.events()).map_err(Fault::from)?;
    let audit = workload::audit(&cloud, &graph).await.map_err(seed::SeedError::from).map_err(RunError::from)?;
    finish(args, &summary, &mut progress, &audit, &counts).map_err(Fault::from)?;
    let exit = summary.result.exit();
    Ok(if exit == Exit::Succeeded && audit.missing_count > 0 { Exit::Failed } else { exit })
}

/// `name` or `name:parameter`, as the simulated cloud's control call wants it.
fn fault_of(text: &str) -> Result<serde_json::Value, String> {
    let (name, value) = text.split_once(':').map_or((text, None), |(n, v)| (n, Some(v)));
    let Some(entry) = catalogue::find(name) else {
        let names: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
        return Err(format!("no fault {name}; choose one of {}", names.join(", ")));
    };
    match (entry.parameters.first(), value) {
        (None, Some(_)) => Err(format!("--fault {name} takes no parameter")),
        (Some(parameter), None) if parameter.required => {
            Err(format!("--fault {name} needs its {}: --fault {name}:VALUE", parameter.name))
        }
        (_, None) => Ok(json!({ "fault": name })),
        (Some(parameter), Some(value)) => {
            // A number where one is wanted; the cloud says what is wrong with anything else.
            let number = value.parse::<u64>().ok().filter(|_| parameter.kind == ParameterKind::Milliseconds);
            let value = number.map_or_else(|| json!(value), |number| json!(number));
            Ok(json!({ "fault": name, (parameter.name): value }))
        }
    }
}

/// Begins the change and follows it to its end.
async fn changed(args: &Demo, target: &Target, graph: &str, customer: &Customer) -> Result<(String, Progress), Broken> {
    let request = ChangeTierRequest {
        request_id: format!("demo-{}", ulid::Ulid::generate()),
        graph_id: graph.to_owned(),
        target_tier: args.to.clone(),
        timing: ChangeTiming::Now.into(),
        expected_price: None,
    };
    let change = change::begin(target, request).await?;
    let mut feed = ChangeFeed::new(target.tiers()?, change.change_id.clone());
    let mut watcher = Shown {
        progress: Progress::new(args.json),
        customer,
        cancel_at: args.cancel_at.clone(),
        target: target.clone(),
        change_id: change.change_id.clone(),
    };
    follow(&mut feed, Patience::default(), &mut watcher).await?;
    Ok((change.change_id, watcher.progress))
}

/// Draws events, tells the customer where the graph is, and cancels when asked to.
struct Shown<'a> {
    progress: Progress,
    customer: &'a Customer,
    cancel_at: Option<String>,
    target: Target,
    change_id: String,
}

impl Watcher for Shown<'_> {
    fn event(&mut self, event: &ChangeEvent) -> io::Result<()> {
        if let Some(instance) = event.detail.get("instance") {
            self.customer.moved_to(instance);
        }
        if self.cancel_at.as_ref() == Some(&event.stage) {
            self.cancel_at = None;
            let (target, change_id) = (self.target.clone(), self.change_id.clone());
            tokio::spawn(async move {
                let request = CancelTierChangeRequest {
                    request_id: format!("demo-{}", ulid::Ulid::generate()),
                    change_id,
                    note: "canceled by the demo".to_owned(),
                };
                if let Ok(mut tiers) = target.tiers()
                    && let Err(status) = tiers.cancel_tier_change(request).await
                {
                    eprintln!("the cancel was refused: {}", status.message());
                }
            });
        }
        self.progress.event(event)
    }

    fn note(&mut self, text: &str) {
        self.progress.note(text);
    }
}

/// The last words: the summary, and what became of the customer's writes.
fn finish(
    args: &Demo,
    summary: &Summary,
    progress: &mut Progress,
    audit: &Audit,
    counts: &Arc<Counts>,
) -> io::Result<()> {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    if args.json {
        let mut value = serde_json::to_value(summary)?;
        if let Some(object) = value.as_object_mut() {
            let writes = json!({
                "acknowledged": audit.acknowledged,
                "readable": audit.readable,
                "missing": audit.missing_count,
                "refused_at_gate": count(&counts.refused_at_gate),
            });
            object.insert("writes".to_owned(), writes);
        }
        println!("{value}");
        return Ok(());
    }
    progress.finish(summary)?;
    println!(
        "writes: {} acknowledged, {} readable, {} missing; {} refused at the gate meanwhile",
        audit.acknowledged,
        audit.readable,
        audit.missing_count,
        count(&counts.refused_at_gate)
    );
    Ok(())
}
