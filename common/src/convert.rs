//! `tiershift.common.v1` to and from the core's types. Proto types stop at the border: this is the border for what
//! both packages share; each service has its own convert file for its own messages.
//!
//! What comes in is checked, with the field's path in the error. What a newer server sends and this build does not
//! know becomes the nearest thing that is safe to show, never a panic and never something that was not said.

use tiershift_core::error::Fields;
use tiershift_core::event::{ChangeEvent, Direction, Reads, Source, Writes};
use tiershift_core::{Error, NotChecked, Reason, Violation};
use tiershift_proto::common::v1 as pb;

const PREFIX: &str = "ERROR_REASON_";

/// The enum value of a reason. A test holds the two lists equal, so the stand-in is never sent.
pub fn reason_to_proto(reason: Reason) -> pb::ErrorReason {
    pb::ErrorReason::from_str_name(&format!("{PREFIX}{reason}")).unwrap_or(pb::ErrorReason::Internal)
}

/// The reason of an enum value: none for UNSPECIFIED, and for values that this build does not know.
pub fn reason_from_proto(value: i32) -> Option<Reason> {
    let value = pb::ErrorReason::try_from(value).ok()?;
    Reason::parse(value.as_str_name().strip_prefix(PREFIX)?)
}

/// A reason of a newer server that this build does not know: it says no more than that a rule is broken.
const UNKNOWN_REASON: Reason = Reason::WrongState;

/// A violation as it is sent.
pub fn violation_to_proto(violation: &Violation) -> pb::Violation {
    pb::Violation {
        reason: reason_to_proto(violation.reason).into(),
        field: violation.field.clone(),
        limit: violation.limit,
        actual: violation.actual,
        fix: violation.fix.clone(),
        ..Default::default()
    }
}

/// A violation as it was received. A reason unknown here becomes WRONG_STATE; the fix still says what to do.
pub fn violation_from_proto(violation: &pb::Violation) -> Violation {
    Violation {
        reason: reason_from_proto(violation.reason).unwrap_or(UNKNOWN_REASON),
        field: violation.field.clone(),
        limit: violation.limit,
        actual: violation.actual,
        fix: violation.fix.clone(),
    }
}

/// A skipped check as it is sent.
pub fn not_checked_to_proto(skipped: &NotChecked) -> pb::NotChecked {
    pb::NotChecked { check: reason_to_proto(skipped.check).into(), because: reason_to_proto(skipped.because).into() }
}

/// A skipped check as it was received. Reasons unknown here become WRONG_STATE.
pub fn not_checked_from_proto(skipped: &pb::NotChecked) -> NotChecked {
    NotChecked {
        check: reason_from_proto(skipped.check).unwrap_or(UNKNOWN_REASON),
        because: reason_from_proto(skipped.because).unwrap_or(UNKNOWN_REASON),
    }
}

/// An event as it is sent. A negative `eta_ms` means that there is no honest estimate, and is left out.
pub fn event_to_proto(event: &ChangeEvent) -> pb::ChangeEvent {
    pb::ChangeEvent {
        change_id: event.change_id.clone(),
        seq: i64::try_from(event.seq).unwrap_or(i64::MAX),
        at_ms: event.at_ms,
        source: match event.source {
            Source::Subscription => pb::EventSource::Subscription,
            Source::Volume => pb::EventSource::Volume,
        }
        .into(),
        stage: event.stage.clone(),
        direction: match event.direction {
            Direction::Forward => pb::Direction::Forward,
            Direction::Undo => pb::Direction::Undo,
            Direction::Settle => pb::Direction::Settle,
        }
        .into(),
        permille: i32::try_from(event.permille.min(1_000)).unwrap_or(1_000),
        eta_ms: (event.eta_ms >= 0).then_some(event.eta_ms),
        reads: match event.reads {
            Reads::Open => pb::ReadState::Open,
            Reads::Closing => pb::ReadState::Closing,
            Reads::Closed => pb::ReadState::Closed,
        }
        .into(),
        writes: match event.writes {
            Writes::Open => pb::WriteState::Open,
            Writes::Closed => pb::WriteState::Closed,
        }
        .into(),
        message: event.message.clone(),
        detail: event.detail.clone().into_iter().collect(),
    }
}

/// An event as it was received: every fault at once, with `path` before each field. `eta_ms` is -1 when the sender
/// has no estimate.
pub fn event_from_proto(path: &str, event: &pb::ChangeEvent) -> Result<ChangeEvent, Error> {
    let mut faults = Fields::new();
    let mut fault = |field: &str, rule: &str| faults.fault(format!("{path}.{field}"), rule);
    let source = match event.source() {
        pb::EventSource::Subscription => Some(Source::Subscription),
        pb::EventSource::Volume => Some(Source::Volume),
        pb::EventSource::Unspecified => None,
    };
    let direction = match event.direction() {
        pb::Direction::Forward => Some(Direction::Forward),
        pb::Direction::Undo => Some(Direction::Undo),
        pb::Direction::Settle => Some(Direction::Settle),
        pb::Direction::Unspecified => None,
    };
    let reads = match event.reads() {
        pb::ReadState::Open => Some(Reads::Open),
        pb::ReadState::Closing => Some(Reads::Closing),
        pb::ReadState::Closed => Some(Reads::Closed),
        pb::ReadState::Unspecified => None,
    };
    let writes = match event.writes() {
        pb::WriteState::Open => Some(Writes::Open),
        pb::WriteState::Closed => Some(Writes::Closed),
        pb::WriteState::Unspecified => None,
    };
    let seq = u64::try_from(event.seq).ok().filter(|seq| *seq > 0);
    let permille = u32::try_from(event.permille).ok().filter(|permille| *permille <= 1_000);
    for (field, missing) in [
        ("source", source.is_none()),
        ("direction", direction.is_none()),
        ("reads", reads.is_none()),
        ("writes", writes.is_none()),
    ] {
        if missing {
            fault(field, "must be a known value");
        }
    }
    if seq.is_none() {
        fault("seq", "must be 1 or more");
    }
    if permille.is_none() {
        fault("permille", "must be 0 to 1000");
    }
    if event.change_id.is_empty() {
        fault("change_id", "must not be empty");
    }
    if event.stage.is_empty() {
        fault("stage", "must not be empty");
    }
    faults.finish()?;
    let (Some(source), Some(direction), Some(reads), Some(writes), Some(seq), Some(permille)) =
        (source, direction, reads, writes, seq, permille)
    else {
        return Err(Error::invalid_field(path, "must be a whole event"));
    };
    Ok(ChangeEvent {
        change_id: event.change_id.clone(),
        seq,
        at_ms: event.at_ms,
        source,
        stage: event.stage.clone(),
        direction,
        permille,
        eta_ms: event.eta_ms.unwrap_or(-1),
        reads,
        writes,
        message: event.message.clone(),
        detail: event.detail.clone().into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every value of the proto enum, from the descriptor set, so that nothing has to be listed a second time.
    fn words_of_the_contract() -> BTreeSet<String> {
        use prost::Message as _;
        let set = prost_types::FileDescriptorSet::decode(tiershift_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
        let file = set.file.iter().filter(|file| file.package() == "tiershift.common.v1");
        let enums = file.flat_map(|file| &file.enum_type).filter(|e| e.name() == "ErrorReason");
        let names = enums.flat_map(|e| &e.value).map(|value| value.name().to_owned());
        names.map(|name| name.strip_prefix(PREFIX).expect("the prefix").to_owned()).collect()
    }

    #[test]
    fn the_reasons_of_the_core_are_the_reasons_of_the_contract() {
        let mut contract = words_of_the_contract();
        assert!(contract.remove("UNSPECIFIED"), "the zero value");
        let core: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
        let only_core: Vec<_> = core.difference(&contract).collect();
        let only_contract: Vec<_> = contract.difference(&core).collect();
        assert!(only_core.is_empty() && only_contract.is_empty(), "core: {only_core:?}, contract: {only_contract:?}");
        for reason in Reason::ALL {
            assert_eq!(reason_from_proto(reason_to_proto(*reason).into()), Some(*reason));
        }
        assert_eq!(reason_from_proto(0), None);
        assert_eq!(reason_from_proto(9_999), None);
    }

    fn event() -> ChangeEvent {
        ChangeEvent {
            change_id: "chg_01ARZ3NDEKTSV4RRFFQ69G5FAV".into(),
            seq: 7,
            at_ms: 12_345,
            source: Source::Volume,
            stage: "detach".into(),
            direction: Direction::Undo,
            permille: 612,
            eta_ms: 9_000,
            reads: Reads::Closing,
            writes: Writes::Closed,
            message: "the volume is being detached".into(),
            detail: [("volume_id".to_owned(), "vol-0123456789abcdef0".to_owned())].into(),
        }
    }

    #[test]
    fn events_round_trip_in_every_state() {
        for source in [Source::Subscription, Source::Volume] {
            for direction in [Direction::Forward, Direction::Undo, Direction::Settle] {
                for reads in [Reads::Open, Reads::Closing, Reads::Closed] {
                    for writes in [Writes::Open, Writes::Closed] {
                        let event = ChangeEvent { source, direction, reads, writes, ..event() };
                        assert_eq!(event_from_proto("event", &event_to_proto(&event)), Ok(event));
                    }
                }
            }
        }
        let silent = ChangeEvent { eta_ms: -1, ..event() };
        assert_eq!(event_to_proto(&silent).eta_ms, None);
        assert_eq!(event_from_proto("event", &event_to_proto(&silent)), Ok(silent));
    }

    #[test]
    fn a_broken_event_is_refused_with_every_fault_and_its_path() {
        let broken = pb::ChangeEvent { seq: 0, permille: 1_001, ..Default::default() };
        let error = event_from_proto("response.event", &broken).expect_err("broken");
        let fields: Vec<_> = error.fields.iter().map(|fault| fault.field.as_str()).collect();
        let names = ["source", "direction", "reads", "writes", "seq", "permille", "change_id", "stage"];
        assert_eq!(fields, names.map(|name| format!("response.event.{name}")));
    }

    #[test]
    fn a_violation_of_a_newer_server_keeps_its_words() {
        let newer = pb::Violation { reason: 9_999, field: "x".into(), fix: "do y".into(), ..Default::default() };
        let read = violation_from_proto(&newer);
        assert_eq!((read.reason, read.field.as_str(), read.fix.as_str()), (Reason::WrongState, "x", "do y"));
    }
}
