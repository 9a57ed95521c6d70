//! The connections of a server: accepted without a hot loop, and closable from outside when a drain takes too long.
//!
//! tonic waits for its connections at shutdown and has no way to end them; a watch stream whose client is silent
//! would hold the process for ever.

use futures_util::FutureExt as _;
use futures_util::stream::{Stream, unfold};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Pause after a failed accept. It fails when the process has no file descriptor left: that passes with time, and an
/// accept loop without a pause would take the processor that the open connections need to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A TCP connection that ends with an error once it is cut.
pub(crate) struct Connection {
    stream: TcpStream,
    cut: CancellationToken,
    /// Wakes the connection's task when it is cut while it waits for its peer.
    cut_while_waiting: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn new(stream: TcpStream, cut: CancellationToken) -> Self {
        let cut_while_waiting = Box::pin(cut.clone().cancelled_owned());
        Self { stream, cut, cut_while_waiting }
    }

    fn error() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, "cut at the end of the drain")
    }
}

/// Accepts until it is dropped. Each connection ends when `cut` is cancelled.
pub(crate) fn accept(
    listener: TcpListener,
    cut: CancellationToken,
) -> impl Stream<Item = Result<Connection, io::Error>> {
    unfold((listener, cut), |(listener, cut)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Without it, small messages of a stream wait for the acknowledgement of the one before (40 ms).
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection ended while it was accepted");
                        continue;
                    }
                    return Some((Ok(Connection::new(stream, cut.clone())), (listener, cut)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_while_waiting.poll_unpin(context).is_ready() {
            return Poll::Ready(Err(Self::error()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.cut.is_cancelled() {
            return Poll::Ready(Err(Self::error()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.cut.is_cancelled() {
            return Poll::Ready(Err(Self::error()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use std::pin::pin;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const BOUND: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_cut_wakes_a_waiting_connection_and_forbids_writing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cut = CancellationToken::new();
        let mut connections = pin!(accept(listener, cut.clone()));
        let (client, server) = tokio::join!(TcpStream::connect(address), connections.next());
        let (mut client, mut server) = (client.expect("connected"), server.expect("never ends").expect("accepted"));
        client.write_all(b"ping").await.expect("written");
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.expect("open connections carry bytes");
        server.write_all(b"pong").await.expect("both ways");

        let waiting = tokio::spawn(async move { (server.read_exact(&mut bytes).await, server) });
        tokio::task::yield_now().await;
        cut.cancel();
        let (read, mut server) = tokio::time::timeout(BOUND, waiting).await.expect("woken").expect("no panic");
        assert_eq!(read.expect_err("cut").kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(server.write(b"x").await.expect_err("cut").kind(), io::ErrorKind::ConnectionAborted);
    }
}
