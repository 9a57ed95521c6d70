//! The rules of the contract, each a function from a descriptor set to its faults as text, so that one failure shows
//! all of them. What `buf lint` would say is among them; buf itself is not needed.
//!
//! Not here: the services that there must be, and the tests (`contract.rs`).

mod walk;

use std::collections::{BTreeMap, BTreeSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use walk::{Item, broken, each};

/// Mutations that are idempotent by an id of their own and so carry no request_id: the change's id, the gate's, the
/// instance's for a heartbeat, which only repeats itself, and the events' for a replay, which finds them dead once.
const IDEMPOTENT_BY_THEMSELVES: [&str; 5] =
    ["StartMigration", "ConfirmGate", "CancelMigration", "Heartbeat", "ReplayWebhookEvents"];

/// Beginnings of RPCs that change nothing. RenewAccessLease grants time from memory and stores nothing.
const READS: [&str; 8] = ["Get", "List", "Check", "BatchCheck", "Watch", "Preview", "Plan", "RenewAccessLease"];

/// A list that is answered whole: the catalogue has at most 100 tiers.
const WHOLE_LISTS: [&str; 1] = ["ListTiers"];

/// A comment at every item, beginning with its name.
pub fn comments_begin_with_the_name(set: &FileDescriptorSet) -> Vec<String> {
    each(set, |it| {
        let begins = it.comment.strip_prefix(it.name).is_some_and(|rest| rest.starts_with(' '));
        broken(&[(!it.comment.is_empty(), "has no comment"), (begins, "its comment does not begin with its name")])
    })
}

/// Every field says how long or large it may be, and what empty, absent, 0 or UNSPECIFIED means.
pub fn comments_state_limits(set: &FileDescriptorSet) -> Vec<String> {
    each(set, |it| {
        let Item::Field(field) = it.item else { return Vec::new() };
        let text = it.comment.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let number = text.chars().any(|c| c.is_ascii_digit());
        let checks = if field.label() == Label::Repeated {
            vec![
                (number, "states no limit of its count"),
                (says(&["empty", "required"]), "does not say what empty means"),
            ]
        } else {
            match field.r#type() {
                Type::String | Type::Bytes => vec![
                    (number, "states no limit of its length"),
                    (says(&["empty", "required"]), "does not say whether it can be empty"),
                ],
                Type::Message => {
                    vec![(says(&["absent", "present", "required"]), "does not say whether it can be absent")]
                }
                Type::Enum => vec![(text.contains("unspecified"), "does not say what UNSPECIFIED means")],
                Type::Bool => vec![],
                _ => vec![
                    (number, "states no range"),
                    (!field.proto3_optional() || text.contains("absent"), "does not say what absent means"),
                ],
            }
        };
        broken(&checks)
    })
}

/// The spelling that `buf lint` asks for.
pub fn names_are_canonical(set: &FileDescriptorSet) -> Vec<String> {
    each(set, |it| match it.item {
        Item::Field(_) | Item::Oneof => broken(&[(is_lower_snake(it.name), "is not lower_snake_case")]),
        Item::Value => broken(&[(is_upper_snake(it.name), "is not UPPER_SNAKE_CASE")]),
        Item::Service => broken(&[
            (is_pascal(it.name), "is not PascalCase"),
            (it.name.ends_with("Service"), "lacks the suffix Service"),
        ]),
        Item::Rpc | Item::Message | Item::Enum(_) => broken(&[(is_pascal(it.name), "is not PascalCase")]),
    })
}

/// The zero value means nothing, and values cannot clash with those of another enum.
pub fn enums_are_safe(set: &FileDescriptorSet) -> Vec<String> {
    each(set, |it| {
        let Item::Enum(the_enum) = it.item else { return Vec::new() };
        let prefix = format!("{}_", upper_snake(it.name));
        let zero = the_enum.value.first();
        let numbers: BTreeSet<_> = the_enum.value.iter().map(EnumValueDescriptorProto::number).collect();
        broken(&[
            (zero.is_some_and(|v| v.number() == 0), "its first value is not 0"),
            (zero.is_some_and(|v| v.name() == format!("{prefix}UNSPECIFIED")), "its zero is not called UNSPECIFIED"),
            (the_enum.value.iter().all(|v| v.name().starts_with(&prefix)), "a value lacks the enum's name as prefix"),
            (numbers.len() == the_enum.value.len(), "two values share a number"),
        ])
    })
}

/// Times are `*_unix_ms`, durations `*_ms`, both int64; money is whole cents; nothing is a floating-point number.
pub fn units_are_in_the_names(set: &FileDescriptorSet) -> Vec<String> {
    each(set, |it| {
        let Item::Field(field) = it.item else { return Vec::new() };
        let kind = field.r#type();
        let other_units = ["_at", "_time", "_timestamp", "_date", "_seconds", "_secs", "_sec", "_minutes", "_price"];
        let is_number = !matches!(kind, Type::Message | Type::Enum | Type::String | Type::Bytes | Type::Bool);
        broken(&[
            (!matches!(kind, Type::Float | Type::Double), "is a floating-point number"),
            (!it.name.ends_with("_ms") || kind == Type::Int64, "is a time and not int64"),
            (!(is_number && other_units.iter().any(|unit| it.name.ends_with(unit))), "names no unit, or a foreign one"),
        ])
    })
}

/// Folder, package, version, imports.
pub fn files_are_in_their_place(set: &FileDescriptorSet) -> Vec<String> {
    let mut faults = Vec::new();
    for file in &set.file {
        let folder = file.name().rsplit_once('/').map_or("", |(folder, _)| folder);
        let unused = file.dependency.iter().filter(|name| !is_used(set, file, name));
        faults.extend(unused.map(|name| format!("{}: does not use its import {name}", file.name())));
        let checks = broken(&[
            (folder == file.package().replace('.', "/"), "its folder is not its package"),
            (file.package().rsplit('.').next() == Some("v1"), "its package has no version"),
            (file.syntax() == "proto3", "is not proto3"),
            (file.public_dependency.is_empty() && file.weak_dependency.is_empty(), "has a public or weak import"),
            (file.service.len() <= 1, "has more than one service"),
            (is_lower_snake(&file_stem(file)), "its name is not lower_snake_case"),
        ]);
        faults.extend(checks.into_iter().map(|fault| format!("{}: {fault}", file.name())));
    }
    faults
}

fn file_stem(file: &FileDescriptorProto) -> String {
    let name = file.name().rsplit('/').next().unwrap_or_default();
    name.trim_end_matches(".proto").to_owned()
}

/// Whether `file` names a type that the file called `import` defines.
fn is_used(set: &FileDescriptorSet, file: &FileDescriptorProto, import: &str) -> bool {
    let Some(imported) = set.file.iter().find(|other| other.name() == import) else { return true };
    let messages = imported.message_type.iter().map(|message| message.name().to_owned());
    let enums = imported.enum_type.iter().map(|the_enum| the_enum.name().to_owned());
    let defined: BTreeSet<String> =
        messages.chain(enums).map(|name| format!(".{}.{name}", imported.package())).collect();
    let fields = file.message_type.iter().flat_map(all_fields).map(|field| field.type_name().to_owned());
    let rpcs = file.service.iter().flat_map(|service| &service.method);
    let ends = rpcs.flat_map(|rpc| [rpc.input_type().to_owned(), rpc.output_type().to_owned()]);
    fields.chain(ends).any(|name| defined.contains(&name))
}

fn all_fields(message: &DescriptorProto) -> Vec<&FieldDescriptorProto> {
    message.field.iter().chain(message.nested_type.iter().flat_map(all_fields)).collect()
}

/// `RpcRequest` and `RpcResponse`, used by no other RPC, so that each can grow by itself.
pub fn rpcs_have_their_own_messages(set: &FileDescriptorSet) -> Vec<String> {
    let mut faults = Vec::new();
    let mut taken = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for rpc in &service.method {
                for (found, suffix) in [(rpc.input_type(), "Request"), (rpc.output_type(), "Response")] {
                    let expected = format!(".{}.{}{suffix}", file.package(), rpc.name());
                    if found != expected {
                        faults.push(format!("{}.{}: {found} is not {expected}", service.name(), rpc.name()));
                    }
                    if !taken.insert(found.to_owned()) {
                        faults.push(format!("{}.{}: {found} belongs to two RPCs", service.name(), rpc.name()));
                    }
                }
            }
        }
    }
    faults
}

/// The services and RPCs of `design`, in packages and streaming, are all there, and no others.
pub fn services_are(design: &[(&str, &str, &[&str])], set: &FileDescriptorSet) -> Vec<String> {
    let line = |package: &str, service: &str, rpc: &str| format!("{package}.{service}/{rpc}");
    let mut expected = BTreeSet::new();
    for (package, service, rpcs) in design {
        expected.extend(rpcs.iter().map(|rpc| line(package, service, rpc)));
    }
    let mut found = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for rpc in &service.method {
                let arrow = if rpc.server_streaming() { ">" } else { "" };
                let up = if rpc.client_streaming() { "<" } else { "" };
                found.insert(line(file.package(), service.name(), &format!("{up}{arrow}{}", rpc.name())));
            }
        }
    }
    let missing = expected.difference(&found).map(|rpc| format!("{rpc}: is missing"));
    missing.chain(found.difference(&expected).map(|rpc| format!("{rpc}: is not in the design"))).collect()
}

/// Lists are paged, mutations are idempotent, streams can be resumed.
pub fn requests_have_the_common_fields(set: &FileDescriptorSet) -> Vec<String> {
    let messages: BTreeMap<String, &DescriptorProto> = set
        .file
        .iter()
        .flat_map(|file| file.message_type.iter().map(|m| (format!(".{}.{}", file.package(), m.name()), m)))
        .collect();
    let has = |message: &str, field: &str, kind: Type| {
        let message = messages.get(message);
        message.is_some_and(|m| m.field.iter().any(|f| f.name() == field && f.r#type() == kind))
    };
    let mut faults = Vec::new();
    for rpc in set.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method) {
        let (name, input, output) = (rpc.name(), rpc.input_type(), rpc.output_type());
        let paged = has(input, "page_size", Type::Int32)
            && has(input, "page_token", Type::String)
            && has(output, "next_page_token", Type::String);
        let reads = READS.iter().any(|begin| name.starts_with(begin));
        let with_id = has(input, "request_id", Type::String);
        let needs_id = !reads && !IDEMPOTENT_BY_THEMSELVES.contains(&name);
        let checks = broken(&[
            (paged == (name.starts_with("List") && !WHOLE_LISTS.contains(&name)), "is not paged as its name says"),
            (with_id == needs_id, "has request_id where it needs none, or lacks it"),
            (
                !rpc.server_streaming()
                    || has(output, "cursor", Type::String)
                    || has(output, "revision", Type::Message),
                "streams without a cursor in every message",
            ),
            (
                !rpc.server_streaming()
                    || (has(output, "heartbeat", Type::Message) && has(output, "end", Type::Message)),
                "streams without heartbeat or end",
            ),
        ]);
        faults.extend(checks.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    faults
}

fn is_lower_snake(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.contains("__")
        && !name.ends_with('_')
}

fn is_upper_snake(name: &str) -> bool {
    is_lower_snake(&name.to_lowercase()) && !name.contains(|c: char| c.is_ascii_lowercase())
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn upper_snake(pascal: &str) -> String {
    let mut out = String::new();
    for c in pascal.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}
