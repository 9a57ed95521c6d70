//! What is made of refusals, lost answers and time: the attempts, the classes, and the last look.

use super::{answering, aws, instance_id, refusal, tags, volume_id};
use crate::adapters::canned::{Canned, Reply};
use crate::ports::cloud::last_look::{LastLook, under};
use crate::ports::cloud::{
    ApiError, AutoScalingApi, Class, Ec2Api, LaunchRequest, SnapshotFilter, SnapshotRequest, Thing, VolumeFilter,
};
use crate::ports::store::{Store, TransactError};
use crate::store::dynamodb::Names;
use std::time::{Duration, SystemTime};
use tiershift_core::ids::{GroupName, SnapshotId, VolumeId, Zone};
use volume_core::item::{Item, Key, Table, Write};

async fn attach(server: &Canned) -> ApiError {
    aws(server).await.ec2().attach_volume(&volume_id(), &instance_id(), "/dev/sdf").await.unwrap_err()
}

#[tokio::test]
async fn a_refusal_has_its_class_and_its_text_only_for_the_log() {
    let server = Canned::start(|_, _| refusal(400, "VolumeInUse")).await;
    let error = attach(&server).await;
    assert_eq!(
        (error.class, error.code.as_str(), error.operation),
        (Class::VolumeInUse, "VolumeInUse", "AttachVolume")
    );
    assert_eq!(error.message, "the secret text");
    assert_eq!(error.request_id.as_deref(), Some("req-0"));
    assert_eq!(error.to_string(), "AttachVolume failed: VolumeInUse (VolumeInUse)");
}

#[tokio::test]
async fn auto_scalings_refusals_are_read_too() {
    let server = Canned::start(|_, _| {
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>IdempotentCallInProgress</Code>\
                    <Message>m</Message></Error><RequestId>req-2</RequestId></ErrorResponse>";
        Reply::Answer(400, body.to_owned())
    })
    .await;
    let request = LaunchRequest {
        group: GroupName::parse("g").unwrap(),
        client_token: "t".to_owned(),
        zone: Zone::parse("us-east-1a").unwrap(),
    };
    let error = aws(&server).await.autoscaling().launch_instances(&request).await.unwrap_err();
    assert_eq!((error.class, error.request_id.as_deref()), (Class::InProgress, Some("req-0")));
    assert_eq!(server.seen().len(), 1);
}

/// One attempt each, whatever goes wrong; and what may have had its effect is unknown.
#[tokio::test]
async fn a_write_is_sent_once_and_a_lost_answer_is_unknown() {
    let cases = [
        (Reply::Drop, Class::Unknown, "Dispatch"),
        (refusal(500, "InternalError"), Class::Unknown, "InternalError"),
        (refusal(503, "ServiceUnavailable"), Class::Unknown, "ServiceUnavailable"),
        (refusal(503, "RequestLimitExceeded"), Class::Throttled, "RequestLimitExceeded"),
        (Reply::Answer(502, "<html>a proxy</html>".to_owned()), Class::Unknown, ""),
        (Reply::ok("no xml"), Class::Unknown, ""),
        (Reply::ok("<AttachVolumeResponse/>"), Class::Unknown, "MalformedAnswer"),
        (refusal(400, "Brand.New"), Class::UnknownCode, "Brand.New"),
        (refusal(400, "InvalidAttachment.NotFound"), Class::NotFound(Thing::Attachment), "InvalidAttachment.NotFound"),
        (refusal(400, "InvalidParameterValue"), Class::DeviceInUse, "InvalidParameterValue"),
    ];
    for (reply, class, code) in cases {
        let answered = reply.clone();
        let server = Canned::start(move |_, _| answered.clone()).await;
        let error = attach(&server).await;
        assert_eq!(error.class, class, "{reply:?}: {error:?}");
        assert!(code.is_empty() || error.code == code, "{reply:?}: {error:?}");
        assert_eq!(server.seen().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn a_transaction_is_sent_once_and_a_lost_answer_is_unknown() {
    for reply in [Reply::Drop, Reply::Answer(500, r#"{"__type":"x#InternalServerError"}"#.to_owned()), Reply::ok("{")] {
        let answered = reply.clone();
        let server = Canned::start(move |_, _| answered.clone()).await;
        let store = aws(&server).await.dynamodb(Names::new("p", "e"));
        let write = Write::create(Key::new(Table::Locks, "k"), Item::default());
        let answer = store.transact("token", vec![write]).await;
        assert!(matches!(answer, Err(TransactError::Unknown(_))), "{reply:?}: {answer:?}");
        assert_eq!(server.seen().len(), 1, "{reply:?}");
        assert!(server.only().body.contains(r#""ClientRequestToken":"token""#));
    }
}

#[tokio::test]
async fn a_read_is_tried_again_a_bounded_number_of_times() {
    let server = Canned::start(|_, number| match number {
        0 => refusal(500, "InternalError"),
        1 => Reply::Drop,
        _ => Reply::ok("<DescribeVolumesResponse><volumeSet/></DescribeVolumesResponse>"),
    })
    .await;
    let filter = VolumeFilter { ids: vec![volume_id()], ..VolumeFilter::default() };
    assert_eq!(aws(&server).await.ec2().describe_volumes(&filter).await, Ok(vec![]));
    assert_eq!(server.seen().len(), 3);
    let server = Canned::start(|_, _| refusal(500, "InternalError")).await;
    let error = aws(&server).await.ec2().describe_volumes(&filter).await.unwrap_err();
    assert_eq!((error.class, server.seen().len()), (Class::Unknown, 3));
}

#[tokio::test]
async fn a_call_that_asks_for_everything_or_too_much_is_not_sent() {
    let server = answering("").await;
    let (ec2, autoscaling) = (aws(&server).await.ec2(), aws(&server).await.autoscaling());
    let many = |n: usize| (0..n).map(|n| VolumeId::parse(format!("vol-{n:08x}")).unwrap()).collect::<Vec<_>>();
    let snapshots = (0..201).map(|n| SnapshotId::parse(format!("snap-{n:08x}")).unwrap()).collect();
    let instances = vec![instance_id(); 101];
    let refusals = [
        (ec2.describe_volumes(&VolumeFilter::default()).await.unwrap_err(), "EmptyFilter"),
        (ec2.describe_snapshots(&SnapshotFilter::default()).await.unwrap_err(), "EmptyFilter"),
        (
            ec2.describe_volumes(&VolumeFilter { ids: many(201), ..VolumeFilter::default() }).await.unwrap_err(),
            "TooManyIds",
        ),
        (ec2.describe_volumes_modifications(&many(201)).await.unwrap_err(), "TooManyIds"),
        (
            ec2.describe_snapshots(&SnapshotFilter { ids: snapshots, ..SnapshotFilter::default() }).await.unwrap_err(),
            "TooManyIds",
        ),
        (ec2.describe_instance_status(&instances).await.unwrap_err(), "TooManyIds"),
        (autoscaling.describe_auto_scaling_instances(&instances).await.unwrap_err(), "TooManyIds"),
    ];
    for (error, code) in refusals {
        assert_eq!((error.class, error.code.as_str()), (Class::Permanent, code));
    }
    assert_eq!(server.seen(), []);
}

/// F7. Signed with the time of the look, so that AWS refuses what a paused driver sends late.
#[tokio::test]
async fn a_write_under_a_look_is_signed_with_its_time_and_not_sent_after_it() {
    let server = answering("<CreateTagsResponse><return>true</return></CreateTagsResponse>").await;
    let ec2 = aws(&server).await.ec2();
    let tag = || async { ec2.create_tags(&["vol-1".to_owned()], &tags(&[("a", "b")])).await };

    let look = LastLook::with_left(60_000);
    // The signature has whole seconds: let one pass between the look and the call.
    let next_second = look.signed_at() + Duration::from_millis(1_100);
    while SystemTime::now() < next_second {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    under(look, tag()).await.unwrap();
    tag().await.unwrap();
    let dates: Vec<String> = server.seen().iter().map(|seen| seen.headers["x-amz-date"].clone()).collect();
    assert_eq!(dates[0], amz_date(look.signed_at()));
    assert!(dates[1] > dates[0], "without a look it is signed with the present time: {dates:?}");

    let error = under(LastLook::with_left(-1), tag()).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::TooLate, "LeaseEnded"));
    let request = SnapshotRequest { volume_id: volume_id(), description: String::new(), tags: tags(&[]) };
    let error = under(LastLook::with_left(-1), ec2.create_snapshot(&request)).await.unwrap_err();
    assert_eq!(error.class, Class::TooLate);
    assert_eq!(server.seen().len(), 2, "nothing was sent");
}

#[tokio::test]
async fn a_read_is_no_effect_and_needs_no_look() {
    let server = answering("<DescribeVolumesResponse><volumeSet/></DescribeVolumesResponse>").await;
    let filter = VolumeFilter { ids: vec![volume_id()], ..VolumeFilter::default() };
    let ec2 = aws(&server).await.ec2();
    assert_eq!(under(LastLook::with_left(-1), ec2.describe_volumes(&filter)).await, Ok(vec![]));
}

/// `20261123T100000Z`, by the SDK's own formatting.
fn amz_date(time: SystemTime) -> String {
    use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
    let seconds = DateTime::from_secs(DateTime::from(time).secs());
    seconds.fmt(DateTimeFormat::DateTime).unwrap().replace(['-', ':'], "")
}
