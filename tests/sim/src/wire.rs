//! gRPC between the two services without sockets: tonic over an in-memory pipe, so that the real client, the real
//! handlers and everything between them run in virtual time. A pipe ends with the process that it leads to.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tiershift_common::caller::{self, Caller};
use tiershift_common::client::{CALL_TIMEOUT, CallerChannel, DevCaller};
use tiershift_proto::volume::v1::migration_service_server::MigrationServiceServer;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server};
use volume_svc::grpc::MigrationHandlers;
use volume_svc::migrations::Migrations;

/// Bytes that wait in a pipe: what a socket's buffer holds, roughly.
const PIPE_BYTES: usize = 64 * 1024;

/// Connections that wait to be taken: a client of ours opens one.
const BACKLOG: usize = 16;

/// Where a process of volume-svc takes connections.
#[derive(Clone, Debug)]
pub struct Door {
    to: mpsc::Sender<Cut>,
    death: CancellationToken,
}

impl Door {
    /// Serves a process's use cases until it dies.
    pub fn open(migrations: Migrations, death: CancellationToken) -> Self {
        let (to, incoming) = mpsc::channel(BACKLOG);
        let handlers = MigrationHandlers { migrations, stop: CancellationToken::new() };
        let server = Server::builder()
            .layer(caller::Layer::dangerous_dev())
            .add_service(MigrationServiceServer::new(handlers))
            .serve_with_incoming(tokio_stream::StreamExt::map(
                tokio_stream::wrappers::ReceiverStream::new(incoming),
                Ok::<_, io::Error>,
            ));
        let dead = death.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = dead.cancelled() => {}
                ended = server => ended.expect("a pipe does not fail"),
            }
        });
        Self { to, death }
    }
}

/// Whichever process answers now.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<Mutex<Option<Door>>>);

impl Switch {
    /// Leads to this door from here on; connections that are open stay where they are until they end.
    pub fn to(&self, door: Door) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(door);
    }

    fn door(&self) -> Option<Door> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|door| !door.death.is_cancelled())
    }

    /// A channel of subscription-svc's to whichever process answers, as a service.
    pub fn channel(&self, caller: &Caller) -> CallerChannel {
        let switch = self.clone();
        let connect = tower::service_fn(move |_: http::Uri| {
            let switch = switch.clone();
            async move {
                let away = || io::Error::from(io::ErrorKind::ConnectionRefused);
                let door = switch.door().ok_or_else(away)?;
                let (mine, theirs) = tokio::io::duplex(PIPE_BYTES);
                door.to.send(Cut::at(theirs, door.death.clone())).await.map_err(|_| away())?;
                Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(Cut::at(mine, door.death)))
            }
        });
        let endpoint = Endpoint::from_static("http://volume-svc").timeout(CALL_TIMEOUT);
        InterceptedService::new(endpoint.connect_with_connector_lazy(connect), DevCaller::new(caller))
    }
}

/// One end of a pipe that breaks when the process at its far end dies.
#[derive(Debug)]
struct Cut {
    pipe: DuplexStream,
    dead: CancellationToken,
    waits: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cut {
    fn at(pipe: DuplexStream, dead: CancellationToken) -> Self {
        Self { pipe, waits: Box::pin(dead.clone().cancelled_owned()), dead }
    }

    /// Ready when it is broken; else wakes the task when it breaks.
    fn broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.dead.is_cancelled() {
            ready!(self.waits.as_mut().poll(cx));
        }
        Poll::Ready(io::Error::from(io::ErrorKind::ConnectionReset))
    }
}

impl Connected for Cut {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.broken(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Pin::new(&mut self.pipe).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.broken(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => Pin::new(&mut self.pipe).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
