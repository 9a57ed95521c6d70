//! Both machines, and every step that can be next.

use crate::subscription::{Fate as Delivery, Subscription};
use crate::volume::{Fate as Call, Halt, Volume};
use subscription_core::change::{Effect, State};
use volume_core::fact::{Resume, Side};

/// What may still go wrong, or be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Lost answers, refusals, crashes, deadlines.
    pub faults: u8,
    /// Cancels.
    pub customer: u8,
    /// What an operator does for a stuck migration.
    pub operator: u8,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Append,
    Call(Call),
    Hear,
    Deliver(Delivery),
    Cancel,
    ChangeDeadline,
    VolumeDeadline,
    Crash,
    Resume(Resume),
    HandOver(Side),
}

impl Step {
    /// Whether it comes without anything going wrong and anybody asking.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Append | Self::Call(Call::Answered) | Self::Hear | Self::Deliver(Delivery::Answered))
    }
}

/// Both.
#[derive(Clone, Debug)]
pub struct Joint {
    pub volume: Volume,
    pub subscription: Subscription,
    pub budget: Budget,
}

impl Joint {
    pub fn new(budget: Budget) -> Self {
        Self { volume: Volume::new(), subscription: Subscription::new(), budget }
    }

    /// Every step that can be next.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        match &self.volume.halt {
            Halt::Append(_) => steps.push(Step::Append),
            Halt::Call { .. } => steps.push(Step::Call(Call::Answered)),
            Halt::Resting | Halt::Stuck | Halt::Over | Halt::NotStarted => {}
        }
        if !self.volume.news.is_empty() {
            steps.push(Step::Hear);
        }
        let delivers = self.subscription.can_deliver(&self.volume);
        if delivers {
            steps.push(Step::Deliver(Delivery::Answered));
        }
        if self.budget.customer > 0 && !self.subscription.change.cancel_requested {
            steps.push(Step::Cancel);
        }
        if self.budget.operator > 0 && self.volume.halt == Halt::Stuck {
            steps.extend([Step::Resume(Resume::Retry), Step::Resume(Resume::GoForward)]);
            steps.extend([Step::HandOver(Side::Source), Step::HandOver(Side::Target)]);
        }
        if self.budget.faults > 0 {
            self.faults(delivers, &mut steps);
        }
        steps
    }

    fn faults(&self, delivers: bool, steps: &mut Vec<Step>) {
        match &self.volume.halt {
            Halt::Call { .. } => {
                steps.extend([Call::LostBefore, Call::LostAfter, Call::Refused].map(Step::Call));
                steps.extend([Step::Crash, Step::VolumeDeadline]);
            }
            Halt::Append(_) => steps.push(Step::Crash),
            Halt::Resting => steps.extend([Step::Crash, Step::VolumeDeadline]),
            Halt::Stuck | Halt::Over | Halt::NotStarted => {}
        }
        if delivers {
            steps.extend([Delivery::LostBefore, Delivery::LostAfter].map(Step::Deliver));
            if matches!(
                self.subscription.next(),
                Some(Effect::Charge | Effect::CloseGate | Effect::Refund | Effect::RevertPrice)
            ) {
                steps.push(Step::Deliver(Delivery::Refused));
            }
        }
        steps.push(Step::ChangeDeadline);
    }

    /// What is then; none if nothing comes of it.
    pub fn after(&self, step: Step) -> Option<Self> {
        let mut next = self.clone();
        let (volume, change) = (&mut next.volume, &mut next.subscription);
        match step {
            Step::Append => volume.append(),
            Step::Call(fate) => volume.call(fate),
            Step::Hear => {
                let event = volume.news.remove(0);
                change.hear(&event);
            }
            Step::Deliver(fate) => change.deliver(volume, fate),
            Step::Cancel => change.cancel().then_some(())?,
            Step::ChangeDeadline => change.deadline().then_some(())?,
            Step::VolumeDeadline => volume.deadline(),
            Step::Crash => volume.crash(),
            Step::Resume(action) => volume.resume(action).then_some(())?,
            Step::HandOver(side) => volume.hand_over(side).then_some(())?,
        }
        match step {
            _ if step.is_plain() => {}
            Step::Cancel => next.budget.customer -= 1,
            Step::Resume(_) | Step::HandOver(_) => next.budget.operator -= 1,
            _ => next.budget.faults -= 1,
        }
        Some(next)
    }

    pub fn check(&self) -> Result<(), String> {
        self.volume.check()?;
        self.subscription.check(&self.volume)
    }

    /// How it ended, if nothing more happens by itself: well, or with a person called. `Err`: it just stands still.
    pub fn end(&self) -> Result<&'static str, String> {
        let change = &self.subscription.change;
        match change.state {
            State::NeedsAttention => Ok("needs attention"),
            _ if self.volume.halt == Halt::Stuck => Ok("stuck behind the end"),
            State::Succeeded if self.volume.halt == Halt::Over => Ok("succeeded"),
            State::Failed if self.over() => Ok("failed"),
            State::Canceled if self.over() => Ok("canceled"),
            _ => Err(format!("it stands still: {}", self.describe())),
        }
    }

    fn over(&self) -> bool {
        matches!(self.volume.halt, Halt::Over | Halt::NotStarted)
    }

    /// The control part of both, and what may still happen.
    pub fn key(&self) -> String {
        let mut key = format!("{:?}", self.budget);
        self.volume.key(&mut key);
        self.subscription.key(&mut key);
        key
    }

    pub fn describe(&self) -> String {
        format!("volume: {}\nchange: {}", self.volume.describe(), self.subscription.describe())
    }
}
