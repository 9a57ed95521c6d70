//! What goes wrong, as the test says. Nothing here is random; `properties.rs` draws it.

use super::fixture;
use std::collections::{BTreeMap, BTreeSet};
use tiershift_core::ids::InstanceId;
use volume_core::effect::{Attachment, AttachmentState, Effect, Observe, Seen, Trouble};

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives and is answered.
    Normal,
    /// It is refused with this, and nothing happens.
    Refuse(Trouble),
    /// It never arrives.
    LostBefore,
    /// It arrives; its answer does not.
    LostAfter,
    /// It arrives so many milliseconds later, unanswered; its driver may be dead by then.
    Late(i64),
}

/// Fates of the calls of one kind of effect.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `Effect::name`.
    pub effect: &'static str,
    pub fate: Fate,
    /// How many calls it strikes.
    pub times: u32,
    /// How many it has struck.
    pub struck: usize,
}

/// How the volume is shown, whatever the truth is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// At an instance that has nothing to do with it.
    Foreign,
    /// At two instances.
    Twice,
    /// EC2 does not know it.
    Gone,
    /// At the source, in a word that nobody knows.
    Unheard,
}

/// How old a driver's last look at an agent may be when it decides.
const LOOK_AGE_MS: i64 = 5_000;

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub calls: Vec<Rule>,
    /// Agents that do not answer, and since when.
    pub silent: BTreeMap<InstanceId, i64>,
    /// Agents that answer again: from when to when they were silent.
    pub heard_again: BTreeMap<InstanceId, (i64, i64)>,
    /// Every read of the volume shows this.
    pub volume: Option<Shown>,
    /// So many reads of the volume are so many milliseconds old.
    pub stale: Option<(u32, i64)>,
    /// Attaches that never come through.
    pub attach_hangs: bool,
    /// Agents that cannot unmount.
    pub unmount_fails: BTreeSet<InstanceId>,
    /// Agents that cannot mount.
    pub adopt_fails: BTreeSet<InstanceId>,
    /// Agents whose mount never ends.
    pub adopt_hangs: BTreeSet<InstanceId>,
    /// Agents that run another version of the engine.
    pub other_engine: BTreeSet<InstanceId>,
    /// Engines that answer something else than they should.
    pub probe_lies: BTreeSet<InstanceId>,
    /// Rows of the registries that a foreign writer keeps (by key): every write of ours to them is refused.
    pub foreign_rows: BTreeSet<String>,
    /// No connection ever ends.
    pub busy_readers: bool,
    /// What an engine acknowledged and has not flushed dies with its instance: its log was not synced.
    pub log_is_lost: bool,
    /// So many launches find no capacity.
    pub no_capacity: u32,
    /// So many attaches are accepted and then fall back to no attachment.
    pub attach_falls_back: u32,
    /// Instances on which EC2 shows a data volume, whatever the truth is.
    pub shows_volume: BTreeSet<InstanceId>,
    /// Of so many looks every third gives this instead of an answer.
    pub blind: Option<(u32, Trouble)>,
}

impl Faults {
    /// Every call of that effect comes to this.
    pub fn always(&mut self, effect: &'static str, fate: Fate) {
        self.calls.push(Rule { effect, fate, times: u32::MAX, struck: 0 });
    }

    /// The next call of that effect comes to this.
    pub fn once(&mut self, effect: &'static str, fate: Fate) {
        self.calls.push(Rule { effect, fate, times: 1, struck: 0 });
    }

    /// How many calls of that effect came to something else than they should.
    pub fn struck(&self, effect: &str) -> usize {
        self.calls.iter().filter(|rule| rule.effect == effect).map(|rule| rule.struck).sum()
    }

    /// An agent answers again.
    pub fn answers(&mut self, instance: &InstanceId, now: i64) {
        if let Some(since) = self.silent.remove(instance) {
            self.heard_again.insert(instance.clone(), (since, now));
        }
    }

    /// For how long an agent was silent that a driver may take for silent now: its last look is a few seconds old.
    pub fn silent_ms(&self, instance: &InstanceId, now: i64) -> i64 {
        let past = self.heard_again.get(instance).filter(|(_, until)| now - until < LOOK_AGE_MS);
        let now_ms = self.silent.get(instance).map_or(0, |since| now - since);
        now_ms.max(past.map_or(0, |(since, until)| until - since))
    }

    /// The fate of a call that is made now.
    pub fn fate(&mut self, effect: &Effect) -> Fate {
        match self.calls.iter_mut().find(|rule| rule.effect == effect.name() && rule.times > 0) {
            Some(rule) => {
                rule.struck += 1;
                rule.times = if rule.times == u32::MAX { u32::MAX } else { rule.times - 1 };
                rule.fate
            }
            None => Fate::Normal,
        }
    }

    /// Whether the call goes to an agent that does not answer.
    pub fn is_silent(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Drain { instance, .. }
            | Effect::Resume { instance }
            | Effect::Release { instance }
            | Effect::Adopt { instance } => self.silent.contains_key(instance),
            _ => false,
        }
    }

    /// What a read gives although the truth is another.
    pub fn seen_instead(&mut self, what: &Observe) -> Option<Seen> {
        if let Some((left, trouble)) = &mut self.blind
            && *left > 0
        {
            *left -= 1;
            if left.is_multiple_of(3) {
                return Some(Seen::Nothing(*trouble));
            }
        }
        let attachment = |instance| Attachment {
            instance,
            device: fixture::DEVICE.to_owned(),
            state: AttachmentState::Attached,
            delete_on_termination: false,
        };
        match what {
            Observe::Volume => Some(Seen::Volume(match self.volume? {
                Shown::Foreign => Some(vec![attachment(fixture::stranger())]),
                Shown::Twice => Some(vec![attachment(fixture::source()), attachment(fixture::stranger())]),
                Shown::Gone => None,
                Shown::Unheard => {
                    let mut here = attachment(fixture::source());
                    here.state = AttachmentState::Other;
                    Some(vec![here])
                }
            })),
            Observe::AgentVolume { instance }
            | Observe::Writers { instance }
            | Observe::Connections { instance }
            | Observe::Probe { instance }
            | Observe::Usage { instance }
                if self.silent.contains_key(instance) =>
            {
                Some(Seen::Nothing(Trouble::Unknown))
            }
            _ => None,
        }
    }
}
