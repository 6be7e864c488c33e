//! Removing studies, for whoever runs the site.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use imgxfer_core::depot::{RemoveError, Unwanted};
use imgxfer_core::ids::{PeerId, SeriesUid, SopInstanceUid, StudyUid, UidError};
use imgxfer_core::store::Scope;
use imgxfer_core::work::blocking;
use serde::Deserialize;
use serde_json::json;

use super::{Problem, bad, problem, read, tell};
use crate::app::Shared;
use crate::audit::{By, Event};
use crate::owners;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    study: String,
    #[serde(default)]
    series: Vec<String>,
    #[serde(default)]
    instances: Vec<String>,
    /// Names of peers, or `self`; all owners where none is named.
    #[serde(default)]
    owners: Vec<String>,
    /// Whether it is only counted.
    #[serde(default)]
    dry_run: bool,
}

impl Wish {
    fn unwanted(&self) -> Result<Unwanted, UidError> {
        Ok(Unwanted {
            study: StudyUid::new(&self.study)?,
            series: self.series.iter().map(|uid| SeriesUid::new(uid)).collect::<Result<_, _>>()?,
            instances: self.instances.iter().map(|uid| SopInstanceUid::new(uid)).collect::<Result<_, _>>()?,
        })
    }
}

/// What an owner has of something unwanted.
struct Part {
    owner: PeerId,
    name: String,
    contents: u64,
    bytes: u64,
}

/// The owners of the study that are meant, with what each has of it.
fn parts(shared: &Shared, wish: &Wish, unwanted: &Unwanted) -> Result<Vec<Part>, RemoveError> {
    let mut parts = Vec::new();
    for row in shared.depot.index.study(&Scope::All, &unwanted.study)? {
        let name = owners::name(shared, row.owner);
        if !wish.owners.is_empty() && !wish.owners.contains(&name) && !wish.owners.contains(&row.owner.fingerprint()) {
            continue;
        }
        if row.arriving && !wish.dry_run {
            return Err(RemoveError::Arriving);
        }
        let (contents, bytes) = shared.depot.count_unwanted(&Scope::owner(row.owner), unwanted)?;
        if contents > 0 {
            parts.push(Part { owner: row.owner, name, contents, bytes });
        }
    }
    Ok(parts)
}

fn remove(shared: &Shared, wish: &Wish, unwanted: &Unwanted) -> Result<Vec<Part>, RemoveError> {
    let mut parts = parts(shared, wish, unwanted)?;
    if wish.dry_run {
        return Ok(parts);
    }
    for part in &mut parts {
        let removed = shared.depot.remove_unwanted(part.owner, unwanted)?;
        (part.contents, part.bytes) = (removed.instances, removed.bytes);
        let by = By {
            by_studies: vec![unwanted.study.clone()],
            by_series: unwanted.series.clone(),
            by_instances: unwanted.instances.clone(),
            ..By::default()
        };
        let (owners, instances, bytes) = (vec![part.name.clone()], part.contents, part.bytes);
        tell(shared, Event::Removed { by, owners, instances, bytes, held_at: None });
    }
    shared.room_wanted.notify_one();
    Ok(parts)
}

/// Removes, or counts, what of a study is named.
pub(super) async fn run(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<Wish>, JsonRejection>,
) -> Result<Response, Problem> {
    let wish = read(body)?;
    let unwanted = wish.unwanted().map_err(|error| bad(error.to_string()))?;
    let dry_run = wish.dry_run;
    let parts = blocking("remove from the store", move || remove(&shared, &wish, &unwanted));
    let parts = match parts.await {
        Ok(Ok(parts)) => parts,
        Ok(Err(error @ RemoveError::Arriving)) => return Err(problem(StatusCode::CONFLICT, error.to_string())),
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            return Err(problem(StatusCode::SERVICE_UNAVAILABLE, format!("{error}{cause}")));
        }
        Err(error) => return Err(problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    };
    if parts.is_empty() {
        return Err(problem(StatusCode::NOT_FOUND, "nothing like that is here; `imgxfer ls` lists what is"));
    }
    let shown: Vec<_> = parts
        .iter()
        .map(|part| json!({ "owner": part.name, "contents": part.contents, "bytes": part.bytes }))
        .collect();
    let (contents, bytes): (u64, u64) =
        parts.iter().fold((0, 0), |(contents, bytes), part| (contents + part.contents, bytes + part.bytes));
    let answer = json!({ "removed": !dry_run, "contents": contents, "bytes": bytes, "owners": shown });
    Ok(Json(answer).into_response())
}
