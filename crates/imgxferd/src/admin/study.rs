//! Whose a study is here and how it came, for whoever runs the site.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::store::{Scope, StoreError};
use imgxfer_core::work::blocking;
use serde_json::{Map, Value, json};

use super::{Problem, bad, problem};
use crate::app::Shared;
use crate::owners;

/// The owners of a study, and for the site itself the ways by which it came.
pub(super) async fn owners_and_ways(
    State(shared): State<Arc<Shared>>,
    Path(study): Path<String>,
) -> Result<Response, Problem> {
    let study = StudyUid::new(&study).map_err(|error| bad(error.to_string()))?;
    let named = study.clone();
    let owners = blocking("look how a study came", move || of_study(&shared, &named)).await;
    let failed = |error: String| problem(StatusCode::SERVICE_UNAVAILABLE, error);
    let owners = owners.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    if owners.is_empty() {
        return Err(problem(StatusCode::NOT_FOUND, "no such study is here"));
    }
    Ok(Json(json!({ "study": study.as_str(), "owners": owners })).into_response())
}

fn of_study(shared: &Shared, study: &StudyUid) -> Result<Vec<Value>, StoreError> {
    let mut owners = Vec::new();
    for row in shared.depot.index.study(&Scope::All, study)? {
        let mut owner = json!({
            "owner": owners::name(shared, row.owner),
            "contents": row.contents,
            "bytes": row.bytes,
            "version": row.version,
            "updated": row.updated.0,
        });
        if row.owner == PeerId::SELF {
            let ways = shared.depot.ways(study)?.into_iter().map(|way| {
                let about: Map<String, Value> =
                    way.provenance.about.into_iter().map(|(name, value)| (name, value.into())).collect();
                json!({
                    "source": way.provenance.source,
                    "about": about,
                    "contents": way.contents,
                    "first": way.first.0,
                    "newest": way.newest.0,
                })
            });
            owner["ways"] = ways.collect();
        }
        owners.push(owner);
    }
    Ok(owners)
}
