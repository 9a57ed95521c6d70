//! Rows of every table, told apart by small numbers.

use std::collections::BTreeMap;
use subscription_core::access::{AccessRecord, Gate, Pace};
use subscription_core::change::{Change, Effect, Event};
use subscription_core::credits::Credits;
use subscription_core::progress::Progress;
use subscription_core::proration::{Terms, quote};
use subscription_core::rules::{Direction, Timing};
use subscription_core::status::{GraphState, SubscriptionStatus};
use subscription_svc::store::Write;
use subscription_svc::store::rows::{
    Access, Endpoint, Expected, Graph, Interval, Measured, PaymentKind, PaymentOutcome, PaymentRequest, Subgraph,
    Subscription, TellKind, TierChange, Told,
};
use tiershift_core::UnixMs;
use tiershift_core::event::{ChangeEvent, Direction as Way, Reads, Source, Writes};
use tiershift_core::ids::{AnyGraphId, ChangeId, GraphId, OrgId, RequestId, SubscriptionId, TierName, UserId};

/// An instant.
pub const T: UnixMs = UnixMs(1_768_435_200_000);

pub fn org(name: &str) -> OrgId {
    OrgId::parse(name).expect("well formed")
}

pub fn graph(n: u64) -> Graph {
    Graph {
        id: GraphId::parse(format!("kg{n:016x}")).expect("well formed"),
        org: org("org_a"),
        tier: TierName::parse("ladybug-standard").expect("well formed"),
        state: GraphState::Active,
        shared_repository: false,
        display_name: "a graph".to_owned(),
        endpoint: Some(Endpoint {
            instance_id: "i-0123456789abcdef0".to_owned(),
            private_ip: "10.0.0.1".to_owned(),
            availability_zone: "us-east-1a".to_owned(),
            observed: T,
        }),
        created: T,
        updated: T.plus(1),
        deprovisioned: None,
    }
}

/// A ULID that sorts by `n`.
pub fn ulid(prefix: &str, n: u64) -> String {
    format!("{prefix}{n:026}")
}

pub fn subscription(n: u64, graph_n: u64) -> Subscription {
    Subscription {
        id: SubscriptionId::parse(ulid("sub_", n)).expect("well formed"),
        org: org("org_a"),
        graph: graph(graph_n).id,
        tier: graph(graph_n).tier,
        status: SubscriptionStatus::Active,
        live: true,
        price_cents: 9_900,
        currency: "USD".to_owned(),
        monthly_credits: 8_000,
        credits: Credits { start: T, end: T.plus(500), granted: 8_000, used: 7 },
        interval: Interval::Annual,
        anchor: T.plus(-9),
        period_start: T,
        period_end: T.plus(1_000),
        ends_at: Some(T.plus(5)),
        canceled: None,
        provider: "sim".to_owned(),
        provider_subscription_id: format!("p{n}"),
        told: vec![Told {
            key: format!("told-{n}"),
            kind: TellKind::Invoice,
            amount_cents: 9_900,
            period: (T, T.plus(7)),
            attempts: 1,
            not_before: T.plus(3),
        }],
        active_change: Some(change_id(7)),
        scheduled_change: Some(change_id(8)),
        created: T,
        updated: T,
    }
}

pub fn change_id(n: u64) -> ChangeId {
    ChangeId::parse(ulid("chg_", n)).expect("well formed")
}

pub fn change(n: u64, graph_n: u64, subscription_n: u64) -> TierChange {
    let terms = Terms {
        price_before_cents: 9_900,
        price_after_cents: 24_900,
        currency: "USD".to_owned(),
        credits_before: 8_000,
        credits_after: 32_000,
        period_start: T,
        period_end: T.plus(1_000_000),
        month_start: T,
        month_end: T.plus(900_000),
    };
    TierChange {
        id: change_id(n),
        org: org("org_a"),
        graph: graph(graph_n).id,
        subscription: subscription(subscription_n, graph_n).id,
        request: RequestId::parse("r").expect("well formed"),
        fingerprint: "f".repeat(64),
        requested_by: UserId::parse("alice").expect("well formed"),
        from_tier: graph(graph_n).tier,
        to_tier: TierName::parse("ladybug-large").expect("well formed"),
        direction: Direction::Upgrade,
        timing: Timing::Now,
        scheduled: Some(T.plus(8)),
        begun: Some(T.plus(9)),
        quote: quote(terms, T).expect("a price"),
        expected: Expected { write_block_ms: Some(1), offline_ms: None, total_ms: Some(3) },
        machine: Change::new().0,
        progress: Progress::new(Some(3), 4),
        last_event: None,
        measured: Measured { gate_closed: Some(T), ..Measured::default() },
        cursor: Some("c".to_owned()),
        volume_seq: 4,
        gate_epoch: 2,
        follows: false,
        deadline: Some(T.plus(60_000)),
        store_epoch: 1,
        accepted: T,
        updated: T,
        ended: None,
    }
}

pub fn ended(n: u64, graph_n: u64, subscription_n: u64) -> TierChange {
    let mut change = change(n, graph_n, subscription_n);
    let reason = tiershift_core::Reason::Tombstone;
    change.machine = change.machine.step(&Event::StartRefused { reason }).expect("ended").change;
    change.deadline = None;
    change
}

pub fn event(n: u64, seq: u64) -> ChangeEvent {
    ChangeEvent {
        change_id: change_id(n).to_string(),
        seq,
        at_ms: 5,
        source: Source::Subscription,
        stage: "requested".to_owned(),
        direction: Way::Forward,
        permille: 1,
        eta_ms: -1,
        reads: Reads::Open,
        writes: Writes::Open,
        message: "x".to_owned(),
        detail: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
    }
}

pub fn access(n: u64, pace: Pace) -> Access {
    let record = AccessRecord {
        revision: 0,
        graph: GraphState::Active,
        shared_repository: false,
        subscription: Some(SubscriptionStatus::Active),
        ends_at: None,
        gate: Gate::WritesBlocked(change_id(1)),
        billing_off: false,
        pace,
    };
    Access { graph: graph(n).id, org: org("org_a"), record }
}

pub fn subgraph(n: u64, name: &str) -> Subgraph {
    Subgraph {
        id: AnyGraphId::parse(format!("{}_{name}", graph(n).id)).expect("well formed"),
        parent: graph(n).id,
        name: name.to_owned(),
        created: T,
        deleted: None,
    }
}

pub fn payment(n: u64, bytes: &str, outcome: PaymentOutcome) -> PaymentRequest {
    PaymentRequest {
        change: change_id(n),
        kind: PaymentKind::BackPrice,
        bytes: bytes.to_owned(),
        stored: T,
        outcome,
        reference: String::new(),
    }
}

pub fn owe(n: u64, effect: Effect, not_before: UnixMs) -> Write {
    Write::Owe { change: change_id(n), effect, attempts: 0, not_before }
}
