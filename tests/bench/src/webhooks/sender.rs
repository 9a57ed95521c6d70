//! The provider's side of the flood: events of the size of real ones, signed, over connections that are kept, at a pace that
//! does not wait for answers; what is refused with 503 is sent again when the answer says so.

use super::{Plan, provider};
use crate::saga::tables::Fault;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tiershift_common::clock::{Clock as _, Scaled};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What events are signed with.
pub const SECRET: &str = "whsec_of_the_flood";

/// Connections. Stripe's sender keeps many; so many are enough for answers that take tens of milliseconds.
const CONNECTIONS: u32 = 256;

/// Bytes of an event about an invoice, about as the real ones have.
const PADDING: usize = 2_000;

/// What was sent, and how it was answered.
#[derive(Debug, Default)]
pub struct Sent {
    /// Acknowledged events.
    pub ids: BTreeSet<String>,
    /// How long each acknowledged one took, from when it was due to be sent.
    pub answers: Vec<Duration>,
    /// Answers that asked to send it again.
    pub refused: u64,
}

/// Sends everything; ends when everything is acknowledged.
pub async fn flood(address: SocketAddr, plan: Plan) -> Result<Sent, Fault> {
    let at_s = Scaled::wall().now().0 / 1_000;
    let count = plan.rate * plan.seconds;
    let requests: Arc<Vec<String>> = Arc::new((0..count).map(|n| request(n, plan.subscriptions, at_s)).collect());
    let mut lanes = JoinSet::new();
    let begun = Instant::now();
    for lane in 0..CONNECTIONS.min(count) {
        let requests = Arc::clone(&requests);
        lanes.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut sent = Sent::default();
            for n in (lane..count).step_by(CONNECTIONS as usize) {
                let due = begun + Duration::from_secs_f64(f64::from(n) / f64::from(plan.rate));
                tokio::time::sleep_until(due).await;
                while let Some(again) = connection.post(&requests[n as usize]).await? {
                    sent.refused += 1;
                    tokio::time::sleep(again).await;
                }
                sent.answers.push(due.elapsed());
                sent.ids.insert(id(n));
            }
            Ok::<_, Fault>(sent)
        });
    }
    let mut all = Sent::default();
    while let Some(lane) = lanes.join_next().await {
        let mut sent = lane??;
        all.ids.append(&mut sent.ids);
        all.answers.append(&mut sent.answers);
        all.refused += sent.refused;
    }
    Ok(all)
}

fn id(n: u32) -> String {
    format!("evt_{n:08}")
}

/// One whole request.
fn request(n: u32, subscriptions: u32, at_s: i64) -> String {
    // A large odd step visits all of them in no order.
    let about = provider::name(n.wrapping_mul(2_654_435_761) % subscriptions + 1);
    let (kind, object) = match n % 3 {
        0 => ("customer.subscription.updated", serde_json::json!({ "id": about, "object": "subscription" })),
        1 => ("invoice.paid", serde_json::json!({ "id": "in_1", "object": "invoice", "subscription": about })),
        _ => (
            "invoice.payment_succeeded",
            serde_json::json!({ "id": "in_1", "object": "invoice", "subscription": about }),
        ),
    };
    let body = serde_json::json!({
        "id": id(n), "object": "event", "type": kind, "created": at_s, "data": { "object": object },
        "padding": "x".repeat(PADDING),
    })
    .to_string();
    let signature = signature(at_s, &body);
    format!(
        "POST /webhooks/stripe HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nStripe-Signature: {signature}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn signature(at_s: i64, body: &str) -> String {
    // Any length of key is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()) else { return String::new() };
    mac.update(format!("{at_s}.{body}").as_bytes());
    let mut header = format!("t={at_s},v1=");
    for byte in mac.finalize().into_bytes() {
        // A text takes everything.
        let _ = write!(header, "{byte:02x}");
    }
    header
}

/// A connection that is kept.
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Fault> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends one request: none if it was acknowledged, or how long to wait before it is sent again.
    async fn post(&mut self, request: &str) -> Result<Option<Duration>, Fault> {
        self.0.get_mut().write_all(request.as_bytes()).await?;
        let status = self.line().await?;
        let (mut length, mut retry_after_s) = (0, 1);
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            match line.split_once(':') {
                _ if line.is_empty() => break,
                Some(("content-length", value)) => length = value.trim().parse()?,
                Some(("retry-after", value)) => retry_after_s = value.trim().parse()?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        match status.split(' ').nth(1) {
            Some("200") => Ok(None),
            Some("503") => Ok(Some(Duration::from_secs(retry_after_s))),
            _ => Err(format!("an event was answered with {status}").into()),
        }
    }

    async fn line(&mut self) -> Result<String, Fault> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err("the endpoint closed a connection".into());
        }
        Ok(line.trim_end().to_owned())
    }
}
