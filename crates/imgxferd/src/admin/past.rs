//! What was transferred, and the receipts of it. They name studies, hence the token.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use imgxfer_core::ids::StudyUid;
use serde_json::json;

use super::{Problem, bad, on_queue};
use crate::app::Shared;
use crate::queue::HISTORY_MAX;

/// Receipts in one answer.
const RECEIPTS_MAX: u32 = 5_000;

pub(super) async fn history(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let past = on_queue(&shared, |queue| queue.history(HISTORY_MAX)).await?;
    Ok(Json(json!({ "transfers": past })).into_response())
}

pub(super) async fn receipts(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let receipts = on_queue(&shared, |queue| queue.receipts_of(None, RECEIPTS_MAX)).await?;
    Ok(Json(json!({ "receipts": receipts })).into_response())
}

pub(super) async fn receipts_of(
    State(shared): State<Arc<Shared>>,
    Path(study): Path<String>,
) -> Result<Response, Problem> {
    let study = StudyUid::new(&study).map_err(|error| bad(error.to_string()))?;
    let receipts = on_queue(&shared, move |queue| queue.receipts_of(Some(&study), RECEIPTS_MAX)).await?;
    Ok(Json(json!({ "receipts": receipts })).into_response())
}
