//! Every store there is, empty, for cases that all of them must pass.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use subscription_svc::store::Store;
use subscription_svc::store::inbox::Inbox;
use subscription_svc::store::memory::Memory;
use subscription_svc::store::postgres::failover::Failover;
use subscription_svc::store::postgres::{Migrate, Postgres};
use subscription_svc::store::sqlite::Sqlite;
use tiershift_postgres::Server;

/// A store, as what it is for transactions and for events.
#[derive(Clone)]
pub struct Both {
    /// For transactions.
    pub store: Arc<dyn Store>,
    /// For events.
    pub inbox: Arc<dyn Inbox>,
}

impl Both {
    fn of<T: Store + Inbox + 'static>(store: T) -> Self {
        let store = Arc::new(store);
        Self { store: Arc::clone(&store) as Arc<dyn Store>, inbox: store }
    }
}

/// A case with its name.
pub type Case = (&'static str, fn(Both) -> Pin<Box<dyn Future<Output = ()>>>);

/// Each case over a store of its own in memory.
pub async fn in_memory(cases: &[Case]) {
    for (name, case) in cases {
        println!("{name}");
        case(Both::of(Memory::default())).await;
    }
}

/// Each case over a file of its own.
pub async fn in_sqlite(cases: &[Case]) {
    let folder = tempfile::tempdir().expect("a folder");
    for (n, (name, case)) in cases.iter().enumerate() {
        println!("{name}");
        case(Both::of(Sqlite::open(&folder.path().join(format!("{n}.db"))).await.expect("opened"))).await;
    }
}

/// Each case over a database of its own.
pub async fn in_postgres(cases: &[Case]) {
    let server = Server::start(&[]).expect("a server");
    for (name, case) in cases {
        println!("{name}");
        let url = server.database().expect("a database");
        case(Both::of(Postgres::open(&url, Migrate::Apply, Failover::Single).await.expect("opened"))).await;
    }
}
