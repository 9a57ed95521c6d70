//! The webhook endpoint over real HTTP: what is refused changes nothing, what is acknowledged is stored, and a flood waits
//! at the door.

#![expect(clippy::expect_used, reason = "a test: its failure is the report")]

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use subscription_svc::store::Fault;
use subscription_svc::store::inbox::{Inbox, WebhookEvent, WebhookMark, WebhookState};
use subscription_svc::store::memory::Memory;
use subscription_svc::webhooks::receive::{self, BODY_BYTES_MAX};
use subscription_svc::webhooks::signature::Secret;
use tiershift_common::clock::{Clock, Scaled};
use tiershift_core::UnixMs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "whsec_test";

/// Events that may wait for the store.
const QUEUE: usize = 50;

/// A store that can be away, or slow: it stores what it has a permit for.
struct Gated {
    inner: Memory,
    away: AtomicBool,
    permits: Semaphore,
}

#[async_trait]
impl Inbox for Gated {
    async fn receive(&self, events: &[WebhookEvent]) -> Result<u64, Fault> {
        self.permits.acquire().await.expect("open").forget();
        if self.away.load(Ordering::SeqCst) {
            return Err(Fault::Away("no connection".into()));
        }
        self.inner.receive(events).await
    }

    async fn head(&self) -> Result<u64, Fault> {
        self.inner.head().await
    }

    async fn due(&self, now: UnixMs, limit: u32) -> Result<(Vec<WebhookEvent>, Option<UnixMs>), Fault> {
        Inbox::due(&self.inner, now, limit).await
    }

    async fn mark(&self, mark: &WebhookMark) -> Result<(), Fault> {
        self.inner.mark(mark).await
    }

    async fn list(&self, state: WebhookState, before: Option<u64>, limit: u32) -> Result<Vec<WebhookEvent>, Fault> {
        self.inner.list(state, before, limit).await
    }

    async fn replay(&self, ids: &[String], now: UnixMs, note: &str) -> Result<Vec<String>, Fault> {
        self.inner.replay(ids, now, note).await
    }

    async fn prune(&self, before: UnixMs, limit: u32) -> Result<u64, Fault> {
        self.inner.prune(before, limit).await
    }
}

struct Endpoint {
    address: SocketAddr,
    inbox: Arc<Gated>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Endpoint {
    async fn start(permits: usize) -> Self {
        let inbox = Arc::new(Gated {
            inner: Memory::default(),
            away: AtomicBool::new(false),
            permits: Semaphore::new(permits),
        });
        let (stop, clock) = (CancellationToken::new(), Arc::new(Scaled::wall()) as Arc<dyn Clock>);
        let secrets = vec![Secret::parse(SECRET).expect("a secret")];
        let shared = Arc::clone(&inbox) as Arc<dyn Inbox>;
        let (routes, collector) =
            receive::endpoint(secrets, clock, shared, Arc::new(Notify::new()), QUEUE, stop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(receive::serve(listener, routes, stop.clone()));
        tasks.spawn(collector);
        Self { address, inbox, stop, tasks }
    }

    async fn stored(&self) -> usize {
        let mut count = 0;
        for state in WebhookState::ALL {
            count += self.inbox.list(*state, None, 1_000_000).await.expect("read").len();
        }
        count
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic");
        }
    }
}

fn now_s() -> i64 {
    Scaled::wall().now().0 / 1_000
}

fn body(id: &str) -> String {
    let object = serde_json::json!({ "id": "sub_p" });
    let event = serde_json::json!({
        "id": id, "type": "customer.subscription.updated", "created": now_s(), "data": { "object": object },
    });
    event.to_string()
}

fn signature(at_s: i64, body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(format!("{at_s}.{body}").as_bytes());
    let mut header = format!("t={at_s},v1=");
    for byte in mac.finalize().into_bytes() {
        write!(header, "{byte:02x}").expect("a text");
    }
    header
}

/// One request; its status and the Retry-After of the answer.
async fn post(address: SocketAddr, body: &str, signature: Option<&str>) -> (u16, Option<String>) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let signed = signature.map(|text| format!("Stripe-Signature: {text}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{signed}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // Refused before its end, a body cannot be sent whole.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
    let after = answer.lines().find_map(|line| Some(line.strip_prefix("retry-after: ")?.trim().to_owned()));
    (status, after)
}

#[tokio::test]
async fn what_is_not_the_providers_gets_its_4xx_and_changes_nothing() {
    let endpoint = Endpoint::start(1_000).await;
    let at = endpoint.address;
    let (good, now) = (body("evt_1"), now_s());
    let valid = signature(now, &good, SECRET);
    let cases = [
        ("unsigned", good.clone(), None, 401),
        ("of another secret", good.clone(), Some(signature(now, &good, "whsec_other")), 401),
        ("of another body", body("evt_2"), Some(valid.clone()), 401),
        ("too old", good.clone(), Some(signature(now - 301, &good, SECRET)), 401),
        ("from the future", good.clone(), Some(signature(now + 400, &good, SECRET)), 401),
        ("no header", good.clone(), Some("nonsense".to_owned()), 400),
        ("not JSON", "{".to_owned(), Some(signature(now, "{", SECRET)), 400),
        ("no event", "{}".to_owned(), Some(signature(now, "{}", SECRET)), 400),
    ];
    for (what, body, header, status) in cases {
        assert_eq!(post(at, &body, header.as_deref()).await.0, status, "{what}");
    }
    let huge = "x".repeat(10 << 20);
    assert!(huge.len() > BODY_BYTES_MAX);
    assert_eq!(post(at, &huge, Some(&signature(now, &huge, SECRET))).await.0, 413);
    assert_eq!(endpoint.stored().await, 0);
    assert_eq!(post(at, &good, Some(&valid)).await.0, 200);
    assert_eq!(post(at, &good, Some(&valid)).await.0, 200, "a duplicate is acknowledged");
    assert_eq!(endpoint.stored().await, 1);
    endpoint.end().await;
}

#[tokio::test]
async fn what_could_not_be_stored_is_not_acknowledged() {
    let endpoint = Endpoint::start(1_000).await;
    endpoint.inbox.away.store(true, Ordering::SeqCst);
    let body = body("evt_1");
    let header = signature(now_s(), &body, SECRET);
    assert_eq!(post(endpoint.address, &body, Some(&header)).await, (503, Some("5".to_owned())));
    endpoint.inbox.away.store(false, Ordering::SeqCst);
    assert_eq!(post(endpoint.address, &body, Some(&header)).await.0, 200);
    assert_eq!(endpoint.stored().await, 1);
    endpoint.end().await;
}

#[tokio::test]
async fn a_full_queue_says_come_back_and_what_was_acknowledged_is_stored() {
    // The store takes nothing at first.
    let endpoint = Endpoint::start(0).await;
    let at = endpoint.address;
    let mut waiting = JoinSet::new();
    for n in 0..4 * QUEUE {
        waiting.spawn(async move {
            let body = body(&format!("evt_{n}"));
            post(at, &body, Some(&signature(now_s(), &body, SECRET))).await
        });
    }
    // Whoever is answered now was not taken.
    let first = tokio::time::timeout(Duration::from_mins(1), waiting.join_next()).await.expect("in time");
    assert_eq!(first.expect("one").expect("no panic"), (503, Some("5".to_owned())));
    endpoint.inbox.permits.add_permits(4 * QUEUE);
    let mut acknowledged = 0;
    while let Some(ended) = waiting.join_next().await {
        match ended.expect("no panic").0 {
            200 => acknowledged += 1,
            other => assert_eq!(other, 503),
        }
    }
    assert!(acknowledged >= QUEUE, "{acknowledged} were taken");
    assert_eq!(endpoint.stored().await, acknowledged);
    endpoint.end().await;
}
