//! A consultation by video is on the line, or over.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::{Problem, bad, read, tell};
use crate::app::Shared;
use crate::audit::Event;
use crate::config::{Consultation, check_mbps};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    minutes: Option<u64>,
    mbps: Option<f64>,
}

pub(super) async fn start(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<Start>, JsonRejection>,
) -> Result<Response, Problem> {
    let body = read(body)?;
    let most = Consultation::MINUTES_MAX;
    if body.minutes.is_some_and(|minutes| !(1..=most).contains(&minutes)) {
        return Err(bad(format!("minutes is not within 1 and {most}")));
    }
    let rate = body.mbps.map(check_mbps).transpose().map_err(|problem| bad(format!("mbps: {problem}")))?;
    shared.rates.start_call(body.minutes.map(|minutes| Duration::from_secs(minutes * 60)), rate);
    let call = shared.rates.shown_call();
    if let Some(call) = call {
        let (mbps, seconds) = (call.limit_mbps, call.seconds_left);
        tell(&shared, Event::ConsultationStarted { seconds, mbps });
        tracing::info!(mbps, seconds, "a consultation is on the line: transfers make room");
    }
    Ok(Json(json!({ "consultation": call })).into_response())
}

pub(super) async fn end(State(shared): State<Arc<Shared>>) -> Response {
    let was_on = shared.rates.end_call();
    if was_on {
        tell(&shared, Event::ConsultationEnded);
        tracing::info!("the consultation is over; transfers go at their usual pace");
    }
    Json(json!({ "consultation": null, "was_on": was_on })).into_response()
}
