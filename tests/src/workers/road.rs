//! What lies between two processes: a TCP road that can lead elsewhere, be closed, fall silent, or keep one request on its
//! way until it is let through.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes that are passed on at once. A request that is kept back is shorter.
const CHUNK: usize = 64 * 1024;

/// Which way the traffic goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Traffic {
    /// Where to; nowhere if the road is closed.
    to: Option<SocketAddr>,
    /// Counts changes of that: connections of an earlier one are broken.
    since: u64,
    /// Nothing is passed on, and nothing is said.
    silent: bool,
}

/// Which request is kept back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    None,
    /// The next one that contains this.
    Wanted(String),
    /// It is here, and waits.
    Here,
}

/// A road. Dropping it breaks everything on it.
#[derive(Debug)]
pub struct Road {
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    kept: Arc<watch::Sender<Kept>>,
    accepting: JoinHandle<()>,
}

impl Drop for Road {
    fn drop(&mut self) {
        self.accepting.abort();
        self.traffic.send_modify(|traffic| {
            traffic.to = None;
            traffic.since += 1;
        });
    }
}

impl Road {
    /// From a free port of this machine to `to` (`host:port`).
    pub async fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let to = Some(to.parse().expect("host:port"));
        let traffic = watch::Sender::new(Traffic { to, since: 0, silent: false });
        let kept = Arc::new(watch::Sender::new(Kept::None));
        let accepting = tokio::spawn(accept(listener, traffic.subscribe(), Arc::clone(&kept)));
        Self { address, traffic, kept, accepting }
    }

    /// Its beginning, as an address to call.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads elsewhere from here on; what is under way is broken off.
    pub fn lead(&self, to: &str) {
        let to = to.parse().expect("host:port");
        self.traffic
            .send_modify(|traffic| *traffic = Traffic { to: Some(to), since: traffic.since + 1, silent: false });
    }

    /// Closed: nobody is let on, who is on it is thrown off.
    pub fn close(&self) {
        self.traffic.send_modify(|traffic| *traffic = Traffic { to: None, since: traffic.since + 1, silent: false });
    }

    /// Nothing is passed on any more, in no direction, and nobody is told; or it goes on where it was.
    pub fn silence(&self, silent: bool) {
        self.traffic.send_modify(|traffic| traffic.silent = silent);
    }

    /// Keeps back the next request that contains `text`, with everything behind it on its connection.
    pub fn keep(&self, text: &str) {
        self.kept.send_replace(Kept::Wanted(text.to_owned()));
    }

    /// Returns when that request is here.
    pub async fn kept(&self) {
        let mut kept = self.kept.subscribe();
        kept.wait_for(|kept| *kept == Kept::Here).await.expect("the road is there");
    }

    /// Lets it through.
    pub fn let_through(&self) {
        self.kept.send_replace(Kept::None);
    }
}

async fn accept(listener: TcpListener, traffic: watch::Receiver<Traffic>, kept: Arc<watch::Sender<Kept>>) {
    while let Ok((from, _)) = listener.accept().await {
        let now = traffic.borrow().clone();
        // Closed: the connection is dropped, as by a peer that is not there.
        let Some(to) = now.to else { continue };
        tokio::spawn(carry(from, to, now.since, traffic.clone(), Arc::clone(&kept)));
    }
}

async fn carry(
    from: TcpStream,
    to: SocketAddr,
    since: u64,
    mut traffic: watch::Receiver<Traffic>,
    kept: Arc<watch::Sender<Kept>>,
) {
    let Ok(to) = TcpStream::connect(to).await else { return };
    // What is passed on in pieces must not wait for each other.
    let _quick = (from.set_nodelay(true), to.set_nodelay(true));
    let (from_read, from_write) = from.into_split();
    let (to_read, to_write) = to.into_split();
    let there = tokio::spawn(pass(from_read, to_write, traffic.clone(), Some(kept)));
    let back = tokio::spawn(pass(to_read, from_write, traffic.clone(), None));
    let ends = [there.abort_handle(), back.abort_handle()];
    let broken = async {
        let _gone = traffic.wait_for(|traffic| traffic.since != since).await;
    };
    // A caller that has hung up does not take back what it sent: only a broken road does.
    let both = async { (there.await.is_ok(), back.await.is_ok()) };
    tokio::select! {
        biased;
        () = broken => ends.iter().for_each(tokio::task::AbortHandle::abort),
        _ = both => {}
    }
}

/// Passes on what is read, until one side has ended.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
    kept: Option<Arc<watch::Sender<Kept>>>,
) {
    let mut chunk = vec![0_u8; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if let Some(kept) = &kept {
            keep_back(kept, &chunk[..read]).await;
        }
        if traffic.wait_for(|traffic| !traffic.silent).await.is_err() || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}

/// Returns at once, or, for the request that is wanted, when it is let through.
async fn keep_back(kept: &watch::Sender<Kept>, bytes: &[u8]) {
    let is_it = kept.send_if_modified(|kept| match kept {
        Kept::Wanted(text) if contains(bytes, text.as_bytes()) => {
            *kept = Kept::Here;
            true
        }
        _ => false,
    });
    if is_it {
        let mut changes = kept.subscribe();
        let _gone = changes.wait_for(|kept| *kept != Kept::Here).await;
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Answers each byte with the next one.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        if stream.write_u8(byte + 1).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    async fn call(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_u8(byte).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn a_road_carries_is_closed_and_leads_elsewhere() {
        let (one, other) = (echo().await, echo().await);
        let road = Road::to(&one).await;
        let mut stream = TcpStream::connect(road.address).await.expect("open");
        assert_eq!(call(&mut stream, 1).await.expect("an answer"), 2);
        road.close();
        assert!(call(&mut stream, 1).await.is_err(), "thrown off");
        let mut stream = TcpStream::connect(road.address).await.expect("the port is there");
        assert!(call(&mut stream, 1).await.is_err(), "not let on");
        road.lead(&other);
        let mut stream = TcpStream::connect(road.address).await.expect("open");
        assert_eq!(call(&mut stream, 3).await.expect("an answer"), 4);
    }

    #[tokio::test]
    async fn a_silent_road_says_nothing_and_goes_on_later() {
        let road = Road::to(&echo().await).await;
        let mut stream = TcpStream::connect(road.address).await.expect("open");
        road.silence(true);
        let mut asked = std::pin::pin!(call(&mut stream, 1));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut asked).await.is_err(), "an answer");
        road.silence(false);
        assert_eq!(asked.await.expect("an answer"), 2);
    }

    #[tokio::test]
    async fn one_request_is_kept_back_and_arrives_though_its_caller_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let road = Road::to(&listener.local_addr().expect("an address").to_string()).await;
        road.keep("Detach");
        let mut stream = TcpStream::connect(road.address).await.expect("open");
        stream.write_all(b"Action=DetachVolume").await.expect("sent");
        road.kept().await;
        drop(stream);
        road.let_through();
        let (mut arrived, _) = listener.accept().await.expect("a connection");
        let mut text = String::new();
        arrived.read_to_string(&mut text).await.expect("all of it");
        assert_eq!(text, "Action=DetachVolume");
    }
}
