//! What watchers see: the change's own stages and the volume's events as ONE public sequence without gap, whose
//! progress never falls within a direction (invariant 11, H39).
//!
//! The state kept here is a column of the change's row and moves in the same transaction as the event it made. Not
//! here: how far a migration is, which is the volume's own permille and estimate; they are mapped, not invented.

use crate::change::{Change, Gate, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tiershift_core::event::{ChangeEvent, Direction, Reads, Source, Writes};
use tiershift_core::ids::ChangeId;

/// The end of a direction.
const DONE: u32 = 1_000;
/// What the acknowledged start is worth, so that a bar moves at once.
const STARTED: u32 = 5;
/// How far the volume's own forward progress reaches: the rest is our own last transaction.
const VOLUME_FORWARD: u32 = 985;
/// How far the volume's way back reaches: the rest is money.
const VOLUME_UNDO: u32 = 900;

/// Where the public sequence of a change stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The last sequence number given out; 0 before the first.
    pub seq: u64,
    /// Time of the last event, in milliseconds since the acceptance, or since a scheduled change began; never falls.
    pub at_ms: i64,
    /// The way the change moves.
    pub direction: Direction,
    forward: u32,
    undo: u32,
    settle: u32,
    /// When the present direction is expected to be done, in milliseconds since the acceptance; none if nobody has an
    /// honest estimate.
    expected_end_ms: Option<i64>,
    /// The change cannot succeed before, in milliseconds since the acceptance: its gate waits for leases that the
    /// volume knows nothing of.
    earliest_end_ms: i64,
    reads: Reads,
    writes: Writes,
}

impl Progress {
    /// Before the first event. `expected_total_ms` is the estimate for the whole change, `earliest_end_ms` when it can
    /// succeed at the earliest; both since the acceptance.
    pub const fn new(expected_total_ms: Option<i64>, earliest_end_ms: i64) -> Self {
        Self {
            seq: 0,
            at_ms: 0,
            direction: Direction::Forward,
            forward: 0,
            undo: 0,
            settle: 0,
            expected_end_ms: expected_total_ms,
            earliest_end_ms,
            reads: Reads::Open,
            writes: Writes::Open,
        }
    }

    /// A scheduled change begins, and time counts from here: its estimates are new.
    pub const fn begin(&mut self, expected_total_ms: Option<i64>, earliest_end_ms: i64) {
        (self.expected_end_ms, self.earliest_end_ms) = (expected_total_ms, earliest_end_ms);
    }

    /// The next event, of the change itself: `change` is the change after its transition.
    pub fn own(
        &mut self,
        id: &ChangeId,
        at_ms: i64,
        change: &Change,
        message: impl Into<String>,
        detail: BTreeMap<String, String>,
    ) -> ChangeEvent {
        match change.state {
            State::Compensating | State::Failed | State::Canceled => self.direction = Direction::Undo,
            // Only its end turns an undo back into forward: a stuck undo that an operator completed on the target.
            State::Succeeded if self.direction == Direction::Undo => self.direction = Direction::Forward,
            State::Succeeded
            | State::Scheduled
            | State::Requested
            | State::Preparing
            | State::Charging
            | State::Gating
            | State::Moving
            | State::Finalizing
            | State::NeedsAttention => {}
        }
        let floor = match change.state {
            State::Succeeded | State::Failed | State::Canceled => DONE,
            State::Compensating => VOLUME_UNDO,
            State::Preparing | State::Charging | State::Gating | State::Moving | State::Finalizing => STARTED,
            State::Scheduled | State::Requested | State::NeedsAttention => 0,
        };
        if change.state.ended() {
            (self.reads, self.writes) = (Reads::Open, Writes::Open);
            self.expected_end_ms = Some(at_ms);
        }
        self.next(
            id,
            at_ms,
            change,
            Said {
                source: Source::Subscription,
                stage: change.state.as_str().to_owned(),
                floor,
                message: message.into(),
                detail,
            },
        )
    }

    /// The next event, relayed from the migration; its own sequence number is not shown. `change` is the change
    /// after whatever the event did to it.
    pub fn relayed(&mut self, id: &ChangeId, at_ms: i64, change: &Change, volume: &ChangeEvent) -> ChangeEvent {
        self.direction = volume.direction;
        (self.reads, self.writes) = (volume.reads, volume.writes);
        let earliest_ms = match volume.direction {
            Direction::Forward if change.gate == Gate::Open => self.earliest_end_ms,
            Direction::Forward | Direction::Undo | Direction::Settle => 0,
        };
        self.expected_end_ms = (volume.eta_ms >= 0).then(|| at_ms.saturating_add(volume.eta_ms).max(earliest_ms));
        let permille = volume.permille.min(DONE);
        let floor = match volume.direction {
            Direction::Forward => STARTED + permille * VOLUME_FORWARD / DONE,
            Direction::Undo => permille * VOLUME_UNDO / DONE,
            Direction::Settle => permille,
        };
        self.next(
            id,
            at_ms,
            change,
            Said {
                source: Source::Volume,
                stage: volume.stage.clone(),
                floor,
                message: volume.message.clone(),
                detail: volume.detail.clone(),
            },
        )
    }

    fn next(&mut self, id: &ChangeId, at_ms: i64, change: &Change, said: Said) -> ChangeEvent {
        self.seq += 1;
        self.at_ms = self.at_ms.max(at_ms);
        let progress = match self.direction {
            Direction::Forward => &mut self.forward,
            Direction::Undo => &mut self.undo,
            Direction::Settle => &mut self.settle,
        };
        *progress = (*progress).max(said.floor).min(DONE);
        ChangeEvent {
            change_id: id.as_str().to_owned(),
            seq: self.seq,
            at_ms: self.at_ms,
            source: said.source,
            stage: said.stage,
            direction: self.direction,
            permille: *progress,
            // Negative: no honest estimate.
            eta_ms: self.expected_end_ms.map_or(-1, |end| end.saturating_sub(self.at_ms).max(0)),
            reads: match (change.gate, self.reads) {
                (Gate::Offline, Reads::Open) => Reads::Closing,
                (Gate::Open | Gate::Closed | Gate::Offline, reads) => reads,
            },
            writes: if change.gate == Gate::Open { self.writes } else { Writes::Closed },
            message: said.message,
            detail: said.detail,
        }
    }
}

/// What differs between an own and a relayed event.
struct Said {
    source: Source,
    stage: String,
    floor: u32,
    message: String,
    detail: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Event;
    use proptest::prelude::*;

    fn id() -> ChangeId {
        ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("well formed")
    }

    fn volume(stage: &str, direction: Direction, permille: u32) -> ChangeEvent {
        ChangeEvent {
            change_id: id().as_str().to_owned(),
            seq: 77,
            at_ms: 12,
            source: Source::Volume,
            stage: stage.to_owned(),
            direction,
            permille,
            eta_ms: 5_000,
            reads: Reads::Open,
            writes: Writes::Open,
            message: "a step".to_owned(),
            detail: BTreeMap::new(),
        }
    }

    fn after(events: &[Event]) -> Change {
        events.iter().fold(Change::new().0, |change, event| change.step(event).expect("accepted").change)
    }

    #[test]
    fn own_and_relayed_events_share_one_sequence() {
        let mut progress = Progress::new(Some(60_000), 0);
        let requested = progress.own(&id(), 0, &Change::new().0, "accepted", BTreeMap::new());
        assert_eq!((requested.seq, requested.permille, requested.eta_ms), (1, 0, 60_000));
        let preparing = after(&[Event::Started]);
        let relayed = progress.relayed(&id(), 1_000, &preparing, &volume("capacity", Direction::Forward, 500));
        assert_eq!((relayed.seq, relayed.permille, relayed.eta_ms, relayed.at_ms), (2, 497, 5_000, 1_000));
        let own = progress.own(&id(), 3_000, &preparing, "prepared", BTreeMap::new());
        assert_eq!((own.seq, own.permille, own.eta_ms, own.source), (3, 497, 3_000, Source::Subscription));
    }

    #[test]
    fn an_estimate_knows_of_the_leases_until_the_gate_is_closed() {
        let mut progress = Progress::new(None, 70_000);
        let preparing = after(&[Event::Started]);
        let step = volume("capacity", Direction::Forward, 300);
        assert_eq!(progress.relayed(&id(), 10_000, &preparing, &step).eta_ms, 60_000, "not the volume's 5 s");
        let gate = Event::GateRequested { gate_id: 1, usage_bytes: Some(1) };
        let closed = after(&[Event::Started, gate, Event::ChargeTaken, Event::GateClosed]);
        assert_eq!(progress.relayed(&id(), 62_000, &closed, &step).eta_ms, 5_000);
        let back = volume("capacity", Direction::Undo, 300);
        assert_eq!(progress.relayed(&id(), 63_000, &preparing, &back).eta_ms, 5_000);
    }

    #[test]
    fn a_closed_gate_shows_even_if_the_volume_does_not_know_of_it() {
        let gate = Event::GateRequested { gate_id: 1, usage_bytes: Some(1) };
        let closed = after(&[Event::Started, gate, Event::ChargeTaken, Event::GateClosed]);
        let mut progress = Progress::new(None, 0);
        let event = progress.own(&id(), 0, &closed, "gate closed", BTreeMap::new());
        assert_eq!((event.writes, event.reads), (Writes::Closed, Reads::Open));
        let offline = after(&[
            Event::Started,
            Event::GateRequested { gate_id: 1, usage_bytes: Some(1) },
            Event::ChargeTaken,
            Event::GateClosed,
            Event::LeaseWaited,
            Event::Offline,
        ]);
        let event = progress.relayed(&id(), 1, &offline, &volume("drain_reads", Direction::Forward, 500));
        assert_eq!(event.reads, Reads::Closing);
    }

    proptest! {
        #[test]
        fn progress_never_falls_within_a_direction_and_the_sequence_has_no_gap(
            script in prop::collection::vec((0..3_usize, 0..1_200_u32, 0..10_000_i64, any::<bool>()), 1..60),
        ) {
            let directions = [Direction::Forward, Direction::Undo, Direction::Settle];
            let states = [after(&[]), after(&[Event::Started]),
                after(&[Event::Started, Event::RolledBack { reason: tiershift_core::Reason::GateTimeout }])];
            let mut progress = Progress::new(Some(1_000), 0);
            let mut best: BTreeMap<Direction, u32> = BTreeMap::new();
            let mut last_at_ms = 0;
            for (n, (which, permille, at_ms, own)) in script.into_iter().enumerate() {
                let event = if own {
                    progress.own(&id(), at_ms, &states[which], "own", BTreeMap::new())
                } else {
                    progress.relayed(&id(), at_ms, &states[1], &volume("x", directions[which], permille))
                };
                prop_assert_eq!(event.seq, n as u64 + 1);
                prop_assert!(event.permille <= 1_000);
                prop_assert!(event.at_ms >= last_at_ms && event.eta_ms >= 0);
                let before = best.insert(event.direction, event.permille).unwrap_or(0);
                prop_assert!(event.permille >= before, "{:?} fell from {} to {}", event.direction, before, event.permille);
                last_at_ms = event.at_ms;
            }
        }
    }
}
