//! Connections to the admin listener: so many at once, and none for ever, whoever opens them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{BODY_BYTES_MAX, problem};

/// What strangers may hold.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Connections at once. Each takes a file handle, of which transfers need some too; who comes later waits.
    connections: usize,
    /// How long a connection may take to bring the head of its first or next request.
    head: Duration,
}

const BOUNDS: Bounds = Bounds { connections: 64, head: Duration::from_secs(10) };
/// How long a request may take with its body and its answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);
/// How long a connection may last, also one that reads its answer slowly.
const CONNECTION_DEADLINE: Duration = Duration::from_mins(5);
/// After a failure to accept, mostly for want of file handles.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Answers until this is dropped: health is asked for while the daemon drains.
pub(crate) async fn serve(listener: TcpListener, app: Router) {
    serve_within(BOUNDS, listener, app).await;
}

async fn serve_within(bounds: Bounds, listener: TcpListener, app: Router) {
    let room = Arc::new(Semaphore::new(bounds.connections));
    let app = app.layer(axum::middleware::from_fn(in_bounds));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not take a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(app.clone());
        let mut http = http1::Builder::new();
        let connection = http
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // How it ends is the other side's affair.
            drop(tokio::time::timeout(CONNECTION_DEADLINE, connection).await);
            drop(place);
        });
    }
}

/// Refuses a body that says it is too long, without waiting for it, and gives up what takes too long.
async fn in_bounds(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX)) {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long").into_response();
    }
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "this took too long: try again").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_holds_a_place_for_a_short_time_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/livez", axum::routing::get(async || "alive"));
        let bounds = Bounds { connections: 2, head: Duration::from_millis(100) };
        let serving = tokio::spawn(serve_within(bounds, listener, app));
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("alive"), "{answer}");
        assert_eq!(silent[0].read(&mut [0]).await.unwrap(), 0, "closed");
        serving.abort();
    }
}
