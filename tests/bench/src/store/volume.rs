//! A volume-svc that has a plan for everything and is asked for nothing else: no saga runs while changes are accepted.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use subscription_svc::migrations::{Canceled, Follow, Message, Migrations, Plan, Room, Spec, Start, View};
use subscription_svc::store::rows::Expected;
use tiershift_core::ids::{ChangeId, TierName};
use tiershift_core::{Error, Kind, Reason};

/// It.
#[derive(Debug)]
pub struct Plans;

fn not_asked<T>() -> Result<T, Error> {
    Err(Error::new(Kind::Internal, Reason::Internal, "nothing but a plan is asked for here"))
}

#[async_trait]
impl Migrations for Plans {
    async fn plan(&self, _: &Spec) -> Result<Plan, Error> {
        let expected = Expected { write_block_ms: Some(45_000), offline_ms: Some(25_000), total_ms: Some(90_000) };
        Ok(Plan {
            usage_bytes: Some(1 << 30),
            zone: "us-east-1b".to_owned(),
            read_age_ms: 0,
            expected,
            violations: Vec::new(),
            not_checked: Vec::new(),
        })
    }

    async fn start(&self, _: &Start) -> Result<(), Error> {
        not_asked()
    }

    async fn get(&self, _: &ChangeId) -> Result<View, Error> {
        not_asked()
    }

    async fn live(&self) -> Result<Vec<View>, Error> {
        not_asked()
    }

    async fn watch(&self, _: Vec<Follow>) -> Result<BoxStream<'static, Result<Message, Error>>, Error> {
        not_asked()
    }

    async fn confirm(&self, _: &ChangeId, _: u64, _: i64) -> Result<(), Error> {
        not_asked()
    }

    async fn rooms(&self) -> Result<BTreeMap<TierName, Room>, Error> {
        not_asked()
    }

    async fn cancel(&self, _: &ChangeId, _: &str, _: &str) -> Result<Canceled, Error> {
        not_asked()
    }
}
