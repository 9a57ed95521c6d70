//! SNS: publishing to a topic, and the simulator's own list of what was published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Publishes a message. Not idempotent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Publish {
    /// The topic, by its ARN.
    pub topic_arn: String,
    /// Line for mail: ASCII, at most 100 characters.
    pub subject: Option<String>,
    /// The message, at most 262,144 bytes with its attributes.
    pub message: String,
    /// Attributes that subscribers filter by; only strings exist here.
    pub attributes: BTreeMap<String, String>,
}

/// Answer of `Publish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Id of the message.
    pub message_id: String,
}

/// Reads what was published, from a sequence number on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadPublished {
    /// Messages with a higher sequence number only; 0 = from the oldest kept.
    pub after_seq: u64,
    /// At most this many; 0 = no bound.
    pub limit: usize,
}

/// Messages, oldest first. The newest 1,000 are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// The messages.
    pub messages: Vec<Message>,
}

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// 1, 2, 3, over all topics.
    pub seq: u64,
    /// When.
    pub at_ms: u64,
    /// Its id.
    pub message_id: String,
    /// The topic.
    pub topic_arn: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its text.
    pub message: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}
