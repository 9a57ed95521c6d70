//! The change with what it owes, and the money: one owed effect of a kind, delivered in order, at least once, and only
//! while the change wants it. What the volume is asked, and what it says, comes from `volume.rs`.
//!
//! Not here: stores, leases, provider keys. `subscription-svc/tests` has them for the change alone.

use crate::volume::Volume;
use std::fmt::Write as _;
use subscription_core::change::{Back, Change, Charge, Effect, Event, Gate, Refusal, Return, State};
use tiershift_core::Reason;

/// What comes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    LostBefore,
    LostAfter,
    Refused,
}

/// The change, its owed effects and the provider's book.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub change: Change,
    /// Outward effects, in order.
    owed: Vec<Effect>,
    /// The ground of the first owed effect was looked at, and it is about to be done: others may move meanwhile.
    looked: bool,
    /// The provider's book.
    taken: bool,
    sent: bool,
    price_back: bool,
    money_back: bool,
    plan_applied: bool,
    broken: Option<String>,
    /// Broken rules of tests.
    pub opens_gate_by_timer: bool,
    pub refunds_at_once: bool,
}

fn serves(event: &Event) -> bool {
    matches!(event, Event::Opened | Event::RolledBack { .. } | Event::HandedOver { .. })
}

impl Subscription {
    pub fn new() -> Self {
        let (change, owed) = Change::new();
        Self {
            change,
            owed,
            looked: false,
            taken: false,
            sent: false,
            price_back: false,
            money_back: false,
            plan_applied: false,
            broken: None,
            opens_gate_by_timer: false,
            refunds_at_once: false,
        }
    }

    /// Takes an event; refused ones change nothing.
    fn take(&mut self, event: &Event) -> Result<(), Refusal> {
        let before = self.change;
        let step = before.take(event)?;
        self.change = step.change;
        if before.gate != Gate::Open && self.change.gate == Gate::Open && !serves(event) {
            self.broken = Some(format!("invariant 6: the gate opened by {}", event.name()));
        }
        for effect in step.effects {
            if effect == Effect::ApplyPlan {
                self.plan_applied = true;
            }
            if effect.outward() {
                self.owed.retain(|owed| owed.kind() != effect.kind());
                self.owed.push(effect);
            }
        }
        // What was never sent is definite at once.
        if self.change.forgoes_charge() && !self.sent {
            return self.take(&Event::ChargeWithheld { reason: Reason::CanceledByRequest });
        }
        Ok(())
    }

    /// Takes an event that has happened. A second time it must do nothing.
    pub fn hear(&mut self, event: &Event) {
        if let Err(refusal) = self.take(event) {
            assert!(matches!(refusal, Refusal::Unwanted | Refusal::Restored), "{event:?} is refused as {refusal:?}");
            return;
        }
        match self.change.take(event) {
            Ok(again) if again.change != self.change || again.effects.iter().any(Effect::outward) => {
                self.broken = Some(format!("{} did something the second time", event.name()));
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// A customer asks for the end; a late wish is refused.
    pub fn cancel(&mut self) -> bool {
        let granted = self.take(&Event::CancelRequested).is_ok();
        if granted && self.refunds_at_once && self.taken {
            (self.price_back, self.money_back) = (true, true);
        }
        granted
    }

    /// The budget of its phase is used up.
    pub fn deadline(&mut self) -> bool {
        if self.opens_gate_by_timer && self.change.state == State::Moving {
            self.change.gate = Gate::Open;
            return true;
        }
        self.change.phase().budget_ms().is_some() && self.take(&Event::Deadline).is_ok()
    }

    /// The effect that is delivered next.
    pub fn next(&self) -> Option<&Effect> {
        self.owed.first()
    }

    /// Whether the first owed effect can be delivered now: two of them wait until the migration is seen at its gate.
    pub fn can_deliver(&self, volume: &Volume) -> bool {
        let at_gate = || self.change.gate_id.is_some_and(|gate| volume.waits_at(gate));
        match self.next() {
            None => false,
            Some(effect) if !self.change.wants(effect) => true,
            Some(Effect::Charge) => self.sent || at_gate(),
            Some(Effect::CloseGate) => self.looked || at_gate(),
            Some(_) => true,
        }
    }

    fn done(&mut self) {
        self.owed.remove(0);
        self.looked = false;
    }

    /// Its ground is gone, or it is done: the row goes with the event.
    fn told(&mut self, event: &Event) {
        self.done();
        match self.take(event) {
            Ok(()) | Err(Refusal::Unwanted | Refusal::Restored) => {}
            Err(refusal) => panic!("{event:?} is refused as {refusal:?}"),
        }
    }

    /// Delivers the first owed effect.
    pub fn deliver(&mut self, volume: &mut Volume, fate: Fate) {
        let Some(effect) = self.next().cloned() else { return };
        if !self.change.wants(&effect) {
            self.done();
            return;
        }
        match effect {
            Effect::Charge => self.charge(fate),
            // Looked at, then done: the migration may turn back between the two.
            Effect::CloseGate if !self.looked => self.looked = true,
            Effect::CloseGate if fate == Fate::Refused => {
                self.told(&Event::GateCheckFailed { reason: Reason::StorageExceedsLimit });
            }
            Effect::CloseGate => self.told(&Event::GateClosed),
            Effect::WaitLease => self.told(&Event::LeaseWaited),
            Effect::RevertPrice => self.give_back(Back::Price, fate, volume),
            Effect::Refund => self.give_back(Back::Money, fate, volume),
            Effect::StartMigration | Effect::ConfirmGate { .. } | Effect::CancelMigration => {
                if fate == Fate::LostBefore {
                    return;
                }
                let event = Self::ask(volume, &effect);
                if fate != Fate::LostAfter {
                    self.told(&event);
                }
            }
            fact => panic!("{fact:?} is never owed"),
        }
    }

    /// What the volume answers.
    fn ask(volume: &mut Volume, effect: &Effect) -> Event {
        match effect {
            Effect::StartMigration if volume.start() => Event::Started,
            Effect::StartMigration => Event::StartRefused { reason: Reason::Tombstone },
            Effect::ConfirmGate { gate_id } => match volume.confirm(*gate_id) {
                Ok(()) => Event::GateConfirmed,
                Err(reason) => Event::GateRefused { reason },
            },
            _ => match volume.cancel() {
                Ok(never_started) => Event::CancelAccepted { never_started },
                Err(reason) => Event::CancelRefused { reason },
            },
        }
    }

    fn charge(&mut self, fate: Fate) {
        if !self.sent {
            // The bytes are stored before the first send.
            self.sent = true;
            return;
        }
        // One key: however often it is sent, it is taken once.
        let event = match fate {
            Fate::Refused if !self.taken => Event::ChargeRefused { reason: Reason::PaymentDeclined },
            Fate::LostBefore => Event::ChargeUnknown,
            Fate::LostAfter => {
                self.taken = true;
                Event::ChargeUnknown
            }
            Fate::Answered | Fate::Refused => {
                self.taken = true;
                Event::ChargeTaken
            }
        };
        self.told(&event);
    }

    fn give_back(&mut self, back: Back, fate: Fate, volume: &Volume) {
        if !volume.ended() || (volume.committed() && self.plan_applied) {
            self.broken = Some("invariant 7: money goes back and the volume is not".to_owned());
        }
        let landed = match back {
            Back::Price => &mut self.price_back,
            Back::Money => &mut self.money_back,
        };
        let event = match fate {
            Fate::Answered => Event::BackDone { back },
            Fate::LostBefore | Fate::LostAfter => Event::BackUnknown { back },
            Fate::Refused if *landed => Event::BackDone { back },
            Fate::Refused => Event::BackRefused { back, reason: Reason::PaymentDeclined },
        };
        *landed |= matches!(fate, Fate::Answered | Fate::LostAfter);
        self.told(&event);
    }

    /// What holds at any time.
    pub fn check(&self, volume: &Volume) -> Result<(), String> {
        let change = &self.change;
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let rule = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        rule(
            !volume.moves() || change.gate != Gate::Open,
            "invariant 6: the gate is open and a confirmed migration moves",
        )?;
        rule(change.gate == Gate::Open || !change.state.ended(), "invariant 6: a closed gate of no active change")?;
        let given_back = self.price_back || self.money_back;
        rule(!given_back || volume.ended(), "invariant 7: money went back before the volume")?;
        rule(!(given_back && self.plan_applied), "invariant 7: money went back beside a commit")?;
        rule(!self.plan_applied || self.taken, "invariant 7: a plan that was not paid")?;
        rule(!given_back || change.charge == Charge::Taken, "invariant 16: money back before the charge is definite")?;
        let nothing_is_left = !self.taken || (self.price_back && self.money_back);
        match change.state {
            State::Succeeded => rule(
                self.taken && self.plan_applied && !given_back && change.back_money == Return::None,
                "invariant 7: a success that was not paid",
            ),
            State::Failed | State::Canceled => {
                rule(nothing_is_left && !self.plan_applied, "invariant 7: an end without success, and money is left")
            }
            _ => Ok(()),
        }
    }

    pub fn key(&self, out: &mut String) {
        let Self { change, owed, looked, taken, sent, price_back, money_back, plan_applied, .. } = self;
        let flags = [looked, taken, sent, price_back, money_back, plan_applied].map(|flag| u8::from(*flag));
        let _infallible = write!(out, "{change:?}{owed:?}{flags:?}");
    }

    pub fn describe(&self) -> String {
        format!(
            "{} {:?} gate {:?} charge {:?} owes {:?}",
            self.change.state, self.change.attention, self.change.gate, self.change.charge, self.owed
        )
    }
}
