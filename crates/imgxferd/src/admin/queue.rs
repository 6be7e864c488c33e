//! The queue over the admin listener: its jobs, and what an operator wants of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use imgxfer_core::priority::Priority;
use serde::Deserialize;
use serde_json::json;

use super::{Problem, on_queue, problem, read, tell};
use crate::app::Shared;
use crate::audit::Event;
use crate::queue::{JobState, Ordered};

/// A job with its files; their names may be names of people, hence the token.
pub(super) async fn job(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Response, Problem> {
    let found = on_queue(&shared, move |queue| Ok((queue.job(id)?, queue.files(id)?))).await?;
    let (Some(job), files) = found else { return Err(no_such_job(id)) };
    let files: Vec<_> = files
        .into_iter()
        .map(|file| json!({ "path": imgxfer_core::send::printable(&file.path), "bytes": file.stamp.len, "state": file.state }))
        .collect();
    Ok(Json(json!({ "job": job, "files": files })).into_response())
}

pub(super) async fn retry(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Response, Problem> {
    obeyed(id, on_queue(&shared, move |queue| queue.retry(id)).await?, "it is not failed, waiting or cancelled")?;
    tracing::info!(job = id, "an operator wants a job tried again");
    tell(&shared, Event::JobRetried { job: id });
    Ok(Json(json!({ "job": id, "state": "queued" })).into_response())
}

pub(super) async fn cancel(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Response, Problem> {
    obeyed(id, on_queue(&shared, move |queue| queue.cancel(id)).await?, "there is nothing to cancel")?;
    tracing::info!(job = id, "an operator cancelled a job");
    tell(&shared, Event::JobCancelled { job: id });
    Ok(Json(json!({ "job": id, "state": "cancelled" })).into_response())
}

pub(super) async fn dismiss(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Response, Problem> {
    obeyed(
        id,
        on_queue(&shared, move |queue| queue.dismiss(id)).await?,
        "only failed and cancelled jobs are dismissed",
    )?;
    tracing::info!(job = id, "an operator is done with a job");
    tell(&shared, Event::JobDismissed { job: id });
    // Its inbox may have committed files to move or delete.
    shared.inboxes_wanted.send_modify(|n| *n += 1);
    Ok(Json(json!({ "job": id, "state": "dismissed" })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPriority {
    priority: Priority,
}

pub(super) async fn priority(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<i64>,
    body: Result<Json<NewPriority>, JsonRejection>,
) -> Result<Response, Problem> {
    let NewPriority { priority } = read(body)?;
    let ordered = on_queue(&shared, move |queue| queue.set_priority(id, priority)).await?;
    let late = "a job keeps the priority that it began with";
    obeyed(id, ordered, late)?;
    tracing::info!(job = id, ?priority, "an operator gave a job another priority");
    tell(&shared, Event::JobPriority { job: id, priority });
    Ok(Json(json!({ "job": id, "priority": priority })).into_response())
}

/// Whether an order holds; `why` says why it does not for a job that stands elsewhere.
fn obeyed(id: i64, ordered: Ordered, why: &str) -> Result<(), Problem> {
    match ordered {
        Ordered::Yes => Ok(()),
        Ordered::No(state) => {
            let state = if state == JobState::Running { "being sent" } else { state.name() };
            Err(problem(StatusCode::CONFLICT, format!("the job is {state}: {why}")))
        }
        Ordered::Unknown => Err(no_such_job(id)),
    }
}

fn no_such_job(id: i64) -> Problem {
    problem(StatusCode::NOT_FOUND, format!("there is no job {id}; `imgxfer daemon queue` lists them"))
}
