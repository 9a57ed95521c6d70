//! The fake on a loopback port, so that an adapter meets it over a real connection.
//!
//! A cut closes the connection after the request was read and before anything was written. Silence keeps it open.

use crate::Fake;
use crate::call::{Call, Reaction};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A running face; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves on a free port.
    pub async fn start(fake: Arc<Fake>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(listener, fake)) })
    }

    /// Where.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(listener: TcpListener, fake: Arc<Fake>) {
    // Dropped with the task, and with it every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&fake)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, fake: Arc<Fake>) {
    let service = service_fn(move |request| answer(Arc::clone(&fake), request));
    // A cut is an error here, and meant.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(fake: Arc<Fake>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    match fake.handle(&Call::of(&head, &body)) {
        Reaction::Silence => std::future::pending().await,
        Reaction::Cut => Err(io::Error::other("cut")),
        Reaction::Answer { status, replayed, body } => response(status, replayed, body),
    }
}

/// An answer as HTTP.
pub fn response<B: From<Bytes>>(status: u16, replayed: bool, body: String) -> io::Result<Response<B>> {
    let mut builder =
        Response::builder().status(status).header("content-type", "application/json").header("request-id", "req_fake");
    if replayed {
        builder = builder.header("idempotent-replayed", "true");
    }
    builder.body(B::from(Bytes::from(body))).map_err(io::Error::other)
}
