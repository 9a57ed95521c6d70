//! AWS ids: how they are made and how a malformed one is told from an unknown one.

use crate::api::ApiError;
use crate::timing::Dice;

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `vol-`
    Volume,
    /// `i-`
    Instance,
    /// `snap-`
    Snapshot,
    /// `subnet-`
    Subnet,
}

impl Kind {
    /// The id's prefix, dash included.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Volume => "vol-",
            Self::Instance => "i-",
            Self::Snapshot => "snap-",
            Self::Subnet => "subnet-",
        }
    }

    /// A new id: prefix, a zero as AWS has it, 16 hex digits.
    pub fn make(self, dice: &mut Dice) -> String {
        format!("{}0{:016x}", self.prefix(), dice.id())
    }

    /// Refuses an id that cannot be one of this kind.
    pub fn check(self, id: &str) -> Result<(), ApiError> {
        let hex = id.strip_prefix(self.prefix()).unwrap_or_default();
        if matches!(hex.len(), 8 | 17) && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(());
        }
        Err(match self {
            Self::Volume => ApiError::bad(
                "InvalidParameterValue",
                format!("Value ({id}) for parameter volumeId is invalid. Expected: 'vol-...'."),
            ),
            Self::Instance => ApiError::bad("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")),
            Self::Snapshot => ApiError::bad("InvalidSnapshotID.Malformed", format!("Invalid id: \"{id}\"")),
            Self::Subnet => ApiError::bad("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist")),
        })
    }

    /// The refusal for ids that are well-formed and unknown. AWS names all of them in one message.
    pub fn not_found(self, ids: &[&str]) -> ApiError {
        let list = ids.join(", ");
        match self {
            Self::Volume => ApiError::bad("InvalidVolume.NotFound", format!("The volume '{list}' does not exist.")),
            Self::Instance if ids.len() > 1 => {
                ApiError::bad("InvalidInstanceID.NotFound", format!("The instance IDs '{list}' do not exist"))
            }
            Self::Instance => {
                ApiError::bad("InvalidInstanceID.NotFound", format!("The instance ID '{list}' does not exist"))
            }
            Self::Snapshot => {
                ApiError::bad("InvalidSnapshot.NotFound", format!("The snapshot '{list}' does not exist."))
            }
            Self::Subnet => ApiError::bad("InvalidSubnetID.NotFound", format!("The subnet ID '{list}' does not exist")),
        }
    }
}

/// The NVMe serial that a guest sees for a volume: its id without the dash.
pub fn nvme_serial(volume_id: &str) -> String {
    volume_id.replacen('-', "", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Timing;

    #[test]
    fn ids_look_like_aws_ids_and_differ() {
        let mut dice = Dice::new(1, Timing::Median, false);
        let (a, b) = (Kind::Volume.make(&mut dice), Kind::Volume.make(&mut dice));
        assert_ne!(a, b);
        assert_eq!(a.len(), "vol-".len() + 17);
        assert!(Kind::Volume.check(&a).is_ok());
        assert_eq!(nvme_serial("vol-0abc"), "vol0abc");
    }

    #[test]
    fn malformed_is_not_unknown() {
        assert_eq!(Kind::Instance.check("i-xyz").unwrap_err().code, "InvalidInstanceID.Malformed");
        assert_eq!(Kind::Volume.check("i-0123456789abcdef0").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(Kind::Instance.not_found(&["i-1", "i-2"]).code, "InvalidInstanceID.NotFound");
    }
}
