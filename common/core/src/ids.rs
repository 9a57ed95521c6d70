//! One newtype per id, checked where it enters.
//!
//! Our own ids are a prefix and a ULID (`org_…`, `sub_…`, `chg_…`, `aud_…`); a change and its migration share one
//! id. Graphs are `kg` and 16 hex digits, subgraphs `<graph>_<name>`; AWS ids are as AWS writes them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not an id of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {rule}")]
pub struct Malformed {
    /// What it should have been, in the words of the API: "graph id".
    pub kind: &'static str,
    /// The rule it breaks, for people.
    pub rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a text.
            pub fn parse(text: impl Into<String>) -> Result<Self, Malformed> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(Malformed { kind: $kind, rule: $rule }) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// A ULID is 26 characters of Crockford's base 32.
fn ulid_after(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == 26
            && rest.bytes().all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b)))
    })
}

/// AWS ids: a prefix and 8 or 17 lower-case hex digits.
fn aws_after(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (rest.len() == 8 || rest.len() == 17) && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn word(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn graph(text: &str) -> bool {
    text.strip_prefix("kg")
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

id!(/// An organisation: it owns graphs and subscriptions.
    OrgId, "organisation id", "`org_` and 1 to 40 letters, digits, `_`, `-`", |t| t.strip_prefix("org_").is_some_and(|r| word(r, 40)));
id!(/// A subscription.
    SubscriptionId, "subscription id", "`sub_` and a ULID", |t| ulid_after(t, "sub_"));
id!(/// A tier change *and* its migration: they share one id, so that a repeated start is the same start.
    ChangeId, "change id", "`chg_` and a ULID", |t| ulid_after(t, "chg_"));
id!(/// An entry of the audit log.
    AuditId, "audit id", "`aud_` and a ULID", |t| ulid_after(t, "aud_"));
id!(/// A billing graph (never a subgraph).
    GraphId, "graph id", "`kg` and 16 lower-case hex digits", graph);
id!(/// A graph or one of its subgraphs: what callers of the access check have in hand.
    AnyGraphId, "graph id", "`kg` and 16 hex digits, or that, `_` and a subgraph's name of 1 to 40 letters or digits",
    |t| graph(t) || t.split_once('_').is_some_and(|(parent, name)| graph(parent)
        && (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric())));
id!(/// An EBS volume.
    VolumeId, "volume id", "`vol-` and 8 or 17 hex digits", |t| aws_after(t, "vol-"));
id!(/// An EC2 instance.
    InstanceId, "instance id", "`i-` and 8 or 17 hex digits", |t| aws_after(t, "i-"));
id!(/// An EBS snapshot.
    SnapshotId, "snapshot id", "`snap-` and 8 or 17 hex digits", |t| aws_after(t, "snap-"));
id!(/// An availability zone name of the account, such as `us-east-1a`.
    Zone, "availability zone", "1 to 30 letters, digits or `-`", |t| word(t, 30));
id!(/// An Auto Scaling group's name.
    GroupName, "group name", "1 to 255 letters, digits, `_`, `-` or `.`", |t| word(t, 255));
id!(/// A tier's name in the catalogue, such as `ladybug-large`. A well-formed name need not be a known tier.
    TierName, "tier", "1 to 60 letters, digits, `_` or `-`", |t| word(t, 60));
id!(/// A caller's idempotency key for one mutation.
    RequestId, "request id", "1 to 64 letters, digits, `_` or `-`", |t| word(t, 64));
id!(/// A process that drives migrations; new at each start.
    WorkerId, "worker id", "1 to 80 letters, digits, `_`, `-` or `.`", |t| word(t, 80));
id!(/// A person or service that calls, as the authentication layer names it.
    UserId, "user id", "1 to 120 letters, digits, `_`, `-` or `.`", |t| word(t, 120));

impl AnyGraphId {
    /// The billing graph: the graph itself, or a subgraph's parent.
    #[must_use]
    pub fn parent(&self) -> GraphId {
        GraphId(self.0.chars().take(18).collect())
    }

    /// The subgraph's name, if this is a subgraph.
    pub fn subgraph(&self) -> Option<&str> {
        self.0.split_once('_').map(|(_, name)| name)
    }
}

impl From<GraphId> for AnyGraphId {
    fn from(id: GraphId) -> Self {
        Self(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_only_their_own_shape() {
        assert!(ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAV").is_ok());
        for bad in [
            "",
            "chg_",
            "chg_01ARZ3NDEKTSV4RRFFQ69G5FA",
            "sub_01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "chg_01ARZ3NDEKTSV4RRFFQ69G5FAU",
        ] {
            assert!(ChangeId::parse(bad).is_err(), "{bad}");
        }
        assert!(GraphId::parse("kg0123456789abcdef").is_ok());
        for bad in ["kg0123456789abcde", "kg0123456789abcdeF", "0123456789abcdef", "kg0123456789abcdef_x"] {
            assert!(GraphId::parse(bad).is_err(), "{bad}");
        }
        assert!(VolumeId::parse("vol-0123456789abcdef0").is_ok());
        assert!(VolumeId::parse("vol-0123").is_err());
    }

    #[test]
    fn a_subgraph_belongs_to_its_parent() {
        let id = AnyGraphId::parse("kg0123456789abcdef_sales").expect("well formed");
        assert_eq!(id.parent().as_str(), "kg0123456789abcdef");
        assert_eq!(id.subgraph(), Some("sales"));
        assert!(AnyGraphId::parse("kg0123456789abcdef_").is_err());
    }

    #[test]
    fn serde_checks_what_it_reads() {
        assert!(serde_json::from_str::<GraphId>("\"kg0123456789abcdef\"").is_ok());
        assert!(serde_json::from_str::<GraphId>("\"x\"").is_err());
    }
}
