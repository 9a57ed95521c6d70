//! `tierctl tier`: preview, begin, follow and cancel a change. [`begin`] and [`watch`] are what the demo uses too.

use super::{PAGE, absent, request_id};
use crate::cli::{Tier, Wish};
use crate::connect::Target;
use crate::draw::Progress;
use crate::exit::{Exit, Fault, report_refusal};
use crate::feeds::ChangeFeed;
use crate::follow::{Patience, follow};
use crate::output::{Output, Row};
use crate::summary::{Summary, violation_lines};
use crate::table::Align;
use crate::words::{bytes, duration, money, or_dash, when, word};
use serde::Serialize;
use tiershift_common::convert::{not_checked_from_proto, reason_from_proto, violation_from_proto};
use tiershift_core::{Kind, NotChecked, Violation};
use tiershift_proto::common::v1::Money;
use tiershift_proto::subscription::v1::{
    CancelTierChangeRequest, ChangePlan, ChangeTierRequest, ChangeTiming, GetTierChangeRequest, ListTierChangesRequest,
    PreviewTierChangeRequest, PreviewTierChangeResponse, TierChange,
};

/// Runs the command.
pub async fn run(target: &Target, command: Tier, output: &mut Output) -> Result<Exit, Fault> {
    match command {
        Tier::Preview { wish } => preview(target, wish, output).await,
        Tier::Change { wish, watch: follow_it, request_id: given, expect_price_cents, currency } => {
            let request = ChangeTierRequest {
                request_id: request_id(given),
                timing: timing(&wish).into(),
                graph_id: wish.graph,
                target_tier: wish.target_tier,
                expected_price: expect_price_cents.map(|amount_cents| Money { amount_cents, currency }),
            };
            let (graph_id, to) = (Some(request.graph_id.clone()), Some(request.target_tier.clone()));
            let change = match begin(target, request).await {
                Ok(change) => change,
                Err(Fault::Service(error)) if Exit::of(&error) == Exit::Refused => {
                    let summary = Summary { graph_id, to, ..Summary::refused(&error) };
                    return Ok(report_refusal(&error, &summary, output));
                }
                Err(fault) => return Err(fault),
            };
            if follow_it {
                return watch(target, &change.change_id, &mut Progress::new(output.json()))
                    .await
                    .map(|s| s.result.exit());
            }
            output.one(&ChangeRow::of(&change))?;
            Ok(Exit::Succeeded)
        }
        Tier::Watch { change } => {
            watch(target, &change, &mut Progress::new(output.json())).await.map(|summary| summary.result.exit())
        }
        Tier::Show { change } => {
            output.one(&ChangeRow::of(&get(target, &change).await?))?;
            Ok(Exit::Succeeded)
        }
        Tier::List { org, graph, active } => {
            let rows = list(target, org, graph, active).await?;
            output.rows(&rows)?;
            Ok(Exit::Succeeded)
        }
        Tier::Cancel { change, note, request_id: given } => {
            let request = CancelTierChangeRequest { request_id: request_id(given), change_id: change, note };
            let response = target.tiers()?.cancel_tier_change(request).await?.into_inner();
            output.one(&ChangeRow::of(&response.tier_change.ok_or_else(|| absent("the change"))?))?;
            Ok(Exit::Succeeded)
        }
    }
}

fn timing(wish: &Wish) -> ChangeTiming {
    if wish.at_period_end { ChangeTiming::PeriodEnd } else { ChangeTiming::Now }
}

/// Begins a change. When the answer is lost, the error names the request id with which it can be repeated safely.
pub async fn begin(target: &Target, request: ChangeTierRequest) -> Result<TierChange, Fault> {
    let request_id = request.request_id.clone();
    match target.tiers()?.change_tier(request).await {
        Ok(response) => response.into_inner().tier_change.ok_or_else(|| absent("the change")),
        Err(status) => {
            let mut fault = Fault::from(status);
            if let Fault::Service(error) = &mut fault
                && matches!(error.kind, Kind::Unavailable | Kind::Internal)
            {
                error.metadata.insert("repeat_with_request_id".to_owned(), request_id);
            }
            Err(fault)
        }
    }
}

/// Follows a change to its end, or until it needs attention, and draws everything, the summary too.
pub async fn watch(target: &Target, change_id: &str, progress: &mut Progress) -> Result<Summary, Fault> {
    let mut feed = ChangeFeed::new(target.tiers()?, change_id);
    follow(&mut feed, Patience::default(), progress).await?;
    let summary = Summary::of(&get(target, change_id).await?, progress.events())?;
    progress.finish(&summary)?;
    Ok(summary)
}

async fn get(target: &Target, change_id: &str) -> Result<TierChange, Fault> {
    let request = GetTierChangeRequest { change_id: change_id.to_owned() };
    let response = target.tiers()?.get_tier_change(request).await?.into_inner();
    response.tier_change.ok_or_else(|| absent("the change"))
}

async fn list(
    target: &Target,
    org: Option<String>,
    graph: Option<String>,
    active_only: bool,
) -> Result<Vec<ChangeRow>, Fault> {
    let mut client = target.tiers()?;
    let filter = ListTierChangesRequest {
        org_id: org.unwrap_or_default(),
        graph_id: graph.unwrap_or_default(),
        active_only,
        page_size: PAGE,
        ..Default::default()
    };
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    loop {
        let page =
            client.list_tier_changes(ListTierChangesRequest { page_token, ..filter.clone() }).await?.into_inner();
        rows.extend(page.tier_changes.iter().map(ChangeRow::of));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rows);
        }
    }
}

async fn preview(target: &Target, wish: Wish, output: &mut Output) -> Result<Exit, Fault> {
    let timing = timing(&wish).into();
    let request = PreviewTierChangeRequest { graph_id: wish.graph.clone(), target_tier: wish.target_tier, timing };
    let response = target.tiers()?.preview_tier_change(request).await?.into_inner();
    let preview = Preview::of(wish.graph, response)?;
    if output.json() {
        output.object(&preview)?;
    } else {
        output.text(&preview.text())?;
    }
    Ok(if preview.allowed { Exit::Succeeded } else { Exit::Refused })
}

/// What a change would do or say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Preview {
    graph_id: String,
    from: String,
    to: String,
    /// `upgrade`, `downgrade`, `unspecified`.
    direction: String,
    allowed: bool,
    price_before: Option<String>,
    price_after: Option<String>,
    due_now: Option<String>,
    credits_before: i64,
    credits_after: i64,
    expected_write_block_ms: Option<i64>,
    expected_offline_ms: Option<i64>,
    expected_total_ms: Option<i64>,
    stored_bytes: Option<i64>,
    availability_zone: String,
    read_age_ms: i64,
    retry_after_ms: i64,
    violations: Vec<Violation>,
    not_checked: Vec<NotChecked>,
}

impl Preview {
    fn of(graph_id: String, response: PreviewTierChangeResponse) -> Result<Self, Fault> {
        let plan: ChangePlan = response.plan.ok_or_else(|| absent("the plan"))?;
        let direction = word(plan.direction().as_str_name(), "TIER_CHANGE_DIRECTION_");
        Ok(Self {
            graph_id,
            direction,
            from: plan.from_tier,
            to: plan.to_tier,
            allowed: response.allowed,
            price_before: plan.price_before.as_ref().map(money),
            price_after: plan.price_after.as_ref().map(money),
            due_now: plan.due_now.as_ref().map(money),
            credits_before: plan.credits_before,
            credits_after: plan.credits_after,
            expected_write_block_ms: plan.expected_write_block_ms,
            expected_offline_ms: plan.expected_offline_ms,
            expected_total_ms: plan.expected_total_ms,
            stored_bytes: response.usage.map(|usage| usage.engine_bytes),
            availability_zone: response.availability_zone,
            read_age_ms: response.read_age_ms,
            retry_after_ms: response.retry_after_ms,
            violations: response.violations.iter().map(violation_from_proto).collect(),
            not_checked: response.not_checked.iter().map(not_checked_from_proto).collect(),
        })
    }

    /// For people. What is not known is said to be so, and never shown as nothing.
    fn text(&self) -> String {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
        let time = |ms: Option<i64>| ms.map_or_else(|| "not known".to_owned(), duration);
        let verdict = if self.allowed { "allowed" } else { "refused" };
        let mut lines = vec![
            format!("{verdict}: {} from {} to {} ({})", self.graph_id, self.from, self.to, self.direction),
            format!("  price           {} -> {}", known(&self.price_before), known(&self.price_after)),
            format!("  due now         {}", known(&self.due_now)),
            format!("  credits         {} -> {} a month", self.credits_before, self.credits_after),
            format!("  writes blocked  {} (expected)", time(self.expected_write_block_ms)),
            format!("  offline         {} (expected)", time(self.expected_offline_ms)),
            format!("  in all          {} (expected)", time(self.expected_total_ms)),
            format!("  stores          {}", self.stored_bytes.map_or_else(|| "not known".to_owned(), bytes)),
            format!("  zone            {}", or_dash(&self.availability_zone)),
        ];
        lines.extend(violation_lines(&self.violations, &self.not_checked).into_iter().map(|line| format!("  {line}")));
        if self.retry_after_ms > 0 {
            lines.push(format!("  repeat in {}", duration(self.retry_after_ms)));
        }
        lines.join("\n") + "\n"
    }
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeRow {
    /// `chg_` and a ULID.
    pub change_id: String,
    /// The graph.
    pub graph_id: String,
    /// Whose it is.
    pub org_id: String,
    /// The tier before.
    pub from: String,
    /// The tier asked for.
    pub to: String,
    /// Where it is: `requested`, `moving`, `succeeded`, …
    pub state: String,
    /// The step that its newest event speaks of.
    pub stage: String,
    /// Progress, 0 to 1000.
    pub permille: i32,
    /// What is known of its money: `not_sent`, `unknown`, `taken`, …
    pub charge: String,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// Whether that came too late.
    pub cancel_refused: bool,
    /// How long writes were blocked; 0 = never.
    pub writes_blocked_ms: i64,
    /// How long the volume was offline; 0 = never.
    pub offline_ms: i64,
    /// Why it failed, was canceled or waits; empty if none of it.
    pub reason: String,
    /// The same for people.
    pub reason_message: String,
    /// Who asked for it.
    pub requested_by: String,
    /// The request id that made it.
    pub request_id: String,
    /// When it was accepted: Unix milliseconds.
    pub accepted_unix_ms: i64,
    /// When a scheduled one begins: Unix milliseconds; 0 = it was not scheduled.
    pub scheduled_unix_ms: i64,
    /// When it ended: Unix milliseconds; 0 = it has not.
    pub ended_unix_ms: i64,
}

impl ChangeRow {
    /// The row of a change.
    pub fn of(change: &TierChange) -> Self {
        let plan = change.plan.clone().unwrap_or_default();
        let event = change.last_event.clone().unwrap_or_default();
        Self {
            change_id: change.change_id.clone(),
            graph_id: change.graph_id.clone(),
            org_id: change.org_id.clone(),
            from: plan.from_tier,
            to: plan.to_tier,
            state: word(change.state().as_str_name(), "TIER_CHANGE_STATE_"),
            stage: event.stage,
            permille: event.permille,
            charge: word(change.charge().as_str_name(), "CHARGE_STATE_"),
            cancel_requested: change.cancel_requested,
            cancel_refused: change.cancel_refused,
            writes_blocked_ms: change.writes_blocked_ms,
            offline_ms: change.offline_ms,
            reason: reason_from_proto(change.reason).map(|reason| reason.to_string()).unwrap_or_default(),
            reason_message: change.reason_message.clone(),
            requested_by: change.requested_by.clone(),
            request_id: change.request_id.clone(),
            accepted_unix_ms: change.accepted_unix_ms,
            scheduled_unix_ms: change.scheduled_unix_ms,
            ended_unix_ms: change.ended_unix_ms,
        }
    }
}

impl Row for ChangeRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("CHANGE", Align::Left),
        ("GRAPH", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("STATE", Align::Left),
        ("STAGE", Align::Left),
        ("DONE", Align::Right),
        ("CHARGE", Align::Left),
        ("BLOCKED", Align::Right),
        ("OFFLINE", Align::Right),
        ("CANCEL", Align::Left),
        ("WHY", Align::Left),
    ];

    fn cells(&self) -> Vec<String> {
        let begins = match self.state.as_str() {
            "scheduled" => format!("begins {}", when(self.scheduled_unix_ms)),
            _ => String::new(),
        };
        let why = [self.reason.as_str(), self.reason_message.as_str(), begins.as_str()];
        let cancel = match (self.cancel_requested, self.cancel_refused) {
            (_, true) => "too late",
            (true, false) => "asked for",
            (false, false) => "-",
        };
        vec![
            self.change_id.clone(),
            self.graph_id.clone(),
            self.from.clone(),
            self.to.clone(),
            self.state.clone(),
            or_dash(&self.stage),
            format!("{}.{} %", self.permille / 10, self.permille % 10),
            self.charge.clone(),
            duration(self.writes_blocked_ms),
            duration(self.offline_ms),
            cancel.to_owned(),
            why.iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join(": "),
        ]
    }
}
