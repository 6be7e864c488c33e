//! Peers over the admin listener: what they may do, and their end.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use imgxfer_core::transport::CloseCode;
use imgxfer_core::work::blocking;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Problem, bad, on_queue, problem, read};
use crate::app::Shared;
use crate::audit::{Actor, Entry, Event, PeerRow};
use crate::config::{PeerConfig, PeerRights, Sees};
use crate::peers::ChangePeerError;

/// Whose studies a peer sees, as requests say it: a word, or a list of peers and sources.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum SeesBody {
    Word(String),
    Names(Vec<String>),
}

impl SeesBody {
    pub(super) fn checked(self) -> Result<Sees, Problem> {
        match self {
            Self::Word(word) if word == "own" => Ok(Sees::Own),
            Self::Word(word) if word == "all" => Ok(Sees::All),
            Self::Word(_) => Err(bad("sees is neither \"own\" nor \"all\" nor a list of peers and sources")),
            Self::Names(names) => Sees::of_list(&names).map_err(bad),
        }
    }
}

/// The names of rights.
pub(super) fn rights(names: &[String]) -> Result<PeerRights, Problem> {
    PeerRights::parse(names)
        .map_err(|unknown| bad(format!("{unknown:?} is no right; there are send, query, pull and delete")))
}

/// Whose studies a peer sees, as answers say it.
pub(super) fn sees(peer: &PeerConfig) -> Value {
    match &peer.sees {
        Sees::Own => json!("own"),
        Sees::All => json!("all"),
        Sees::These(_) => json!(peer.sees.texts()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRights {
    rights: Option<Vec<String>>,
    sees: Option<SeesBody>,
}

pub(super) async fn set_rights(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Result<Json<NewRights>, JsonRejection>,
) -> Result<Response, Problem> {
    let NewRights { rights: names, sees: wanted } = read(body)?;
    if names.is_none() && wanted.is_none() {
        return Err(bad("neither rights nor sees is named: nothing to change"));
    }
    let named = names.as_deref().map(rights).transpose()?;
    let wanted = wanted.map(SeesBody::checked).transpose()?;
    let (peers, audit) = (Arc::clone(&shared.peers), shared.audit.clone());
    let change = move || {
        let (before, after) = peers.set_rights(&name, named, wanted)?;
        let event = Event::RightsChanged { before: PeerRow::of(&before), peer: PeerRow::of(&after) };
        audit.tell_and_wait(&Entry::new(Actor::Admin, event));
        Ok(after)
    };
    let after = done(blocking("write the peers down", change).await)?;
    tracing::info!(peer = %after.name, rights = ?after.rights.names(), "an operator changed what a peer may do");
    Ok(Json(json!({ "peer": after.name, "rights": after.rights.names(), "sees": sees(&after) })).into_response())
}

pub(super) async fn remove(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Response, Problem> {
    needed(&shared, &name)?;
    let (peers, audit) = (Arc::clone(&shared.peers), shared.audit.clone());
    let change = move || {
        let peer = peers.remove(&name)?;
        audit.tell_and_wait(&Entry::new(Actor::Admin, Event::PeerRemoved { peer: PeerRow::of(&peer) }));
        Ok(peer)
    };
    let peer = done(blocking("write the peers down", change).await)?;
    let mut sessions = 0_u32;
    for (id, session) in shared.live.sessions() {
        if peer.peer_id() == Some(id) {
            session.close(CloseCode::Refused, "not a peer any more");
            sessions += 1;
        }
    }
    let name = peer.name.clone();
    let why = "peer-removed: it is no peer any more; dismiss the job, or pair again under the same name and retry";
    let jobs = on_queue(&shared, move |queue| queue.orphan(&name, why)).await?;
    tracing::info!(peer = %peer.name, sessions, jobs, "an operator removed a peer");
    Ok(Json(json!({ "peer": peer.name, "removed": true, "sessions_ended": sessions, "jobs_failed": jobs }))
        .into_response())
}

/// The configuration must not name somebody who is not there: the next start would refuse it.
fn needed(shared: &Shared, name: &str) -> Result<(), Problem> {
    let config = &shared.config;
    let inbox = config.inboxes.iter().find(|inbox| inbox.to.as_deref() == Some(name));
    let by = match inbox {
        Some(inbox) => format!("the inbox {} sends to it", inbox.path.display()),
        None if config.retention.at.as_deref() == Some(name) => "store.keep_at names it".to_owned(),
        None => return Ok(()),
    };
    Err(problem(StatusCode::CONFLICT, format!("{by}: change the configuration and restart the daemon first")))
}

fn done<T>(result: Result<Result<T, ChangePeerError>, imgxfer_core::work::WorkError>) -> Result<T, Problem> {
    let error = match result {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error,
        Err(error) => return Err(problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    };
    let status = match &error {
        ChangePeerError::Unknown(_) => StatusCode::NOT_FOUND,
        ChangePeerError::Sees(_) => StatusCode::BAD_REQUEST,
        ChangePeerError::Write { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    Err(problem(status, error.to_string()))
}
