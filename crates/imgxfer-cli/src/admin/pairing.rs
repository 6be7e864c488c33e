//! The daemon's part in pairing: the paths and fields of its admin interface.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;

/// A code on offer.
#[derive(Debug, Deserialize)]
pub(crate) struct Invited {
    /// What to tell the other person.
    pub(crate) code: String,
    /// Minutes for which it holds.
    #[serde(default)]
    pub(crate) minutes: Option<u64>,
    /// The daemon's fingerprint.
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
}

/// How far pairing is.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum State {
    /// None is under way.
    Idle,
    /// Nobody has come with the code yet.
    Waiting,
    /// Somebody has: a person must decide.
    Asking {
        /// What the site calls itself.
        name: String,
        /// Its key.
        fingerprint: String,
    },
    /// Done.
    Paired {
        /// What the peer is called from now on.
        name: String,
        /// Its key.
        #[serde(default)]
        fingerprint: Option<String>,
    },
    /// It came to nothing.
    Failed {
        /// Why, and what to do.
        #[serde(default)]
        problem: String,
    },
}

/// What a person has decided.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// Whether to pair.
    pub(crate) accept: bool,
    /// What to call the peer; its own name by default.
    pub(crate) name: Option<String>,
    /// What it may do.
    pub(crate) rights: Vec<String>,
    /// Whose studies it sees: `own`, `all`, or names of peers with commas.
    pub(crate) sees: String,
    /// Where it is reached; where it was dialled by default.
    pub(crate) address: Option<String>,
}

/// Whose studies a peer sees, as requests say it.
pub(crate) fn sees(text: &str) -> Value {
    match text.trim() {
        word @ ("own" | "all") => json!(word),
        names => json!(names.split(',').map(str::trim).collect::<Vec<_>>()),
    }
}

impl Admin {
    /// Makes a code and opens the pairing window.
    pub(crate) async fn invite(&self, minutes: Option<u64>) -> anyhow::Result<Invited> {
        let body = minutes.map_or_else(|| json!({}), |minutes| json!({ "minutes": minutes }));
        Ok(serde_json::from_value(self.post("/pair/invite", &body).await?)?)
    }

    /// Dials a site that has made a code.
    pub(crate) async fn join(&self, address: &str, code: &str) -> anyhow::Result<()> {
        self.post("/pair/join", &json!({ "address": address, "code": code })).await.map(drop)
    }

    /// Looks how far it is.
    pub(crate) async fn pairing(&self) -> anyhow::Result<State> {
        Ok(serde_json::from_value(self.get("/pair/state").await?)?)
    }

    /// Says yes or no.
    pub(crate) async fn decide(&self, decision: &Decision) -> anyhow::Result<()> {
        let Decision { accept, name, rights, sees: whose, address } = decision;
        let mut body = json!({ "accept": accept, "name": name, "rights": rights, "sees": sees(whose) });
        if let Some(address) = address {
            body["address"] = json!(address);
        }
        self.post("/pair/confirm", &body).await.map(drop)
    }
}
