//! Invariants 6, 7 and 16 over every change that can be reached at all, and over random lives with repeats, late
//! answers and cancels at any moment.
#![allow(clippy::expect_used, clippy::panic, clippy::format_push_string, reason = "a test: its failure is the report")]

mod situations;

use proptest::prelude::*;
use situations::{DECLINED, GATE, ROLLED_BACK, STUCK, alphabet};
use std::collections::{BTreeMap, BTreeSet};
use subscription_core::change::{Back, Change, Charge, Effect, Event, Gate, Return, State, Step};
use tiershift_core::Reason;

/// Every change that any order of events leads to.
fn reachable() -> BTreeSet<Change> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![Change::new().0, Change::scheduled()];
    while let Some(change) = todo.pop() {
        if !seen.insert(change) {
            continue;
        }
        for event in alphabet() {
            if let Ok(step) = change.take(&event) {
                todo.push(step.change);
            }
        }
    }
    seen
}

fn serves(event: &Event) -> bool {
    matches!(event, Event::Opened | Event::RolledBack { .. } | Event::HandedOver { .. })
}

/// What must hold of one transition.
fn check_step(before: &Change, event: &Event, step: &Step) -> Result<(), String> {
    let after = &step.change;
    let has = |wanted: &Effect| step.effects.contains(wanted);
    let rule = |ok: bool, text: &str| {
        if ok { Ok(()) } else { Err(format!("{text}: {event:?}\n{before:?}\n{after:?}\n{:?}", step.effects)) }
    };
    rule(
        before.gate == Gate::Open || after.gate != Gate::Open || serves(event),
        "6: a gate opened without the volume",
    )?;
    rule(
        before.gate == Gate::Open || after.gate != Gate::Open || has(&Effect::OpenGate),
        "an open gate without its fact",
    )?;
    rule(!has(&Effect::OpenGate) || serves(event), "6: OpenGate without the volume")?;
    rule(after.gate == Gate::Open || !after.state.ended(), "6: a closed gate without an active change")?;
    rule(
        before.gate != Gate::Open || after.gate == Gate::Open || has(&Effect::BlockWrites),
        "a closed gate without its fact",
    )?;
    let confirms = step.effects.iter().any(|e| matches!(e, Effect::ConfirmGate { .. }));
    rule(!confirms || (after.gate != Gate::Open && after.charge == Charge::Taken), "H10: confirmed too early")?;
    let gives_back = has(&Effect::RevertPrice) || has(&Effect::Refund);
    rule(!gives_back || after.charge == Charge::Taken, "16: money back before the charge is definite")?;
    rule(!gives_back || !after.applied, "7: money back after the plan was applied")?;
    rule(!has(&Effect::Charge) || matches!(after.charge, Charge::Owed | Charge::Unknown), "7: charged twice")?;
    rule(!has(&Effect::ApplyPlan) || after.charge == Charge::Taken, "7: a plan that was not paid")?;
    rule(before.charge != Charge::Taken || after.charge == Charge::Taken, "7: a taken charge was forgotten")?;
    check_rest(after).map_err(|text| format!("{text}: after {event:?}"))
}

/// What must hold of any change, at rest or not.
fn check_rest(change: &Change) -> Result<(), String> {
    let back = (change.back_price, change.back_money);
    let ok = match change.state {
        State::Succeeded => change.charge == Charge::Taken && change.applied && back == (Return::None, Return::None),
        State::Failed | State::Canceled => match change.charge {
            Charge::None | Charge::Refused => back == (Return::None, Return::None),
            Charge::Taken => back == (Return::Done, Return::Done),
            Charge::Owed | Charge::Unknown => false,
        },
        _ => true,
    };
    let attention = (change.state == State::NeedsAttention) == change.attention.is_some();
    let reason = !matches!(change.state, State::Failed | State::Canceled) || change.failure.is_some();
    if ok && attention && reason { Ok(()) } else { Err(format!("7: {change:?}")) }
}

#[test]
fn invariants_hold_in_every_reachable_change() {
    let all = reachable();
    assert!(all.len() > 200, "the machine was explored: {} changes", all.len());
    for change in &all {
        for event in alphabet() {
            if let Ok(step) = change.step(&event)
                && let Err(text) = check_step(change, &event, &step)
            {
                panic!("{text}");
            }
        }
    }
}

/// Invariant 9, as far as this core sees it: no change is lost in a corner without a way to an end.
#[test]
fn every_reachable_change_can_end() {
    let all = reachable();
    let mut leads_to: BTreeMap<&Change, Vec<&Change>> = BTreeMap::new();
    for change in &all {
        for event in alphabet() {
            if let Ok(step) = change.step(&event) {
                let next = all.get(&step.change).expect("reachable");
                leads_to.entry(next).or_default().push(change);
            }
        }
    }
    let mut ending: BTreeSet<&Change> = BTreeSet::new();
    let mut todo: Vec<&Change> = all.iter().filter(|c| c.state.ended()).collect();
    while let Some(change) = todo.pop() {
        if ending.insert(change) {
            todo.extend(leads_to.get(change).into_iter().flatten());
        }
    }
    // A restored change and a contradicted one wait for an operator's reconciliation.
    let lost: Vec<&Change> = all.iter().filter(|c| !ending.contains(c) && c.state != State::NeedsAttention).collect();
    assert!(lost.is_empty(), "{} changes cannot end, such as {:?}", lost.len(), lost.first());
}

/// What has happened is never lost: at worst a person is told, and an open engine never stands behind a closed gate.
#[test]
fn what_cannot_be_true_is_put_before_a_person_and_the_gate_follows_the_volume() {
    for change in reachable().into_iter().filter(|c| !c.held()) {
        for event in alphabet() {
            match change.take(&event) {
                Ok(step) => {
                    assert!(!serves(&event) || step.change.gate == Gate::Open, "{event:?} in {change:?}");
                    if let Err(text) = check_step(&change, &event, &step) {
                        panic!("{text}");
                    }
                }
                Err(refusal) => {
                    use subscription_core::change::Refusal;
                    assert!(matches!(refusal, Refusal::TooLate | Refusal::Ended | Refusal::Unwanted), "{refusal:?}");
                }
            }
        }
    }
}

/// H21: the bytes of a charge are stored before they are sent. A process that dies right then leaves it owed and neither
/// taken nor unknown; when the volume is back it must still become definite, or nobody ever gives the money back.
#[test]
fn a_charge_that_may_have_been_sent_is_wanted_until_it_is_definite() {
    for change in reachable().into_iter().filter(|c| c.state == State::Compensating) {
        let open = matches!(change.charge, Charge::Owed | Charge::Unknown);
        assert_eq!(change.wants(&Effect::Charge), open, "{change:?}");
    }
}

#[test]
fn an_event_that_comes_twice_does_nothing_the_second_time() {
    // A repeated unknown outcome is a new try; a second deadline is another one, and graver.
    let repeats = |event: &Event| !matches!(event, Event::ChargeUnknown | Event::BackUnknown { .. } | Event::Deadline);
    for change in reachable() {
        for event in alphabet().into_iter().filter(repeats) {
            let Ok(first) = change.step(&event) else { continue };
            match first.change.step(&event) {
                Ok(second) => {
                    assert_eq!(second.change, first.change, "{event:?} twice in {change:?}");
                    let forward = |e: &Effect| e.outward();
                    assert!(!second.effects.iter().any(forward), "{event:?} twice in {change:?}: {:?}", second.effects);
                }
                Err(_) => assert_ne!(first.change, change, "{event:?} was noted, then refused in {change:?}"),
            }
        }
    }
}

/// A world that obeys the outward effects in order, answers with delays and repeats, and keeps a ledger.
#[derive(Debug, Default)]
struct World {
    queue: Vec<Effect>,
    /// Net cents taken for the change.
    ledger: i64,
    taken: bool,
    /// Stages of the volume that are behind it.
    volume: usize,
    canceled: bool,
    /// The migration exists.
    started: bool,
    answers: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
struct Choices {
    decline: bool,
    lose_answer: bool,
    roll_back_at: usize,
    cancel_at: usize,
}

impl World {
    fn deliver(&mut self, change: &Change, choices: Choices) {
        if self.queue.is_empty() {
            return;
        }
        let effect = self.queue.remove(0);
        if effect == Effect::Charge && change.forgoes_charge() && !self.taken {
            self.answers.push(Event::ChargeWithheld { reason: Reason::CanceledByRequest });
            return;
        }
        if !change.wants(&effect) {
            return;
        }
        match effect {
            Effect::StartMigration => {
                self.started = true;
                self.answers.push(Event::Started);
            }
            Effect::Charge if choices.decline => self.answers.push(DECLINED),
            Effect::Charge => {
                // One key: however often it is sent, the money is taken once.
                let lost = choices.lose_answer && !self.taken;
                if !self.taken {
                    self.ledger += 7_500;
                }
                self.taken = true;
                self.answers.push(if lost { Event::ChargeUnknown } else { Event::ChargeTaken });
            }
            Effect::CloseGate => self.answers.push(Event::GateClosed),
            Effect::WaitLease => self.answers.push(Event::LeaseWaited),
            Effect::ConfirmGate { .. } => self.answers.push(Event::GateConfirmed),
            Effect::CancelMigration => {
                // Past the detach the migration refuses.
                let late = self.volume > 4;
                self.canceled |= !late;
                self.answers.push(if late {
                    Event::CancelRefused { reason: Reason::TooLateToCancel }
                } else {
                    Event::CancelAccepted { never_started: !self.started }
                });
            }
            Effect::RevertPrice => self.answers.push(Event::BackDone { back: Back::Price }),
            Effect::Refund => {
                self.ledger -= 7_500;
                self.answers.push(Event::BackDone { back: Back::Money });
            }
            _ => {}
        }
    }

    /// The volume's next fact, if it can have one.
    fn advance(&mut self, change: &Change, choices: Choices) -> Option<Event> {
        const DONE: usize = 99;
        let script = [
            Event::Started,
            GATE,
            Event::Offline,
            STUCK,
            Event::Resumed,
            Event::DetachJournalled,
            Event::Committed,
            Event::Opened,
        ];
        if self.volume == DONE || !self.started {
            return None;
        }
        let may_roll_back = self.volume < 7;
        if (self.canceled || choices.roll_back_at == self.volume) && may_roll_back {
            self.volume = DONE;
            return Some(ROLLED_BACK);
        }
        // The gate is waited for.
        if self.volume == 2 && !change.confirmed {
            return None;
        }
        let event = script.get(self.volume).cloned();
        self.volume = if event.is_some() { self.volume + 1 } else { DONE };
        event
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn money_and_gate_are_right_at_the_end_of_any_life(
        decline in any::<bool>(), lose_answer in any::<bool>(), roll_back_at in 0..12_usize, cancel_at in 0..60_usize,
        schedule in prop::collection::vec(0..4_u8, 200),
    ) {
        let choices = Choices { decline, lose_answer, roll_back_at, cancel_at };
        let (mut change, effects) = Change::new();
        let mut world = World { queue: effects, ..World::default() };
        let mut committed = false;
        let rounds = schedule.iter().copied().chain([0, 1, 2, 3].into_iter().cycle().take(600));
        for (n, what) in rounds.enumerate() {
            let event = match what {
                _ if n == choices.cancel_at => Some(Event::CancelRequested),
                0 => { world.deliver(&change, choices); None }
                1 if !world.answers.is_empty() => Some(world.answers.remove(0)),
                // An answer that comes again, out of its order.
                2 => world.answers.last().cloned(),
                _ => world.advance(&change, choices),
            };
            let Some(event) = event else { continue };
            committed |= event == Event::Committed;
            match change.step(&event) {
                Ok(step) => {
                    if let Err(text) = check_step(&change, &event, &step) {
                        return Err(TestCaseError::fail(text));
                    }
                    for effect in step.effects.iter().filter(|e| e.outward()) {
                        world.queue.retain(|queued| queued.kind() != effect.kind());
                        world.queue.push(effect.clone());
                    }
                    change = step.change;
                }
                Err(refusal) => {
                    use subscription_core::change::Refusal;
                    let expected = matches!(refusal, Refusal::TooLate | Refusal::Ended | Refusal::Unwanted);
                    prop_assert!(expected, "{:?} refused {:?}: {}", change, event, refusal);
                }
            }
        }
        prop_assert!(change.state.ended(), "not ended: {:?} {:?} {:?}", change, world, choices);
        prop_assert_eq!(change.state == State::Succeeded, committed);
        prop_assert_eq!(world.ledger, if committed { 7_500 } else { 0 }, "{:?}", change);
        prop_assert_eq!(change.gate, Gate::Open);
    }
}
