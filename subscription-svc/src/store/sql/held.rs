//! A connection while a transaction is open on it. However its work ends, also by being dropped half way, nobody else comes to
//! have a connection with an open transaction: one that was not ended in order is closed, and the store rolls back.

use crate::store::{Committed, Fault};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Executor};

/// One.
#[derive(Debug)]
pub struct Held<DB: Database> {
    connection: PoolConnection<DB>,
    ended: bool,
}

impl<DB: Database> Held<DB> {
    /// Before BEGIN.
    pub const fn new(connection: PoolConnection<DB>) -> Self {
        Self { connection, ended: false }
    }

    /// To send to.
    pub fn db(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }
}

impl<DB: Database> Held<DB>
where
    DB::Connection: Connection<Database = DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Commits what was done, or rolls back because there is nothing to commit or because of a fault. `lost` says what an
    /// error of COMMIT means, `away` what any other does.
    pub async fn end(
        &mut self,
        done: Result<Option<Committed>, Fault>,
        lost: fn(sqlx::Error) -> Fault,
        away: fn(sqlx::Error) -> Fault,
    ) -> Result<Committed, Fault> {
        let committed = match done {
            Ok(Some(committed)) => {
                sqlx::raw_sql("COMMIT").execute(self.db()).await.map_err(lost)?;
                Ok(committed)
            }
            Ok(None) => {
                sqlx::raw_sql("ROLLBACK").execute(self.db()).await.map_err(away)?;
                Ok(Committed::default())
            }
            Err(fault) => match sqlx::raw_sql("ROLLBACK").execute(self.db()).await {
                Ok(_) => Err(fault),
                // It has no transaction any more, or no connection: it is closed in any case.
                Err(_) => return Err(fault),
            },
        };
        self.ended = true;
        committed
    }
}

impl<DB: Database> Drop for Held<DB> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}
