//! The writes of a transaction as DynamoDB's expressions.
//!
//! Names and values always go through placeholders: attribute names may be DynamoDB's reserved words, and no value
//! is ever part of an expression's text.

use super::super::schema;
use super::{Names, convert};
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use std::collections::HashMap;
use volume_core::item::{Cond, Item, Key, Op, Table, Value, Write};

type NameMap = HashMap<String, String>;
type ValueMap = HashMap<String, AttributeValue>;

/// Collects the placeholders of one write.
#[derive(Debug, Default)]
struct Placeholders {
    names: NameMap,
    values: ValueMap,
}

impl Placeholders {
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, value: Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), convert::value(value));
        placeholder
    }

    fn condition(&mut self, table: Table, cond: Cond) -> String {
        match cond {
            Cond::NotExists => format!("attribute_not_exists({})", self.name(table.hash_key())),
            Cond::Exists => format!("attribute_exists({})", self.name(table.hash_key())),
            Cond::Eq(name, value) => format!("{} = {}", self.name(&name), self.value(value)),
            Cond::Absent(name) => format!("attribute_not_exists({})", self.name(&name)),
            Cond::AbsentOrEq(name, value) => {
                let name = self.name(&name);
                format!("(attribute_not_exists({name}) OR {name} = {})", self.value(value))
            }
            Cond::Below(name, limit) => format!("{} < {}", self.name(&name), self.value(Value::N(limit))),
            Cond::AbsentOrBelow(name, limit) => {
                let name = self.name(&name);
                format!("(attribute_not_exists({name}) OR {name} < {})", self.value(Value::N(limit)))
            }
        }
    }

    fn conditions(&mut self, table: Table, conds: Vec<Cond>) -> Option<String> {
        let texts: Vec<String> = conds.into_iter().map(|cond| self.condition(table, cond)).collect();
        (!texts.is_empty()).then(|| texts.join(" AND "))
    }

    fn update(&mut self, Change { set, remove, add }: Change) -> String {
        let sets: Vec<String> =
            set.0.into_iter().map(|(name, value)| format!("{} = {}", self.name(&name), self.value(value))).collect();
        let removes: Vec<String> = remove.iter().map(|name| self.name(name)).collect();
        let clause = |verb: &str, parts: &[String]| (!parts.is_empty()).then(|| format!("{verb} {}", parts.join(", ")));
        let adds: Vec<String> =
            add.into_iter().map(|(name, by)| format!("{} {}", self.name(&name), self.value(Value::N(by)))).collect();
        let clauses = [clause("SET", &sets), clause("REMOVE", &removes), clause("ADD", &adds)];
        clauses.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// DynamoDB refuses an empty map.
    fn into_maps(self) -> (Option<NameMap>, Option<ValueMap>) {
        ((!self.names.is_empty()).then_some(self.names), (!self.values.is_empty()).then_some(self.values))
    }
}

/// What an update does to its item.
#[derive(Debug)]
struct Change {
    set: Item,
    remove: Vec<String>,
    /// A number and what is added to it; DynamoDB's `ADD` takes an absent one for 0.
    add: Option<(String, i64)>,
}

/// One write of a transaction; it asks for the old item should its condition fail.
pub(super) fn transact_item(names: &Names, write: Write) -> Result<TransactWriteItem, BuildError> {
    let Write { key, op, mut conds } = write;
    let item = TransactWriteItem::builder();
    let item = match op {
        Op::Put(put) => item.put(put_of(names, &key, put, conds)?),
        Op::Update { set, remove } => {
            conds.push(Cond::Exists);
            item.update(update_of(names, &key, Change { set, remove, add: None }, conds)?)
        }
        Op::Upsert { set, remove } => item.update(update_of(names, &key, Change { set, remove, add: None }, conds)?),
        Op::Count { name, by, set, remove } => {
            item.update(update_of(names, &key, Change { set, remove, add: Some((name, by)) }, conds)?)
        }
        Op::Check => item.condition_check(check_of(names, &key, conds)?),
    };
    Ok(item.build())
}

fn put_of(names: &Names, key: &Key, item: Item, conds: Vec<Cond>) -> Result<Put, BuildError> {
    let mut placeholders = Placeholders::default();
    let condition = placeholders.conditions(key.table, conds);
    let (attributes, values) = placeholders.into_maps();
    Put::builder()
        .table_name(names.of(key.table))
        .set_item(Some(convert::item(schema::keyed(key, item))))
        .set_condition_expression(condition)
        .set_expression_attribute_names(attributes)
        .set_expression_attribute_values(values)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
}

fn update_of(names: &Names, key: &Key, change: Change, conds: Vec<Cond>) -> Result<Update, BuildError> {
    let mut placeholders = Placeholders::default();
    let update = placeholders.update(change);
    let condition = placeholders.conditions(key.table, conds);
    let (attributes, values) = placeholders.into_maps();
    Update::builder()
        .table_name(names.of(key.table))
        .set_key(Some(convert::key(key)))
        .update_expression(update)
        .set_condition_expression(condition)
        .set_expression_attribute_names(attributes)
        .set_expression_attribute_values(values)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
}

fn check_of(names: &Names, key: &Key, conds: Vec<Cond>) -> Result<ConditionCheck, BuildError> {
    let mut placeholders = Placeholders::default();
    let condition = placeholders.conditions(key.table, conds);
    let (attributes, values) = placeholders.into_maps();
    ConditionCheck::builder()
        .table_name(names.of(key.table))
        .set_key(Some(convert::key(key)))
        .set_condition_expression(condition)
        .set_expression_attribute_names(attributes)
        .set_expression_attribute_values(values)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_names_everything_by_placeholder_and_must_find_its_row() {
        let write = Write::update(
            Key::new(Table::Graph, "kg1"),
            Item::default().with("status", "active").with("size", 5),
            &["owner"],
            vec![Cond::absent_or_eq("ts_migration", "chg_1"), Cond::Below("ts_version".to_owned(), 3)],
        );
        let item = transact_item(&Names::new("p", "dev"), write).unwrap();
        let update = item.update().unwrap();
        assert_eq!(update.table_name(), "p-dev-graph-registry");
        assert_eq!(update.update_expression(), "SET #n0 = :v0, #n1 = :v1 REMOVE #n2");
        let condition = "(attribute_not_exists(#n3) OR #n3 = :v2) AND #n4 < :v3 AND attribute_exists(#n5)";
        assert_eq!(update.condition_expression(), Some(condition));
        let names = update.expression_attribute_names().unwrap();
        let expected = ["size", "status", "owner", "ts_migration", "ts_version", "graph_id"];
        assert_eq!(names.len(), expected.len());
        for (n, name) in expected.into_iter().enumerate() {
            assert_eq!(names[&format!("#n{n}")], name);
        }
        assert_eq!(update.expression_attribute_values().unwrap()[":v0"], AttributeValue::N("5".to_owned()));
    }
}
