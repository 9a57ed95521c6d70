//! The Stripe adapter against a Stripe of our own: every bad answer through the policy that decides about it.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use subscription_svc::payments::policy::{KEY_AGE_MAX_MS, Known, resolve};
use subscription_svc::payments::stripe::Stripe;
use subscription_svc::payments::stripe::http::{Key, VERSION};
use subscription_svc::payments::{
    Answer, Billing, Fetched, InvoiceState, Payments as _, Previewed, Reading, Snapshot, Unprepared,
};
use subscription_svc::store::rows::{Interval, PaymentKind, PaymentOutcome, PaymentRequest};
use support::stripe::{Bench, Case, START_S, key};
use tiershift_core::{Reason, UnixMs};
use tiershift_stripe::Behaviour;
use tiershift_stripe::server::Server;

const UNKNOWN: Known = Known::Unknown { poisoned: false };
const POISONED: Known = Known::Unknown { poisoned: true };

fn refused(reason: Reason) -> Known {
    Known::Refused { reason }
}

/// The first of the way forward.
async fn forward(bench: &Bench) -> PaymentRequest {
    bench.stored(PaymentKind::Forward).await.expect("prepared")
}

#[tokio::test(start_paused = true)]
async fn a_change_is_charged_once_by_one_call_at_the_quotes_instant() {
    for case in [Case::UP, Case::DOWN] {
        let bench = case.begin();
        let request = forward(&bench).await;
        assert_eq!(bench.net_cents(), 0, "preparing takes nothing");
        let Known::Taken { reference } = bench.resolve(&request).await else { panic!("not taken") };
        assert!(reference.starts_with("in_"), "{reference}");
        let due_cents = bench.change.quote.due_cents;
        assert_eq!((bench.net_cents(), bench.price().1), (due_cents, case.after_cents));
        assert_eq!(bench.charges(), usize::from(due_cents > 0));
        let posted = bench.posted(&request.key());
        assert_eq!(posted.len(), 1);
        let at_s = bench.change.quote.at.0 / 1_000;
        for field in [
            format!("proration_date={at_s}&"),
            "proration_behavior=always_invoice&".to_owned(),
            "payment_behavior=error_if_incomplete&".to_owned(),
            format!("metadata%5Bchange_id%5D={}&", bench.change.id),
        ] {
            assert!(posted[0].contains(&field), "{field} is not in {}", posted[0]);
        }
        assert!(bench.fake.requests().iter().all(|seen| seen.version.as_deref() == Some(VERSION)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_paid_at_once_is_refused_and_leaves_nothing() {
    for (behaviour, reason) in
        [(Behaviour::Decline, Reason::PaymentDeclined), (Behaviour::RequiresAction, Reason::PaymentNotImmediate)]
    {
        let bench = Case::UP.begin();
        bench.behave(Some(behaviour));
        let request = forward(&bench).await;
        assert_eq!(bench.resolve(&request).await, refused(reason), "{behaviour:?}");
        assert_eq!((bench.net_cents(), bench.price()), (0, (bench.begun.price.clone(), 9_900)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_repeated_with_the_same_key_and_bytes_and_charged_once() {
    for behaviour in [
        Behaviour::SilentAfter,
        Behaviour::CutAfter,
        Behaviour::CutBefore,
        Behaviour::Unavailable,
        Behaviour::KeyInUse,
        Behaviour::TooMany,
    ] {
        for case in [Case::UP, Case::DOWN] {
            let bench = case.begin();
            bench.behave(Some(behaviour));
            let request = forward(&bench).await;
            assert_eq!(bench.resolve(&request).await, UNKNOWN, "{behaviour:?}");
            let known = bench.resolve(&request).await;
            assert!(matches!(known, Known::Taken { .. }), "{behaviour:?}: {known:?}");
            let due_cents = bench.change.quote.due_cents;
            assert_eq!((bench.net_cents(), bench.charges()), (due_cents, usize::from(due_cents > 0)), "{behaviour:?}");
            let posted = bench.posted(&request.key());
            assert_eq!(posted.len(), 2, "{behaviour:?}");
            assert_eq!(posted[0], posted[1], "H21 d");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_fault_is_only_read_from_then_on() {
    for (behaviour, taken) in [(Behaviour::FaultAfter, true), (Behaviour::FaultBefore, false)] {
        let bench = Case::UP.begin();
        bench.behave(Some(behaviour));
        let mut request = forward(&bench).await;
        assert_eq!(bench.resolve(&request).await, POISONED, "{behaviour:?}");
        request.outcome = PaymentOutcome::Poisoned;
        bench.behave(None);
        let known = bench.resolve(&request).await;
        assert_eq!(matches!(known, Known::Taken { .. }), taken, "{behaviour:?}: {known:?}");
        assert_eq!(known == refused(Reason::PaymentDeclined), !taken, "{behaviour:?}: {known:?}");
        assert_eq!(bench.posted(&request.key()).len(), 1, "H21 b");
        assert_eq!(bench.net_cents(), if taken { bench.change.quote.due_cents } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_key_is_only_read() {
    for (behaviour, taken) in [(Behaviour::SilentAfter, true), (Behaviour::CutBefore, false)] {
        let bench = Case::UP.begin();
        bench.behave(Some(behaviour));
        let request = forward(&bench).await;
        assert_eq!(bench.resolve(&request).await, UNKNOWN);
        bench.fake.prune_keys();
        let later = request.stored.plus(KEY_AGE_MAX_MS);
        let known = resolve(&bench.stripe, &request, later).await;
        assert_eq!(matches!(known, Known::Taken { .. }), taken, "{behaviour:?}: {known:?}");
        assert_eq!(bench.posted(&request.key()).len(), 1, "H21 a");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_invoice_is_neither_done_nor_refused() {
    let bench = Case::UP.begin();
    bench.behave(Some(Behaviour::LeaveOpen));
    let request = forward(&bench).await;
    assert_eq!(bench.resolve(&request).await, UNKNOWN, "H21 e");
    assert_eq!(bench.stripe.read(&request).await, Reading::Open);
    assert_eq!(bench.net_cents(), 0);
    bench.fake.pay_open(&bench.begun.subscription);
    let known = bench.resolve(&request).await;
    assert!(matches!(known, Known::Taken { .. }), "{known:?}");
    assert_eq!((bench.net_cents(), bench.charges()), (bench.change.quote.due_cents, 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_holds_other_bytes_is_never_posted_to_again() {
    let bench = Case::UP.begin();
    let mut request = forward(&bench).await;
    bench.fake.occupy(&request.key());
    assert_eq!(bench.resolve(&request).await, POISONED);
    request.outcome = PaymentOutcome::Poisoned;
    assert_eq!(bench.resolve(&request).await, refused(Reason::PaymentDeclined));
    assert_eq!((bench.net_cents(), bench.price().1), (0, 9_900));
    // Nor is one whose bytes another provider stored.
    let foreign = PaymentRequest { bytes: "{}".to_owned(), outcome: PaymentOutcome::Unknown, ..request };
    assert_eq!(bench.resolve(&foreign).await, POISONED);
}

#[tokio::test(start_paused = true)]
async fn nobody_who_answers_is_unknown_and_never_a_refusal() {
    let bench = Case::UP.begin();
    let request = forward(&bench).await;
    for behaviour in [Behaviour::Silent, Behaviour::Away] {
        bench.behave(Some(behaviour));
        assert_eq!(bench.resolve(&request).await, UNKNOWN, "{behaviour:?}");
    }
    assert_eq!(bench.stored(PaymentKind::Forward).await, Err(Unprepared::Unknown));
    let later = request.stored.plus(KEY_AGE_MAX_MS);
    assert_eq!(resolve(&bench.stripe, &request, later).await, POISONED, "not even when only reading is left");
    assert_eq!(bench.stripe.fetch(&bench.begun.subscription).await, Fetched::Unknown);
    let quote = &bench.change.quote;
    assert_eq!(bench.stripe.preview(quote, &bench.ours, &bench.change.to_tier).await, Previewed::Unknown);
    assert_eq!(bench.net_cents(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_goes_back_whole() {
    // Tiny is below what a card can be charged, and owed until the next invoice.
    let tiny = Case { before_cents: 100, after_cents: 160, ..Case::UP };
    let free = Case { before_cents: 0, ..Case::UP };
    for (case, credit_cents) in
        [(Case::UP, 0), (Case::DOWN, 0), (Case::UP, 5_000), (Case::UP, 50_000), (Case::DOWN, 50), (tiny, 0), (free, 0)]
    {
        let mut bench = case.begin();
        bench.fake.credit(&bench.begun.customer, credit_cents);
        let (start_cents, favour) = (bench.net_cents(), bench.fake.favour_cents(&bench.begun.customer));
        bench.pay().await;
        assert_eq!(bench.net_cents() - start_cents, bench.change.quote.due_cents, "{case:?}");
        bench.give_back().await;
        assert_eq!(bench.net_cents(), start_cents, "7: {case:?}");
        assert_eq!(bench.fake.favour_cents(&bench.begun.customer), favour, "it goes back where it came from: {case:?}");
        assert_eq!(bench.price(), (bench.begun.price.clone(), case.before_cents), "D-48: the price that was paid");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_in_between_costs_what_it_would_have_cost() {
    for case in [Case::UP, Case::DOWN] {
        let mut bench = case.begin();
        bench.pay().await;
        for _ in 0..2 {
            bench.fake.renew(&bench.begun.subscription).expect("a subscription");
        }
        assert_eq!(bench.net_cents(), bench.change.quote.due_cents + 2 * case.after_cents);
        bench.give_back().await;
        assert_eq!(bench.net_cents(), 2 * case.before_cents, "H23: {case:?}");
        bench.fake.renew(&bench.begun.subscription).expect("a subscription");
        assert_eq!(bench.net_cents(), 3 * case.before_cents, "and so will the next: {case:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_way_back_survives_every_bad_answer() {
    for behaviour in [
        Behaviour::SilentAfter,
        Behaviour::CutAfter,
        Behaviour::CutBefore,
        Behaviour::Unavailable,
        Behaviour::KeyInUse,
        Behaviour::TooMany,
    ] {
        for (case, credit_cents) in [(Case::UP, 0), (Case::DOWN, 0), (Case::UP, 5_000)] {
            let mut bench = case.begin();
            bench.fake.credit(&bench.begun.customer, credit_cents);
            let start_cents = bench.net_cents();
            bench.pay().await;
            bench.behave(Some(behaviour));
            bench.give_back().await;
            assert_eq!(
                (bench.net_cents(), bench.price().1),
                (start_cents, case.before_cents),
                "{behaviour:?} {case:?}"
            );
        }
    }
    // One call, one stored fault: it is read, and was done.
    for case in [Case::UP, Case::DOWN] {
        let mut bench = case.begin();
        bench.pay().await;
        bench.behave(Some(Behaviour::FaultAfter));
        bench.give_back().await;
        assert_eq!((bench.net_cents(), bench.price().1), (0, case.before_cents), "{case:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn money_that_went_back_in_part_is_neither_done_nor_refused() {
    let mut bench = Case::UP.begin();
    bench.fake.credit(&bench.begun.customer, 5_000);
    bench.pay().await;
    let price = bench.stored(PaymentKind::BackPrice).await.expect("prepared");
    bench.settle(price).await;
    let whole = bench.stored(PaymentKind::BackMoney).await.expect("prepared");
    let lines: Vec<&str> = whole.bytes.lines().collect();
    assert_eq!(lines.len(), 2, "to the card, and to the balance: {lines:?}");
    let first = PaymentRequest { bytes: format!("{}\n", lines[0]), ..whole.clone() };
    assert_eq!(bench.stripe.read(&whole).await, Reading::Nothing);
    assert!(matches!(bench.stripe.post(&first).await, Answer::Done { .. }));
    assert_eq!(bench.stripe.read(&whole).await, Reading::Open);
    let poisoned = PaymentRequest { outcome: PaymentOutcome::Poisoned, ..whole.clone() };
    assert_eq!(bench.resolve(&poisoned).await, POISONED);
    // While the keys are young, a repeat does what is missing.
    assert!(matches!(bench.resolve(&whole).await, Known::Taken { .. }));
    assert_eq!(bench.net_cents(), -5_000);
    // And this is what the age of keys is for: a forgotten one gives twice.
    bench.fake.prune_keys();
    let second = PaymentRequest { bytes: format!("{}\n", lines[1]), ..whole };
    assert!(matches!(bench.stripe.post(&second).await, Answer::Done { .. }));
    assert!(bench.net_cents() < -5_000, "a fake that forgets no key would hide a missing rule");
}

#[tokio::test(start_paused = true)]
async fn a_refused_refund_is_refused_and_reads_as_nothing() {
    let mut bench = Case::UP.begin();
    bench.pay().await;
    bench.behave(Some(Behaviour::RefuseRefund));
    let price = bench.stored(PaymentKind::BackPrice).await.expect("prepared");
    assert!(matches!(bench.settle(price).await, Known::Taken { .. }));
    let money = bench.stored(PaymentKind::BackMoney).await.expect("prepared");
    assert_eq!(bench.resolve(&money).await, refused(Reason::PaymentDeclined));
    assert_eq!(bench.net_cents(), bench.change.quote.due_cents);
}

#[tokio::test(start_paused = true)]
async fn money_goes_back_only_when_the_price_is_back_and_the_invoices_say_so() {
    let mut bench = Case::UP.begin();
    bench.pay().await;
    assert_eq!(bench.stored(PaymentKind::BackMoney).await, Err(Unprepared::Unknown), "one more renewal may come");
    let price = bench.stored(PaymentKind::BackPrice).await.expect("prepared");
    bench.settle(price).await;
    bench.change.measured.charged_cents += 1;
    assert_eq!(bench.stored(PaymentKind::BackMoney).await, Err(Unprepared::Unknown), "somebody else was there");
}

#[tokio::test(start_paused = true)]
async fn a_price_is_made_once_and_found_from_then_on() {
    let bench = Case::UP.begin();
    let before = bench.fake.prices();
    bench.fake.break_prices(1);
    let first = forward(&bench).await;
    let second = forward(&bench).await;
    assert_eq!(bench.fake.prices(), before + 1, "a stored fault under one key is passed by under the next");
    assert_eq!(first.bytes, second.bytes);
    bench.fake.break_prices(100);
    assert_eq!(forward(&bench).await.bytes, first.bytes, "nothing is made any more");
    bench.fake.archive("tiershift:ladybug-large:24900:usd:month");
    let refused = Err(Unprepared::Refused { reason: Reason::PriceChanged });
    assert_eq!(bench.stored(PaymentKind::Forward).await, refused);
}

#[tokio::test(start_paused = true)]
async fn what_stripe_would_take_otherwise_is_a_changed_price_and_not_taken() {
    let bench = Case::UP.begin();
    let quote = &bench.change.quote;
    assert_eq!(bench.stripe.preview(quote, &bench.ours, &bench.change.to_tier).await, Previewed::Same);
    bench.fake.surcharge(1);
    let due_cents = quote.due_cents + 1;
    assert_eq!(bench.stripe.preview(quote, &bench.ours, &bench.change.to_tier).await, Previewed::Differs { due_cents });
    let price_changed = Err(Unprepared::Refused { reason: Reason::PriceChanged });
    assert_eq!(bench.stored(PaymentKind::Forward).await, price_changed);
    // A period that we have not heard of.
    bench.fake.surcharge(0);
    bench.fake.renew(&bench.begun.subscription).expect("a subscription");
    assert_eq!(bench.stored(PaymentKind::Forward).await, price_changed);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_charged_at_once_is_refused_before_anything_is_sent() {
    let bench = Case::UP.begin();
    bench.fake.automatic(&bench.begun.subscription, false);
    let not_immediate = Err(Unprepared::Refused { reason: Reason::PaymentNotImmediate });
    assert_eq!(bench.stored(PaymentKind::Forward).await, not_immediate);
    for named in ["", "sub_nobody", "../customers"] {
        let mut nameless = Case::UP.begin();
        nameless.ours.provider_subscription_id = named.to_owned();
        let declined = Err(Unprepared::Refused { reason: Reason::PaymentDeclined });
        assert_eq!(nameless.stored(PaymentKind::Forward).await, declined, "{named}");
    }
    let mut other = Case::UP.begin();
    other.ours.interval = Interval::Annual;
    let price_changed = Err(Unprepared::Refused { reason: Reason::PriceChanged });
    assert_eq!(other.stored(PaymentKind::Forward).await, price_changed);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_fetched_ended_and_resumed() {
    let bench = Case::UP.begin();
    let named = bench.begun.subscription.as_str();
    let fresh = Snapshot {
        status: Billing::Active,
        period_start: UnixMs(START_S * 1_000),
        period_end: bench.ours.period_end,
        cancel_at: None,
        canceled_at: None,
        ended_at: None,
        price_cents: 9_900,
        currency: "USD".to_owned(),
        interval: Some(Interval::Monthly),
        latest_invoice: Some(InvoiceState::Paid),
    };
    let snapshot = |snapshot: &Snapshot| Fetched::Snapshot(Box::new(snapshot.clone()));
    assert_eq!(bench.stripe.fetch(named).await, snapshot(&fresh));
    let done = Answer::Done { reference: named.to_owned() };
    let now = UnixMs(bench.change.quote.at.0);
    for _ in 0..2 {
        assert_eq!(bench.stripe.cancel(named, true, "end").await, done);
        let ending = Snapshot { cancel_at: Some(fresh.period_end), canceled_at: Some(now), ..fresh.clone() };
        assert_eq!(bench.stripe.fetch(named).await, snapshot(&ending));
    }
    assert_eq!(bench.stripe.resume(named, "go-on").await, done);
    assert_eq!(bench.stripe.fetch(named).await, snapshot(&fresh));
    for _ in 0..2 {
        assert_eq!(bench.stripe.cancel(named, false, "now").await, done, "a second one finds it done");
    }
    let ended = Snapshot { status: Billing::Ended, canceled_at: Some(now), ended_at: Some(now), ..fresh };
    assert_eq!(bench.stripe.fetch(named).await, snapshot(&ended));
    assert_eq!(bench.stripe.fetch("sub_nobody").await, Fetched::Gone);
    let missing = Answer::Refused { reason: Reason::PaymentDeclined };
    assert_eq!(bench.stripe.cancel("sub_nobody", false, "k").await, missing);
    assert_eq!(bench.stripe.resume(named, "too-late").await, missing);
}

#[tokio::test]
async fn it_works_over_a_real_connection() {
    let mut bench = Case::UP.begin();
    let server = Server::start(Arc::clone(&bench.fake)).await.expect("bound");
    bench.stripe = Stripe::connect(&server.url(), key()).expect("no TLS on loopback");
    bench.behave(Some(Behaviour::CutAfter));
    bench.pay().await;
    assert_eq!(bench.charges(), 1);
    bench.give_back().await;
    assert_eq!((bench.net_cents(), bench.price().1), (0, 9_900));
    let request = forward(&bench).await;
    bench.stripe = Stripe::connect(&server.url(), Key::parse("sk_test_stranger").expect("a key")).expect("no TLS");
    assert_eq!(bench.resolve(&request).await, UNKNOWN, "a wrong key of ours is not the customer's refusal");
    // Nobody who speaks no TLS is told anything, the key least of all.
    let seen = bench.fake.requests().len();
    let url = server.url().replace("http://", "https://");
    bench.stripe = Stripe::connect(&url, key()).expect("this machine has root certificates");
    assert_eq!(bench.resolve(&request).await, UNKNOWN);
    assert_eq!(bench.fake.requests().len(), seen);
    bench.stripe = Stripe::connect(&server.url(), key()).expect("no TLS");
    drop(server);
    assert_eq!(bench.resolve(&request).await, UNKNOWN);
}

/// The binary with Stripe's options, until it listens or ends: whether it listens, and all that it said on stderr.
fn binary(arguments: &[String], variable: Option<&str>) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_subscription-svc"));
    command.args(arguments).env_remove("TIERSHIFT_STRIPE_KEY").env("RUST_LOG", "trace");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(text) = variable {
        command.env("TIERSHIFT_STRIPE_KEY", text);
    }
    let mut child = command.spawn().expect("started");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
    let listens = line.contains("listening");
    if listens {
        child.kill().expect("killed");
    }
    let output = child.wait_with_output().expect("ended");
    (listens, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_binary_takes_its_key_and_never_says_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, database) = (folder.path().join("key"), folder.path().join("s.db"));
    std::fs::write(&file, "sk_test_hunter2\n").expect("written");
    let by_file = format!("--stripe-key-file={}", file.display());
    let loopback = "--stripe-url=http://127.0.0.1:1";
    for (url, file, variable, good) in [
        (loopback, Some(&by_file), None, true),
        (loopback, None, Some("sk_test_hunter2"), true),
        (loopback, Some(&by_file), Some("sk_test_hunter2"), false),
        (loopback, None, Some("hunter2"), false),
        ("--stripe-url=http://api.stripe.com", Some(&by_file), None, false),
    ] {
        let mut arguments: Vec<String> = ["--listen=127.0.0.1:0", "--payments=stripe", url].map(str::to_owned).into();
        arguments.push(format!("--database=sqlite://{}", database.display()));
        arguments.extend(file.cloned());
        let (listens, said) = binary(&arguments, variable);
        assert_eq!(listens, good, "{arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!said.is_empty(), "the log is read");
    }
}
