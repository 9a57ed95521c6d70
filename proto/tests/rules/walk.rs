//! Walks a descriptor set: every item that a person has written, with the comment above it.
//!
//! Not here: what is wrong with an item (`super`).

use std::collections::BTreeMap;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};

/// Field numbers of descriptor.proto, of which the paths of comments are made.
mod tag {
    pub const FILE_MESSAGE: i32 = 4;
    pub const FILE_ENUM: i32 = 5;
    pub const FILE_SERVICE: i32 = 6;
    pub const MESSAGE_FIELD: i32 = 2;
    pub const MESSAGE_NESTED: i32 = 3;
    pub const MESSAGE_ENUM: i32 = 4;
    pub const MESSAGE_ONEOF: i32 = 8;
    pub const ENUM_VALUE: i32 = 2;
    pub const SERVICE_METHOD: i32 = 2;
}

/// What a comment stands at.
pub enum Item<'a> {
    Service,
    Rpc,
    Message,
    Field(&'a FieldDescriptorProto),
    Oneof,
    Enum(&'a EnumDescriptorProto),
    Value,
}

/// An item with its name, its full name for faults, and the comment above it.
pub struct Found<'a> {
    pub item: Item<'a>,
    pub name: &'a str,
    pub at: String,
    pub comment: String,
}

struct Walk<'a> {
    comments: BTreeMap<Vec<i32>, String>,
    found: Vec<Found<'a>>,
}

/// Every item of a file that a person has written, in the order of the file's kinds.
fn items(file: &FileDescriptorProto) -> Vec<Found<'_>> {
    let comments = file
        .source_code_info
        .iter()
        .flat_map(|info| &info.location)
        .map(|location| (location.path.clone(), location.leading_comments().trim().to_owned()))
        .collect();
    let mut walk = Walk { comments, found: Vec::new() };
    for (i, message) in (0..).zip(&file.message_type) {
        walk.message(file.package(), message, &[tag::FILE_MESSAGE, i]);
    }
    for (i, the_enum) in (0..).zip(&file.enum_type) {
        walk.enumeration(file.package(), the_enum, &[tag::FILE_ENUM, i]);
    }
    for (i, service) in (0..).zip(&file.service) {
        let path = [tag::FILE_SERVICE, i];
        let at = walk.add(Item::Service, service.name(), file.package(), &path);
        for (j, rpc) in (0..).zip(&service.method) {
            walk.add(Item::Rpc, rpc.name(), &at, &join(&path, tag::SERVICE_METHOD, j));
        }
    }
    walk.found
}

impl<'a> Walk<'a> {
    fn add(&mut self, item: Item<'a>, name: &'a str, parent: &str, path: &[i32]) -> String {
        let at = format!("{parent}.{name}");
        let comment = self.comments.get(path).cloned().unwrap_or_default();
        self.found.push(Found { item, name, at: at.clone(), comment });
        at
    }

    fn message(&mut self, parent: &str, message: &'a DescriptorProto, path: &[i32]) {
        let at = self.add(Item::Message, message.name(), parent, path);
        for (i, field) in (0..).zip(&message.field) {
            self.add(Item::Field(field), field.name(), &at, &join(path, tag::MESSAGE_FIELD, i));
        }
        for (i, oneof) in (0..).zip(&message.oneof_decl) {
            // `optional` is compiled to a oneof that nobody wrote.
            let written = message.field.iter().any(|f| f.oneof_index == Some(i) && !f.proto3_optional());
            if written {
                self.add(Item::Oneof, oneof.name(), &at, &join(path, tag::MESSAGE_ONEOF, i));
            }
        }
        for (i, nested) in (0..).zip(&message.nested_type) {
            if !is_map_entry(nested) {
                self.message(&at, nested, &join(path, tag::MESSAGE_NESTED, i));
            }
        }
        for (i, nested) in (0..).zip(&message.enum_type) {
            self.enumeration(&at, nested, &join(path, tag::MESSAGE_ENUM, i));
        }
    }

    fn enumeration(&mut self, parent: &str, the_enum: &'a EnumDescriptorProto, path: &[i32]) {
        let at = self.add(Item::Enum(the_enum), the_enum.name(), parent, path);
        for (i, value) in (0..).zip(&the_enum.value) {
            self.add(Item::Value, value.name(), &at, &join(path, tag::ENUM_VALUE, i));
        }
    }
}

fn join(path: &[i32], kind: i32, index: i32) -> Vec<i32> {
    [path, &[kind, index]].concat()
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(MessageOptions::map_entry)
}

/// Applies a rule to every item of the contract.
pub fn each(set: &FileDescriptorSet, rule: impl Fn(&Found<'_>) -> Vec<&'static str>) -> Vec<String> {
    let found = set.file.iter().flat_map(items);
    found.flat_map(|it| rule(&it).into_iter().map(|fault| format!("{}: {fault}", it.at)).collect::<Vec<_>>()).collect()
}

/// Turns checks into the words of those that do not hold.
pub fn broken(checks: &[(bool, &'static str)]) -> Vec<&'static str> {
    checks.iter().filter(|(holds, _)| !holds).map(|(_, words)| *words).collect()
}
