//! What is known of a change when it is over: the journal, the cloud's ledger, the engines' log, the acknowledgements,
//! the public events, the gate. And what must hold of all that, whatever happened (the invariants of docs/protocol.md,
//! by their numbers in docs/protocol.md).

use super::access::Access;
use super::customer::Ack;
use super::rig::Rig;
use super::subscriber::Followed;
use cloud_sim::api::Service;
use cloud_sim::api::control::{EngineEvent, EngineLogEntry, LedgerEntry, WriteAudit};
use cloud_sim::api::engine::Door;
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::UnixMs;
use tiershift_core::ids::{ChangeId, GraphId};
use volume_core::effect::{Effect, Scope};
use volume_core::fact::{Entry, Fact};
use volume_core::stage::Stage;
use volume_core::state::{End, Migration};
use volume_svc::world::{TAG_MIGRATION, TAG_STEP};

/// What is known.
#[derive(Debug)]
pub struct Evidence {
    /// The journal.
    pub entries: Vec<Entry>,
    /// Its fold.
    pub state: Migration,
    /// The journal for people.
    pub told: String,
    /// The cloud's calls since the change was begun, reads included; changing ones only if they concern this change.
    pub ledger: Vec<LedgerEntry>,
    /// Changing calls that do not.
    pub strangers: Vec<LedgerEntry>,
    /// What the engines did since the cloud began.
    pub engines: Vec<EngineLogEntry>,
    /// Acknowledged and readable writes.
    pub audit: WriteAudit,
    /// How many of them were acknowledged before the change was begun.
    pub acknowledged_before: u64,
    /// Acknowledgements, as the clients had them.
    pub acks: Vec<Ack>,
    /// What the other service saw.
    pub followed: Followed,
    /// When the gate was closed and opened.
    pub gate: Vec<(UnixMs, Option<UnixMs>)>,
    /// Alerts of the whole rig.
    pub alerts: Vec<String>,
    /// Ids that play a part, with the part.
    roles: BTreeMap<String, String>,
}

/// What was there before a change was begun.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// Calls in the cloud's ledger.
    pub calls: usize,
    /// Acknowledged writes of the graph.
    pub acknowledged: u64,
}

/// An intent and what became of it.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Its effect, as a line of the kept lists.
    pub line: String,
    /// The token of its call.
    pub token: String,
    /// When it was journalled.
    pub at: UnixMs,
    /// When its outcome was; none if it has none.
    pub ended: Option<UnixMs>,
    /// Calls that were made for it, by the ledger.
    pub calls: Vec<LedgerEntry>,
}

impl Evidence {
    /// Gathers it.
    pub(super) async fn gather(
        rig: &Rig,
        id: &ChangeId,
        graph: &GraphId,
        before: &Before,
        acks: Vec<Ack>,
        followed: Followed,
        access: &Access,
    ) -> Self {
        let entries = rig.entries(id).await;
        let state = Migration::replay(id, &entries).expect("the journal folds");
        let roles = roles(&state, &entries);
        let tokens = entries.iter().filter_map(|entry| match &entry.fact {
            Fact::Intent { token, .. } => Some(token.as_str()),
            _ => None,
        });
        let own: BTreeSet<&str> = tokens.chain(roles.keys().map(String::as_str)).chain([id.as_str()]).collect();
        let concerns = |call: &LedgerEntry| call.parameters.values().any(|value| own.contains(value.as_str()));
        let calls = rig.cloud.ledger().split_off(before.calls);
        let (ledger, strangers) = calls.into_iter().partition(|call| !changes(call) || concerns(call));
        Self {
            ledger,
            strangers,
            roles,
            told: rig.told(id).await,
            entries,
            state,
            engines: rig.cloud.engine_log(),
            audit: rig.cloud.audit(graph),
            acknowledged_before: before.acknowledged,
            acks,
            followed,
            gate: access.history(),
            alerts: rig.alerts(),
        }
    }

    /// When a fact was journalled; the first of its name.
    pub fn at(&self, name: &str) -> Option<UnixMs> {
        self.entries.iter().find(|entry| entry.fact.name() == name).map(|entry| entry.at)
    }

    /// When a stage was entered; the first time.
    pub fn entered(&self, stage: Stage) -> Option<UnixMs> {
        let enters = |entry: &&Entry| matches!(&entry.fact, Fact::Entered { stage: entered } if *entered == stage);
        self.entries.iter().find(enters).map(|entry| entry.at)
    }

    /// Milliseconds for which the gate was closed.
    pub fn writes_blocked_ms(&self) -> i64 {
        let spans = self.gate.iter().map(|(closed, opened)| opened.expect("the gate is open again").since(*closed));
        spans.sum()
    }

    /// Calls that changed something, in their order, as lines: action, whose, and what tells two of a kind apart. A call
    /// without answer or with a refusal says so.
    pub fn changes(&self) -> Vec<String> {
        let line = |entry: &LedgerEntry| {
            let line = self.line(entry)?;
            let lost = entry.lost.map(|lost| format!(" (lost {lost:?})").to_lowercase()).unwrap_or_default();
            let refused = if entry.outcome == "ok" { String::new() } else { format!(" ({})", entry.outcome) };
            Some(format!("{line}{refused}{lost}"))
        };
        self.ledger.iter().filter_map(line).collect()
    }

    /// Every intent with the calls that were made for it. Panics over a call that no intent explains: one that is not
    /// what was decided, or not between the decision and its outcome.
    pub fn intents(&self) -> Vec<Intent> {
        let mut intents: BTreeMap<u32, Intent> = BTreeMap::new();
        for entry in &self.entries {
            match &entry.fact {
                Fact::Intent { n, effect, token, .. } => {
                    let line = self.line_of(effect);
                    let intent = Intent { line, token: token.clone(), at: entry.at, ended: None, calls: Vec::new() };
                    intents.insert(*n, intent);
                }
                Fact::Outcome { n, .. } => {
                    intents.get_mut(n).expect("an outcome has an intent").ended = Some(entry.at);
                }
                _ => {}
            }
        }
        let mut intents: Vec<Intent> = intents.into_values().collect();
        for call in &self.ledger {
            let Some(line) = self.line(call) else { continue };
            let at = UnixMs(i64::try_from(call.at_ms).expect("an instant of this era"));
            let mut explained = intents.iter_mut().filter(|intent| {
                intent.line == line && intent.at <= at && intent.ended.is_none_or(|ended| at <= ended)
            });
            let intent = explained.next().unwrap_or_else(|| panic!("no intent explains {line} at {at}: {call:?}"));
            assert!(explained.next().is_none(), "two intents explain {line} at {at}");
            assert!(
                call.parameters.get("client_token").is_none_or(|token| *token == intent.token),
                "{line} went out under another token than its intent's"
            );
            intent.calls.push(call.clone());
        }
        intents
    }

    /// Panics with the journal unless the change ended so.
    pub fn ended(&self, end: End) {
        assert_eq!(self.state.end, Some(end), "the journal:\n{}", self.told);
    }

    /// What must hold of every change that had the cloud for itself, whatever its end.
    pub fn holds(&self) {
        self.holds_among_others();
        assert_eq!(self.strangers, [], "calls that nobody decided");
    }

    /// The same where other changes ran beside it.
    pub fn holds_among_others(&self) {
        self.public_events_hold();
        self.engines_hold();
        self.intents_hold();
        self.writes_hold();
        let acknowledged = self.audit.acknowledged - self.acknowledged_before;
        assert_eq!(acknowledged, self.acks.len() as u64, "the engines and the clients count alike");
        assert!(self.gate.iter().all(|(_, opened)| opened.is_some()), "the gate is open again (6): {:?}", self.gate);
    }

    /// Invariant 13: every acknowledged write can be read, but for those that died with a host whose power was cut.
    pub fn writes_hold(&self) {
        let lost = self.audit.missing_count - self.audit.lost_with_host;
        assert_eq!(lost, 0, "acknowledged writes are gone: {:?}; the journal:\n{}", self.audit, self.told);
    }

    /// Invariant 11: no gap, no duplicate, progress never falls within a direction; the same for a follower as in the
    /// journal.
    pub fn public_events_hold(&self) {
        let journal: Vec<_> = self.entries.iter().filter_map(|entry| entry.public.clone()).collect();
        assert_eq!(self.followed.events, journal, "a follower sees what the journal has");
        for (expected, event) in (1..).zip(&journal) {
            assert_eq!(event.seq, expected, "the public sequence has a gap or a duplicate");
        }
        for pair in journal.windows(2) {
            let same_way = pair[0].direction == pair[1].direction;
            assert!(!same_way || pair[0].permille <= pair[1].permille, "progress falls: {pair:?}");
            assert!(pair[0].at_ms <= pair[1].at_ms, "time goes back: {pair:?}");
        }
    }

    /// Invariants 2 and 14: at most one engine has a volume open; a shut door takes no write; no write that the gate
    /// allowed was sent after the confirmation and before the end.
    fn engines_hold(&self) {
        let mut open: BTreeMap<&str, &str> = BTreeMap::new();
        let mut doors: BTreeMap<&str, Door> = BTreeMap::new();
        for entry in &self.engines {
            let (volume, instance) = (entry.volume_id.as_str(), entry.instance_id.as_str());
            match &entry.event {
                EngineEvent::Opened => {
                    let before = open.insert(volume, instance);
                    assert_eq!(before, None, "two engines have {volume} open at {}", entry.at_ms);
                }
                EngineEvent::Closed { .. } => {
                    assert_eq!(open.remove(volume), Some(instance), "{instance} closes what another has open");
                    doors.remove(volume);
                }
                EngineEvent::Door { door } => {
                    doors.insert(volume, *door);
                }
                EngineEvent::Write { write_id, .. } => {
                    let door = doors.get(volume).copied();
                    assert_eq!(door, Some(Door::Open), "write {write_id} passed a shut door at {}", entry.at_ms);
                }
                EngineEvent::Lost { with_host, .. } => assert!(*with_host, "a detach lost writes: {entry:?}"),
            }
        }
        let ends = ["opened", "rolled_back", "handed_over"];
        let end = ends.iter().find_map(|name| self.at(name));
        if let Some(confirmed) = self.at("gate_confirmed") {
            for ack in self.acks.iter().filter(|ack| ack.polite && ack.sent_at >= confirmed) {
                assert!(end.is_some_and(|end| ack.sent_at >= end), "the gate allowed a write behind the confirmation");
            }
        }
    }

    /// Invariant 16 and the crash rule: every call belongs to one intent, every intent has an outcome, and nothing that
    /// has no token happened twice for one intent.
    fn intents_hold(&self) {
        for intent in self.intents() {
            assert!(intent.ended.is_some() || self.state.stuck.is_some(), "{} has no outcome", intent.line);
            let done = intent.calls.iter().filter(|call| call.outcome == "ok").count();
            // An attach may be accepted, fall back, and be made again; EC2 sees to it that there are never two.
            let once = intent.line.starts_with("CreateSnapshot");
            assert!(!once || done <= 1, "{} happened {done} times; the journal:\n{}", intent.line, self.told);
        }
        let launches = self.ledger.iter().filter(|call| call.action == "LaunchInstances" && call.outcome == "ok");
        let mut tokens: Vec<&String> = launches.filter_map(|call| call.parameters.get("client_token")).collect();
        tokens.dedup();
        let mut distinct = tokens.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(tokens.len(), distinct.len(), "a launch was repeated behind another one");
    }

    /// A changing call as a line of the kept lists; none for a read.
    fn line(&self, call: &LedgerEntry) -> Option<String> {
        if !changes(call) {
            return None;
        }
        let name = |key: &str| self.name(call.parameters.get(key).map_or("", String::as_str));
        let value = |key: &str| call.parameters.get(key).cloned().unwrap_or_default();
        let what = match call.action.as_str() {
            "SetInstanceProtection" => name("instance_ids"),
            "CreateSnapshot" => value(&format!("tag:{TAG_STEP}")),
            "LaunchInstances" => value("availability_zones"),
            "AttachVolume" | "DetachVolume" => format!("{} {}", name("instance_id"), value("device")),
            "CreateTags" => name("resource_ids"),
            "DeleteSnapshot" => name("snapshot_id"),
            "AgentDrain" => format!("{} {}", name("instance_id"), value("scope")),
            "AgentRelease"
            | "AgentAdopt"
            | "AgentResume"
            | "ModifyInstanceAttribute"
            | "TerminateInstanceInAutoScalingGroup" => name("instance_id"),
            action => panic!("a change that no migration makes: {action}"),
        };
        let migration = ["migration_id", &format!("tag:{TAG_MIGRATION}")].map(|key| call.parameters.get(key).cloned());
        for id in migration.into_iter().flatten() {
            assert_eq!(id, self.state.id.as_str(), "{} is another migration's", call.action);
        }
        Some(format!("{} {what}", call.action))
    }

    /// An effect as the line of the call that it leads to.
    fn line_of(&self, effect: &Effect) -> String {
        let name = |id: &dyn AsRef<str>| self.name(id.as_ref());
        match effect {
            Effect::Protect { instance, .. } => format!("SetInstanceProtection {}", name(instance)),
            Effect::Snapshot { purpose } => format!("CreateSnapshot {}", purpose.name()),
            Effect::Launch { zone, .. } => format!("LaunchInstances {zone}"),
            Effect::Terminate { instance, .. } => format!("TerminateInstanceInAutoScalingGroup {}", name(instance)),
            Effect::Drain { instance, scope: Scope::Writes } => format!("AgentDrain {} writes", name(instance)),
            Effect::Drain { instance, scope: Scope::All } => format!("AgentDrain {} all", name(instance)),
            Effect::Resume { instance } => format!("AgentResume {}", name(instance)),
            Effect::Release { instance } => format!("AgentRelease {}", name(instance)),
            Effect::Detach { instance, device } => format!("DetachVolume {} {device}", name(instance)),
            Effect::Attach { instance, device } => format!("AttachVolume {} {device}", name(instance)),
            Effect::KeepOnTermination { instance, .. } => format!("ModifyInstanceAttribute {}", name(instance)),
            Effect::Adopt { instance } => format!("AgentAdopt {}", name(instance)),
            Effect::TagVolume { .. } => "CreateTags volume".to_owned(),
            Effect::DeleteSnapshot { snapshot } => format!("DeleteSnapshot {}", name(snapshot)),
        }
    }

    fn name(&self, id: &str) -> String {
        self.roles.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }
}

/// Whether a call changes something.
fn changes(call: &LedgerEntry) -> bool {
    let commands = ["AgentDrain", "AgentResume", "AgentRelease", "AgentAdopt"];
    match call.service {
        Service::Agent => commands.contains(&call.action.as_str()),
        // An operator's: volume-svc ends instances by their group only.
        _ => !call.action.starts_with("Describe") && call.action != "TerminateInstances",
    }
}

/// Ids that play a part, with the part.
fn roles(state: &Migration, entries: &[Entry]) -> BTreeMap<String, String> {
    let mut roles = BTreeMap::new();
    let mut put = |id: &dyn AsRef<str>, role: &str| roles.insert(id.as_ref().to_owned(), role.to_owned());
    if let Some(spec) = &state.spec {
        put(&spec.source.instance, "source");
        put(&spec.volume, "volume");
    }
    if let Some(snapshot) = &state.safety {
        put(snapshot, "safety");
    }
    if let Some(snapshot) = &state.last {
        put(snapshot, "final");
    }
    if let Some(launched) = &state.launched {
        put(launched, "launched");
    }
    if let Some(home) = &state.home {
        put(&home.instance, "home");
    }
    let reserved = entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Reserved { target } => Some(target),
        _ => None,
    });
    for (number, target) in reserved.enumerate() {
        let role = if number == 0 { "target".to_owned() } else { format!("target-{}", number + 1) };
        put(&target.instance, &role);
    }
    roles
}
