//! Makes the five tables and their indexes, for the development stack and tests. Production makes them by its
//! template (`deploy/cloudformation`), with streams and backups that are of no use here.

use super::super::schema::{IndexShape, KeyType, indexes};
use super::Names;
use crate::ports::Source;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType as Role, Projection,
    ProjectionType, ScalarAttributeType, TableDescription, TableStatus,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use volume_core::item::Table;

/// How often a new table is asked whether it is active.
const POLL: Duration = Duration::from_millis(200);

/// How often at most: a minute, where DynamoDB takes seconds.
const POLLS_MAX: u32 = 300;

/// Why the tables are not there.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// DynamoDB did not make or show a table.
    #[error("cannot make table {table}")]
    Call {
        /// Its name.
        table: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// There is a table of that name with other keys or without an index that is needed.
    #[error("table {table} exists with another shape: {what}")]
    Differs {
        /// Its name.
        table: String,
        /// What is different.
        what: String,
    },
    /// It was made and did not become active within a minute.
    #[error("table {table} did not become active")]
    Slow {
        /// Its name.
        table: String,
    },
}

/// Makes the tables that are missing, waits until all are active, and checks their keys and indexes. Idempotent,
/// also when several processes do it at once; never changes a table that exists.
pub async fn create(client: &Client, names: &Names) -> Result<(), TablesError> {
    for table in Table::ALL {
        let name = names.of(table);
        create_one(client, table, &name).await.map_err(|source| TablesError::Call { table: name, source })?;
    }
    for table in Table::ALL {
        let name = names.of(table);
        check(table, &name, &active(client, &name).await?)?;
    }
    Ok(())
}

async fn create_one(client: &Client, table: Table, name: &str) -> Result<(), Source> {
    let mut request = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(key_schema(table.hash_key(), table.range_key())?))
        .set_attribute_definitions(Some(definitions(table)?));
    for index in indexes(table) {
        let made = GlobalSecondaryIndex::builder()
            .index_name(index.name)
            .set_key_schema(Some(key_schema(index.hash.0, index.range.map(|r| r.0))?))
            .projection(projection(&index));
        request = request.global_secondary_indexes(made.build()?);
    }
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn key_schema(hash: &str, range: Option<&str>) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element = |name: &str, role| KeySchemaElement::builder().attribute_name(name).key_type(role).build();
    let hash = element(hash, Role::Hash);
    std::iter::once(hash).chain(range.map(|range| element(range, Role::Range))).collect()
}

fn projection(index: &IndexShape) -> Projection {
    match index.shows {
        None => Projection::builder().projection_type(ProjectionType::All).build(),
        Some(names) => {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Projection::builder().projection_type(ProjectionType::Include).set_non_key_attributes(Some(names)).build()
        }
    }
}

/// Whether an index shows at least what is needed of it: one that shows more is only dearer.
fn shows_enough(index: &IndexShape, found: Option<&Projection>) -> bool {
    let Some(found) = found else { return false };
    if found.projection_type() == Some(&ProjectionType::All) {
        return true;
    }
    let has = |name: &&str| found.non_key_attributes().iter().any(|there| there == name);
    index.shows.is_some_and(|names| names.iter().all(has))
}

/// Every attribute that is a key of the table or of an index, once, with its type.
fn definitions(table: Table) -> Result<Vec<AttributeDefinition>, BuildError> {
    let of_table = std::iter::once(table.hash_key()).chain(table.range_key()).map(|name| (name, KeyType::Text));
    let of_index = indexes(table).flat_map(|IndexShape { hash, range, .. }| std::iter::once(hash).chain(range));
    let types: BTreeMap<&str, KeyType> = of_table.chain(of_index).collect();
    let define = |(name, kind): (&str, KeyType)| {
        let scalar = match kind {
            KeyType::Text => ScalarAttributeType::S,
            KeyType::Number => ScalarAttributeType::N,
        };
        AttributeDefinition::builder().attribute_name(name).attribute_type(scalar).build()
    };
    types.into_iter().map(define).collect()
}

async fn active(client: &Client, name: &str) -> Result<TableDescription, TablesError> {
    for _ in 0..POLLS_MAX {
        let answer = client.describe_table().table_name(name).send().await;
        let answer = answer.map_err(|e| TablesError::Call { table: name.to_owned(), source: e.into() })?;
        match answer.table {
            Some(table) if table.table_status() == Some(&TableStatus::Active) => return Ok(table),
            _ => tokio::time::sleep(POLL).await,
        }
    }
    Err(TablesError::Slow { table: name.to_owned() })
}

fn check(table: Table, name: &str, found: &TableDescription) -> Result<(), TablesError> {
    let differs = |what: String| TablesError::Differs { table: name.to_owned(), what };
    let keys = |schema: &[KeySchemaElement]| {
        let part = |role: &Role| schema.iter().find(|e| e.key_type() == role).map(|e| e.attribute_name().to_owned());
        (part(&Role::Hash), part(&Role::Range))
    };
    let wanted = |hash: &str, range: Option<&str>| (Some(hash.to_owned()), range.map(str::to_owned));
    if keys(found.key_schema()) != wanted(table.hash_key(), table.range_key()) {
        return Err(differs("its keys".to_owned()));
    }
    let typed = |definition: &AttributeDefinition| {
        (definition.attribute_name().to_owned(), definition.attribute_type().as_str().to_owned())
    };
    let found_types: BTreeSet<(String, String)> = found.attribute_definitions().iter().map(typed).collect();
    let types = definitions(table).map_err(|e| TablesError::Call { table: name.to_owned(), source: e.into() })?;
    for (attribute, kind) in types.iter().map(typed) {
        if !found_types.contains(&(attribute.clone(), kind.clone())) {
            return Err(differs(format!("{attribute} is no key of type {kind}")));
        }
    }
    for index in indexes(table) {
        let same_name = found.global_secondary_indexes().iter().find(|i| i.index_name() == Some(index.name));
        let found_keys = same_name.map(|i| keys(i.key_schema()));
        if found_keys != Some(wanted(index.hash.0, index.range.map(|r| r.0))) {
            return Err(differs(format!("the index {}", index.name)));
        }
        if !shows_enough(&index, same_name.and_then(|i| i.projection())) {
            return Err(differs(format!("what the index {} shows", index.name)));
        }
    }
    Ok(())
}
