//! The way back when the source has ended (H34): a new instance in the source's group and in the volume's zone takes its
//! place, and the rest of the way back (`undo.rs`) is the same as to the source itself.
//!
//! The group starts a replacement of its own too. That one boots when it likes and cannot be told from any other idle
//! member, so it is left to the pool and never waited for.

use crate::effect::{Effect, Observe, Seen, Trouble};
use crate::fact::{Fact, Party, Spec};
use crate::machine::{Next, Turn};
use crate::stages::attach::end_instance;
use crate::stages::capacity;
use crate::state::Place;
use crate::watch;
use tiershift_core::Reason;
use tiershift_core::ids::InstanceId;

/// Instances that may end too before a human is called: what ends three in a row is not the instances.
const HOMES_MAX: u32 = 2;

/// Launches without capacity before a human is called; between them 1, 2, 5 and 10 minutes.
const LAUNCHES_MAX: u32 = 5;

/// What to do until something stands in the place of a source that is lost: the volume leaves what has ended, then an
/// instance is launched.
pub(crate) fn instead(t: &Turn<'_>, spec: &Spec) -> Next {
    if let Place::At { instance, device } = &t.m.place {
        // It goes by itself; the call says so, names what it means (F1), and its outcome is established by reading.
        let detach = Effect::Detach { instance: instance.clone(), device: device.clone() };
        return t.insist(detach, Reason::DetachFailed);
    }
    if spec.source.group == spec.target_group {
        return Turn::stuck(
            Reason::SourceLost,
            "the source has ended, and its group is the target's: nothing tells apart what would be launched",
        );
    }
    let launch = Effect::Launch { group: spec.source.group.clone(), zone: spec.zone.clone() };
    if let Some(launched) = &t.m.home_launched
        && !watch::is_gone(t, launched)
    {
        return take_place(t, spec, launched);
    }
    if let Some(trouble) = t.m.refused(&launch) {
        return refused(t, launch, trouble);
    }
    if t.m.homes_lost >= HOMES_MAX {
        return Turn::stuck(Reason::SourceLost, "the source has ended, and what was launched in its place too");
    }
    t.intend(launch)
}

fn refused(t: &Turn<'_>, launch: Effect, trouble: Trouble) -> Next {
    if trouble != Trouble::NoCapacity || t.m.attempts_of(&launch) >= LAUNCHES_MAX {
        let why = format!("the source has ended, and an instance in its place was refused ({trouble:?})");
        return Turn::stuck(Reason::SourceLost, why);
    }
    let ready = t.m.moved_at.plus(capacity::pause_ms(t.m.attempts_of(&launch)));
    if t.now < ready { Next::Wait(ready) } else { t.intend(launch) }
}

/// The launched instance takes the source's place once EC2 shows where it is.
fn take_place(t: &Turn<'_>, spec: &Spec, launched: &InstanceId) -> Next {
    if t.s.rejected.contains(launched) {
        return Turn::stuck(Reason::RegistryConflict, format!("the row of {launched} belongs to somebody else"));
    }
    let what = Observe::Instance { instance: launched.clone() };
    if let Some(Seen::Instance(seen)) = t.seen(&what).map(|s| &s.seen)
        && let (false, Some(ip)) = (seen.terminated, &seen.private_ip)
    {
        let home = Party {
            instance: launched.clone(),
            private_ip: ip.clone(),
            endpoint_url: None,
            group: spec.source.group.clone(),
            launched: true,
        };
        return Next::Append(vec![Fact::SourceReplaced { home }]);
    }
    t.ask(what, t.set.retry_ms)
}

/// What is left to do until an instance in the source's place may have the volume; none for the source itself, which
/// had it before.
pub(crate) fn prove(t: &Turn<'_>, spec: &Spec, home: &Party) -> Option<Next> {
    t.m.home.as_ref()?;
    let what = Observe::Instance { instance: home.instance.clone() };
    if let Some(Seen::Instance(seen)) = t.seen(&what).map(|s| &s.seen)
        && let Some(engine) = capacity::usable_in(seen, &home.group, &spec.zone)
    {
        if *engine != spec.engine {
            // The same bytes need the same engine (H15).
            let why = format!("{} in the source's place runs another engine", home.instance);
            return Some(Turn::stuck(Reason::EngineMismatch, why));
        }
        if seen.protected || t.m.protected.contains(&home.instance) {
            return None;
        }
        let protect = Effect::Protect { group: home.group.clone(), instance: home.instance.clone() };
        return Some(t.insist(protect, Reason::GroupNotReady));
    }
    Some(does_not_come_up(t, home, what))
}

/// One that does not come up in time is ended, once two reads show nothing on it, and another is launched when it is
/// seen to have ended: a person's retry would only wait for the same one again.
fn does_not_come_up(t: &Turn<'_>, home: &Party, what: Observe) -> Next {
    let waited_ms = t.now.since(t.m.moved_at.max(t.s.loaded_at));
    let Some(streak) = t.seen(&what).filter(|_| waited_ms >= t.set.capacity_ms) else {
        return t.ask(what, t.set.retry_ms);
    };
    let empty = matches!(&streak.seen, Seen::Instance(seen) if seen.data_volumes == 0);
    if empty && streak.holds(2, t.set.zero_gap_ms) && !t.m.terminated.contains(&home.instance) {
        return end_instance(t, &home.group, &home.instance);
    }
    if waited_ms >= 2 * t.set.capacity_ms {
        let why = format!("{} in the source's place does not come up", home.instance);
        return Turn::stuck(Reason::SourceLost, why);
    }
    t.ask(what, t.set.retry_ms)
}
