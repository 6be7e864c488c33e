//! The admin listener: health, metrics, status, and the few things an operator changes while the daemon runs.
//!
//! Plain HTTP on loopback. Reading health, metrics and status needs no token and shows nothing of patients.
//! Everything else needs the token from `admin.token` in the state folder. Requests under a host name that
//! is not this machine's are refused, so that no web page can reach through somebody's browser (DNS rebinding).

mod consultation;
mod guard;
mod pairing;
mod removal;
mod serve;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use imgxfer_core::priority::Priority;
use imgxfer_core::work::blocking;
use serde::Deserialize;
use serde_json::json;

use crate::app::Shared;
use crate::audit::{Actor, Entry, Event};
use crate::queue::{JobState, Queue, QueueError};
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
        .route("/queue/{id}/retry", post(retry))
        .route("/queue/{id}/priority", post(priority))
        .route("/consultation/start", post(consultation::start))
        .route("/consultation/end", post(consultation::end))
        .route("/studies/remove", post(removal::run))
        .route("/pair/invite", post(pairing::invite))
        .route("/pair/join", post(pairing::join))
        .route("/pair/confirm", post(pairing::confirm))
        .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), needs_audit));
    let guarded = changes
        .route("/queue/{id}", get(job))
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

/// A job with its files; their names may be names of people, hence the token.
async fn job(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Response, Problem> {
    let found = on_queue(&shared, move |queue| Ok((queue.job(id)?, queue.files(id)?))).await?;
    let (Some(job), files) = found else { return Err(no_such_job(id)) };
    let files: Vec<_> = files
        .into_iter()
        .map(|file| json!({ "path": imgxfer_core::send::printable(&file.path), "bytes": file.stamp.len, "state": file.state }))
        .collect();
    Ok(Json(json!({ "job": job, "files": files })).into_response())
}

async fn retry(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Response, Problem> {
    if on_queue(&shared, move |queue| queue.retry(id)).await? {
        tracing::info!(job = id, "an operator wants a job tried again");
        tell(&shared, Event::JobRetried { job: id });
        return Ok(Json(json!({ "job": id, "state": "queued" })).into_response());
    }
    Err(match on_queue(&shared, move |queue| queue.job(id)).await? {
        Some(_) => problem(StatusCode::CONFLICT, "the job is not failed or waiting"),
        None => no_such_job(id),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPriority {
    priority: Priority,
}

async fn priority(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<i64>,
    body: Result<Json<NewPriority>, JsonRejection>,
) -> Result<Response, Problem> {
    let NewPriority { priority } = read(body)?;
    if on_queue(&shared, move |queue| queue.set_priority(id, priority)).await? {
        tracing::info!(job = id, ?priority, "an operator gave a job another priority");
        tell(&shared, Event::JobPriority { job: id, priority });
        return Ok(Json(json!({ "job": id, "priority": priority })).into_response());
    }
    Err(match on_queue(&shared, move |queue| queue.job(id)).await? {
        Some(job) if job.state == JobState::Done => problem(StatusCode::CONFLICT, "the job is done"),
        Some(_) => problem(StatusCode::CONFLICT, "the job is being sent already, at the priority that it began with"),
        None => no_such_job(id),
    })
}

fn no_such_job(id: i64) -> Problem {
    problem(StatusCode::NOT_FOUND, format!("there is no job {id}; GET /status lists them"))
}

async fn drain(State(shared): State<Arc<Shared>>) -> Response {
    tracing::info!("an operator wants the daemon to stop");
    tell(&shared, Event::StopAsked);
    shared.drain_wanted.send_replace(true);
    (StatusCode::ACCEPTED, Json(json!({ "state": "draining" }))).into_response()
}
