//! What is written down: who did what, to what, and how it ended. UIDs and counts, never a name or a value of a patient.
//!
//! A door adds its events here, as variants; the names of variants and fields are the format (`docs/audit.md`).

use std::fmt::Display;
use std::path::PathBuf;

use imgxfer_core::ids::{PeerId, SeriesUid, SopInstanceUid, StudyUid};
use imgxfer_core::priority::Priority;
use imgxfer_core::receipt::Receipt;
use serde::{Serialize, Serializer};

use crate::config::{PeerConfig, PeerKey};

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Actor {
    /// The daemon by itself.
    Daemon,
    /// Whoever holds the admin token, or may signal the daemon.
    Admin,
    /// A site, by the name it has here and the key that it has proven to hold.
    Peer { name: String, key: PeerId },
    /// Somebody who is no peer; with the key, where one was shown.
    Stranger { key: Option<PeerId> },
    /// A watched folder.
    Inbox(PathBuf),
}

impl Actor {
    fn word(&self) -> String {
        match self {
            Self::Daemon => "daemon".to_owned(),
            Self::Admin => "admin".to_owned(),
            Self::Peer { name, .. } => format!("peer:{name}"),
            Self::Stranger { .. } => "stranger".to_owned(),
            Self::Inbox(path) => format!("inbox:{}", path.display()),
        }
    }

    const fn key(&self) -> Option<PeerId> {
        match self {
            Self::Peer { key, .. } => Some(*key),
            Self::Stranger { key } => *key,
            Self::Daemon | Self::Admin | Self::Inbox(_) => None,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    /// Somebody wanted it and does not get it.
    Refused,
    /// It went wrong.
    Failed,
}

/// A peer and what it may do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PeerRow {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    rights: Vec<&'static str>,
    sees: Vec<String>,
}

impl PeerRow {
    pub(crate) fn of(peer: &PeerConfig) -> Self {
        let (key, subject) = match &peer.key {
            PeerKey::Pinned(id) => (Some(id.fingerprint()), None),
            PeerKey::Subject(subject) => (None, Some(subject.clone())),
        };
        Self { name: peer.name.clone(), key, subject, rights: peer.rights.names(), sees: peer.sees.texts() }
    }
}

/// What of studies an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct About {
    /// Id of the transfer, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transfer: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "uids")]
    pub(crate) studies: Vec<StudyUid>,
    pub(crate) instances: u64,
    /// Original bytes.
    pub(crate) bytes: u64,
    /// Root of the manifest, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<String>,
    /// Whether these are whole studies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) complete: Option<bool>,
}

impl About {
    /// What a receipt says.
    pub(crate) fn of_receipt(receipt: &Receipt) -> Self {
        Self {
            transfer: Some(receipt.transfer.to_string()),
            studies: Vec::new(),
            instances: receipt.instances,
            bytes: receipt.bytes,
            root: Some(receipt.root.to_string()),
            complete: Some(receipt.complete),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

fn uids<U: Display, S: Serializer>(uids: &[U], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(uids.iter().map(ToString::to_string))
}

/// By what was asked: keywords of attributes, and of their values those alone that are UIDs of studies, series and
/// instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct By {
    pub(crate) by: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "uids")]
    pub(crate) by_studies: Vec<StudyUid>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "uids")]
    pub(crate) by_series: Vec<SeriesUid>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "uids")]
    pub(crate) by_instances: Vec<SopInstanceUid>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// The daemon started, with these rights.
    Start {
        version: &'static str,
        site: String,
        identity: String,
        peers: Vec<PeerRow>,
    },
    /// It stopped in order.
    Stop {
        version: &'static str,
    },

    /// A connection, taken or turned away.
    Session {
        address: String,
    },
    /// So many more connections were turned away within a minute.
    SessionsRefused {
        count: u64,
    },
    /// Something asked for that this version does not know.
    Request,
    /// A wish to send; written when it is refused.
    Send,
    /// A question what is here.
    Query {
        #[serde(flatten)]
        by: By,
        #[serde(skip_serializing_if = "Option::is_none")]
        rows: Option<u64>,
    },
    /// A wish to fetch; the studies are those that match and are sent now.
    PullAsked {
        #[serde(flatten)]
        by: By,
        #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "uids")]
        studies: Vec<StudyUid>,
    },
    /// Frames of an instance without the rest of it; those that are there are sent now.
    Frames {
        #[serde(flatten)]
        by: By,
        /// Their numbers, counted from 1.
        frames: String,
        /// How many are sent, and their bytes as they stand in the file.
        #[serde(skip_serializing_if = "Option::is_none")]
        given: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// What a site has sent was removed, or is not; by what it was named.
    Removed {
        #[serde(flatten)]
        by: By,
        /// Whose it was: names of sites, `self` for the site's own.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        owners: Vec<String>,
        /// Number of contents.
        instances: u64,
        /// Original bytes.
        bytes: u64,
        /// The site that has signed for the same, where that is why.
        #[serde(skip_serializing_if = "Option::is_none")]
        held_at: Option<String>,
    },
    /// A pull was served, or ended early.
    Sent(About),
    /// A push was taken in, or ended early.
    Received(About),
    /// This site has signed for a push.
    ReceiptGiven(About),
    /// A peer has signed for what it got.
    ReceiptGot(About),
    /// A job of the queue was sent to a peer.
    Forwarded {
        peer: String,
        job: i64,
        #[serde(flatten)]
        about: About,
    },

    /// A job of the queue was put into this site's own store.
    Stored {
        /// As arrivals name it: `inbox:PATH`, `user:NAME`.
        source: String,
        job: i64,
        #[serde(flatten)]
        about: About,
    },

    /// What an inbox did with the files of a job that is done, by its rule.
    InboxEmptied {
        job: i64,
        moved: u64,
        deleted: u64,
        /// They stay: they have changed since, or end before their elements do.
        kept: u64,
        /// Somebody else had taken them away.
        #[serde(skip_serializing_if = "is_none")]
        gone: u64,
        /// They could not be moved or deleted yet.
        #[serde(skip_serializing_if = "is_none")]
        left: u64,
    },

    /// An invitation to pair was made.
    PairingOpened {
        rights: Vec<&'static str>,
        minutes: u64,
    },
    /// This site uses a code of another one.
    PairingJoined {
        address: String,
        rights: Vec<&'static str>,
    },
    /// Somebody has proven to know the code.
    PairingCodeUsed {
        calls_itself: String,
        peer_key: String,
    },
    /// A pairing came to nothing.
    Pairing,
    PeerAdded {
        peer: PeerRow,
    },
    PeerRemoved {
        peer: PeerRow,
    },
    /// A peer's rights, what it sees, or its key.
    RightsChanged {
        before: PeerRow,
        peer: PeerRow,
    },
    /// Peers and limits were read anew.
    SettingsRead {
        peers: usize,
    },
    ConsultationStarted {
        seconds: u64,
        mbps: f64,
    },
    ConsultationEnded,
    JobPriority {
        job: i64,
        priority: Priority,
    },
    JobRetried {
        job: i64,
    },
    JobCancelled {
        job: i64,
    },
    JobDismissed {
        job: i64,
    },
    /// Somebody asked the admin listener for what needs the token, without it.
    Admin,
    /// An operator wants the daemon to stop.
    StopAsked,

    /// The site's signature over the record before it, and so over all before that.
    Checkpoint(super::seal::Seal),
    /// The end of the file was torn; it is set aside in this file.
    Torn {
        bytes: u64,
        blake3: String,
        file: String,
    },
    /// So many records could not be kept while the file could not be written.
    Lost {
        records: u64,
    },
    /// Records up to this one are no longer kept.
    Pruned {
        first: u64,
        through: u64,
        through_hash: String,
    },
    /// At the start this site had another key than the one that has signed the chain so far.
    IdentityChanged {
        before: String,
        identity: String,
    },
    /// What was found at the start is not what this site wrote.
    Doubt {
        about: String,
    },
}

/// One event with who did it and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) actor: Actor,
    pub(crate) event: Event,
    pub(crate) outcome: Outcome,
    pub(crate) why: Option<String>,
}

impl Entry {
    pub(crate) const fn new(actor: Actor, event: Event) -> Self {
        Self { actor, event, outcome: Outcome::Ok, why: None }
    }

    /// Somebody does not get it; `why` is in words of this program's own.
    pub(crate) fn refused(mut self, why: impl Into<String>) -> Self {
        (self.outcome, self.why) = (Outcome::Refused, Some(why.into()));
        self
    }

    /// It went wrong; `why` is in words of this program's own.
    pub(crate) fn failed(mut self, why: impl Into<String>) -> Self {
        (self.outcome, self.why) = (Outcome::Failed, Some(why.into()));
        self
    }

    /// The record without its place in the chain: a JSON object.
    pub(crate) fn text(&self, time: &str) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            time: &'a str,
            actor: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            key: Option<String>,
            #[serde(flatten)]
            event: &'a Event,
            outcome: Outcome,
            #[serde(skip_serializing_if = "Option::is_none")]
            why: Option<&'a str>,
        }
        let key = self.actor.key().map(|key| key.fingerprint());
        let (actor, why) = (self.actor.word(), self.why.as_deref());
        let body = Body { time, actor, key, event: &self.event, outcome: self.outcome, why };
        // Texts and numbers always have a form in JSON.
        serde_json::to_string(&body).unwrap_or_else(|_| "{\"event\":\"unwritable\"}".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entry: &Entry) -> serde_json::Value {
        serde_json::from_str(&entry.text("2026-01-02T03:04:05.678Z")).unwrap()
    }

    #[test]
    fn events_are_flat_objects() {
        let key = PeerId::of_key(b"x");
        let peer = Actor::Peer { name: "north".to_owned(), key };
        let by = By { by: vec!["PatientID"], by_series: vec![SeriesUid::new("1.2.4").unwrap()], ..By::default() };
        let query = shown(&Entry::new(peer.clone(), Event::Query { by, rows: Some(3) }));
        assert_eq!(
            (&query["event"], &query["actor"], &query["rows"]),
            (&"query".into(), &"peer:north".into(), &3.into())
        );
        assert_eq!((&query["key"], &query["outcome"]), (&key.fingerprint().into(), &"ok".into()));
        assert_eq!(query["by"], serde_json::json!(["PatientID"]));
        assert_eq!((&query["by_series"], query.get("by_studies")), (&serde_json::json!(["1.2.4"]), None));
        let about = About { studies: vec![StudyUid::new("1.2.3").unwrap()], instances: 2, ..About::default() };
        let forwarded = Event::Forwarded { peer: "cloud".to_owned(), job: 7, about };
        let entry = Entry::new(Actor::Inbox("/srv/in".into()), forwarded).failed("line-lost");
        let forwarded = shown(&entry);
        assert_eq!((&forwarded["studies"][0], &forwarded["job"]), (&"1.2.3".into(), &7.into()));
        assert_eq!((&forwarded["actor"], &forwarded["why"]), (&"inbox:/srv/in".into(), &"line-lost".into()));
        let refused = shown(&Entry::new(peer, Event::Send).refused("no right"));
        assert_eq!((&refused["event"], &refused["outcome"]), (&"send".into(), &"refused".into()));
    }
}
