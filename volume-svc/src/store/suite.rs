//! What every store must do, as named cases: each takes an empty store.
//!
//! `store_suite!(fresh)` makes one test of each case, where `fresh` is an async function that gives a store with
//! empty tables. Only tests use it; it is not behind `cfg(test)` because the DynamoDB adapter is tested from
//! another crate, which owns the embedded server. A case fails by panic or by an error. Tests run on four threads,
//! or a race would be none.

mod reads;
mod transactions;

pub use reads::*;
pub use transactions::*;

use crate::ports::Source;
use crate::ports::store::Store;
use std::sync::Arc;
use volume_core::item::{Item, Key, Table, Value, Write};

/// Makes one test of each case.
#[macro_export]
macro_rules! store_suite {
    ($fresh:path) => {
        $crate::store_suite!($fresh:
            every_condition_means_what_the_core_says,
            every_value_comes_back_as_it_was,
            words_that_dynamodb_reserves_are_names_too,
            refused_names_the_write_and_gives_the_old_item,
            one_refused_write_stops_all,
            update_never_creates,
            upsert_creates_and_removes,
            put_replaces_the_whole_item,
            a_token_is_applied_once,
            a_token_with_other_writes_is_invalid,
            a_refused_token_may_be_used_again,
            a_race_for_one_lock_has_one_winner,
            no_increment_is_lost_in_a_race,
            counting_needs_no_sight_of_the_others,
            malformed_transactions_change_nothing,
            a_hundred_writes_are_one_transaction,
            many_items_come_in_the_order_of_their_keys,
            query_starts_where_asked_and_stops_at_the_limit,
            query_follows_pages,
            an_index_shows_only_items_that_have_its_attributes,
            an_index_of_numbers_is_in_order_and_in_pages,
            the_index_of_live_migrations_shows_no_more_than_a_hint,
            an_index_answers_for_one_range,
            a_scan_shows_every_item_once,
            malformed_reads_are_refused
        );
    };
    ($fresh:path: $($case:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                $crate::store::suite::$case($fresh().await).await.unwrap();
            }
        )+
    };
}

/// What a case gives.
pub type CaseResult = Result<(), Source>;

/// What a case takes.
pub type AnyStore = Arc<dyn Store>;

fn lock(pk: &str) -> Key {
    Key::new(Table::Locks, pk)
}

fn item(name: &str, value: impl Into<Value>) -> Item {
    Item::default().with(name, value)
}

/// An upsert without conditions.
fn set(key: Key, item: Item) -> Write {
    Write::upsert(key, item, &[], vec![])
}
