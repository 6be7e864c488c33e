//! The sites this one knows, while the daemon runs: who a session is, what it may do, how to dial it.
//!
//! Peers come from the configuration and from pairing. Those from pairing are kept in `peers.toml` in the
//! state folder, in the same form as in the configuration, so that an operator can read and move them.

mod kept;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use imgxfer_core::ids::PeerId;
use imgxfer_core::server::Rights;
use imgxfer_core::store::Scope;
use imgxfer_core::transport::{Dial, Session, Trust};

use crate::config::{PAIRED_PEERS_FILE, PeerConfig, PeerKey, PeerRights, Seen, Sees, check_duplicate, check_name};
use crate::files;

/// How a peer that is in no list is called in metrics and in the status.
pub const UNKNOWN: &str = "unknown";

/// Why a peer could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddPeerError {
    /// Its name cannot be used.
    #[error("the name {name:?} cannot be used: {problem}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        problem: String,
    },
    /// Its name or its key is taken.
    #[error("{0}")]
    Duplicate(String),
    /// It could not be written down.
    #[error("the peer could not be written to {}; check space and permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

/// Why a peer was not changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangePeerError {
    /// There is no such peer.
    #[error("there is no peer {0:?}")]
    Unknown(String),
    /// It stands in the configuration, which is not the daemon's to change.
    #[error("the peer {name:?} is not from pairing but from {origin}: change it there, and reload")]
    Configured {
        /// Its name.
        name: String,
        /// Where it stands.
        origin: String,
    },
    /// `sees` names somebody who is no peer, or is not known by a key.
    #[error("{0:?}, whose studies should be seen, is no peer that is known by its key")]
    Sees(String),
    /// Something needs it.
    #[error("{0}")]
    Needed(String),
    /// It could not be written down.
    #[error("the peers could not be written to {}; check space and permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

/// The known sites.
#[derive(Debug)]
pub struct Peers {
    list: RwLock<Vec<PeerConfig>>,
    /// Names of peers that an authority vouches for, by the key they came with.
    seen: Mutex<HashMap<PeerId, String>>,
    trust: Trust,
    file: PathBuf,
}

impl Peers {
    /// Takes the configured peers and trusts those that are known by their key.
    #[must_use]
    pub fn new(list: Vec<PeerConfig>, trust: Trust, state_dir: &std::path::Path) -> Self {
        trust.set_pinned(list.iter().filter_map(PeerConfig::peer_id));
        Self { list: RwLock::new(list), seen: Mutex::default(), trust, file: state_dir.join(PAIRED_PEERS_FILE) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<PeerConfig>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<PeerConfig> {
        self.read().clone()
    }

    /// The one with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<PeerConfig> {
        self.read().iter().find(|peer| peer.name == name).cloned()
    }

    /// Who is at the other end of a session: by its key, or else by the subject that an authority vouches for.
    #[must_use]
    pub fn of_session(&self, session: &Session) -> Option<PeerConfig> {
        let id = session.peer();
        let list = self.read();
        if let Some(peer) = list.iter().find(|peer| peer.peer_id() == Some(id)) {
            return Some(peer.clone());
        }
        // Nobody vouches for what a pinned certificate says of itself.
        if self.trust.is_pinned(id) {
            return None;
        }
        let subject = session.peer_subject();
        let found = list.iter().find(|peer| matches!(&peer.key, PeerKey::Subject(s) if s == subject)).cloned()?;
        drop(list);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id, found.name.clone());
        Some(found)
    }

    /// What the peer of a session may do now.
    #[must_use]
    pub fn rights(&self, session: &Session) -> Rights {
        let Some(peer) = self.of_session(session) else { return Rights::none() };
        let scope = self.scope(&peer.sees, session.peer());
        let rights = Rights::none().with_send(peer.rights.send).with_query(peer.rights.query);
        rights
            .with_pull(peer.rights.pull)
            .with_delete(peer.rights.delete)
            .with_scope(scope)
            .with_quota(peer.quota_bytes)
            .with_level(peer.level)
    }

    /// What the holder of a key sees.
    fn scope(&self, sees: &Sees, own: PeerId) -> Scope {
        let list = match sees {
            Sees::All => return Scope::All,
            Sees::Own => return Scope::owner(own),
            Sees::These(list) => list,
        };
        let (mut owners, mut sources) = (vec![own], Vec::new());
        let peers = self.read();
        for seen in list {
            match seen {
                Seen::Site => owners.push(PeerId::SELF),
                Seen::Peer(name) => {
                    owners.extend(peers.iter().find(|peer| peer.name == *name).and_then(PeerConfig::peer_id));
                }
                Seen::Source(source) => sources.push(source.clone()),
            }
        }
        Scope::owners(owners).with_sources(sources)
    }

    /// The name of the holder of a key, or [`UNKNOWN`]: bounded, so fit for a metric's label.
    #[must_use]
    pub fn name_of(&self, id: PeerId) -> String {
        if let Some(peer) = self.read().iter().find(|peer| peer.peer_id() == Some(id)) {
            return peer.name.clone();
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&id).cloned().unwrap_or_else(|| UNKNOWN.to_owned())
    }

    /// How to dial a peer; `None` when it has no address.
    #[must_use]
    pub fn dial(&self, name: &str) -> Option<Dial> {
        let peer = self.named(name)?;
        let address = peer.address?;
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let dial = Dial::new(&address);
        Some(match peer.key {
            PeerKey::Pinned(id) => dial.with_peer(id),
            PeerKey::Subject(_) => dial.with_name(host),
        })
    }

    /// Takes the peers of a configuration that was read anew: who is in it no more has no rights any more.
    pub fn replace(&self, new: Vec<PeerConfig>) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        self.trust.set_pinned(new.iter().filter_map(PeerConfig::peer_id));
        *list = new;
    }

    /// Adds a peer that has been paired, keeps it, and trusts it. Blocks.
    ///
    /// # Errors
    /// [`AddPeerError`]; nothing has changed then.
    pub fn add_paired(&self, peer: PeerConfig) -> Result<(), AddPeerError> {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        check_name(&peer.name).map_err(|problem| AddPeerError::Name { name: peer.name.clone(), problem })?;
        check_duplicate(&list, &peer).map_err(|error| AddPeerError::Duplicate(error.problem))?;
        let write = |source| AddPeerError::Write { path: self.file.clone(), source };
        let before = kept::read(&self.file).map_err(write)?;
        files::write_private(&self.file, (before + &kept::written(&peer)).as_bytes()).map_err(write)?;
        if let Some(id) = peer.peer_id() {
            self.trust.pin(id);
        }
        list.push(peer);
        Ok(())
    }

    /// Changes what a paired peer may do here, at once and durably. Returns it as it was and as it is. Blocks.
    ///
    /// # Errors
    /// [`ChangePeerError`]; nothing has changed then.
    pub fn set_rights(
        &self,
        name: &str,
        rights: Option<PeerRights>,
        sees: Option<Sees>,
    ) -> Result<(PeerConfig, PeerConfig), ChangePeerError> {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        for wanted in sees.iter().flat_map(Sees::peers) {
            let known = list.iter().any(|peer| peer.name == wanted && peer.peer_id().is_some());
            if !known {
                return Err(ChangePeerError::Sees(wanted.to_owned()));
            }
        }
        let at = list.iter().position(|peer| peer.name == name).ok_or_else(|| unknown(name))?;
        let before = list[at].clone();
        let mut after = before.clone();
        after.rights = rights.unwrap_or(after.rights);
        after.sees = sees.unwrap_or(after.sees);
        self.change(&before, &kept::Change::Rights(&after))?;
        list[at] = after.clone();
        Ok((before, after))
    }

    /// Forgets a paired peer, at once and durably: its key opens nothing here any more. Sessions that it has are left to
    /// the caller. Blocks.
    ///
    /// # Errors
    /// [`ChangePeerError`]; nothing has changed then.
    pub fn remove(&self, name: &str) -> Result<PeerConfig, ChangePeerError> {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let at = list.iter().position(|peer| peer.name == name).ok_or_else(|| unknown(name))?;
        let seen_by = |peer: &&PeerConfig| peer.sees.peers().any(|seen| seen == name);
        if let Some(by) = list.iter().find(seen_by) {
            let by = by.name.clone();
            return Err(ChangePeerError::Needed(format!(
                "{by:?} sees its studies by name: change what that peer sees first"
            )));
        }
        self.change(&list[at], &kept::Change::Remove)?;
        let peer = list.remove(at);
        if let Some(id) = peer.peer_id() {
            self.trust.unpin(id);
        }
        Ok(peer)
    }

    fn change(&self, peer: &PeerConfig, change: &kept::Change<'_>) -> Result<(), ChangePeerError> {
        match kept::change(&self.file, &peer.name, change) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ChangePeerError::Configured { name: peer.name.clone(), origin: peer.origin.to_string() }),
            Err(source) => Err(ChangePeerError::Write { path: self.file.clone(), source }),
        }
    }
}

fn unknown(name: &str) -> ChangePeerError {
    ChangePeerError::Unknown(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn paired_peers_are_kept_and_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let trust = Trust::new();
        let peers = Peers::new(Vec::new(), trust.clone(), folder.path());
        let key = |n: u8| PeerId::of_key(&[n]);
        let paired = |name: &str, n| PeerConfig::pinned(name, key(n)).with_rights(PeerRights::all(), Sees::Own);
        peers.add_paired(paired("north", 1).with_address("north.example:11120")).unwrap();
        let seen = ["self", "peer:own", "north", "inbox:/srv/in/", "ae:CT 1"];
        let seen: Vec<Seen> = seen.iter().map(|text| Seen::parse(text).unwrap().unwrap()).collect();
        let south = paired("south", 2).with_rights(PeerRights::all(), Sees::These(seen.clone()));
        peers.add_paired(paired("own", 5)).unwrap();
        peers.add_paired(south).unwrap();
        assert_eq!(
            peers.scope(&Sees::These(seen.clone()), key(2)),
            Scope::owners([key(2), PeerId::SELF, key(5), key(1)]).with_sources(["inbox:/srv/in", "ae:CT 1"])
        );
        assert!(trust.is_pinned(key(1)) && trust.is_pinned(key(2)));
        assert!(matches!(peers.add_paired(paired("North", 3)), Err(AddPeerError::Duplicate(_))));
        assert!(matches!(peers.add_paired(paired("x", 2)), Err(AddPeerError::Duplicate(_))));
        assert!(matches!(peers.add_paired(paired("../x", 4)), Err(AddPeerError::Name { .. })));
        assert!(!trust.is_pinned(key(3)));

        let file = folder.path().join("imgxferd.toml");
        std::fs::write(&file, "state_dir = \".\"\n").unwrap();
        let config = Config::load(&Sources::file(file)).unwrap();
        assert_eq!(config.peers.len(), 3);
        assert_eq!(config.peer("south").unwrap().sees, Sees::These(seen), "as it was written");
        assert_eq!(config.peer("north").unwrap().address.as_deref(), Some("north.example:11120"));
        assert_eq!(config.peer("south").unwrap().rights, PeerRights::all());
        assert_eq!(peers.name_of(key(1)), "north");
        assert_eq!(peers.name_of(key(9)), UNKNOWN);

        let few = PeerRights::parse(&["query"]).unwrap();
        let sees = Sees::These(vec![Seen::Peer("south".to_owned())]);
        let (before, after) = peers.set_rights("north", Some(few), Some(sees)).unwrap();
        assert_eq!((before.rights, after.rights), (PeerRights::all(), few));
        assert!(matches!(peers.remove("south"), Err(ChangePeerError::Needed(_))), "north sees its studies");
        let nobody = Some(Sees::These(vec![Seen::Peer("nobody".to_owned())]));
        assert!(matches!(peers.set_rights("north", None, nobody), Err(ChangePeerError::Sees(_))));
        assert!(matches!(peers.remove("nobody"), Err(ChangePeerError::Unknown(_))));
        let config = Config::load(&Sources::file(folder.path().join("imgxferd.toml"))).unwrap();
        assert_eq!(config.peer("north").unwrap().rights, few);
        assert!(matches!(peers.remove("north"), Err(ChangePeerError::Needed(_))), "south sees its studies");
        peers.set_rights("south", None, Some(Sees::Own)).unwrap();
        peers.remove("north").unwrap();
        assert!(!trust.is_pinned(key(1)) && trust.is_pinned(key(2)));
        let config = Config::load(&Sources::file(folder.path().join("imgxferd.toml"))).unwrap();
        assert_eq!(config.peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["own", "south"]);
        let mut both = config.peers;
        both.push(paired("fixed", 7));
        peers.replace(both);
        assert!(matches!(peers.remove("fixed"), Err(ChangePeerError::Configured { .. })));
    }
}
