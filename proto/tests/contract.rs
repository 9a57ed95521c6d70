//! Holds the contract to its own rules, on the compiled descriptor set: what `buf lint` would say (buf is not needed),
//! the exact list of services and RPCs, and that every comment begins with the name of its item and states limits and
//! emptiness, because these comments are the documentation.
//!
//! The last test breaks the contract on purpose and sees each rule speak. Not here: the rules (`rules`), and what the
//! services do.

#![expect(clippy::expect_used, reason = "the helpers of a test are tests: a failed one is the report")]

mod rules;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

/// Package, service, RPCs. A `>` before an RPC means that the server streams.
const SERVICES: [(&str, &str, &[&str]); 8] = [
    (
        "tiershift.subscription.v1",
        "GraphService",
        &["RegisterGraph", "RegisterSubgraph", "GetGraph", "ListSubgraphs", "DeregisterGraph"],
    ),
    (
        "tiershift.subscription.v1",
        "SubscriptionService",
        &[
            "CreateSubscription",
            "GetSubscription",
            "ListSubscriptions",
            "CancelSubscription",
            "ResumeSubscription",
            "CorrectSubscription",
            "UseCredits",
            "ListAuditEvents",
        ],
    ),
    (
        "tiershift.subscription.v1",
        "TierService",
        &[
            "ListTiers",
            "PreviewTierChange",
            "ChangeTier",
            "GetTierChange",
            "ListTierChanges",
            "CancelTierChange",
            ">WatchTierChange",
        ],
    ),
    ("tiershift.subscription.v1", "WebhookService", &["ListWebhookEvents", "ReplayWebhookEvents"]),
    (
        "tiershift.subscription.v1",
        "AccessService",
        &["CheckAccess", "BatchCheckAccess", "CheckProvisioning", ">WatchAccess", "RenewAccessLease"],
    ),
    (
        "tiershift.volume.v1",
        "MigrationService",
        &[
            "PlanMigration",
            "StartMigration",
            "GetMigration",
            "ListMigrations",
            ">WatchMigration",
            "ConfirmGate",
            "CancelMigration",
            "ResumeMigration",
        ],
    ),
    (
        "tiershift.volume.v1",
        "VolumeService",
        &[
            "GetVolume",
            "ListVolumes",
            "ClaimVolume",
            "DetachVolume",
            "SnapshotVolume",
            "RestoreVolume",
            "RegisterVolume",
            "ExpandVolume",
            "SyncRegistry",
            "CleanupSnapshots",
            "CleanupOrphans",
        ],
    ),
    (
        "tiershift.volume.v1",
        "FleetService",
        &["RegisterInstance", "Heartbeat", "GetCapacity", "ListInstances", "GetUsage"],
    ),
];

fn contract() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(tiershift_proto::FILE_DESCRIPTOR_SET).expect("a descriptor set");
    set.file.retain(|file| file.package().starts_with("tiershift."));
    set
}

fn services_of_the_design(set: &FileDescriptorSet) -> Vec<String> {
    rules::services_are(&SERVICES, set)
}

/// Fails with every fault, one a line.
#[track_caller]
fn clean(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_item_has_a_comment_that_begins_with_its_name() {
    clean(&rules::comments_begin_with_the_name(&contract()));
}

#[test]
fn every_field_states_its_limits_and_what_empty_means() {
    clean(&rules::comments_state_limits(&contract()));
}

#[test]
fn names_are_spelled_as_the_style_guide_asks() {
    clean(&rules::names_are_canonical(&contract()));
}

#[test]
fn enums_begin_with_unspecified_and_prefix_their_values() {
    clean(&rules::enums_are_safe(&contract()));
}

#[test]
fn numbers_carry_their_unit() {
    clean(&rules::units_are_in_the_names(&contract()));
}

#[test]
fn files_lie_where_their_package_says_and_import_what_they_use() {
    clean(&rules::files_are_in_their_place(&contract()));
}

#[test]
fn each_rpc_has_a_request_and_a_response_of_its_own() {
    clean(&rules::rpcs_have_their_own_messages(&contract()));
}

#[test]
fn the_services_are_exactly_those_of_the_design() {
    clean(&services_of_the_design(&contract()));
}

#[test]
fn lists_are_paged_mutations_idempotent_and_streams_resumable() {
    clean(&rules::requests_have_the_common_fields(&contract()));
}

/// The generated servers answer under the names that the descriptor set tells: reflection and router agree.
#[test]
fn generated_servers_carry_the_names_of_the_contract() {
    use tiershift_proto::subscription::v1 as subscription;
    use tiershift_proto::volume::v1 as volume;
    let generated = [
        subscription::graph_service_server::SERVICE_NAME,
        subscription::subscription_service_server::SERVICE_NAME,
        subscription::tier_service_server::SERVICE_NAME,
        subscription::webhook_service_server::SERVICE_NAME,
        subscription::access_service_server::SERVICE_NAME,
        volume::migration_service_server::SERVICE_NAME,
        volume::volume_service_server::SERVICE_NAME,
        volume::fleet_service_server::SERVICE_NAME,
    ];
    assert_eq!(generated.map(str::to_owned), SERVICES.map(|(package, service, _)| format!("{package}.{service}")));
}

/// Each way of spoiling the contract, the rule that must notice, and words of its fault. This is what makes the tests
/// above worth having: none of them passes because it looks at nothing.
#[test]
fn every_rule_notices_its_fault() {
    type Spoil = fn(&mut FileDescriptorSet);
    type Rule = fn(&FileDescriptorSet) -> Vec<String>;
    let no_words: Spoil = |set| comment_all(set, Some("no words"));
    let cases: [(&str, Spoil, Rule); 21] = [
        ("has no comment", |set| comment_all(set, None), rules::comments_begin_with_the_name),
        ("added: has no comment", add_field, rules::comments_begin_with_the_name),
        ("begin with its name", |set| field(set).name = Some("renamed".into()), rules::comments_begin_with_the_name),
        ("no limit of its count", no_words, rules::comments_state_limits),
        ("no limit of its length", no_words, rules::comments_state_limits),
        ("what empty means", no_words, rules::comments_state_limits),
        ("whether it can be empty", no_words, rules::comments_state_limits),
        ("whether it can be absent", no_words, rules::comments_state_limits),
        ("what UNSPECIFIED means", no_words, rules::comments_state_limits),
        ("states no range", no_words, rules::comments_state_limits),
        ("what absent means", no_words, rules::comments_state_limits),
        ("lower_snake_case", |set| field(set).name = Some("camelCase".into()), rules::names_are_canonical),
        ("UNSPECIFIED", |set| enumeration(set).value[0].name = Some("NONE".into()), rules::enums_are_safe),
        ("prefix", |set| enumeration(set).value[1].name = Some("BARE".into()), rules::enums_are_safe),
        ("floating-point", |set| field(set).set_type(Type::Double), rules::units_are_in_the_names),
        ("not its package", |set| set.file[0].package = Some("elsewhere.v1".into()), rules::files_are_in_their_place),
        ("does not use its import", import_everything, rules::files_are_in_their_place),
        ("is not .tiershift", |set| rpc(set).input_type = Some(".x.Y".into()), rules::rpcs_have_their_own_messages),
        ("not in the design", |set| rpc(set).name = Some("Surprise".into()), services_of_the_design),
        ("is missing", |set| rpc(set).server_streaming = Some(true), services_of_the_design),
        ("request_id", |set| rpc(set).name = Some("DestroyAll".into()), rules::requests_have_the_common_fields),
    ];
    for (words, spoil, rule) in cases {
        let says = |set: &FileDescriptorSet| rule(set).iter().any(|fault| fault.contains(words));
        let mut set = contract();
        assert!(!says(&set), "{words}: already before");
        spoil(&mut set);
        assert!(says(&set), "nobody says: {words}");
    }
}

fn field(set: &mut FileDescriptorSet) -> &mut FieldDescriptorProto {
    let mut messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
    messages.find_map(|message| message.field.first_mut()).expect("a field")
}

fn enumeration(set: &mut FileDescriptorSet) -> &mut EnumDescriptorProto {
    set.file.iter_mut().find_map(|file| file.enum_type.first_mut()).expect("an enum")
}

/// An RPC that only reads and carries no request_id.
fn rpc(set: &mut FileDescriptorSet) -> &mut MethodDescriptorProto {
    let mut rpcs = set.file.iter_mut().flat_map(|file| &mut file.service).flat_map(|service| &mut service.method);
    rpcs.find(|rpc| rpc.name() == "GetMigration").expect("GetMigration")
}

/// Adds a field as somebody would who forgets its comment.
fn add_field(set: &mut FileDescriptorSet) {
    let mut messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
    let message = messages.next().expect("a message");
    message.field.push(FieldDescriptorProto { name: Some("added".into()), ..FieldDescriptorProto::default() });
}

/// Replaces every comment.
fn comment_all(set: &mut FileDescriptorSet, words: Option<&str>) {
    for location in set.file.iter_mut().flat_map(|f| &mut f.source_code_info).flat_map(|i| &mut i.location) {
        location.leading_comments = words.map(str::to_owned);
    }
}

fn import_everything(set: &mut FileDescriptorSet) {
    let names: Vec<_> = set.file.iter().map(|file| file.name().to_owned()).collect();
    set.file[0].dependency = names;
}
