//! The query protocol's way in: a form body as named parameters, taken one by one.
//!
//! Lists are numbered (`VolumeId.1`, or `InstanceIds.member.1` in Auto Scaling), records too (`Filter.1.Name`). What is
//! left when a call has taken all that it knows is refused: a request must not mean more than what is done. The first
//! fault decides the answer, as with AWS.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::api::ApiError;

/// Whose words faults are put in, and how lists are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// EC2: `Name.1`; `MissingParameter`, `InvalidParameterValue`, `UnknownParameter`.
    Ec2,
    /// Auto Scaling: `Name.member.1`; `ValidationError` for everything.
    AutoScaling,
    /// SNS: `Name.entry.1`; `InvalidParameter` for everything.
    Sns,
}

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query {
    dialect: Dialect,
    values: BTreeMap<String, String>,
    fault: Option<ApiError>,
}

impl Query {
    /// The parameters of a form body. Of a name that is there twice the last one counts.
    pub(super) fn parse(body: &[u8], dialect: Dialect) -> Self {
        Self { dialect, values: form_urlencoded::parse(body).into_owned().collect(), fault: None }
    }

    /// A parameter, if it is there and not empty.
    pub(super) fn optional(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }

    /// A parameter without which the request means nothing.
    pub(super) fn required(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.fail(match self.dialect {
                Dialect::Ec2 => {
                    ApiError::bad("MissingParameter", format!("The request must contain the parameter {name}"))
                }
                Dialect::AutoScaling => ApiError::bad("ValidationError", format!("{name} must not be null")),
                Dialect::Sns => ApiError::bad("InvalidParameter", format!("Invalid parameter: {name}")),
            });
            String::new()
        })
    }

    /// A number or a boolean, if it is there.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.optional(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.invalid(name, &text);
        }
        value
    }

    /// A number or a boolean that must be there.
    pub(super) fn required_parsed<T: FromStr + Default>(&mut self, name: &str) -> T {
        let text = self.required(name);
        if text.is_empty() {
            return T::default();
        }
        text.parse().unwrap_or_else(|_| {
            self.invalid(name, &text);
            T::default()
        })
    }

    /// A numbered list, in the order of its numbers.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let taken: Vec<String> = self.records(name).iter().filter_map(|element| self.values.remove(element)).collect();
        // An empty list is written as the bare name.
        if self.values.get(name).is_some_and(String::is_empty) {
            self.values.remove(name);
        }
        taken
    }

    /// The names of a numbered list's elements (`Filter.1`, `Filter.2`), in the order of their numbers.
    pub(super) fn records(&self, name: &str) -> Vec<String> {
        let stem = match self.dialect {
            Dialect::Ec2 => format!("{name}."),
            Dialect::AutoScaling => format!("{name}.member."),
            Dialect::Sns => format!("{name}.entry."),
        };
        let tails = self.values.keys().filter_map(|key| key.strip_prefix(&stem));
        let numbers: BTreeSet<u32> = tails.filter_map(|tail| tail.split('.').next()?.parse().ok()).collect();
        numbers.into_iter().map(|number| format!("{stem}{number}")).collect()
    }

    /// Notes a value that cannot be.
    pub(super) fn invalid(&mut self, name: &str, value: &str) {
        self.fail(match self.dialect {
            Dialect::Ec2 => {
                ApiError::bad("InvalidParameterValue", format!("Value ({value}) for parameter {name} is invalid."))
            }
            Dialect::AutoScaling => ApiError::bad("ValidationError", format!("{name} must not be '{value}'")),
            Dialect::Sns => ApiError::bad("InvalidParameter", format!("Invalid parameter: {name} ({value})")),
        });
    }

    /// Notes a fault; the first one counts.
    pub(super) fn fail(&mut self, fault: ApiError) {
        self.fault.get_or_insert(fault);
    }

    /// The request, unless something was wrong with it or is left of it.
    pub(super) fn finish<T>(mut self, request: T) -> Result<T, ApiError> {
        if let Some(name) = self.values.keys().next().cloned() {
            self.fail(match self.dialect {
                Dialect::Ec2 => ApiError::bad("UnknownParameter", format!("The parameter {name} is not recognized")),
                Dialect::AutoScaling => {
                    ApiError::bad("ValidationError", format!("The parameter {name} is not supported"))
                }
                Dialect::Sns => ApiError::bad("InvalidParameter", format!("Invalid parameter: {name}")),
            });
        }
        self.fault.map_or(Ok(request), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ec2(body: &str) -> Query {
        Query::parse(body.as_bytes(), Dialect::Ec2)
    }

    #[test]
    fn lists_come_in_the_order_of_their_numbers() {
        let mut query = ec2("VolumeId.10=c&VolumeId.2=b&VolumeId.1=a&VolumeIds.1=other");
        assert_eq!(query.list("VolumeId"), ["a", "b", "c"]);
        assert_eq!(query.list("VolumeIds"), ["other"]);
        assert!(query.finish(()).is_ok());
        let mut query = Query::parse(b"InstanceIds.member.2=b&InstanceIds.member.1=a&Empty=", Dialect::AutoScaling);
        assert_eq!(query.list("InstanceIds"), ["a", "b"]);
        assert!(query.list("Empty").is_empty());
        assert!(query.finish(()).is_ok());
    }

    #[test]
    fn values_are_decoded() {
        let mut query = ec2("Name=a%2Fb+c%26d&Size=20&Force=true&Empty=");
        assert_eq!(query.required("Name"), "a/b c&d");
        assert_eq!(query.parsed("Size"), Some(20_u32));
        assert!(query.required_parsed::<bool>("Force"));
        assert_eq!(query.optional("Empty"), None);
        assert!(query.finish(()).is_ok());
    }

    #[test]
    fn the_first_fault_is_told_in_the_words_of_the_service() {
        let mut query = ec2("Size=many");
        query.required("VolumeId");
        query.parsed::<u32>("Size");
        assert_eq!(query.finish(()).unwrap_err().code, "MissingParameter");
        let mut query = ec2("Size=-1");
        assert_eq!(query.required_parsed::<u32>("Size"), 0);
        assert_eq!(query.finish(()).unwrap_err().code, "InvalidParameterValue");
        let mut query = Query::parse(b"", Dialect::AutoScaling);
        query.required("AutoScalingGroupName");
        assert_eq!(query.finish(()).unwrap_err().code, "ValidationError");
    }

    #[test]
    fn what_nobody_takes_is_refused() {
        let mut query = ec2("VolumeId=a&Force=true");
        query.required("VolumeId");
        let fault = query.finish(()).unwrap_err();
        assert_eq!(fault.code, "UnknownParameter");
        assert!(fault.message.contains("Force"), "{fault}");
    }
}
