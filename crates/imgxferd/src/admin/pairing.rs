//! Pairing over the admin listener.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use imgxfer_core::transport::pairing::PairingCode;
use serde::Deserialize;
use serde_json::json;

use super::peers::{SeesBody, rights};
use super::{Problem, bad, problem, read, tell};
use crate::app::Shared;
use crate::audit::Event;
use crate::config::{check_name, is_host_and_port};
use crate::pair::{Decision, PairState};

type Body<T> = Result<Json<T>, JsonRejection>;

const MINUTES_DEFAULT: u64 = 10;
const MINUTES_MAX: u64 = 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Invite {
    #[serde(default)]
    rights: Vec<String>,
    minutes: Option<u64>,
}

pub(super) async fn invite(State(shared): State<Arc<Shared>>, body: Body<Invite>) -> Result<Response, Problem> {
    let body = read(body)?;
    let minutes = body.minutes.unwrap_or(MINUTES_DEFAULT);
    if !(1..=MINUTES_MAX).contains(&minutes) {
        return Err(bad(format!("minutes is not within 1 and {MINUTES_MAX}")));
    }
    let rights = rights(&body.rights)?;
    let code = shared.pairings.invite(rights, Duration::from_secs(minutes * 60));
    let code = code.map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    tell(&shared, Event::PairingOpened { rights: rights.names(), minutes });
    tracing::info!(minutes, "an operator opened the door for pairing");
    let fingerprint = shared.identity.peer_id().fingerprint();
    Ok(Json(json!({ "code": code, "minutes": minutes, "fingerprint": fingerprint })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Join {
    address: String,
    code: String,
    #[serde(default)]
    rights: Vec<String>,
}

pub(super) async fn join(State(shared): State<Arc<Shared>>, body: Body<Join>) -> Result<Response, Problem> {
    let body = read(body)?;
    if !is_host_and_port(&body.address) {
        return Err(bad("address is not HOST:PORT, for example cloud.example:11120"));
    }
    let code: PairingCode = body
        .code
        .parse()
        .map_err(|error: imgxfer_core::transport::pairing::PairingCodeError| bad(error.to_string()))?;
    let rights = rights(&body.rights)?;
    tell(&shared, Event::PairingJoined { address: body.address.clone(), rights: rights.names() });
    shared.pairings.join(body.address, code, rights);
    Ok((StatusCode::ACCEPTED, Json(shared.pairings.state())).into_response())
}

pub(super) async fn state(State(shared): State<Arc<Shared>>) -> Json<PairState> {
    Json(shared.pairings.state())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirm {
    accept: bool,
    name: Option<String>,
    rights: Option<Vec<String>>,
    sees: Option<SeesBody>,
    address: Option<String>,
}

pub(super) async fn confirm(State(shared): State<Arc<Shared>>, body: Body<Confirm>) -> Result<Response, Problem> {
    let body = read(body)?;
    if let Some(name) = &body.name {
        check_name(name).map_err(bad)?;
        if shared.peers.named(name).is_some() {
            return Err(problem(
                StatusCode::CONFLICT,
                format!("there is a peer {name:?} already; choose another name"),
            ));
        }
    }
    if body.address.as_ref().is_some_and(|address| !is_host_and_port(address)) {
        return Err(bad("address is not HOST:PORT, for example cloud.example:11120"));
    }
    let decision = Decision {
        accept: body.accept,
        name: body.name,
        rights: body.rights.as_deref().map(rights).transpose()?,
        sees: body.sees.map(SeesBody::checked).transpose()?.unwrap_or_default(),
        address: body.address,
    };
    if shared.pairings.decide(decision) {
        return Ok((StatusCode::ACCEPTED, Json(shared.pairings.state())).into_response());
    }
    Err(problem(StatusCode::CONFLICT, "no pairing waits for a decision; GET /pair/state says where it stands"))
}
