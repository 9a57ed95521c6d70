//! The life of a subscription: `(life, event, now) -> (life, facts)`, or a typed refusal.
//!
//! ```text
//! pending -> pending_payment -> provisioning -> active <-> paused | past_due <-> unpaid
//!     any before active, by SetupFailed: -> failed                                   (terminal)
//!     any that is live, by a cancellation: -> canceled until `ends_at` -> ended      (terminal)
//! ```
//!
//! What never happens here: a terminal row that comes back to life; a period that overlaps another, or leaves a gap; a
//! status that says that a tier change runs (H25). Periods are counted from the anchor and never from the last end, so that
//! one that begins on a 31st comes back to it after February.
//!
//! `period` has the calendar; what a provider says becomes an event in `provider`; access follows from the status
//! (`access`). Not here: money, who may ask, and when somebody looks at the clock (the service).

use crate::period::plus_months;
use crate::status::SubscriptionStatus as Status;
use serde::{Deserialize, Serialize};
use tiershift_core::UnixMs;

/// Everything that time and events act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The billing state.
    pub status: Status,
    /// Where periods are counted from.
    pub anchor: UnixMs,
    /// Months of a period: 1 or 12.
    pub months: u32,
    /// When the paid period began.
    pub period_start: UnixMs,
    /// When it ends, or ended.
    pub period_end: UnixMs,
    /// When a canceled one ends, or ended; none for every other status.
    pub ends_at: Option<UnixMs>,
    /// When its cancellation was asked for; none if it never was, or was taken back.
    pub canceled: Option<UnixMs>,
    /// Whether it is over for good.
    pub over: bool,
}

words! {
    /// When a cancellation takes effect.
    End {
        /// At once.
        Now = "now",
        /// With the paid period.
        PeriodEnd = "period_end",
    }
}

/// What happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was set up, and waits for its first payment.
    SetUp,
    /// The first payment arrived; its graph is being made.
    Paid,
    /// It is paid and its graph serves: its first period begins.
    Activated {
        /// The period that was paid, its first and its last instant; none: one from now.
        paid: Option<(UnixMs, UnixMs)>,
    },
    /// Setting it up failed for good.
    SetupFailed,
    /// Somebody paused it.
    Paused,
    /// A pause ended, or a cancellation was taken back before its end.
    Resumed,
    /// A payment is overdue.
    PaymentFailed,
    /// Payment was given up.
    PaymentGivenUp,
    /// What was overdue is paid.
    PaymentMade,
    /// Somebody canceled it.
    Canceled(End),
    /// The provider says which period is paid.
    Period {
        /// Its first instant.
        start: UnixMs,
        /// Its last; after `start`.
        end: UnixMs,
    },
    /// The provider says that it ends then, or ended.
    EndsAt(UnixMs),
    /// Time has passed; `renews` says whether we renew it ourselves, or else the provider does.
    Time {
        /// Whether its next period begins by itself.
        renews: bool,
    },
}

/// What an event did, for those who must act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It is another status now.
    Status {
        /// Before.
        from: Status,
        /// After.
        to: Status,
    },
    /// A period begins, and is due for payment.
    Period {
        /// Its first instant.
        start: UnixMs,
        /// Its last.
        end: UnixMs,
    },
    /// It is over for good: its graph is suspended.
    Over,
}

/// Why an event was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is over for good: a terminal row never comes back to life.
    #[error("the subscription is over")]
    Over,
    /// Not from this status.
    #[error("not possible while the subscription is {0}")]
    From(Status),
    /// A period that is empty.
    #[error("the period does not end after its start")]
    EmptyPeriod,
}

/// What follows from an event.
pub type Outcome = Result<(Life, Vec<Fact>), Refusal>;

impl Life {
    /// Applies an event. A repeat of what is so already changes nothing and is no refusal.
    pub fn take(self, event: Event, now: UnixMs) -> Outcome {
        if self.over {
            // Late and repeated news of its end are what is so already.
            return match event {
                Event::Time { .. } | Event::Canceled(_) | Event::EndsAt(_) if self.status == Status::Canceled => {
                    Ok((self, Vec::new()))
                }
                Event::SetupFailed if self.status == Status::Failed => Ok((self, Vec::new())),
                _ => Err(Refusal::Over),
            };
        }
        match event {
            Event::SetUp => self.to(Status::PendingPayment, &[Status::Pending]),
            Event::Paid => self.to(Status::Provisioning, &[Status::Pending, Status::PendingPayment]),
            Event::Activated { paid } => self.activate(paid, now),
            Event::SetupFailed => {
                let (life, facts) =
                    self.to(Status::Failed, &[Status::Pending, Status::PendingPayment, Status::Provisioning])?;
                Ok((Self { over: true, ..life }, facts))
            }
            Event::Paused => self.to(Status::Paused, &[Status::Active]),
            Event::Resumed => self.resume(now),
            Event::PaymentFailed => self.to(Status::PastDue, &[Status::Active, Status::Paused]),
            Event::PaymentGivenUp => self.to(Status::Unpaid, &[Status::Active, Status::Paused, Status::PastDue]),
            Event::PaymentMade => self.to(Status::Active, &[Status::PastDue, Status::Unpaid]),
            Event::Canceled(End::Now) => Ok(self.cancel(now, now)),
            Event::Canceled(End::PeriodEnd) => Ok(self.cancel(self.period_end.max(now), now)),
            Event::EndsAt(at) => Ok(self.cancel(at, now)),
            Event::Period { .. } if self.unborn() => Err(Refusal::From(self.status)),
            Event::Period { start, end } => self.period(start, end),
            Event::Time { renews } => Ok(self.time(renews, now)),
        }
    }

    /// Whether its first period is still to begin.
    pub const fn unborn(&self) -> bool {
        matches!(self.status, Status::Pending | Status::PendingPayment | Status::Provisioning)
    }

    /// The next instant at which time alone changes it; none: it does not.
    pub fn due(&self, renews: bool) -> Option<UnixMs> {
        match self.status {
            _ if self.over => None,
            Status::Canceled => self.ends_at,
            Status::Active if renews => Some(self.period_end),
            _ => None,
        }
    }

    /// The first end of a period behind an instant, counted from the anchor.
    pub fn period_end_behind(&self, at: UnixMs) -> UnixMs {
        // A month has 28 days at least, so this many periods are never too many to begin with.
        let longest_ms = 31 * 86_400_000 * i64::from(self.months);
        let mut periods = u32::try_from(at.since(self.anchor).div_euclid(longest_ms)).unwrap_or(0);
        loop {
            let end = plus_months(self.anchor, self.months.saturating_mul(periods));
            if end > at {
                return end;
            }
            periods += 1;
        }
    }

    fn to(self, to: Status, from: &[Status]) -> Outcome {
        if self.status == to {
            return Ok((self, Vec::new()));
        }
        if !from.contains(&self.status) {
            return Err(Refusal::From(self.status));
        }
        Ok((Self { status: to, ..self }, vec![Fact::Status { from: self.status, to }]))
    }

    fn activate(self, paid: Option<(UnixMs, UnixMs)>, now: UnixMs) -> Outcome {
        if paid.is_some_and(|(start, end)| end <= start) {
            return Err(Refusal::EmptyPeriod);
        }
        let (life, mut facts) =
            self.to(Status::Active, &[Status::Pending, Status::PendingPayment, Status::Provisioning])?;
        if facts.is_empty() {
            return Ok((life, facts));
        }
        // What was asked for last week is paid from today.
        let (start, end) = paid.unwrap_or_else(|| (now, plus_months(now, self.months)));
        facts.push(Fact::Period { start, end });
        Ok((Self { anchor: start, period_start: start, period_end: end, ..life }, facts))
    }

    fn resume(self, now: UnixMs) -> Outcome {
        if self.status == Status::Canceled && self.ends_at.is_none_or(|end| end <= now) {
            // Its time is up, whether or not anybody has written that yet.
            return Err(Refusal::Over);
        }
        let (life, facts) = self.to(Status::Active, &[Status::Paused, Status::Canceled])?;
        Ok((Self { ends_at: None, canceled: None, ..life }, facts))
    }

    fn cancel(self, ends_at: UnixMs, now: UnixMs) -> (Self, Vec<Fact>) {
        let mut facts = Vec::new();
        // A second cancellation may only bring the end nearer.
        let ends_at = self.ends_at.map_or(ends_at, |before| before.min(ends_at));
        if self.status != Status::Canceled {
            facts.push(Fact::Status { from: self.status, to: Status::Canceled });
        }
        let canceled = Some(self.canceled.unwrap_or(now));
        let life = Self { status: Status::Canceled, ends_at: Some(ends_at), canceled, ..self };
        let (life, more) = life.time(false, now);
        facts.extend(more);
        (life, facts)
    }

    fn period(self, start: UnixMs, end: UnixMs) -> Outcome {
        if end <= start {
            return Err(Refusal::EmptyPeriod);
        }
        if (start, end) == (self.period_start, self.period_end) || end <= self.period_end {
            // Known, or late news of an earlier one.
            return Ok((self, Vec::new()));
        }
        Ok((Self { period_start: start, period_end: end, ..self }, vec![Fact::Period { start, end }]))
    }

    /// One thing that time has made due; whoever asks asks again until nothing is.
    fn time(self, renews: bool, now: UnixMs) -> (Self, Vec<Fact>) {
        match self.due(renews) {
            Some(due) if due <= now => {}
            _ => return (self, Vec::new()),
        }
        if self.status == Status::Canceled {
            return (Self { over: true, ..self }, vec![Fact::Over]);
        }
        let (start, end) = (self.period_end, self.period_end_behind(self.period_end));
        (Self { period_start: start, period_end: end, ..self }, vec![Fact::Period { start, end }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW_ACTIVE: Event = Event::Activated { paid: None };

    /// 2027-01-31, 12:00 UTC.
    const JANUARY_31: UnixMs = UnixMs(1_801_396_800_000);

    fn day(after: i64) -> UnixMs {
        UnixMs(JANUARY_31.0 + after * DAY_MS)
    }

    fn life(status: Status, months: u32) -> Life {
        Life {
            status,
            anchor: JANUARY_31,
            months,
            period_start: JANUARY_31,
            period_end: plus_months(JANUARY_31, months),
            ends_at: None,
            canceled: None,
            over: false,
        }
    }

    fn ends(mut life: Life, count: usize) -> Vec<i64> {
        let mut ends = vec![life.period_end.since(JANUARY_31) / DAY_MS];
        for _ in 1..count {
            let (next, facts) = life.take(Event::Time { renews: true }, life.period_end).expect("renewed");
            assert_eq!(facts, [Fact::Period { start: life.period_end, end: next.period_end }]);
            assert_eq!(next.period_start, life.period_end, "no gap and no overlap");
            life = next;
            ends.push(life.period_end.since(JANUARY_31) / DAY_MS);
        }
        ends
    }

    #[test]
    fn the_31st_of_january_comes_back_to_the_31st() {
        // 28 February, 31 March, 30 April, 31 May 2027; and 29 February 2028 a year on.
        assert_eq!(ends(life(Status::Active, 1), 4), [28, 59, 89, 120]);
        assert_eq!(ends(life(Status::Active, 1), 14)[12..], [394, 425]);
    }

    #[test]
    fn the_29th_of_february_is_kept_for_the_next_leap_year() {
        let leap = UnixMs(JANUARY_31.0 + 394 * DAY_MS);
        let start =
            Life { anchor: leap, period_start: leap, period_end: plus_months(leap, 12), ..life(Status::Active, 12) };
        let mut ends = Vec::new();
        let mut life = start;
        for _ in 0..4 {
            ends.push(life.period_end.since(leap) / DAY_MS);
            life = life.take(Event::Time { renews: true }, life.period_end).expect("renewed").0;
        }
        assert_eq!(ends, [365, 730, 1_095, 1_461], "28, 28, 28 and 29 February");
    }

    #[test]
    fn whoever_was_away_for_months_catches_up_one_period_at_a_time() {
        let mut life = life(Status::Active, 1);
        let now = day(100);
        let mut periods = 0;
        while life.due(true).is_some_and(|due| due <= now) {
            let (next, facts) = life.take(Event::Time { renews: true }, now).expect("renewed");
            assert_eq!(facts.len(), 1);
            life = next;
            periods += 1;
        }
        assert_eq!((periods, life.period_end), (3, day(120)));
        assert_eq!(life.take(Event::Time { renews: true }, now), Ok((life, vec![])), "nothing is due");
    }

    #[test]
    fn a_first_payment_begins_the_first_period_when_it_is_active_and_not_when_it_was_asked_for() {
        let asked = life(Status::PendingPayment, 1);
        let (paid, _) = asked.take(Event::Paid, day(3)).expect("paid");
        let (active, facts) = paid.take(NOW_ACTIVE, day(5)).expect("active");
        assert_eq!((active.anchor, active.period_start, active.period_end), (day(5), day(5), plus_months(day(5), 1)));
        assert_eq!(facts.len(), 2);
        assert_eq!(active.take(NOW_ACTIVE, day(9)), Ok((active, vec![])), "a repeat changes nothing");
        assert_eq!(active.take(Event::SetupFailed, day(9)), Err(Refusal::From(Status::Active)));
    }

    #[test]
    fn a_cancellation_at_the_end_of_the_period_can_be_taken_back_until_then() {
        let (canceled, _) = life(Status::Active, 1).take(Event::Canceled(End::PeriodEnd), day(3)).expect("canceled");
        assert_eq!((canceled.ends_at, canceled.canceled), (Some(day(28)), Some(day(3))));
        let (resumed, _) = canceled.take(Event::Resumed, day(27)).expect("resumed");
        assert_eq!(resumed, life(Status::Active, 1));
        assert_eq!(canceled.take(Event::Resumed, day(28)), Err(Refusal::Over), "also before anybody wrote its end");
        let (over, facts) = canceled.take(Event::Time { renews: true }, day(28)).expect("over");
        assert!(over.over);
        assert_eq!(facts, [Fact::Over]);
    }

    #[test]
    fn a_second_cancellation_only_brings_the_end_nearer() {
        let (later, _) = life(Status::Active, 1).take(Event::Canceled(End::PeriodEnd), day(3)).expect("canceled");
        let (now, facts) = later.take(Event::Canceled(End::Now), day(4)).expect("canceled");
        assert_eq!((now.ends_at, now.over, facts), (Some(day(4)), true, vec![Fact::Over]));
        let (same, _) = now.take(Event::Canceled(End::PeriodEnd), day(5)).expect("no refusal");
        assert_eq!(same, now);
    }

    #[test]
    fn late_news_of_an_earlier_period_changes_nothing() {
        let life = life(Status::Active, 1);
        let (next, _) = life.take(Event::Period { start: day(28), end: day(59) }, day(28)).expect("renewed");
        assert_eq!(next.take(Event::Period { start: day(0), end: day(28) }, day(29)), Ok((next, vec![])));
        assert_eq!(next.take(Event::Period { start: day(9), end: day(9) }, day(29)), Err(Refusal::EmptyPeriod));
    }

    #[test]
    fn a_canceled_or_unpaid_one_is_not_renewed() {
        for status in Status::ALL.iter().filter(|status| **status != Status::Active) {
            assert_eq!(life(*status, 1).due(true), None, "{status}");
        }
        assert_eq!(life(Status::Active, 1).due(false), None, "the provider renews it");
    }

    fn event() -> impl Strategy<Value = Event> {
        let times = || (-10..200_i64).prop_map(day);
        prop_oneof![
            Just(Event::SetUp),
            Just(Event::Paid),
            Just(NOW_ACTIVE),
            Just(Event::SetupFailed),
            Just(Event::Paused),
            Just(Event::Resumed),
            Just(Event::PaymentFailed),
            Just(Event::PaymentGivenUp),
            Just(Event::PaymentMade),
            Just(Event::Canceled(End::Now)),
            Just(Event::Canceled(End::PeriodEnd)),
            times().prop_map(Event::EndsAt),
            (times(), times()).prop_map(|(start, end)| Event::Period { start, end }),
            any::<bool>().prop_map(|renews| Event::Time { renews }),
        ]
    }

    proptest! {
        #[test]
        fn a_terminal_row_never_comes_back_and_no_period_is_empty(
            events in prop::collection::vec((event(), 0..20_i64), 1..40),
        ) {
            let (mut life, mut now) = (life(Status::Pending, 1), JANUARY_31);
            for (event, days) in events {
                now = now.plus(days * DAY_MS);
                let before = life;
                if let Ok((after, facts)) = life.take(event, now) {
                    prop_assert!(facts.is_empty() || after != before, "{:?}", event);
                    life = after;
                }
                prop_assert!(!before.over || life == before, "{:?} changed what is over", event);
                prop_assert!(life.period_end > life.period_start && life.period_end >= before.period_end);
                prop_assert_eq!(life.ends_at.is_some(), life.status == Status::Canceled);
                prop_assert!(life.over == (life.status == Status::Failed)
                    || life.status == Status::Canceled, "{:?}", life);
            }
        }
    }
}
