//! EC2's and Auto Scaling's token buckets (docs/aws.md 2). They count while [`crate::faults::Fault::RateLimits`] is on.
//!
//! One account and region: everybody who calls shares them. EC2 counts each action by itself, Auto Scaling all together;
//! agents have none. Refill is by simulated time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::{Call, Service};

/// Every bucket that was drawn from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    buckets: BTreeMap<String, Bucket>,
}

/// A bucket that refills steadily.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    /// Thousandths of a token: at so many tokens a second, so many of them a ms.
    milli: u64,
    /// When it had that.
    at_ms: u64,
}

/// Capacity in calls, and refill in calls per second.
type Rate = (u64, u64);

impl Rates {
    /// All buckets are full.
    pub(crate) fn fill(&mut self) {
        self.buckets.clear();
    }

    /// Takes a call's token; false if there is none.
    pub(crate) fn take(&mut self, call: &Call, now_ms: u64) -> bool {
        let Some((name, (capacity, refill))) = bucket_of(call) else { return true };
        let full = Bucket { milli: capacity * 1_000, at_ms: now_ms };
        let bucket = self.buckets.entry(name).or_insert(full);
        let gained = now_ms.saturating_sub(bucket.at_ms).saturating_mul(refill);
        bucket.milli = bucket.milli.saturating_add(gained).min(full.milli);
        bucket.at_ms = now_ms;
        let rest = bucket.milli.checked_sub(1_000);
        bucket.milli = rest.unwrap_or(bucket.milli);
        rest.is_some()
    }
}

/// The bucket that a call draws from.
fn bucket_of(call: &Call) -> Option<(String, Rate)> {
    let action = call.action();
    match call.service() {
        // Its size is not published: docs/aws.md 2.2.
        Service::Autoscaling => Some(("autoscaling".to_owned(), (20, 5))),
        Service::Ec2 if narrow(call) == Some(false) => Some((format!("{action} of everything"), (50, 10))),
        Service::Ec2 => Some((action.to_owned(), rate_of(action))),
        _ => None,
    }
}

fn rate_of(action: &str) -> Rate {
    match action {
        _ if action.starts_with("Describe") => (100, 20),
        "CreateSnapshot" | "CreateVolume" | "DeleteSnapshot" | "DeleteVolume" => (100, 5),
        "CreateTags" => (100, 10),
        "TerminateInstances" => (1_000, 20),
        // AttachVolume, DetachVolume, ModifyVolume, and what AWS does not name.
        _ => (50, 5),
    }
}

/// Whether a Describe has filters or pages; `None` for calls of which that makes no difference.
fn narrow(call: &Call) -> Option<bool> {
    let (filters, paging) = match call {
        Call::DescribeVolumes(r) => (&r.filters, &r.paging),
        Call::DescribeInstances(r) => (&r.filters, &r.paging),
        Call::DescribeSnapshots(r) => (&r.filters, &r.paging),
        Call::DescribeInstanceStatus(r) => (&r.filters, &r.paging),
        _ => return None,
    };
    Some(!filters.is_empty() || paging.max_results.is_some() || paging.next_token.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Request as _;
    use crate::api::ec2::{DescribeVolumes, Filter};

    #[test]
    fn a_bucket_empties_and_refills() {
        let mut rates = Rates::default();
        let call = DescribeVolumes::default().into_call();
        let taken = |rates: &mut Rates, at_ms| (0..200).take_while(|_| rates.take(&call, at_ms)).count();
        assert_eq!(taken(&mut rates, 1_000), 50);
        assert_eq!(taken(&mut rates, 1_099), 0);
        assert_eq!(taken(&mut rates, 1_100), 1);
        assert_eq!(taken(&mut rates, 3_600_000), 50, "it holds no more than it can");
        let filters = vec![Filter::new("volume-id", ["vol-1"])];
        let narrow = DescribeVolumes { filters, ..DescribeVolumes::default() }.into_call();
        assert_eq!((0..200).take_while(|_| rates.take(&narrow, 3_600_000)).count(), 100, "a bucket of its own");
    }
}
