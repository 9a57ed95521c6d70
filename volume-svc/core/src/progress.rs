//! Progress and ETA, from the nominal durations of the stages and from how this migration has fared so far.
//!
//! Permille never falls within a direction (invariant 11; `Migration::shown` keeps the highest). An estimate is
//! for people: nothing but the write-block decision (H36) reads it.

use crate::effect::Effect;
use crate::stage::Stage;
use crate::state::{Host, Migration, Place};
use tiershift_core::UnixMs;
use tiershift_core::event::Direction;

/// Stages that the customer's progress bar is about.
fn path() -> impl Iterator<Item = Stage> {
    Stage::ALL.into_iter().filter(|s| *s != Stage::Settle)
}

/// How much slower (in hundredths) this migration is than nominal, from the stages behind it; bounded, so that
/// one odd stage does not make the estimate absurd.
fn pace_percent(m: &Migration) -> i64 {
    let nominal: i64 = path().take_while(|s| *s < m.stage).map(Stage::nominal_ms).sum();
    let spent = m.entered_at.since(m.started_at);
    if nominal < 2_000 { 100 } else { (spent * 100 / nominal).clamp(50, 300) }
}

/// Estimated milliseconds of the way forward that are left.
pub fn forward_ms(m: &Migration, now: UnixMs) -> i64 {
    let here = (m.stage.nominal_ms() - now.since(m.entered_at)).max(0);
    let rest: i64 = path().filter(|s| *s > m.stage).map(Stage::nominal_ms).sum();
    if m.stage == Stage::Settle { 0 } else { here + rest * pace_percent(m) / 100 }
}

/// What an open effect adds to the way back: it is completed there before it is undone (H12), and then undone.
fn completed_first_ms(m: &Migration) -> i64 {
    let Some(open) = &m.open else { return 0 };
    match &open.effect {
        Effect::Detach { instance, .. } if m.is_source(instance) => {
            Stage::Detach.nominal_ms() + Stage::Attach.nominal_ms()
        }
        Effect::Attach { instance, .. } if !m.is_source(instance) => {
            Stage::Attach.nominal_ms() + Stage::Detach.nominal_ms()
        }
        Effect::Release { instance } if m.is_source(instance) => Stage::Release.nominal_ms(),
        _ => 0,
    }
}

/// Estimated milliseconds of the way back that are left.
pub fn undo_ms(m: &Migration) -> i64 {
    let mut left = 1_000 + completed_first_ms(m);
    if m.source_lost {
        left += Stage::Capacity.nominal_ms();
    }
    if m.target_host != Host::Unmounted {
        left += Stage::Release.nominal_ms();
    }
    if m.at_target() {
        left += Stage::Detach.nominal_ms();
    }
    if !m.at_source() {
        left += Stage::Attach.nominal_ms();
    }
    if matches!(m.source_host, Host::Unmounted | Host::Closed) {
        left += Stage::Adopt.nominal_ms();
    }
    if m.source_host != Host::Serving {
        left += Stage::Open.nominal_ms();
    }
    left
}

/// Whether the customer writes again sooner on the way back than on the way forward. The way forward at this
/// migration's pace, which says how targets have fared with it so far; the way back leads to a host that is known.
pub fn is_back_shorter(m: &Migration, now: UnixMs) -> bool {
    undo_ms(m) < forward_ms(m, now)
}

/// Progress in the present direction, 0 to 1000, and the ETA.
pub fn of(m: &Migration, now: UnixMs) -> (u32, i64) {
    match m.direction {
        Direction::Forward => {
            let whole: i64 = path().map(Stage::nominal_ms).sum();
            let behind: i64 = path().filter(|s| *s < m.stage).map(Stage::nominal_ms).sum();
            let here = now.since(m.entered_at).min(m.stage.nominal_ms() * 9 / 10);
            let permille = ((behind + here) * 1_000 / whole).clamp(0, 999);
            (u32::try_from(permille).unwrap_or(0).max(m.permille()), forward_ms(m, now))
        }
        Direction::Undo => {
            let left = undo_ms(m);
            let begun = m.undo.as_ref().map_or(now, |u| u.at);
            let spent = now.since(begun);
            let permille = (spent * 1_000 / (spent + left).max(1)).clamp(0, 999);
            (u32::try_from(permille).unwrap_or(0).max(m.permille()), left)
        }
        Direction::Settle => (1_000, 0),
    }
}

/// The furthest that the volume is from where it belongs, for a person's glance.
pub fn place_word(m: &Migration) -> &'static str {
    match &m.place {
        Place::Free => "free",
        Place::At { .. } if m.at_source() => "source",
        Place::At { .. } if m.at_target() => "target",
        Place::At { .. } => "elsewhere",
    }
}
