//! WatchTierChange in virtual time: resume, slow readers, heartbeats, organisations, ends.

#![expect(clippy::expect_used, clippy::panic, reason = "a test: its failure is the report")]

mod support;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use subscription_svc::grpc::Api;
use support::world::World;
use tiershift_common::caller::Caller;
use tiershift_common::status::from_status;
use tiershift_core::ids::ChangeId;
use tiershift_core::{Kind, Reason};
use tiershift_proto::common::v1::{ChangeEvent, WatchEndKind};
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::tier_service_server::TierService as _;
use tiershift_proto::subscription::v1::watch_tier_change_request::Selection;
use tiershift_proto::subscription::v1::watch_tier_change_response::Payload;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

type Stream = BoxStream<'static, Result<pb::WatchTierChangeResponse, Status>>;

fn api(world: &World, stop: &CancellationToken) -> Api {
    Api::new(Arc::clone(&world.service), stop.clone())
}

async fn watch(api: &Api, selection: Selection, cursor: &str) -> Result<Stream, Status> {
    let mut request =
        Request::new(pb::WatchTierChangeRequest { selection: Some(selection), cursor: cursor.to_owned() });
    request.extensions_mut().insert(Caller::parse_dev("m;org_a=member").expect("a caller"));
    api.watch_tier_change(request).await.map(tonic::Response::into_inner)
}

fn changes(ids: &[&ChangeId]) -> Selection {
    Selection::Changes(pb::ChangeSelection { change_ids: ids.iter().map(ToString::to_string).collect() })
}

/// One message, or a failure after an hour of virtual time.
async fn next(stream: &mut Stream) -> Option<pb::WatchTierChangeResponse> {
    let message = tokio::time::timeout(Duration::from_hours(1), stream.next()).await.expect("a message");
    message.map(|m| m.expect("no error"))
}

/// Events with their cursors, up to an end or `most`.
async fn events(stream: &mut Stream, most: usize) -> (Vec<(String, ChangeEvent)>, Option<WatchEndKind>) {
    let mut events = Vec::new();
    while events.len() < most {
        let Some(message) = next(stream).await else { panic!("the stream was cut after {events:?}") };
        assert!(!message.cursor.is_empty());
        match message.payload.expect("a payload") {
            Payload::Event(event) => events.push((message.cursor, event)),
            Payload::Heartbeat(_) => {}
            Payload::End(end) => return (events, Some(end.kind())),
        }
    }
    (events, None)
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_at_every_cursor_without_gap_or_duplicate() {
    let world = World::start().await;
    world.graph(1).await;
    let stop = CancellationToken::new();
    let api = api(&world, &stop);
    let id = world.change(1).await.id;
    let mut live = watch(&api, changes(&[&id]), "").await.expect("a stream");
    let (all, end) = events(&mut live, usize::MAX).await;
    assert_eq!(end, Some(WatchEndKind::Terminal));
    let stored: Vec<u64> = world.events(&id).await.iter().map(|e| e.seq).collect();
    let seqs: Vec<u64> = all.iter().map(|(_, e)| u64::try_from(e.seq).expect("positive")).collect();
    assert_eq!(seqs, stored);
    for (n, (cursor, _)) in all.iter().enumerate() {
        let mut rest = watch(&api, changes(&[&id]), cursor).await.expect("resumed");
        let (rest, end) = events(&mut rest, usize::MAX).await;
        assert_eq!(end, Some(WatchEndKind::Terminal));
        assert_eq!(
            rest.iter().map(|(_, e)| e).collect::<Vec<_>>(),
            all[n + 1..].iter().map(|(_, e)| e).collect::<Vec<_>>()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_misses_nothing_and_holds_nobody_up() {
    let world = World::start().await;
    world.graph(1).await;
    let stop = CancellationToken::new();
    let api = api(&world, &stop);
    let id = world.change(1).await.id;
    let mut slow = watch(&api, changes(&[&id]), "").await.expect("a stream");
    let (first, _) = events(&mut slow, 1).await;
    assert_eq!(first[0].1.seq, 1);
    // It reads nothing more until all is over; the change and another watcher go on.
    let mut fast = watch(&api, changes(&[&id]), "").await.expect("a stream");
    let (all, end) = events(&mut fast, usize::MAX).await;
    assert_eq!(end, Some(WatchEndKind::Terminal));
    assert!(all.len() > 16, "more than wait in a channel");
    world.pass(600_000).await;
    let (rest, end) = events(&mut slow, usize::MAX).await;
    assert_eq!(end, Some(WatchEndKind::Terminal));
    assert_eq!(rest, all[1..]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_heartbeats_that_resume_too() {
    let world = World::start().await;
    let graph = world.graph(1).await;
    world.volume.script(&graph, support::volume::Script { stage_ms: 100_000, ..Default::default() });
    let stop = CancellationToken::new();
    let api = api(&world, &stop);
    let id = world.change(1).await.id;
    let mut stream = watch(&api, changes(&[&id]), "").await.expect("a stream");
    let mut last = (tokio::time::Instant::now(), String::new());
    let mut beats = 0;
    while beats < 5 {
        let message = next(&mut stream).await.expect("a message");
        assert!(last.0.elapsed() <= Duration::from_secs(15), "H39: a heartbeat after at most 15 s");
        last = (tokio::time::Instant::now(), message.cursor);
        if let Some(Payload::Heartbeat(beat)) = message.payload {
            assert!(beat.server_unix_ms >= support::world::START);
            beats += 1;
        }
    }
    let mut resumed = watch(&api, changes(&[&id]), &last.1).await.expect("resumed");
    let (rest, _) = events(&mut resumed, 1).await;
    let seen = world.events(&id).await;
    assert_eq!(rest[0].1.seq, i64::try_from(seen.len()).expect("small"), "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn an_organisation_is_watched_from_its_running_changes_on_and_never_ends() {
    let world = World::start().await;
    for n in 1..=3 {
        world.graph(n).await;
    }
    let stop = CancellationToken::new();
    let api = api(&world, &stop);
    let past = world.change(1).await.id;
    world.ended(&past).await;
    let running = world.change(2).await.id;
    world.pass(3_000).await;
    let mut stream = watch(&api, Selection::OrgId("org_a".to_owned()), "").await.expect("a stream");
    let (first, _) = events(&mut stream, 2).await;
    assert!(first.iter().all(|(_, e)| e.change_id == running.as_str()), "not the past");
    assert_eq!(first[0].1.seq, 1, "from its first event");
    let later = world.change(3).await.id;
    world.ended(&later).await;
    world.ended(&running).await;
    let total = world.events(&running).await.len() + world.events(&later).await.len();
    let (rest, end) = events(&mut stream, total - 2).await;
    assert_eq!(end, None);
    for id in [&running, &later] {
        let seqs: Vec<i64> =
            first.iter().chain(&rest).filter(|(_, e)| e.change_id == id.as_str()).map(|(_, e)| e.seq).collect();
        let count = i64::try_from(world.events(id).await.len()).expect("small");
        assert_eq!(seqs, (1..=count).collect::<Vec<_>>(), "each once, in order");
    }
    // It goes on: only heartbeats now.
    assert!(matches!(next(&mut stream).await.and_then(|m| m.payload), Some(Payload::Heartbeat(_))));
    let mut resumed = watch(&api, Selection::OrgId("org_a".to_owned()), &rest[0].0).await.expect("resumed");
    let (again, _) = events(&mut resumed, total - 3).await;
    assert_eq!(again, rest[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_says_come_back() {
    let world = World::start().await;
    world.graph(1).await;
    let stop = CancellationToken::new();
    let api = api(&world, &stop);
    let id = world.change(1).await.id;
    let mut stream = watch(&api, changes(&[&id]), "").await.expect("a stream");
    let (seen, _) = events(&mut stream, 2).await;
    stop.cancel();
    let (_, end) = events(&mut stream, usize::MAX).await;
    assert_eq!(end, Some(WatchEndKind::ComeBack));
    let again = self::api(&world, &CancellationToken::new());
    let mut resumed = watch(&again, changes(&[&id]), &seen[1].0).await.expect("another replica");
    let (rest, end) = events(&mut resumed, usize::MAX).await;
    assert_eq!((rest[0].1.seq, end), (3, Some(WatchEndKind::Terminal)));
}

#[tokio::test(start_paused = true)]
async fn cursors_of_another_selection_or_another_life_are_refused() {
    let world = World::start().await;
    world.graph(1).await;
    world.graph(2).await;
    let api = api(&world, &CancellationToken::new());
    let (one, two) = (world.change(1).await.id, world.change(2).await.id);
    let mut stream = watch(&api, changes(&[&one]), "").await.expect("a stream");
    let (seen, _) = events(&mut stream, 1).await;
    let cursor = &seen[0].0;
    let refused =
        async |selection| from_status(&watch(&api, selection, cursor).await.map(|_| ()).expect_err("refused"));
    for selection in [changes(&[&two]), changes(&[&one, &two]), Selection::OrgId("org_a".to_owned())] {
        let error = refused(selection).await;
        assert_eq!((error.kind, error.reason), (Kind::InvalidArgument, Reason::CursorInvalid));
    }
    // A store that was restored to a time before this cursor.
    let other = World::start().await;
    other.graph(1).await;
    let id = other.change(1).await.id;
    let scope =
        tiershift_common::page::Scope::cursors("WatchTierChange", &std::collections::BTreeSet::from([id.clone()]));
    let ahead = scope.token(&serde_json::json!({ "epoch": 1, "feed": 1_000, "base": 0 }));
    let elsewhere = scope.token(&serde_json::json!({ "epoch": 2, "feed": 1, "base": 0 }));
    let api = self::api(&other, &CancellationToken::new());
    for cursor in [ahead, elsewhere] {
        let error = from_status(&watch(&api, changes(&[&id]), &cursor).await.map(|_| ()).expect_err("refused"));
        assert_eq!((error.kind, error.reason), (Kind::OutOfRange, Reason::CursorOutOfRange), "H19");
    }
}

/// What it has shown may not have happened, and what comes may bear the same numbers.
#[tokio::test(start_paused = true)]
async fn a_watch_ends_where_the_store_went_back_in_time() {
    let world = World::start().await;
    world.graph(1).await;
    let stop = CancellationToken::new();
    let api = api(&world, &stop);
    let id = world.change(1).await.id;
    let mut live = watch(&api, changes(&[&id]), "").await.expect("a stream");
    events(&mut live, 1).await;
    world.service.hub.torn(1);
    let told = async {
        loop {
            if let Err(status) = live.next().await.expect("it says why it ends") {
                return from_status(&status);
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_hours(1), told).await.expect("at once");
    assert_eq!((error.kind, error.reason), (Kind::OutOfRange, Reason::CursorOutOfRange));
    assert!(live.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn two_thousand_watchers_all_see_everything() {
    let world = World::start().await;
    world.graph(1).await;
    let api = api(&world, &CancellationToken::new());
    let id = world.change(1).await.id;
    let mut streams = Vec::new();
    for _ in 0..2_000 {
        streams.push(watch(&api, changes(&[&id]), "").await.expect("a stream"));
    }
    let readers = streams.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            let (all, end) = events(&mut stream, usize::MAX).await;
            assert_eq!(end, Some(WatchEndKind::Terminal));
            all.len()
        })
    });
    let readers: Vec<_> = readers.collect();
    world.ended(&id).await;
    let count = world.events(&id).await.len();
    for reader in readers {
        assert_eq!(reader.await.expect("no panic"), count);
    }
}
