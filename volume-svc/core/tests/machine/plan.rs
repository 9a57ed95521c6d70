//! The rules of preflight: each alone, all together, at their limits, and what could not be read.

use crate::world::fixture::{self, LIMIT_BYTES};
use std::collections::BTreeSet;
use tiershift_core::error::NotChecked;
use tiershift_core::ids::{ChangeId, GraphId, GroupName};
use tiershift_core::{Reason, UnixMs};
use volume_core::plan::{
    Ask, AttachmentFacts, Facts, FunctionFacts, GraphFacts, GroupFacts, SourceFacts, VolumeFacts, judge,
};

fn ask() -> Ask {
    Ask {
        graph: fixture::graph(),
        source_tier: Some(fixture::source_tier()),
        target_tier: fixture::target_tier(),
        target_group: fixture::target_group(),
        storage_limit_bytes: Some(LIMIT_BYTES),
        migration: Some(fixture::change()),
    }
}

fn group(name: GroupName) -> GroupFacts {
    GroupFacts {
        name,
        members: 3,
        max: 4,
        health_checks: vec!["EC2".to_owned()],
        suspended: Vec::new(),
        rebalances: false,
        refreshing: false,
        zones: vec![fixture::zone()],
    }
}

/// Facts in which nothing is wrong and a launch would be needed.
fn sound() -> Facts {
    Facts {
        read_at: UnixMs(5),
        graph: Some(GraphFacts { instance: Some(fixture::source()), status: "active".to_owned(), migration: None }),
        volume: Some(VolumeFacts {
            id: fixture::volume(),
            graphs: vec![fixture::graph()],
            tier: fixture::source_tier(),
            instance: Some(fixture::source()),
            holder: None,
            settling: false,
            zone: Some(fixture::zone()),
            attachments: vec![AttachmentFacts {
                instance: fixture::source(),
                device: fixture::DEVICE.to_owned(),
                attached: true,
            }],
            modifying: false,
            pending_snapshots: 3,
        }),
        source: Some(SourceFacts {
            instance: fixture::source(),
            private_ip: "10.0.0.9".to_owned(),
            endpoint_url: None,
            running: true,
            group: Some(group(fixture::source_group())),
            engine: Some(fixture::engine()),
            agent_supported: Some(true),
        }),
        target_group: Some(group(fixture::target_group())),
        idle: 0,
        type_offered: Some(true),
        usage_bytes: Some(LIMIT_BYTES),
        function: None,
        unreadable: Vec::new(),
    }
}

/// A way to break one rule, and the reasons that must be given for it, all of them.
type Broken = (&'static str, fn(&mut Ask, &mut Facts), &'static [(Reason, &'static str)]);

fn volume(facts: &mut Facts) -> &mut VolumeFacts {
    facts.volume.as_mut().expect("it is there")
}
fn source(facts: &mut Facts) -> &mut SourceFacts {
    facts.source.as_mut().expect("it is there")
}
fn target(facts: &mut Facts) -> &mut GroupFacts {
    facts.target_group.as_mut().expect("it is there")
}

const BROKEN: &[Broken] = &[
    (
        "another graph on the volume",
        |_, f| {
            volume(f).graphs.push(GraphId::parse("kgffffffffffffffff").expect("well formed"));
        },
        &[(Reason::VolumeShared, "volume.graphs")],
    ),
    ("the tier that it has", |a, _| a.target_tier = fixture::source_tier(), &[(Reason::SameTier, "target_tier")]),
    (
        "a tier that it has not",
        |a, _| a.source_tier = Some(fixture::target_tier()),
        &[(Reason::TierMismatch, "source_tier")],
    ),
    (
        "another migration's lock",
        |_, f| volume(f).holder = Some("chg_other".to_owned()),
        &[(Reason::ChangeActive, "volume.lock")],
    ),
    (
        "a migration that settles",
        |_, f| {
            volume(f).holder = Some("chg_other".to_owned());
            volume(f).settling = true;
        },
        &[(Reason::Settling, "volume.lock")],
    ),
    (
        "a row that names another migration",
        |_, f| {
            f.graph.as_mut().expect("it is there").migration = Some("chg_other".to_owned());
        },
        &[(Reason::RegistryMismatch, "graph.migration")],
    ),
    ("a modification", |_, f| volume(f).modifying = true, &[(Reason::VolumeModifying, "volume")]),
    (
        "four pending snapshots",
        |_, f| volume(f).pending_snapshots = 4,
        &[(Reason::SnapshotsPending, "volume.snapshots")],
    ),
    ("EC2 does not know the volume", |_, f| volume(f).zone = None, &[(Reason::RegistryMismatch, "volume")]),
    ("attached nowhere", |_, f| volume(f).attachments.clear(), &[(Reason::RegistryMismatch, "volume.instance")]),
    (
        "attached twice",
        |_, f| {
            let twice = volume(f).attachments[0].clone();
            volume(f).attachments.push(twice);
        },
        &[(Reason::RegistryMismatch, "volume.instance")],
    ),
    (
        "an attachment on its way",
        |_, f| volume(f).attachments[0].attached = false,
        &[(Reason::RegistryMismatch, "volume.instance")],
    ),
    (
        "the volume's row names another instance",
        |_, f| volume(f).instance = Some(fixture::idle(1)),
        &[(Reason::RegistryMismatch, "volume.instance")],
    ),
    (
        "the graph's row names another instance",
        |_, f| {
            f.graph.as_mut().expect("it is there").instance = Some(fixture::idle(1));
        },
        &[(Reason::RegistryMismatch, "graph.instance")],
    ),
    (
        "no such graph",
        |_, f| {
            f.graph = None;
            f.volume = None;
            f.source = None;
        },
        &[(Reason::GraphNotFound, "graph_id")],
    ),
    ("no volume for the graph", |_, f| f.volume = None, &[(Reason::VolumeNotFound, "graph.volume")]),
    ("a source that does not run", |_, f| source(f).running = false, &[(Reason::SourceLost, "source")]),
    ("a source in no group", |_, f| source(f).group = None, &[(Reason::GroupNotReady, "source.group")]),
    (
        "an agent without release and adopt",
        |_, f| source(f).agent_supported = Some(false),
        &[(Reason::AgentUnsupported, "source.agent")],
    ),
    (
        "an agent that does not answer",
        |_, f| {
            source(f).agent_supported = None;
            source(f).engine = None;
        },
        &[(Reason::AgentUnreachable, "source.agent")],
    ),
    (
        "an agent that does not say what it runs",
        |_, f| source(f).engine = None,
        &[(Reason::AgentUnreachable, "source.agent")],
    ),
    (
        "a source group with an ELB check",
        |_, f| {
            source(f).group.as_mut().expect("it is there").health_checks.push("ELB".to_owned());
        },
        &[(Reason::HealthCheckType, "source.group")],
    ),
    (
        "a function without the contract",
        |_, f| f.function = Some(FunctionFacts { name: "fn".to_owned(), lacks: vec!["operation_id".to_owned()] }),
        &[(Reason::LambdaUnsupported, "volume_function")],
    ),
    (
        "a target group with an EBS check",
        |_, f| target(f).health_checks = vec!["EBS".to_owned()],
        &[(Reason::HealthCheckType, "target.group")],
    ),
    (
        "suspended launches",
        |_, f| target(f).suspended = vec!["Launch".to_owned()],
        &[(Reason::GroupNotReady, "target.group")],
    ),
    (
        "suspended ends",
        |_, f| {
            source(f).group.as_mut().expect("it is there").suspended = vec!["Terminate".to_owned()];
        },
        &[(Reason::GroupNotReady, "source.group")],
    ),
    ("a group that balances its zones", |_, f| target(f).rebalances = true, &[(Reason::GroupNotReady, "target.group")]),
    ("a refresh", |_, f| target(f).refreshing = true, &[(Reason::GroupNotReady, "target.group")]),
    ("no target group", |_, f| f.target_group = None, &[(Reason::GroupNotReady, "target.group")]),
    ("a full target group", |_, f| target(f).members = 4, &[(Reason::NoCapacity, "target.group")]),
    ("no subnet in the zone", |_, f| target(f).zones.clear(), &[(Reason::NoRoomInZone, "target.group")]),
    (
        "a type that the zone has not",
        |_, f| f.type_offered = Some(false),
        &[(Reason::InstanceTypeNotOffered, "target.group")],
    ),
    (
        "a byte too many",
        |_, f| f.usage_bytes = Some(LIMIT_BYTES + 1),
        &[(Reason::StorageExceedsLimit, "graph.storage_bytes")],
    ),
];

#[test]
fn sound_facts_are_clean() {
    let verdict = judge(&ask(), &sound());
    assert!(verdict.clean(), "{verdict:?}");
    let whole = FunctionFacts { name: "fn".to_owned(), lacks: Vec::new() };
    assert!(judge(&ask(), &Facts { function: Some(whole), ..sound() }).clean());
}

#[test]
fn each_rule_is_broken_alone() {
    for (what, break_it, reasons) in BROKEN {
        let (mut ask, mut facts) = (ask(), sound());
        break_it(&mut ask, &mut facts);
        let verdict = judge(&ask, &facts);
        let given: Vec<(Reason, &str)> = verdict.violations.iter().map(|v| (v.reason, v.field.as_str())).collect();
        assert_eq!(given, *reasons, "{what}");
        assert!(verdict.violations.iter().all(|v| !v.fix.is_empty()), "{what} says what mends it");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let (mut ask, mut facts) = (ask(), sound());
    // Every rule but those that hide others: without a graph, a volume or a running source there is less to check.
    let hiding = [
        "no such graph",
        "no volume for the graph",
        "EC2 does not know the volume",
        "attached nowhere",
        "attached twice",
        "an attachment on its way",
        "a source that does not run",
        "a source in no group",
        "no target group",
        "the tier that it has",
        "no subnet in the zone",
        "a type that the zone has not",
        "a migration that settles",
        "a row that names another migration",
        "an agent that does not answer",
        "an agent that does not say what it runs",
    ];
    let mut expected = BTreeSet::new();
    for (what, break_it, reasons) in BROKEN {
        if !hiding.contains(what) {
            break_it(&mut ask, &mut facts);
            expected.extend(reasons.iter().map(|(reason, field)| (*reason, (*field).to_owned())));
        }
    }
    let verdict = judge(&ask, &facts);
    let given: BTreeSet<(Reason, String)> = verdict.violations.iter().map(|v| (v.reason, v.field.clone())).collect();
    assert_eq!(given, expected);
    assert!(given.len() >= 12, "{given:?}");
}

#[test]
fn limits_are_inclusive() {
    let mut facts = sound();
    facts.usage_bytes = Some(LIMIT_BYTES);
    volume(&mut facts).pending_snapshots = 3;
    target(&mut facts).members = 3;
    assert!(judge(&ask(), &facts).clean());
    facts.usage_bytes = Some(LIMIT_BYTES + 1);
    let verdict = judge(&ask(), &facts);
    assert_eq!(verdict.violations[0].limit, Some(LIMIT_BYTES));
    assert_eq!(verdict.violations[0].actual, Some(LIMIT_BYTES + 1));
    assert!(verdict.violations[0].fix.contains("1 MiB"), "{}", verdict.violations[0].fix);
}

#[test]
fn an_idle_instance_makes_room_in_a_full_group() {
    let mut facts = sound();
    target(&mut facts).members = 4;
    facts.type_offered = Some(false);
    facts.idle = 1;
    assert!(judge(&ask(), &facts).clean());
}

#[test]
fn unknown_usage_is_not_checked_and_never_fine() {
    let mut facts = sound();
    facts.usage_bytes = None;
    let verdict = judge(&ask(), &facts);
    assert!(verdict.violations.is_empty());
    let because = NotChecked { check: Reason::StorageExceedsLimit, because: Reason::UsageUnknown };
    assert_eq!(verdict.not_checked, [because]);
    assert!(!verdict.clean());
    // Without a limit the caller checks it.
    let mut ask = ask();
    ask.storage_limit_bytes = None;
    assert!(judge(&ask, &facts).clean());
}

#[test]
fn our_own_lock_and_row_do_not_count() {
    let mut facts = sound();
    volume(&mut facts).holder = Some(fixture::change().to_string());
    facts.graph.as_mut().expect("it is there").migration = Some(fixture::change().to_string());
    assert!(judge(&ask(), &facts).clean());
    let mut other = ask();
    other.migration = Some(ChangeId::parse("chg_01ARZ3NDEKTSV4RRFFQ69G5FAW").expect("well formed"));
    assert_eq!(judge(&other, &facts).violations[0].reason, Reason::ChangeActive);
    other.migration = None;
    assert_eq!(judge(&other, &facts).violations[0].reason, Reason::ChangeActive);
}

/// What a failed read leaves out.
type Forget = fn(&mut Facts);

#[test]
fn what_could_not_be_read_is_no_violation_and_not_clean() {
    // Each read that may fail, with what is then missing.
    let unreadable: [(Reason, Forget); 5] = [
        (Reason::GraphNotFound, |f| {
            f.graph = None;
            f.volume = None;
            f.source = None;
        }),
        (Reason::VolumeNotFound, |f| {
            f.volume = None;
            f.source = None;
        }),
        (Reason::AgentUnreachable, |f| f.source = None),
        (Reason::GroupNotReady, |f| f.target_group = None),
        (Reason::NoCapacity, |f| f.idle = 0),
    ];
    for (check, forget) in unreadable {
        let mut facts = sound();
        forget(&mut facts);
        facts.unreadable.push(check);
        let verdict = judge(&ask(), &facts);
        assert_eq!(verdict.violations, [], "{check}");
        let skipped = NotChecked { check, because: Reason::Unavailable };
        assert!(verdict.not_checked.contains(&skipped), "{check}: {:?}", verdict.not_checked);
        assert!(!verdict.clean());
    }
}
