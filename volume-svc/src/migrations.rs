//! The use cases of `MigrationService`, free of gRPC: plan, start, look, confirm, cancel, resume.
//!
//! A request about a running migration is decided by the machine over the journal's head and written by an append
//! on that head; when somebody else was faster it is decided anew. No state is kept here.

use crate::hub::Hub;
use crate::journal::{AppendError, Head, Journal, ReadError, heads_of};
use crate::ports::store::{PageKey, StoreError};
use crate::worker::Worker;
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::clock::Clock;
use tiershift_common::status::Fault;
use tiershift_core::catalogue::Catalogue;
use tiershift_core::ids::{ChangeId, GraphId, GroupName, TierName};
use tiershift_core::{Error, Kind, Reason, UnixMs, Violation};
use volume_core::effect::{AgentState, Observe, Seen};
use volume_core::effect::{Answer, Command};
use volume_core::fact::{Party, Resume, Side, Spec};
use volume_core::item::Index;
use volume_core::plan::{Ask, Facts, Verdict, judge};
use volume_core::requests::{Granted, Refused};
use volume_core::settings::Settings;
use volume_core::stage::Stage;
use volume_core::view::Status;
use volume_core::{Append, Machine};

/// How often a request is decided anew when the head moves under it. Each round lost means that a driver or another
/// request made progress.
const ROUNDS: u32 = 20;

/// What a caller wants to be moved.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The graph.
    pub graph: GraphId,
    /// The tier that the caller believes it has.
    pub source_tier: Option<TierName>,
    /// The tier to move to.
    pub target_tier: TierName,
    /// Its instance type, for the capacity check; empty if unknown.
    pub target_instance_type: String,
    /// Most bytes that it holds.
    pub storage_limit_bytes: Option<i64>,
    /// Past this turning back is considered (H36).
    pub max_write_block_ms: i64,
}

/// A plan: the verdict, what it rests on, and what it would cost.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Broken rules, and checks that could not be made.
    pub verdict: Verdict,
    /// What was read.
    pub facts: Facts,
    /// How old the oldest read is.
    pub read_age_ms: i64,
    /// Whether an instance must be launched.
    pub launch_needed: bool,
    /// Expected milliseconds of blocked writes.
    pub blocked_ms: i64,
    /// Expected milliseconds with the volume in flight.
    pub offline_ms: i64,
    /// Expected milliseconds from start to served.
    pub total_ms: i64,
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canceled {
    /// It goes back.
    TurningBack,
    /// It had not started and never will.
    Tombstone,
    /// It is back already.
    RolledBack,
}

/// The use cases.
#[derive(Clone, Debug)]
pub struct Migrations {
    /// The journal.
    pub journal: Journal,
    /// The ports.
    pub world: World,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Deadlines and gaps.
    pub settings: Settings,
    /// Wake-ups.
    pub hub: Arc<Hub>,
    /// Who drives.
    pub worker: Arc<Worker>,
    /// The tiers, for the names of their groups.
    pub catalogue: Arc<Catalogue>,
    /// Name of the environment.
    pub environment: String,
}

/// A store that does not answer, for the caller.
pub(crate) fn away(error: impl Into<tiershift_common::status::Cause>) -> Fault {
    Fault::unavailable("the volume service's store", 1_000, error)
}

pub(crate) fn read_fault(error: ReadError) -> Fault {
    match error {
        ReadError::Store(StoreError::Invalid(cause)) => Fault::internal(cause),
        ReadError::Store(error) => away(error),
        corrupt @ ReadError::Corrupt { .. } => Fault::internal(corrupt),
    }
}

fn not_found(id: &ChangeId) -> Fault {
    Error::new(Kind::NotFound, Reason::MigrationNotFound, "there is no such migration")
        .with("migration_id", id.as_str())
        .into()
}

/// A refusal of the machine, for the caller.
fn refused(id: &ChangeId, machine: &Machine, refused: &Refused) -> Fault {
    Error::new(Kind::FailedPrecondition, refused.reason, refused.why.clone())
        .with("migration_id", id.as_str())
        .with("stage", machine.state.stage.name())
        .into()
}

impl Migrations {
    fn group_of(&self, tier: &TierName) -> Result<GroupName, Fault> {
        let unknown = || {
            let violation = Violation {
                reason: Reason::UnknownTier,
                field: "spec.target_tier".to_owned(),
                limit: None,
                actual: None,
                fix: format!("{tier} is no tier; choose one of {}", self.tier_names()),
            };
            Fault::from(Error::refused(vec![violation], Vec::new()))
        };
        let tier = self.catalogue.get(tier).ok_or_else(unknown)?;
        tier.group(&self.environment).map_err(Fault::internal)
    }

    fn tier_names(&self) -> String {
        self.catalogue.tiers().iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Reads and judges; changes nothing.
    pub async fn plan(&self, wish: &Wish, migration: Option<&ChangeId>) -> Result<Plan, Fault> {
        let ask = Ask {
            graph: wish.graph.clone(),
            source_tier: wish.source_tier.clone(),
            target_tier: wish.target_tier.clone(),
            target_group: self.group_of(&wish.target_tier)?,
            storage_limit_bytes: wish.storage_limit_bytes,
            migration: migration.cloned(),
        };
        let facts = self.world.gather(&ask, Some(&wish.target_instance_type)).await;
        let verdict = judge(&ask, &facts);
        let launch_needed = facts.idle == 0;
        let sum = |from: Stage, to: Stage| -> i64 {
            Stage::ALL.into_iter().filter(|s| *s >= from && *s < to).map(Stage::nominal_ms).sum()
        };
        let capacity = if launch_needed { 0 } else { Stage::Capacity.nominal_ms() * 9 / 10 };
        Ok(Plan {
            read_age_ms: self.clock.now().since(facts.read_at),
            launch_needed,
            blocked_ms: sum(Stage::DrainWrites, Stage::Settle) + 3_000,
            offline_ms: sum(Stage::Release, Stage::Settle),
            total_ms: sum(Stage::Preflight, Stage::Settle) - capacity,
            verdict,
            facts,
        })
    }

    /// Starts a migration, or finds the one that this id started before.
    pub async fn start(
        &self,
        id: &ChangeId,
        wish: &Wish,
        requested_by: &str,
        fingerprint: &str,
    ) -> Result<(Head, Option<Plan>), Fault> {
        if let Some(head) = self.journal.head(id).await.map_err(read_fault)? {
            return repeat(head, fingerprint).map(|head| (head, None));
        }
        let plan = self.plan(wish, Some(id)).await?;
        if !plan.verdict.clean() {
            return Err(refusal(&plan.verdict));
        }
        let spec = self.spec(id, wish, requested_by, fingerprint, &plan.facts).await?;
        let epoch = spec.store_epoch;
        let volume_fence = self.journal.volume_fence(&spec.volume).await.map_err(away)?;
        let fence = volume_fence.unwrap_or(0) + 1;
        let now = self.clock.now();
        let append =
            Machine::start(spec, self.journal.worker(), fence, &self.settings, now).map_err(Fault::internal)?;
        match self.journal.append(&append, self.journal.worker(), epoch).await {
            Ok(()) => {
                self.hub.wake(id);
                self.worker.accepted(id);
            }
            // The same start, or a cancel, was faster.
            Err(AppendError::HeadMoved) => {}
            Err(AppendError::Rows(rows)) => {
                tracing::info!(migration = %id, ?rows, "a start met another holder");
                let error = Error::new(
                    Kind::Aborted,
                    Reason::ChangeActive,
                    "another change took the volume just now; try again",
                );
                return Err(error.retry_after_ms(5_000).into());
            }
            Err(AppendError::Unavailable(error)) => return Err(away(error)),
            Err(AppendError::Invalid(error)) => return Err(Fault::internal(error)),
        }
        let head = self.get(id).await?;
        repeat(head, fingerprint).map(|head| (head, Some(plan)))
    }

    /// What a start writes down, from facts that were judged clean.
    async fn spec(
        &self,
        id: &ChangeId,
        wish: &Wish,
        requested_by: &str,
        fingerprint: &str,
        facts: &Facts,
    ) -> Result<Spec, Fault> {
        let lacking = || Fault::internal("a clean verdict rests on facts that are missing");
        let volume = facts.volume.as_ref().ok_or_else(lacking)?;
        let source = facts.source.as_ref().ok_or_else(lacking)?;
        let attachment = volume.attachments.first().ok_or_else(lacking)?;
        Ok(Spec {
            id: id.clone(),
            graph: wish.graph.clone(),
            volume: volume.id.clone(),
            zone: volume.zone.clone().ok_or_else(lacking)?,
            device: attachment.device.clone(),
            source: Party {
                instance: source.instance.clone(),
                private_ip: source.private_ip.clone(),
                endpoint_url: source.endpoint_url.clone(),
                group: source.group.as_ref().ok_or_else(lacking)?.name.clone(),
                launched: false,
            },
            engine: source.engine.clone().ok_or_else(lacking)?,
            source_tier: volume.tier.clone(),
            target_tier: wish.target_tier.clone(),
            target_group: self.group_of(&wish.target_tier)?,
            storage_limit_bytes: wish.storage_limit_bytes,
            max_write_block_ms: wish.max_write_block_ms,
            requested_by: requested_by.to_owned(),
            fingerprint: fingerprint.to_owned(),
            store_epoch: self.journal.epoch().await.map_err(away)?,
        })
    }

    /// The head of a migration.
    pub async fn get(&self, id: &ChangeId) -> Result<Head, Fault> {
        self.journal.head(id).await.map_err(read_fault)?.ok_or_else(|| not_found(id))
    }

    /// Live migrations; each is read consistently, because the index is a hint.
    pub async fn live(&self) -> Result<Vec<Head>, Fault> {
        let mut heads = Vec::new();
        for id in self.journal.live().await.map_err(away)? {
            if let Some(head) = self.journal.head(&id).await.map_err(read_fault)?
                && head.done_at.is_none()
            {
                heads.push(head);
            }
        }
        heads.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        Ok(heads)
    }

    /// One page of a graph's migrations, oldest first in the index.
    pub async fn of_graph(
        &self,
        graph: &GraphId,
        page: Option<PageKey>,
        limit: usize,
    ) -> Result<(Vec<Head>, Option<PageKey>), Fault> {
        let index = Index::JournalByGraph;
        let found = self.journal.store().query_index(index, graph.as_str(), None, page, limit).await.map_err(away)?;
        Ok((heads_of(&found.items), found.next))
    }

    /// ConfirmGate.
    pub async fn confirm_gate(&self, id: &ChangeId, gate_id: u64, epoch: i64) -> Result<Head, Fault> {
        let head = self.get(id).await?;
        if head.store_epoch != epoch {
            let error = Error::new(
                Kind::OutOfRange,
                Reason::StoreRestored,
                "the gate was requested in another epoch of the store",
            );
            return Err(error.with("migration_id", id.as_str()).into());
        }
        self.request(id, |machine, now| machine.confirm_gate(gate_id, now)).await
    }

    /// CancelMigration; of an unknown id leaves a tombstone.
    pub async fn cancel(&self, id: &ChangeId, by: &str) -> Result<(Canceled, Head), Fault> {
        if self.journal.head(id).await.map_err(read_fault)?.is_none() {
            let now = self.clock.now();
            let append = Machine::tombstone(id, by, &self.settings, now).map_err(Fault::internal)?;
            let epoch = self.journal.epoch().await.map_err(away)?;
            match self.journal.append(&append, self.journal.worker(), epoch).await {
                Ok(()) | Err(AppendError::HeadMoved) => {}
                Err(AppendError::Unavailable(error)) => return Err(away(error)),
                Err(error) => return Err(Fault::internal(error)),
            }
        }
        let head = self.request(id, |machine, _| machine.cancel(by)).await?;
        let canceled = match head.view.status {
            Status::Tombstone => Canceled::Tombstone,
            Status::RolledBack => Canceled::RolledBack,
            _ => Canceled::TurningBack,
        };
        Ok((canceled, head))
    }

    /// ResumeMigration by retry or going forward. A person has decided, so from here on the migration is of the present
    /// life of the store (H19).
    pub async fn resume(&self, id: &ChangeId, action: Resume, by: &str, note: &str) -> Result<Head, Fault> {
        let epoch = self.journal.epoch().await.map_err(away)?;
        self.request_in(id, Some(epoch), |machine, _| machine.resume(action, by, note)).await
    }

    /// ResumeMigration by hand-over: verified in EC2 and by the agent that says it serves (H26).
    pub async fn hand_over(&self, id: &ChangeId, side: Side, by: &str, note: &str) -> Result<Head, Fault> {
        let (machine, _) = self.machine(id).await?;
        self.verify_side(&machine, side).await?;
        let epoch = self.journal.epoch().await.map_err(away)?;
        self.request_in(id, Some(epoch), |machine, _| machine.hand_over(side, by, note)).await
    }

    async fn verify_side(&self, machine: &Machine, side: Side) -> Result<(), Fault> {
        let m = &machine.state;
        let unverified = |why: &str| {
            Fault::from(Error::new(Kind::FailedPrecondition, Reason::WrongState, format!("not handed over: {why}")))
        };
        let instance = match side {
            Side::Source => m.home().map(|home| home.instance.clone()),
            Side::Target => m.target.as_ref().map(|t| t.instance.clone()),
        }
        .ok_or_else(|| unverified("there is no such side"))?;
        let see = async |what: Observe| match self.world.run(m, &Command::Observe(what)).await {
            Some(Answer::Seen { seen, .. }) => seen,
            _ => Seen::Nothing(volume_core::effect::Trouble::Unknown),
        };
        match see(Observe::Volume).await {
            Seen::Volume(Some(list)) if list.len() == 1 && list[0].instance == instance => {}
            _ => return Err(unverified("EC2 does not show the volume attached there, and nowhere else")),
        }
        match see(Observe::AgentVolume { instance: instance.clone() }).await {
            Seen::AgentVolume(v) if v.state == AgentState::Serving && v.mounted => {}
            _ => return Err(unverified("the agent there does not say that it serves")),
        }
        match see(Observe::Probe { instance }).await {
            Seen::Probe(_) => Ok(()),
            _ => Err(unverified("the engine there does not answer a probe")),
        }
    }

    async fn machine(&self, id: &ChangeId) -> Result<(Machine, Head), Fault> {
        let head = self.get(id).await?;
        let entries = self.journal.entries(id, 1).await.map_err(read_fault)?;
        let machine = Machine::load(id, &entries, self.settings.clone(), self.clock.now()).map_err(Fault::internal)?;
        Ok((machine, head))
    }

    /// Decides a request over the head and writes it on that head; again when the head moved.
    async fn request(
        &self,
        id: &ChangeId,
        decide: impl Fn(&Machine, UnixMs) -> Result<Granted, Refused> + Send,
    ) -> Result<Head, Fault> {
        self.request_in(id, None, decide).await
    }

    /// The same, and with an epoch the migration is moved into that life of the store.
    async fn request_in(
        &self,
        id: &ChangeId,
        epoch: Option<i64>,
        decide: impl Fn(&Machine, UnixMs) -> Result<Granted, Refused> + Send,
    ) -> Result<Head, Fault> {
        for _ in 0..ROUNDS {
            let (machine, head) = self.machine(id).await?;
            let now = self.clock.now();
            let append: Append = match decide(&machine, now).map_err(|r| refused(id, &machine, &r))? {
                Granted::Already => return Ok(head),
                Granted::Append(facts) => machine.prepare(facts, now).map_err(Fault::internal)?,
            };
            match self.journal.append(&append, &head.owner, epoch.unwrap_or(head.store_epoch)).await {
                Ok(()) => {
                    self.hub.wake(id);
                    return self.get(id).await;
                }
                Err(AppendError::HeadMoved | AppendError::Rows(_)) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(AppendError::Unavailable(error)) => return Err(away(error)),
                Err(AppendError::Invalid(error)) => return Err(Fault::internal(error)),
            }
        }
        Err(Error::new(Kind::Aborted, Reason::Unavailable, "the migration moves on too fast; try again")
            .retry_after_ms(500)
            .into())
    }
}

/// A start whose id is known: the same one, another one, or a tombstone.
fn repeat(head: Head, fingerprint: &str) -> Result<Head, Fault> {
    match &head.spec {
        None => {
            Err(Error::new(Kind::FailedPrecondition, Reason::Tombstone, "the change was canceled before it started")
                .into())
        }
        Some(spec) if spec.fingerprint != fingerprint => {
            Err(Error::new(Kind::AlreadyExists, Reason::RequestIdReused, "the id was used for another migration")
                .into())
        }
        Some(_) => Ok(head),
    }
}

/// All violations; a running or settling change as the only one is something to wait for.
pub(crate) fn refusal(verdict: &Verdict) -> Fault {
    let only = match verdict.violations.as_slice() {
        [one] if verdict.not_checked.is_empty() => Some(one),
        _ => None,
    };
    if let Some(one) = only.filter(|v| matches!(v.reason, Reason::ChangeActive | Reason::Settling)) {
        return Error::new(Kind::Aborted, one.reason, one.fix.clone()).retry_after_ms(5_000).into();
    }
    if verdict.violations.is_empty() {
        let error = Error::new(Kind::Unavailable, Reason::Unavailable, "some checks could not be made now; try again");
        let mut error = error.retry_after_ms(2_000);
        error.not_checked.clone_from(&verdict.not_checked);
        return error.into();
    }
    Error::refused(verdict.violations.clone(), verdict.not_checked.clone()).into()
}
