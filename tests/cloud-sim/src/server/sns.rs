//! SNS's query protocol: `Publish`, its answer and its refusals. Names are those of the API of 2010-03-31.

use std::collections::BTreeMap;

use super::query::Query;
use super::xml::Xml;
use crate::api::sns::Publish;
use crate::api::{Answer, ApiError, Call};

/// The version that the SDK speaks.
const VERSION: &str = "2010-03-31";

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// The call that a request asks for.
pub(super) fn call(mut query: Query) -> Result<Call, ApiError> {
    let action = query.required("Action");
    let version = query.required("Version");
    if action != "Publish" || version != VERSION {
        let message = format!("Could not find operation {action} for version {version}");
        return Err(ApiError::bad("InvalidAction", message));
    }
    let q = &mut query;
    let call = Call::Publish(Publish {
        topic_arn: q.required("TopicArn"),
        subject: q.optional("Subject"),
        message: q.required("Message"),
        attributes: attributes(q),
    });
    query.finish(call)
}

/// `MessageAttributes.entry.1.Name`, `.Value.DataType`, `.Value.StringValue`.
fn attributes(q: &mut Query) -> BTreeMap<String, String> {
    let entries = q.records("MessageAttributes").into_iter();
    let mut found = BTreeMap::new();
    for entry in entries {
        let name = q.required(&format!("{entry}.Name"));
        let kind = q.required(&format!("{entry}.Value.DataType"));
        if kind != "String" {
            q.invalid(&format!("{entry}.Value.DataType"), &kind);
        }
        found.insert(name, q.required(&format!("{entry}.Value.StringValue")));
    }
    found
}

/// The answer of an action. None if it is not SNS's.
pub(super) fn answer(answer: &Answer, request_id: &str) -> Option<String> {
    let Answer::Publish(made) = answer else { return None };
    Some(Xml::document("PublishResponse", NAMESPACE, |xml| {
        xml.element("PublishResult", |xml| xml.value("MessageId", &made.message_id));
        xml.element("ResponseMetadata", |xml| xml.value("RequestId", request_id));
    }))
}

/// A refusal.
pub(super) fn error(error: &ApiError, request_id: &str) -> String {
    Xml::document("ErrorResponse", NAMESPACE, |xml| {
        xml.element("Error", |xml| {
            xml.value("Type", if error.http_status < 500 { "Sender" } else { "Receiver" });
            xml.value("Code", &error.code);
            xml.value("Message", &error.message);
        });
        xml.value("RequestId", request_id);
    })
}

#[cfg(test)]
mod tests {
    use super::super::query::Dialect;
    use super::*;
    use crate::api::sns::Published;

    fn parse(body: &str) -> Result<Call, ApiError> {
        call(Query::parse(format!("Version={VERSION}&{body}").as_bytes(), Dialect::Sns))
    }

    #[test]
    fn a_message_has_attributes() {
        let body = "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Ar%3A1%3At&Subject=s&Message=%7B%7D\
                    &MessageAttributes.entry.1.Name=kind&MessageAttributes.entry.1.Value.DataType=String\
                    &MessageAttributes.entry.1.Value.StringValue=stuck";
        let expected = Publish {
            topic_arn: "arn:aws:sns:r:1:t".into(),
            subject: Some("s".into()),
            message: "{}".into(),
            attributes: [("kind".to_owned(), "stuck".to_owned())].into(),
        };
        assert_eq!(parse(body), Ok(Call::Publish(expected)));
        let number = body.replace("DataType=String", "DataType=Number");
        assert_eq!(parse(&number).unwrap_err().code, "InvalidParameter");
        assert_eq!(parse("Action=Publish&TopicArn=t").unwrap_err().code, "InvalidParameter");
        assert_eq!(parse("Action=Subscribe").unwrap_err().code, "InvalidAction");
        assert_eq!(parse(&format!("{body}&PhoneNumber=1")).unwrap_err().code, "InvalidParameter");
    }

    #[test]
    fn answers_and_refusals_are_spelled_as_sns_does() {
        let text = answer(&Answer::Publish(Published { message_id: "m-1".into() }), "r-1").unwrap();
        assert!(text.contains("<PublishResult><MessageId>m-1</MessageId></PublishResult>"), "{text}");
        let text = error(&ApiError::new("NotFound", "no", 404), "r-1");
        assert!(
            text.contains("<Error><Type>Sender</Type><Code>NotFound</Code><Message>no</Message></Error>"),
            "{text}"
        );
    }
}
