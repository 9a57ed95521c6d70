//! volume-svc's SDK adapters against moto, an emulator of AWS that this project did not write: what they send is taken,
//! and what they read has the form of AWS's own answers. One request at a time.
//!
//! It is a check of the wire format and of nothing else. moto takes what AWS refuses, so none of this is asserted or
//! relied on here:
//! * an attach across zones, to two instances, to a dead one; a detach by the wrong instance or device;
//! * states that take time: everything is attached, detached, completed and in service at once, and never `busy`;
//! * tokens: CreateVolume's and TransactWriteItems' are ignored, and a repeated transaction is carried out again;
//! * LaunchInstances and StartInstanceRefresh do not exist; scaling activities are an empty list;
//! * groups: all members in one zone, more of them than the largest size, hooks and suspended processes without effect;
//! * throttling, lost answers, `FunctionError`: none can be produced; under load transactions lose plain writes.
//!
//! `./x test` installs moto beside the other foreign clients (tests/foreign/python); its absence is a failure. The server
//! is started by the test that needs it and ended with it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test's helpers: a failed one is the report"
)]

use aws_credential_types::Credentials;
use aws_smithy_http_client::Builder;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tiershift_core::ids::{GroupName, InstanceId, VolumeId, Zone};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use volume_core::item::{Cond, Index, Item, Key, Table, Write};
use volume_svc::adapters::aws::{Attempts, Aws, Identity, Settings};
use volume_svc::ports::cloud::{
    AttachmentState, AutoScalingApi as _, Class, CreateVolume, Ec2Api as _, InstanceState, Lifecycle, SnapshotFilter,
    SnapshotRequest, SnapshotState, Tags, Thing, Volume, VolumeFilter,
};
use volume_svc::ports::store::{Store as _, TransactError};
use volume_svc::store::dynamodb::{Names, tables};

/// How long moto may take until it serves: it imports most of itself first.
const START: Duration = Duration::from_mins(1);

const ZONE: &str = "us-east-1a";

/// An image that moto has from the start.
const IMAGE: &str = "ami-12c6146b";

/// A moto server. It ends when this is dropped.
struct Moto {
    _child: Child,
    url: String,
}

impl Moto {
    async fn start() -> Self {
        let program: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/python/.venv/bin/moto_server");
        assert!(program.is_file(), "{} is not installed; run ./x test", program.display());
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its words")).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.expect("readable words") {
                if let Some((_, url)) = line.split_once("Running on ") {
                    return url.trim().to_owned();
                }
            }
            panic!("moto ended before it served");
        };
        let url = tokio::time::timeout(START, address).await.expect("moto serves in time");
        // Read on, so that a full pipe never stops it; it logs a line for each request.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { _child: child, url }
    }

    async fn aws(&self) -> Aws {
        let settings = Settings {
            region: "us-east-1".to_owned(),
            endpoint_url: Some(self.url.clone()),
            dynamodb_endpoint_url: Some(self.url.clone()),
            identity: Identity::Dev,
        };
        Aws::load(&settings).await.unwrap()
    }

    /// A client for what the service never asks for: making instances.
    fn ec2(&self) -> aws_sdk_ec2::Client {
        use aws_sdk_ec2::config::{BehaviorVersion, Region};
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(Builder::new().build_http())
            .endpoint_url(&self.url);
        aws_sdk_ec2::Client::from_conf(config.build())
    }

    /// The same: making groups.
    fn autoscaling(&self) -> aws_sdk_autoscaling::Client {
        use aws_sdk_autoscaling::config::{BehaviorVersion, Region};
        let config = aws_sdk_autoscaling::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(Builder::new().build_http())
            .endpoint_url(&self.url);
        aws_sdk_autoscaling::Client::from_conf(config.build())
    }
}

fn tags(key: &str, value: &str) -> Tags {
    [(key.to_owned(), value.to_owned())].into()
}

#[tokio::test]
async fn ec2s_calls_and_answers_have_the_form_that_the_adapter_gives_and_expects() {
    let moto = Moto::start().await;
    let ec2 = moto.aws().await.ec2();
    let placement = aws_sdk_ec2::types::Placement::builder().availability_zone(ZONE).build();
    let run = moto.ec2().run_instances().image_id(IMAGE).min_count(1).max_count(1).placement(placement);
    let made = run.send().await.unwrap();
    let instance = InstanceId::parse(made.instances()[0].instance_id().unwrap()).unwrap();
    let seen = ec2.describe_instances(std::slice::from_ref(&instance)).await.unwrap().remove(0);
    assert_eq!((&seen.instance_id, seen.state, seen.zone.as_str()), (&instance, InstanceState::Running, ZONE));
    assert!(seen.private_ip.is_some() && seen.root_device.is_some() && seen.subnet_id.is_some());
    let subnet = seen.subnet_id.unwrap();
    assert_eq!(ec2.describe_subnets(&[subnet]).await.unwrap()[0].zone.as_str(), ZONE);
    assert_eq!(ec2.describe_instance_status(std::slice::from_ref(&instance)).await.unwrap().len(), 1);
    assert!(!ec2.describe_instance_type_offerings("m7g.large").await.unwrap().is_empty());

    let request = CreateVolume {
        client_token: "t-1".to_owned(),
        zone: Zone::parse(ZONE).unwrap(),
        size_gib: 10,
        volume_type: "gp3".to_owned(),
        iops: Some(3_000),
        throughput_mib: Some(125),
        encrypted: false,
        kms_key_id: None,
        snapshot_id: None,
        tags: tags("Name", "a <b> & c"),
    };
    let id = ec2.create_volume(&request).await.unwrap().volume_id;
    let read = async || -> Volume {
        let filter = VolumeFilter { ids: vec![id.clone()], ..VolumeFilter::default() };
        ec2.describe_volumes(&filter).await.unwrap().remove(0)
    };
    let made = read().await;
    assert_eq!((made.size_gib, made.zone.as_str(), made.attachments.len()), (10, ZONE, 0));
    assert_eq!(made.tags.get("Name").map(String::as_str), Some("a <b> & c"));
    let answer = ec2.attach_volume(&id, &instance, "/dev/sdf").await.unwrap();
    assert_eq!((answer.instance_id.as_ref(), answer.device.as_str()), (Some(&instance), "/dev/sdf"));
    let attached = read().await.attachments.remove(0);
    assert_eq!(attached.state, AttachmentState::Attached);
    assert_eq!((attached.instance_id.as_ref(), attached.device.as_str()), (Some(&instance), "/dev/sdf"));
    let on_instance = VolumeFilter { instance_ids: vec![instance.clone()], ..VolumeFilter::default() };
    assert!(ec2.describe_volumes(&on_instance).await.unwrap().iter().any(|v| v.volume_id == id));
    ec2.create_tags(&[id.to_string()], &tags("Tier", "ladybug-large")).await.unwrap();
    assert_eq!(read().await.tags.get("Tier").map(String::as_str), Some("ladybug-large"));

    let request = SnapshotRequest {
        volume_id: id.clone(),
        description: "a description".to_owned(),
        tags: tags("volsvc:migration", "chg_1"),
    };
    let snapshot = ec2.create_snapshot(&request).await.unwrap().snapshot_id;
    let own = SnapshotFilter {
        volume_ids: vec![id.clone()],
        tags: tags("volsvc:migration", "chg_1"),
        ..SnapshotFilter::default()
    };
    let found = ec2.describe_snapshots(&own).await.unwrap();
    assert_eq!(found.iter().map(|s| &s.snapshot_id).collect::<Vec<_>>(), [&snapshot]);
    assert_eq!(found[0].state, SnapshotState::Completed);
    assert!(found[0].started_at.is_some());
    ec2.delete_snapshot(&snapshot).await.unwrap();
    assert_eq!(ec2.describe_snapshots(&own).await.unwrap(), []);

    let answer = ec2.detach_volume(&id, &instance, "/dev/sdf").await.unwrap();
    assert_eq!(answer.instance_id.as_ref(), Some(&instance));
    assert_eq!(read().await.attachments, []);
    // A refusal's code is found where EC2 puts it.
    let nobody = VolumeId::parse("vol-00000000000000001").unwrap();
    let error = ec2.attach_volume(&nobody, &instance, "/dev/sdg").await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::NotFound(Thing::Volume), "InvalidVolume.NotFound"));
}

#[tokio::test]
async fn auto_scalings_calls_and_answers_have_the_form_that_the_adapter_gives_and_expects() {
    let moto = Moto::start().await;
    let (made, adapter) = (moto.autoscaling(), moto.aws().await.autoscaling());
    made.create_launch_configuration()
        .launch_configuration_name("lc")
        .image_id(IMAGE)
        .instance_type("t3.medium")
        .send()
        .await
        .unwrap();
    made.create_auto_scaling_group()
        .auto_scaling_group_name("group-a")
        .launch_configuration_name("lc")
        .availability_zones(ZONE)
        .min_size(0)
        .max_size(3)
        .desired_capacity(2)
        .send()
        .await
        .unwrap();
    let name = GroupName::parse("group-a").unwrap();
    let group = async || adapter.describe_auto_scaling_groups(std::slice::from_ref(&name)).await.unwrap().remove(0);
    let before = group().await;
    assert_eq!((before.min, before.max, before.desired, before.members.len()), (0, 3, 2, 2));
    assert_eq!(before.zones.iter().map(Zone::as_str).collect::<Vec<_>>(), [ZONE]);
    let ids: Vec<InstanceId> = before.members.iter().map(|m| m.instance_id.clone()).collect();
    let members = adapter.describe_auto_scaling_instances(&ids).await.unwrap();
    assert!(
        members.iter().all(|m| m.group == name && m.lifecycle == Lifecycle::InService && m.healthy && !m.protected)
    );
    adapter.set_instance_protection(&name, &ids[..1], true).await.unwrap();
    let protected: Vec<bool> = group().await.members.iter().map(|m| m.protected && m.instance_id == ids[0]).collect();
    assert_eq!(protected.iter().filter(|p| **p).count(), 1);
    adapter.terminate_instance_in_auto_scaling_group(&ids[1], true).await.unwrap();
    let after = group().await;
    assert_eq!(after.desired, 1);
    assert!(after.members.iter().all(|m| m.instance_id != ids[1]));
}

#[tokio::test]
async fn the_stores_requests_have_the_form_that_dynamodb_takes() {
    let moto = Moto::start().await;
    let aws = moto.aws().await;
    let names = Names::new("tiershift", "test");
    tables::create(&aws.dynamodb_client(Attempts::Several), &names).await.unwrap();
    let store = aws.dynamodb(names);
    let entry = |n: i64| Key::journal("MIG#1", format!("EV#{n:010}"));
    let item =
        |n: i64| Item::default().with("n", n).with("word", "a").with("list", vec!["x".to_owned(), "y".to_owned()]);
    let writes = (1..=3).map(|n| Write::create(entry(n), item(n))).collect();
    store.transact("token-1", writes).await.unwrap();
    let read = store.get(&entry(2)).await.unwrap().unwrap();
    assert_eq!(
        (read.n("n"), read.s("word"), read.l("list")),
        (Some(2), Some("a"), &["x".to_owned(), "y".to_owned()][..])
    );
    assert_eq!(store.get(&entry(9)).await.unwrap(), None);
    let many = store.get_many(&[entry(3), entry(9), entry(1)]).await.unwrap();
    assert_eq!(many.iter().map(|i| i.as_ref().and_then(|i| i.n("n"))).collect::<Vec<_>>(), [Some(3), None, Some(1)]);
    let from = store.query(Table::Journal, "MIG#1", Some("EV#0000000002"), 10).await.unwrap();
    assert_eq!(from.iter().map(|i| i.n("n")).collect::<Vec<_>>(), [Some(2), Some(3)]);

    // Every kind of write and condition in one transaction.
    let update = Write::update(
        entry(1),
        Item::default().with("n", 5),
        &["word"],
        vec![Cond::eq("n", 1), Cond::absent("other"), Cond::absent_or_eq("word", "a")],
    );
    let upsert =
        Write::upsert(Key::new(Table::Locks, "L"), Item::default().with("n", 1), &["gone"], vec![Cond::absent("n")]);
    let check = Write::check(entry(2), vec![Cond::eq("word", "a")]);
    store.transact("token-2", vec![update, upsert, check]).await.unwrap();
    let read = store.get(&entry(1)).await.unwrap().unwrap();
    assert_eq!((read.n("n"), read.s("word")), (Some(5), None));

    // A refusal names the write and gives its item.
    let bad = Write::update(entry(2), Item::default().with("n", 7), &[], vec![Cond::eq("n", 6)]);
    let good = Write::create(entry(4), Item::default());
    let Err(TransactError::Refused(refusals)) = store.transact("token-3", vec![good, bad]).await else {
        panic!("not refused");
    };
    let refused: Vec<_> = refusals.iter().map(|r| (r.write, r.item.as_ref().and_then(|i| i.n("n")))).collect();
    assert_eq!(refused, [(1, Some(2))]);
    assert_eq!(store.get(&entry(4)).await.unwrap(), None, "all or nothing");

    let row = Write::create(Key::new(Table::Graph, "kg1"), Item::default().with("instance_id", "i-1"));
    store.transact("token-4", vec![row]).await.unwrap();
    let page = store.query_index(Index::GraphByInstance, "i-1", None, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|i| i.s("graph_id")).collect::<Vec<_>>(), [Some("kg1")]);
}
