//! The two streams that can be followed, as [`Feed`]s: the events of a change, and those of its migration.

use crate::follow::{Feed, Message, Messages, Said};
use tiershift_common::client::CallerChannel;
use tiershift_common::convert::event_from_proto;
use tiershift_common::status::from_status;
use tiershift_core::event::Source;
use tiershift_core::{Error, Kind};
use tiershift_proto::common::v1::{WatchEnd, WatchEndKind};
use tiershift_proto::subscription::v1 as subscription;
use tiershift_proto::subscription::v1::tier_service_client::TierServiceClient;
use tiershift_proto::volume::v1 as volume;
use tiershift_proto::volume::v1::migration_service_client::MigrationServiceClient;
use tokio_stream::StreamExt as _;

/// Stages of a change after which a follower has nothing to wait for: the ends, and the call for a person.
const LAST_STAGES: [&str; 4] = ["succeeded", "failed", "canceled", "needs_attention"];

/// The events of one change.
#[derive(Clone, Debug)]
pub struct ChangeFeed {
    client: TierServiceClient<CallerChannel>,
    change_id: String,
}

impl ChangeFeed {
    /// All events of this change.
    pub fn new(client: TierServiceClient<CallerChannel>, change_id: impl Into<String>) -> Self {
        Self { client, change_id: change_id.into() }
    }
}

impl Feed for ChangeFeed {
    async fn open(&mut self, cursor: &str) -> Result<Messages, Error> {
        let changes = subscription::ChangeSelection { change_ids: vec![self.change_id.clone()] };
        let request = subscription::WatchTierChangeRequest {
            selection: Some(subscription::watch_tier_change_request::Selection::Changes(changes)),
            cursor: cursor.to_owned(),
        };
        let stream = self.client.watch_tier_change(request).await.map_err(|status| from_status(&status))?.into_inner();
        Ok(Box::pin(stream.map(|message| of_change(message.map_err(|status| from_status(&status))?))))
    }
}

fn of_change(message: subscription::WatchTierChangeResponse) -> Result<Message, Error> {
    use subscription::watch_tier_change_response::Payload;
    let said = match message.payload {
        Some(Payload::Event(event)) => {
            let event = event_from_proto("event", &event).map_err(|error| broken(&error))?;
            let last = event.source == Source::Subscription && LAST_STAGES.contains(&event.stage.as_str());
            Said::Event { event, last }
        }
        Some(Payload::End(end)) => ended(end),
        // What a newer server says besides is no event.
        Some(Payload::Heartbeat(_)) | None => Said::Heartbeat,
    };
    Ok(Message { cursor: message.cursor, said })
}

/// The events of one migration.
#[derive(Clone, Debug)]
pub struct MigrationFeed {
    client: MigrationServiceClient<CallerChannel>,
    migration_id: String,
    settle: bool,
}

impl MigrationFeed {
    /// The events of this migration until the graph serves again or it is stuck; with `settle`, until nothing is owed.
    pub fn new(client: MigrationServiceClient<CallerChannel>, migration_id: impl Into<String>, settle: bool) -> Self {
        Self { client, migration_id: migration_id.into(), settle }
    }
}

impl Feed for MigrationFeed {
    async fn open(&mut self, cursor: &str) -> Result<Messages, Error> {
        let position = volume::MigrationPosition { migration_id: self.migration_id.clone(), cursor: cursor.to_owned() };
        let request = volume::WatchMigrationRequest { positions: vec![position] };
        let stream = self.client.watch_migration(request).await.map_err(|status| from_status(&status))?.into_inner();
        let settle = self.settle;
        Ok(Box::pin(stream.map(move |message| of_migration(message.map_err(|status| from_status(&status))?, settle))))
    }
}

fn of_migration(message: volume::WatchMigrationResponse, settle: bool) -> Result<Message, Error> {
    use volume::migration_event::Fact;
    use volume::watch_migration_response::Payload;
    let said = match message.payload {
        Some(Payload::Event(volume::MigrationEvent { event: Some(event), fact })) => {
            let last = match fact {
                Some(Fact::Stuck(_) | Fact::Settled(_)) => true,
                Some(Fact::Opened(_) | Fact::RolledBack(_) | Fact::HandedOver(_)) => !settle,
                _ => false,
            };
            Said::Event { event: event_from_proto("event", &event).map_err(|error| broken(&error))?, last }
        }
        Some(Payload::End(end)) => ended(end),
        Some(Payload::Heartbeat(_) | Payload::Event(_)) | None => Said::Heartbeat,
    };
    Ok(Message { cursor: message.cursor, said })
}

fn ended(end: WatchEnd) -> Said {
    match end.kind() {
        WatchEndKind::Terminal => Said::Terminal,
        WatchEndKind::ComeBack | WatchEndKind::Unspecified => {
            Said::ComeBack(u64::try_from(end.retry_after_ms).unwrap_or(0))
        }
    }
}

/// A malformed answer is the server's fault, not the caller's.
fn broken(error: &Error) -> Error {
    let fields: Vec<String> = error.fields.iter().map(|fault| format!("{} {}", fault.field, fault.rule)).collect();
    let message = format!("the service sent a malformed event: {}", fields.join(", "));
    Error::new(Kind::Internal, tiershift_core::Reason::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::tests::event;
    use tiershift_common::convert::event_to_proto;
    use tiershift_core::event::ChangeEvent;
    use tiershift_proto::common::v1::{ErrorReason, WatchHeartbeat};

    #[test]
    fn a_change_ends_with_its_own_last_stage_only() {
        use subscription::watch_tier_change_response::Payload;
        let last = |source, stage: &str| {
            let event = ChangeEvent { source, stage: stage.into(), ..event() };
            let message = subscription::WatchTierChangeResponse {
                cursor: "c".into(),
                payload: Some(Payload::Event(event_to_proto(&event))),
            };
            match of_change(message).expect("a good event").said {
                Said::Event { last, .. } => last,
                other => panic!("{other:?}"),
            }
        };
        for stage in LAST_STAGES {
            assert!(last(Source::Subscription, stage), "{stage}");
            assert!(!last(Source::Volume, stage), "{stage} of the volume");
        }
        assert!(!last(Source::Subscription, "moving"));
    }

    #[test]
    fn a_migration_ends_when_the_graph_serves_or_it_is_stuck() {
        use volume::migration_event::Fact;
        let last = |fact, settle| {
            let event = volume::MigrationEvent { event: Some(event_to_proto(&event())), fact: Some(fact) };
            let payload = Some(volume::watch_migration_response::Payload::Event(event));
            let message = volume::WatchMigrationResponse { migration_id: "chg_1".into(), cursor: "c".into(), payload };
            match of_migration(message, settle).expect("a good event").said {
                Said::Event { last, .. } => last,
                other => panic!("{other:?}"),
            }
        };
        let stuck = || Fact::Stuck(volume::Stuck { reason: ErrorReason::UndoFailed.into(), since_unix_ms: 1 });
        assert!(last(Fact::Opened(volume::Opened::default()), false));
        assert!(!last(Fact::Opened(volume::Opened::default()), true));
        assert!(last(stuck(), false) && last(stuck(), true));
        assert!(last(Fact::Settled(volume::Settled {}), true));
        assert!(!last(Fact::Committed(volume::Committed::default()), false));
    }

    #[test]
    fn ends_and_heartbeats_are_told_apart_and_a_broken_event_is_the_servers_fault() {
        use subscription::watch_tier_change_response::Payload;
        let said = |payload| of_change(subscription::WatchTierChangeResponse { cursor: "c".into(), payload });
        let end = |kind: WatchEndKind, ms| Some(Payload::End(WatchEnd { kind: kind.into(), retry_after_ms: ms }));
        let good = |payload| said(payload).expect("good").said;
        assert_eq!(good(end(WatchEndKind::Terminal, 0)), Said::Terminal);
        assert_eq!(good(end(WatchEndKind::ComeBack, 300)), Said::ComeBack(300));
        assert_eq!(good(end(WatchEndKind::ComeBack, -1)), Said::ComeBack(0));
        assert_eq!(good(Some(Payload::Heartbeat(WatchHeartbeat::default()))), Said::Heartbeat);
        assert_eq!(good(None), Said::Heartbeat);
        let error =
            said(Some(Payload::Event(tiershift_proto::common::v1::ChangeEvent::default()))).expect_err("broken");
        assert_eq!(error.kind, Kind::Internal);
        assert!(error.message.contains("event.seq"), "{}", error.message);
    }
}
