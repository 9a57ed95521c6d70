//! The machine: durable state, what this driver has seen, and time in; the next thing to do out.
//!
//! `next` is a pure function that never blocks and never acts. Its caller (the driver) appends what it says to
//! append, runs what it says to run, feeds back what it heard (`heard`), and asks again. The table over all
//! stages and events is `tests/machine_table.txt`; each stage's rules are in `stages/`, the way back in
//! `undo.rs`, the life of one effect in `resolve/`, requests from outside in `requests.rs`.

use crate::effect::{Answer, Command, Effect, Observe, Seen, Trouble};
use crate::events;
use crate::fact::{Entry, Fact, Party, SCHEMA, Spec};
use crate::scratch::{Scratch, Streak};
use crate::settings::Settings;
use crate::stage::Stage;
use crate::state::{Corrupt, Migration, attempt_key};
use crate::{resolve, stages, token, undo, watch};
use tiershift_core::event::Direction;
use tiershift_core::ids::{ChangeId, InstanceId, WorkerId};
use tiershift_core::mutant::{self, Mutant};
use tiershift_core::{Reason, UnixMs};

/// How often an effect is decided that there is no way around before a human is called. Five refusals at 5 s cover
/// an agent that is restarting; what lasts longer does not mend itself.
pub(crate) const TRIES_MAX: u32 = 5;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Append these facts in one transaction, then ask again.
    Append(Vec<Fact>),
    /// Run this and feed back the answer.
    Run(Command),
    /// Nothing before that time, unless something comes from outside.
    Wait(UnixMs),
    /// Nothing, until something comes from outside.
    Idle,
    /// Nothing ever again.
    Over,
}

/// Facts with their places in the journal and their public events: what one append writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The state before them.
    pub before: Migration,
    /// The state after them.
    pub after: Migration,
}

/// A migration as its driver holds it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The durable part.
    pub state: Migration,
    /// The seen part.
    pub scratch: Scratch,
    /// Deadlines and gaps.
    pub settings: Settings,
}

impl Machine {
    /// From a journal, at the time when it was loaded.
    pub fn load(id: &ChangeId, entries: &[Entry], settings: Settings, now: UnixMs) -> Result<Self, Corrupt> {
        let state = Migration::replay(id, entries)?;
        let mut scratch = Scratch::loaded(now);
        if state.open.as_ref().is_some_and(|o| o.fence != state.fence) {
            scratch.beware(&state, now);
        }
        Ok(Self { state, scratch, settings })
    }

    /// What to do now.
    pub fn next(&self, now: UnixMs) -> Next {
        let turn = Turn { m: &self.state, s: &self.scratch, set: &self.settings, now };
        if self.state.is_over() {
            return Next::Over;
        }
        if self.state.spec.is_none() || self.state.stuck.is_some() {
            return Next::Idle;
        }
        if let Some(first) = conflict(&turn).or_else(|| watch::source_lost(&turn)) {
            return first;
        }
        let next = match (&self.state.open, self.state.direction) {
            (Some(open), _) => resolve::next(&turn, open),
            (None, Direction::Forward) => stages::next(&turn),
            (None, Direction::Undo) => undo::next(&turn),
            (None, Direction::Settle) => stages::settle::next(&turn),
        };
        watch::beside(&turn, next)
    }

    /// As `next`, but joins appends that follow each other at once into one transaction: the outcome of a step,
    /// the entry into the next and its first intent. An intent ends it (its effect comes next), and so does
    /// everything whose refusal must be told from the rest.
    pub fn turn(&self, now: UnixMs) -> Next {
        let mut ahead = self.clone();
        let mut facts: Vec<Fact> = Vec::new();
        loop {
            let next = ahead.next(now);
            match next {
                Next::Append(more) => {
                    let stop = more.iter().any(stands_alone);
                    if stop && !facts.is_empty() {
                        return Next::Append(facts);
                    }
                    facts.extend(more.iter().cloned());
                    if stop || more.iter().any(|f| matches!(f, Fact::Intent { .. })) {
                        return Next::Append(facts);
                    }
                    // A fact that cannot be applied is a defect of ours; the append itself will say so.
                    let Ok(append) = ahead.prepare(more, now) else { return Next::Append(facts) };
                    ahead.committed(&append);
                }
                _ if facts.is_empty() => return next,
                _ => return Next::Append(facts),
            }
        }
    }

    /// Gives facts their places and public events, and checks that they can follow.
    pub fn prepare(&self, facts: Vec<Fact>, now: UnixMs) -> Result<Append, Corrupt> {
        let mut after = self.state.clone();
        let mut entries = Vec::with_capacity(facts.len());
        for fact in facts {
            let mut next = after.clone();
            let mut entry = Entry { schema: SCHEMA, seq: after.seq + 1, at: now, fact, public: None };
            if entry.fact.is_public() {
                // Two passes: the event shows the state after the fact, and the fact needs its sequence.
                entry.public = Some(events::placeholder(&after, now));
                next.apply(&entry)?;
                entry.public = Some(events::public(&after, &next, &entry.fact, now));
                next = after.clone();
            }
            next.apply(&entry)?;
            after = next;
            entries.push(entry);
        }
        Ok(Append { entries, before: self.state.clone(), after })
    }

    /// The entries are durable.
    pub fn committed(&mut self, append: &Append) {
        self.scratch.followed(&append.before, &append.after, &append.entries, true);
        self.state = append.after.clone();
    }

    /// The journal was appended to by another (a request from outside): take its entries and keep what was seen, as
    /// far as it is not older than they are. After an error nothing was taken.
    pub fn caught_up(&mut self, entries: &[Entry]) -> Result<(), Corrupt> {
        let mut after = self.state.clone();
        let fresh: Vec<Entry> = entries.iter().filter(|e| e.seq > self.state.seq).cloned().collect();
        for entry in &fresh {
            after.apply(entry)?;
        }
        self.scratch.followed(&self.state, &after, &fresh, false);
        self.state = after;
        Ok(())
    }

    /// An answer came.
    pub fn heard(&mut self, now: UnixMs, answer: Answer) {
        match answer {
            Answer::Effect { n, result } => {
                if self.state.open.as_ref().is_some_and(|o| o.n == n) {
                    self.scratch.called(now, result);
                }
            }
            Answer::Seen { what, seen } => self.scratch.saw(now, what, seen),
        }
    }

    /// An append was refused by something other than the journal's head. A reservation or a permit is looked for
    /// anew; anything else means that somebody else writes to our rows (H32).
    pub fn refused(&mut self, facts: &[Fact]) {
        match facts {
            [Fact::Reserved { target }] => {
                self.scratch.rejected.insert(target.instance.clone());
                self.scratch.forget(&Observe::Candidates);
            }
            [Fact::SourceReplaced { home }] => {
                self.scratch.rejected.insert(home.instance.clone());
            }
            [Fact::GateRequested { .. }] => self.scratch.forget(&Observe::Permits),
            _ => self.scratch.registry_conflict = true,
        }
    }

    /// The first entries of a new migration.
    pub fn start(
        spec: Spec,
        worker: &WorkerId,
        fence: i64,
        settings: &Settings,
        now: UnixMs,
    ) -> Result<Append, Corrupt> {
        let empty = Self { state: Migration::empty(&spec.id), scratch: Scratch::default(), settings: settings.clone() };
        let facts = vec![Fact::Started { spec: Box::new(spec) }, Fact::TakenOver { worker: worker.clone(), fence }];
        empty.prepare(facts, now)
    }

    /// The only entry of a migration that was canceled before it started (H27).
    pub fn tombstone(id: &ChangeId, by: &str, settings: &Settings, now: UnixMs) -> Result<Append, Corrupt> {
        let empty = Self { state: Migration::empty(id), scratch: Scratch::default(), settings: settings.clone() };
        empty.prepare(vec![Fact::Tombstone { by: by.to_owned() }], now)
    }
}

/// Facts whose transaction may be refused for a reason of its own.
fn stands_alone(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Reserved { .. }
            | Fact::SourceReplaced { .. }
            | Fact::GateRequested { .. }
            | Fact::Committed { .. }
            | Fact::Rehomed { .. }
            // These two write no row of the registries, and must not be refused for the sake of one that does (H32).
            | Fact::UndoBegun { .. }
            | Fact::Stuck { .. }
            | Fact::Done
    )
}

/// H32: before the commit the migration turns back; if the way back is refused by a row too, or there is none, a
/// human looks. Neither of these two appends writes a row of the registries.
fn conflict(t: &Turn<'_>) -> Option<Next> {
    let why = "a row of the registries or locks was written by somebody else";
    t.s.registry_conflict.then(|| t.give_up(Reason::RegistryConflict, why))
}

/// Everything that a rule may look at, and the small words that rules are written with.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    /// Durable state.
    pub m: &'a Migration,
    /// What was seen.
    pub s: &'a Scratch,
    /// Deadlines and gaps.
    pub set: &'a Settings,
    /// Now.
    pub now: UnixMs,
}

impl<'a> Turn<'a> {
    /// What the migration is to do. Present in every state that reaches a rule.
    pub fn spec(&self) -> Option<&'a Spec> {
        self.m.spec.as_ref()
    }

    /// The streak of answers to a question.
    pub fn seen(&self, what: &Observe) -> Option<&'a Streak> {
        self.s.streak(what)
    }

    /// Asks (again), but not more often than every `gap_ms`.
    pub fn ask(&self, what: Observe, gap_ms: i64) -> Next {
        match self.s.streak(&what) {
            Some(streak) if self.now.since(streak.last_at) < gap_ms => Next::Wait(streak.last_at.plus(gap_ms)),
            _ => Next::Run(Command::Observe(what)),
        }
    }

    /// Decides an effect. F6: after a takeover the first call against a stale one waits. H17: so does one against a
    /// call of our own that was never answered, where such a call may begin late.
    pub fn intend(&self, effect: Effect) -> Next {
        let late_ms = |stale: &Effect| match stale {
            Effect::Attach { .. } | Effect::Detach { .. } => self.set.late_call_ms,
            _ => 0,
        };
        let foreign = self.s.foreign.iter().map(|(e, at)| (e, at.plus(self.set.turn_about_ms.max(late_ms(e)))));
        let own = self.s.unanswered.iter().map(|(e, at)| (e, at.plus(late_ms(e))));
        let ready = foreign.chain(own).filter(|(stale, _)| stale.opposes(&effect)).map(|(_, ready)| ready).max();
        if let Some(ready) = ready.filter(|ready| self.now < *ready) {
            return Next::Wait(ready);
        }
        let attempt = self.m.attempts_of(&effect) + 1;
        let counted = if mutant::on(Mutant::ReuseToken) { 1 } else { attempt };
        let token = token::token(&self.m.id, &attempt_key(&effect), counted);
        Next::Append(vec![Fact::Intent { n: self.m.intents + 1, effect, attempt, token, fence: self.m.fence }])
    }

    /// Decides an effect that there is no way around: after a refusal again and again, but at leisure and not for
    /// ever. An operator's retry begins anew.
    pub fn insist(&self, effect: Effect, reason: Reason) -> Next {
        if let Some(trouble) = self.m.refused(&effect) {
            if self.m.attempts_of(&effect) >= TRIES_MAX {
                return Self::stuck(reason, format!("{} was refused {TRIES_MAX} times ({trouble:?})", effect.name()));
            }
            let ready = self.m.moved_at.plus(self.set.slow_gap_ms);
            if self.now < ready {
                return Next::Wait(ready);
            }
        }
        self.intend(effect)
    }

    /// Ends the way forward: back while there is a way back, else a human.
    pub fn give_up(&self, reason: Reason, detail: impl Into<String>) -> Next {
        if self.m.direction == Direction::Forward && !self.m.is_committed() {
            Self::turn_back(reason, detail)
        } else {
            Self::stuck(reason, detail)
        }
    }

    /// Turns back.
    pub fn turn_back(reason: Reason, detail: impl Into<String>) -> Next {
        Next::Append(vec![Fact::UndoBegun { reason, detail: detail.into(), by: None }])
    }

    /// Stops and calls a human.
    pub fn stuck(reason: Reason, detail: impl Into<String>) -> Next {
        Next::Append(vec![Fact::Stuck { reason, detail: detail.into() }])
    }

    /// Goes on to a stage.
    pub fn enter(stage: Stage) -> Next {
        Next::Append(vec![Fact::Entered { stage }])
    }

    /// Whether it was waited for long enough, where only waiting is left before a human is called: counted from
    /// `since`, and from when this driver began to look. While nobody drove, nothing was tried.
    pub fn out_of_patience(&self, since: UnixMs) -> bool {
        self.now.since(since.max(self.s.loaded_at)) >= self.set.undo_step_ms
    }

    /// Milliseconds in this stage.
    pub fn in_stage_ms(&self) -> i64 {
        self.now.since(self.m.entered_at)
    }

    /// The present target.
    pub fn target(&self) -> Option<&'a Party> {
        self.m.target.as_ref()
    }

    /// How long an instance's agent has not answered a question, if it does not now.
    pub fn silent_ms(&self, what: &Observe) -> Option<i64> {
        let streak = self.s.streak(what)?;
        matches!(streak.seen, Seen::Nothing(Trouble::Unknown)).then(|| self.now.since(streak.first_at))
    }

    /// A device name for an instance that was never used on it by this migration (F1). Names f to p (rule 24);
    /// none is left after eleven, and then the instance is given up.
    pub fn fresh_device(&self, instance: &InstanceId) -> Option<String> {
        let source_device = self.spec().filter(|s| s.source.instance == *instance).map(|s| s.device.as_str());
        ('f'..='p').map(|c| format!("/dev/sd{c}")).find(|name| {
            if mutant::on(Mutant::ReuseDevice) {
                return true;
            }
            Some(name.as_str()) != source_device && !self.m.devices_used.contains(&(instance.clone(), name.clone()))
        })
    }
}
