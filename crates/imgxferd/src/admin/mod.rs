//! The admin listener: health, metrics, status, and the few things an operator changes while the daemon runs.
//!
//! Plain HTTP on loopback. Reading health, metrics and status needs no token and shows nothing of patients.
//! Everything else needs the token from `admin.token` in the state folder. Requests under a host name that
//! is not this machine's are refused, so that no web page can reach through somebody's browser (DNS rebinding).

mod consultation;
mod guard;
mod pairing;
mod past;
mod peers;
mod queue;
mod removal;
mod serve;
mod status;
mod study;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use imgxfer_core::work::blocking;
use serde_json::json;

use crate::app::Shared;
use crate::audit::{Actor, Entry, Event};
use crate::queue::{Queue, QueueError};
use guard::Guard;
pub(crate) use serve::serve;
pub(crate) use status::StoreTotals;

/// Longest body of a request.
const BODY_BYTES_MAX: usize = 16 << 10;

/// All routes.
pub(crate) fn router(shared: Arc<Shared>, token: &str, address: SocketAddr) -> Router {
    let guard = Guard::new(token, address, shared.config.admin_hosts.clone(), shared.audit.clone());
    let open = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status::status));
    let changes = Router::new()
        .route("/queue/{id}/retry", post(queue::retry))
        .route("/queue/{id}/cancel", post(queue::cancel))
        .route("/queue/{id}/dismiss", post(queue::dismiss))
        .route("/queue/{id}/priority", post(queue::priority))
        .route("/peers/{name}/rights", post(peers::set_rights))
        .route("/peers/{name}/remove", post(peers::remove))
        .route("/reload", post(reload))
        .route("/consultation/start", post(consultation::start))
        .route("/consultation/end", post(consultation::end))
        .route("/studies/remove", post(removal::run))
        .route("/pair/invite", post(pairing::invite))
        .route("/pair/join", post(pairing::join))
        .route("/pair/confirm", post(pairing::confirm))
        .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), needs_audit));
    let guarded = changes
        .route("/queue/{id}", get(queue::job))
        .route("/history", get(past::history))
        .route("/receipts", get(past::receipts))
        .route("/receipts/{study}", get(past::receipts_of))
        .route("/studies/{uid}", get(study::owners_and_ways))
        .route("/pair/state", get(pairing::state))
        .route("/drain", post(drain))
        .route_layer(axum::middleware::from_fn_with_state(guard.clone(), guard::needs_token));
    open.merge(guarded)
        .fallback(async || problem(StatusCode::NOT_FOUND, "there is nothing here; the paths are in docs/operating.md"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(guard, guard::host_is_ours))
        .with_state(shared)
}

/// Nothing is changed without an audit where one is required.
async fn needs_audit(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if shared.audit.takes_work() {
        return next.run(request).await;
    }
    let text = "the audit cannot be written, and audit.required is set: look at the log and the disk";
    problem(StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Writes down what an operator did.
fn tell(shared: &Shared, event: Event) {
    shared.audit.tell(&Entry::new(Actor::Admin, event));
}

/// An error as this listener says it.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    text: String,
}

fn problem(status: StatusCode, text: impl Into<String>) -> Problem {
    Problem { status, text: text.into() }
}

fn bad(text: impl Into<String>) -> Problem {
    problem(StatusCode::BAD_REQUEST, text)
}

/// The body of a request.
fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(value)| value).map_err(|rejection| problem(rejection.status(), rejection.body_text()))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.text }))).into_response()
    }
}

/// Runs a call that blocks on the queue.
async fn on_queue<T: Send + 'static>(
    shared: &Shared,
    call: impl FnOnce(&Queue) -> Result<T, QueueError> + Send + 'static,
) -> Result<T, Problem> {
    let queue = Arc::clone(&shared.queue);
    let failed = |error: QueueError| problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    blocking("use the queue", move || call(&queue)).await.map_err(|e| failed(e.into()))?.map_err(failed)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let now = status::snapshot(&shared).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], shared.metrics.encode(&now)).into_response())
}

/// Has the configuration read anew.
async fn reload(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let Some(reloads) = shared.reloads.get() else {
        let text = "this daemon was started by a program: it has no configuration file to read";
        return Err(problem(StatusCode::CONFLICT, text));
    };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let stopping = || problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
    reloads.send(answer).await.map_err(|_| stopping())?;
    match answered.await.map_err(|_| stopping())? {
        Ok(reloaded) => Ok(Json(reloaded).into_response()),
        Err(error) => {
            let text = format!("the configuration is not read anew, and what was read before holds: {error}");
            Err(problem(StatusCode::UNPROCESSABLE_ENTITY, text))
        }
    }
}

async fn drain(State(shared): State<Arc<Shared>>) -> Response {
    tracing::info!("an operator wants the daemon to stop");
    tell(&shared, Event::StopAsked);
    shared.drain_wanted.send_replace(true);
    (StatusCode::ACCEPTED, Json(json!({ "state": "draining" }))).into_response()
}
