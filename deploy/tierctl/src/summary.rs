//! The last word on a change: one object for programs, a few lines for people.

use crate::exit::Exit;
use crate::words;
use serde::{Deserialize, Serialize};
use tiershift_common::convert;
use tiershift_core::{Error, Kind, NotChecked, Reason, Violation};
use tiershift_proto::subscription::v1::{TierChange, TierChangeState};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The graph serves on the new tier.
    Succeeded,
    /// It never began.
    Refused,
    /// Tier and money are as before.
    Failed,
    /// Tier and money are as before, because somebody asked for it.
    Canceled,
    /// It has not ended: only a person can go on.
    NeedsAttention,
}

impl Ending {
    /// The exit status of a run that ended so.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Succeeded => Exit::Succeeded,
            Self::Refused => Exit::Refused,
            Self::Failed | Self::Canceled => Exit::Failed,
            Self::NeedsAttention => Exit::NeedsAttention,
        }
    }

    /// The word in JSON and for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::NeedsAttention => "needs_attention",
        }
    }
}

/// How a change ended, and what it cost in time. The JSON form is part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How it ended.
    pub result: Ending,
    /// The change; none if it was refused.
    pub change_id: Option<String>,
    /// The graph, if it is known.
    pub graph_id: Option<String>,
    /// The tier before, if it is known.
    pub from: Option<String>,
    /// The tier asked for, if it is known.
    pub to: Option<String>,
    /// From the transaction that closed the write gate to the one that opened it, by the stack's clock; 0 = never
    /// closed.
    pub writes_blocked_ms: i64,
    /// From the first request to release the volume until the engine was open again; 0 = never offline.
    pub offline_ms: i64,
    /// How many events were shown.
    pub events: u64,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same as a sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The rules that are broken, each with what mends it.
    pub violations: Vec<Violation>,
    /// Checks that could not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<NotChecked>,
}

impl Summary {
    /// The summary of a change that has ended, or needs attention; an error if it is still on its way.
    pub fn of(change: &TierChange, events: u64) -> Result<Self, Error> {
        let result = match change.state() {
            TierChangeState::Succeeded => Ending::Succeeded,
            TierChangeState::Failed => Ending::Failed,
            TierChangeState::Canceled => Ending::Canceled,
            TierChangeState::NeedsAttention => Ending::NeedsAttention,
            other => {
                let state = words::word(other.as_str_name(), "TIER_CHANGE_STATE_");
                let message = format!("the events of {} have ended, and its state is {state}", change.change_id);
                return Err(Error::new(Kind::Internal, Reason::Internal, message));
            }
        };
        let plan = change.plan.clone().unwrap_or_default();
        Ok(Self {
            result,
            change_id: Some(change.change_id.clone()),
            graph_id: Some(change.graph_id.clone()),
            from: Some(plan.from_tier),
            to: Some(plan.to_tier),
            writes_blocked_ms: change.writes_blocked_ms,
            offline_ms: change.offline_ms,
            events,
            reason: convert::reason_from_proto(change.reason),
            message: Some(change.reason_message.clone()).filter(|text| !text.is_empty()),
            violations: change.violations.iter().map(convert::violation_from_proto).collect(),
            not_checked: Vec::new(),
        })
    }

    /// The summary of what a service refused. Graph and tiers are for the caller to add.
    pub fn refused(error: &Error) -> Self {
        Self {
            result: Ending::Refused,
            change_id: error.metadata.get("change_id").cloned(),
            graph_id: None,
            from: None,
            to: None,
            writes_blocked_ms: 0,
            offline_ms: 0,
            events: 0,
            reason: Some(error.reason),
            message: Some(error.message.clone()),
            violations: error.violations.clone(),
            not_checked: error.not_checked.clone(),
        }
    }

    /// For people: the ending, the times, and each violation with its fix, one a line.
    pub fn lines(&self) -> Vec<String> {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let (graph, from, to) = (or(&self.graph_id), or(&self.from), or(&self.to));
        let mut first = match self.result {
            Ending::Succeeded => format!("succeeded: {graph} is on {to}, and was on {from}"),
            Ending::Refused => "refused".to_owned(),
            Ending::Failed => format!("failed: {graph} stays on {from}"),
            Ending::Canceled => format!("canceled: {graph} stays on {from}"),
            Ending::NeedsAttention => {
                format!("needs attention: the change of {graph} from {from} to {to} waits for a person")
            }
        };
        for why in [self.reason.map(|reason| reason.to_string()), self.message.clone()].into_iter().flatten() {
            first = format!("{first}: {why}");
        }
        let mut lines = vec![first];
        if self.result != Ending::Refused {
            lines.push(format!(
                "  writes blocked {}, offline {}, {} event{}, {}",
                words::duration(self.writes_blocked_ms),
                words::duration(self.offline_ms),
                self.events,
                if self.events == 1 { "" } else { "s" },
                or(&self.change_id)
            ));
        }
        lines.extend(violation_lines(&self.violations, &self.not_checked).into_iter().map(|line| format!("  {line}")));
        lines
    }
}

/// Each violation with its numbers and its fix, then each check that did not run; one a line.
pub fn violation_lines(violations: &[Violation], not_checked: &[NotChecked]) -> Vec<String> {
    let violation = |violation: &Violation| {
        let amount = |label: &str, value: Option<i64>| {
            value.map(|value| format!("{label} {}", words::amount(violation.reason, value)))
        };
        let amounts: Vec<String> =
            [amount("limit", violation.limit), amount("found", violation.actual)].into_iter().flatten().collect();
        let about: Vec<String> =
            [violation.field.clone(), amounts.join(", ")].into_iter().filter(|text| !text.is_empty()).collect();
        let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join("; ")) };
        format!("{}{about}: {}", violation.reason, violation.fix)
    };
    let skipped = |skipped: &NotChecked| format!("{} was not checked because of {}", skipped.check, skipped.because);
    violations.iter().map(violation).chain(not_checked.iter().map(skipped)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiershift_proto::common::v1 as common;
    use tiershift_proto::subscription::v1::ChangePlan;

    fn change(state: TierChangeState) -> TierChange {
        TierChange {
            change_id: "chg_1".into(),
            graph_id: "kg1".into(),
            state: state.into(),
            plan: Some(ChangePlan { from_tier: "small".into(), to_tier: "large".into(), ..Default::default() }),
            writes_blocked_ms: 22_100,
            offline_ms: 17_950,
            ..Default::default()
        }
    }

    #[test]
    fn the_object_has_the_shape_of_the_contract() {
        let summary = Summary::of(&change(TierChangeState::Succeeded), 31).expect("ended");
        assert_eq!(
            serde_json::to_string(&summary).expect("JSON"),
            "{\"result\":\"succeeded\",\"change_id\":\"chg_1\",\"graph_id\":\"kg1\",\"from\":\"small\",\"to\":\"large\",\
             \"writes_blocked_ms\":22100,\"offline_ms\":17950,\"events\":31,\"violations\":[]}"
        );
        let refused = Error::refused(
            vec![Violation {
                reason: Reason::TooManySubgraphs,
                field: "target_tier".into(),
                limit: Some(3),
                actual: Some(5),
                fix: "delete 2 subgraphs".into(),
            }],
            Vec::new(),
        );
        let text = serde_json::to_string(&Summary::refused(&refused)).expect("JSON");
        assert!(text.starts_with("{\"result\":\"refused\",\"change_id\":null,"), "{text}");
        assert!(
            text.ends_with(
                "\"violations\":[{\"reason\":\"TOO_MANY_SUBGRAPHS\",\"field\":\"target_tier\",\"limit\":3,\
                 \"actual\":5,\"fix\":\"delete 2 subgraphs\"}]}"
            ),
            "{text}"
        );
        let back: Summary = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(back, Summary::refused(&refused));
    }

    #[test]
    fn every_end_has_its_word_and_its_status() {
        for (state, word, code) in [
            (TierChangeState::Succeeded, "succeeded", 0),
            (TierChangeState::Failed, "failed", 4),
            (TierChangeState::Canceled, "canceled", 4),
            (TierChangeState::NeedsAttention, "needs_attention", 5),
        ] {
            let summary = Summary::of(&change(state), 1).expect("ended");
            assert_eq!((summary.result.word(), summary.result.exit().code()), (word, code));
            assert_eq!(serde_json::to_value(summary.result).expect("JSON"), word);
        }
        assert_eq!(Ending::Refused.exit(), Exit::Refused);
        for state in [TierChangeState::Moving, TierChangeState::Compensating, TierChangeState::Unspecified] {
            let error = Summary::of(&change(state), 1).expect_err("not ended");
            assert_eq!(error.kind, Kind::Internal, "{state:?}");
        }
    }

    #[test]
    fn people_read_why_and_for_how_long() {
        let failed = TierChange {
            reason: common::ErrorReason::PaymentDeclined.into(),
            reason_message: "the card was declined".into(),
            ..change(TierChangeState::Failed)
        };
        assert_eq!(
            Summary::of(&failed, 9).expect("ended").lines(),
            [
                "failed: kg1 stays on small: PAYMENT_DECLINED: the card was declined",
                "  writes blocked 22.1 s, offline 17.9 s, 9 events, chg_1"
            ]
        );
    }
}
