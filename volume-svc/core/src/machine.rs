//! The machine: durable state, what this driver has seen, and time in; the next thing to do out.
//!
//! `next` is a pure function that never blocks and never acts. Its caller (the driver) appends what it says to
//! append, runs what it says to run, feeds back what it heard (`heard`), and asks again. The table over all
//! stages and events is `tests/machine_table.txt`; each stage's rules are in `stages/`, the way back in
//! `undo.rs`, the life of one effect in `resolve.rs`, requests from outside in `requests.rs`.

use crate::effect::{Answer, Command, Effect, Observe, Seen, Trouble};
use crate::events;
use crate::fact::{Entry, Fact, Party, SCHEMA, Spec};
use crate::scratch::{Calls, Scratch, Streak};
use crate::settings::Settings;
use crate::stage::Stage;
use crate::state::{Corrupt, Migration};
use crate::{resolve, stages, token, undo};
use tiershift_core::event::Direction;
use tiershift_core::ids::{ChangeId, InstanceId, WorkerId};
use tiershift_core::{Reason, UnixMs};

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
        let mut scratch = Scratch::default();
        if let Some(open) = state.open.as_ref().filter(|o| o.fence != state.fence) {
            scratch.foreign = Some((open.effect.clone(), now));
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
        if let Some(open) = &self.state.open {
            return resolve::next(&turn, open);
        }
        match self.state.direction {
            Direction::Forward => stages::next(&turn),
            Direction::Undo => undo::next(&turn),
            Direction::Settle => stages::settle::next(&turn),
        }
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
                entry.public = Some(events::public(&after, &next, &entry.fact, &self.settings, now));
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
        let had = self.state.open.as_ref().map(|o| o.n);
        let stage = self.state.stage;
        self.state = append.after.clone();
        let has = self.state.open.as_ref().map(|o| o.n);
        if had != has {
            let fresh = has.is_some();
            self.scratch.calls = Calls { fresh, ..Calls::default() };
            if !fresh {
                self.scratch.foreign = self.scratch.foreign.take().filter(|(_, seen)| {
                    append.entries.first().is_none_or(|e| e.at.since(*seen) < self.settings.turn_about_ms)
                });
            }
            self.scratch.turned();
        } else if stage != self.state.stage || append.before.direction != self.state.direction {
            self.scratch.turned();
        }
        if append.entries.iter().any(|e| matches!(e.fact, Fact::Progress { .. } | Fact::Entered { .. })) {
            self.scratch.shown_at = append.entries.last().map(|e| e.at);
        }
    }

    /// The journal was appended to by another (a request from outside): take its entries and keep what was seen.
    pub fn caught_up(&mut self, entries: &[Entry]) -> Result<(), Corrupt> {
        let known = self.state.seq;
        for entry in entries.iter().filter(|e| e.seq > known) {
            self.state.apply(entry)?;
        }
        Ok(())
    }

    /// An answer came.
    pub fn heard(&mut self, now: UnixMs, answer: Answer) {
        match answer {
            Answer::Effect { n, result } => {
                if self.state.open.as_ref().is_some_and(|o| o.n == n) {
                    self.scratch.calls.made += 1;
                    self.scratch.calls.last_at = Some(now);
                    self.scratch.calls.answer = Some(result);
                    // What was read before the call is older than it.
                    self.scratch.turned();
                }
            }
            Answer::Seen { what, seen } => self.scratch.saw(now, what, seen),
        }
    }

    /// An append was refused by something other than the journal's head: what it stood for is looked at again.
    pub fn refused(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Reserved { target } => {
                    self.scratch.rejected.insert(target.instance.clone());
                    self.scratch.forget(&Observe::Candidates);
                }
                Fact::GateRequested { .. } => self.scratch.forget(&Observe::Permits),
                Fact::Committed { .. } => self.scratch.registry_conflict = true,
                _ => {}
            }
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
    matches!(fact, Fact::Reserved { .. } | Fact::GateRequested { .. } | Fact::Committed { .. } | Fact::Done)
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

    /// Decides an effect. F6: after a takeover the first call against a stale one waits.
    pub fn intend(&self, effect: Effect) -> Next {
        if let Some((foreign, seen_at)) = &self.s.foreign
            && foreign.opposes(&effect)
        {
            let ready = seen_at.plus(self.set.turn_about_ms);
            if self.now < ready {
                return Next::Wait(ready);
            }
        }
        let attempt = self.m.attempts_of(&effect) + 1;
        let token = token::token(&self.m.id, effect.name(), attempt);
        Next::Append(vec![Fact::Intent { n: self.m.intents + 1, effect, attempt, token, fence: self.m.fence }])
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
            Some(name.as_str()) != source_device && !self.m.devices_used.contains(&(instance.clone(), name.clone()))
        })
    }
}
