//! SNS: topics that messages are published to. Nobody subscribes; what was published can be read.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::api::ApiError;
use crate::api::sns::{Message, Messages, Publish, Published, ReadPublished};
use crate::sim::Sim;

/// Messages that are kept.
const KEPT: usize = 1_000;

/// The most bytes of a message with its attributes.
const BYTES_MAX: usize = 262_144;

/// The most characters of a subject.
const SUBJECT_MAX: usize = 100;

/// The topics and their messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Topics {
    arns: BTreeSet<String>,
    last_seq: u64,
    messages: VecDeque<Message>,
}

impl Sim {
    /// A topic of the account; its ARN.
    pub fn add_topic(&mut self, name: &str) -> String {
        let arn = format!("arn:aws:sns:{}:{}:{name}", self.config.region, self.config.account_id);
        self.topics.arns.insert(arn.clone());
        arn
    }

    pub(crate) fn publish(&mut self, at_ms: u64, request: &Publish) -> Result<Published, ApiError> {
        if !request.topic_arn.starts_with("arn:aws:sns:") {
            return Err(ApiError::bad("InvalidParameter", "Invalid parameter: TopicArn"));
        }
        if !self.topics.arns.contains(&request.topic_arn) {
            return Err(ApiError::new("NotFound", "Topic does not exist", 404));
        }
        if request.subject.as_deref().is_some_and(|subject| !is_subject(subject)) {
            return Err(ApiError::bad("InvalidParameter", "Invalid parameter: Subject"));
        }
        if request.message.is_empty() {
            return Err(ApiError::bad("InvalidParameter", "Invalid parameter: Empty message"));
        }
        let attributes: usize = request.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        if request.message.len() + attributes > BYTES_MAX {
            return Err(ApiError::bad("InvalidParameter", "Invalid parameter: Message too long"));
        }
        if request.attributes.values().any(String::is_empty) {
            return Err(ApiError::bad("ParameterValueInvalid", "The message attribute must contain a value"));
        }
        let topics = &mut self.topics;
        topics.last_seq += 1;
        let message_id = format!("00000000-0000-4000-8000-{:012x}", topics.last_seq);
        if topics.messages.len() == KEPT {
            topics.messages.pop_front();
        }
        topics.messages.push_back(Message {
            seq: topics.last_seq,
            at_ms,
            message_id: message_id.clone(),
            topic_arn: request.topic_arn.clone(),
            subject: request.subject.clone(),
            message: request.message.clone(),
            attributes: request.attributes.clone(),
        });
        Ok(Published { message_id })
    }

    pub(crate) fn read_published(&self, request: ReadPublished) -> Messages {
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        let newer = self.topics.messages.iter().filter(|message| message.seq > request.after_seq);
        Messages { messages: newer.take(limit).cloned().collect() }
    }
}

/// ASCII without control characters, beginning with a letter, a number or a punctuation mark, at most 100 long.
fn is_subject(text: &str) -> bool {
    text.len() <= SUBJECT_MAX
        && text.starts_with(|c: char| c.is_ascii_graphic())
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}
