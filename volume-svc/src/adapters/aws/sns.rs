//! Alerts published to an SNS topic. One call is one attempt; what is queued, repeated and remembered is the desk's
//! (`alerts/desk.rs`). Subscribers filter by the message's attributes `kind` and `environment`.
//!
//! A standard topic: SNS may deliver a message twice, and a repeated call certainly does. Receivers tell by the key
//! `occurrence` of the message.

use super::errors;
use crate::alerts::{Alert, NotPublished, Publisher};
use crate::ports::cloud::Class;
use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::types::MessageAttributeValue;

/// Most characters of a subject: SNS wants fewer than 100.
const SUBJECT_MAX: usize = 99;

/// A topic's name in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    arn: String,
    region: String,
}

/// Why a text names no topic that alerts can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTopic {
    /// It is no ARN of SNS.
    #[error("must be a topic's ARN, arn:aws:sns:<region>:<account>:<name>")]
    NoArn,
    /// A first-in-first-out topic wants group ids, and delivers nothing while one message is refused.
    #[error("must be a standard topic, not a .fifo one")]
    Fifo,
}

impl Topic {
    /// The topic of an ARN, of any partition of AWS.
    pub fn parse(arn: &str) -> Result<Self, BadTopic> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts.as_slice() else { return Err(BadTopic::NoArn) };
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let number = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !partition.starts_with("aws") || !word(region) || !number {
            return Err(BadTopic::NoArn);
        }
        if name.strip_suffix(".fifo").is_some() {
            return Err(BadTopic::Fifo);
        }
        if !word(name) || name.len() > 256 {
            return Err(BadTopic::NoArn);
        }
        Ok(Self { arn: arn.to_owned(), region: (*region).to_owned() })
    }

    /// Its region, which its calls must go to.
    pub fn region(&self) -> &str {
        &self.region
    }
}

/// A topic that alerts are published to.
#[derive(Clone, Debug)]
pub struct Sns {
    client: Client,
    topic: Topic,
    environment: String,
}

impl Sns {
    /// Over a client of the topic's region that tries once (`config` makes it). `environment` goes into every message.
    pub fn new(client: Client, topic: Topic, environment: String) -> Self {
        Self { client, topic, environment }
    }

    /// Whether a call ends by itself, after one try.
    #[cfg(test)]
    pub(super) fn is_bounded(&self) -> bool {
        let config = self.client.config();
        let once = config.retry_config().is_some_and(|retry| retry.max_attempts() == 1);
        once && config.timeout_config().is_some_and(|t| t.operation_timeout().is_some())
    }
}

#[async_trait]
impl Publisher for Sns {
    async fn publish(&self, alert: &Alert) -> Result<(), NotPublished> {
        // Both parts are given, so it can be built; if it could not, the message goes without.
        let text = |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build().ok();
        let attributes = [("kind", text(alert.kind.as_str())), ("environment", text(&self.environment))];
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let call = self
            .client
            .publish()
            .topic_arn(&self.topic.arn)
            .subject(subject(&self.environment, alert))
            .message(alert.message(&self.environment).to_string())
            .set_message_attributes(Some(attributes));
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(&errors::api("Publish", &error))),
        }
    }
}

/// A refusal that another try does not change is not tried again.
fn refused(error: &crate::ports::cloud::ApiError) -> NotPublished {
    let again = matches!(error.class, Class::Throttled | Class::Unknown | Class::UnknownCode);
    NotPublished { code: error.code.clone(), again }
}

/// What SNS takes for a subject: ASCII without control characters, beginning with a printable one, fewer than 100.
fn subject(environment: &str, alert: &Alert) -> String {
    let text = format!("[tiershift {environment}] {}", alert.headline());
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).take(SUBJECT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::cloud::ApiError;
    use tiershift_core::UnixMs;
    use tiershift_core::ids::ChangeId;

    #[test]
    fn a_topic_is_an_arn_of_a_standard_topic() {
        let topic = Topic::parse("arn:aws-cn:sns:cn-north-1:123456789012:alerts_2").unwrap();
        assert_eq!(topic.region(), "cn-north-1");
        for bad in [
            "",
            "alerts",
            "arn:aws:sqs:us-east-1:123456789012:alerts",
            "arn:aws:sns::123456789012:alerts",
            "arn:aws:sns:us-east-1:12:alerts",
            "arn:aws:sns:us-east-1:123456789012:",
            "arn:aws:sns:us-east-1:123456789012:a:b",
            "arn:aws:sns:us-east-1:123456789012:a b",
        ] {
            assert_eq!(Topic::parse(bad), Err(BadTopic::NoArn), "{bad}");
        }
        assert_eq!(Topic::parse("arn:aws:sns:us-east-1:123456789012:alerts.fifo"), Err(BadTopic::Fifo));
    }

    #[test]
    fn a_subject_is_what_sns_takes_whatever_the_detail_says() {
        let id = ChangeId::parse(format!("chg_{:026}", 1)).unwrap();
        let plain = Alert::unreadable(&id, Some(3), "why", UnixMs(1));
        assert_eq!(subject("prod", &plain), format!("[tiershift prod] journal_unreadable: {id}"));
        let wild = Alert::unknown_code("Attach\nVolume", &"Ünknown\u{7f}\r\n".repeat(30), UnixMs(1));
        let text = subject("prod", &wild);
        assert_eq!(text.len(), SUBJECT_MAX);
        assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text:?}");
        assert!(text.starts_with("[tiershift prod] unknown_code: Attach?Volume was refused with the code ?nknown???"));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let error = |class: Class| ApiError {
            operation: "Publish",
            class,
            code: "Code".to_owned(),
            message: "the secret text".to_owned(),
            request_id: None,
        };
        for class in [Class::Throttled, Class::Unknown, Class::UnknownCode] {
            assert!(refused(&error(class)).again, "{class:?}");
        }
        for class in [Class::Denied, Class::Permanent] {
            let refusal = refused(&error(class));
            assert!(!refusal.again, "{class:?}");
            assert_eq!(refusal.to_string(), "not published: Code", "no text of AWS");
        }
    }
}
