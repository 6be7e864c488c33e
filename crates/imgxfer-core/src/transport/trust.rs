//! Whom this site talks to: named keys, and whoever a hospital's certificate authority vouches for.

use crate::clock::UnixSeconds;
use crate::ids::PeerId;
use crate::transport::tls;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Why this side refused a peer. For the local user and the audit trail; the peer is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// Its key is on no list here, and no authority vouches for it.
    #[error("the peer {} is not known here; pair with it, or add its fingerprint to the peers", peer.fingerprint())]
    Unknown {
        /// Who it is.
        peer: PeerId,
    },
    /// Its key was blocked here.
    #[error("the peer {} is blocked here", peer.fingerprint())]
    Blocked {
        /// Who it is.
        peer: PeerId,
    },
    /// Another site answered than the one that was dialled.
    #[error("{} answered where {} was expected; check the address, or whether that site has a new key", found.fingerprint(), expected.fingerprint())]
    WrongPeer {
        /// Who should have answered.
        expected: PeerId,
        /// Who did.
        found: PeerId,
    },
    /// An authority vouches for it, but not one that is trusted here.
    #[error("no trusted authority vouches for the peer {}; check the configured certificate authorities", peer.fingerprint())]
    WrongAuthority {
        /// Who it is.
        peer: PeerId,
    },
    /// Its certificate is for another host.
    #[error("the certificate of {} is not for the host {name}", peer.fingerprint())]
    WrongName {
        /// Who it is.
        peer: PeerId,
        /// The name it should have been for.
        name: String,
    },
    /// Its certificate is not meant for this side of a connection (extended key usage).
    #[error("the certificate of {} is not meant for this use; it needs the purposes serverAuth and clientAuth", peer.fingerprint())]
    WrongPurpose {
        /// Who it is.
        peer: PeerId,
    },
    /// Its certificate has run out.
    #[error("the certificate of {} ran out at {} (Unix time); renew it, or check this machine's clock", peer.fingerprint(), not_after.0)]
    Expired {
        /// Who it is.
        peer: PeerId,
        /// The last second at which it was valid.
        not_after: UnixSeconds,
    },
    /// Its certificate is not valid yet.
    #[error("the certificate of {} is valid only from {} (Unix time); check both clocks", peer.fingerprint(), not_before.0)]
    NotYetValid {
        /// Who it is.
        peer: PeerId,
        /// The first second at which it is valid.
        not_before: UnixSeconds,
    },
    /// A certificate that cannot be read.
    #[error("the peer's certificate cannot be read")]
    Malformed,
    /// It does not hold the key of the certificate it showed.
    #[error("{} could not prove that it holds its key", peer.fingerprint())]
    NoProof {
        /// Who it claimed to be.
        peer: PeerId,
    },
    /// It wanted to talk while only pairing was open to it.
    #[error("the peer {} is not paired yet", peer.fingerprint())]
    NotPaired {
        /// Who it is.
        peer: PeerId,
    },
}

/// Why a set of authorities cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// No certificate in it, or one that cannot be read.
    #[error("no usable authority certificate (PEM)")]
    Certificate,
}

/// A hospital's authorities, ready for both sides of a handshake.
pub(super) struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) for_clients: Arc<dyn ClientCertVerifier>,
}

#[derive(Default)]
struct Rules {
    pinned: HashSet<PeerId>,
    blocked: HashSet<PeerId>,
    authorities: Option<Arc<Authorities>>,
}

/// Whom this site talks to. Clones share the same rules, which may change while endpoints run: a
/// change holds for every handshake after it, and leaves sessions that stand alone.
#[derive(Clone, Default)]
pub struct Trust(Arc<RwLock<Rules>>);

impl Trust {
    /// Trusts nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Rules> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Rules) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Trusts the holder of a key. Returns whether it was not trusted before.
    pub fn pin(&self, peer: PeerId) -> bool {
        self.change(|rules| rules.pinned.insert(peer))
    }

    /// Trusts the holder of a key no more. Returns whether it was trusted. A hospital's authority may
    /// still vouch for it: see [`Trust::block`].
    pub fn unpin(&self, peer: PeerId) -> bool {
        self.change(|rules| rules.pinned.remove(&peer))
    }

    /// Replaces all pinned keys at once.
    pub fn set_pinned(&self, peers: impl IntoIterator<Item = PeerId>) {
        let peers = peers.into_iter().collect();
        self.change(|rules| rules.pinned = peers);
    }

    /// Whether the key is pinned.
    #[must_use]
    pub fn is_pinned(&self, peer: PeerId) -> bool {
        self.read().pinned.contains(&peer)
    }

    /// Refuses the holder of a key whatever else speaks for it: for a lost machine whose certificate
    /// an authority has issued. Returns whether it was not blocked before.
    pub fn block(&self, peer: PeerId) -> bool {
        self.change(|rules| rules.blocked.insert(peer))
    }

    /// Takes back [`Trust::block`]. Returns whether it was blocked.
    pub fn unblock(&self, peer: PeerId) -> bool {
        self.change(|rules| rules.blocked.remove(&peer))
    }

    /// Whether the key is blocked.
    #[must_use]
    pub fn is_blocked(&self, peer: PeerId) -> bool {
        self.read().blocked.contains(&peer)
    }

    /// Trusts whoever these authorities vouch for, besides the pinned keys; an empty store ends that.
    ///
    /// # Errors
    /// [`TrustError::Certificate`] when an authority cannot be used.
    pub fn set_authorities(&self, roots: RootCertStore) -> Result<(), TrustError> {
        let authorities = if roots.is_empty() {
            None
        } else {
            let roots = Arc::new(roots);
            let for_clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), tls::provider())
                .build()
                .map_err(|_| TrustError::Certificate)?;
            Some(Arc::new(Authorities { roots, for_clients }))
        };
        self.change(|rules| rules.authorities = authorities);
        Ok(())
    }

    /// The same from certificates in PEM.
    ///
    /// # Errors
    /// [`TrustError::Certificate`] when there is none in it, or one that cannot be read.
    pub fn set_authorities_pem(&self, pem: &str) -> Result<(), TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|_| TrustError::Certificate)?;
            roots.add(certificate).map_err(|_| TrustError::Certificate)?;
        }
        if roots.is_empty() {
            return Err(TrustError::Certificate);
        }
        self.set_authorities(roots)
    }

    pub(super) fn authorities(&self) -> Option<Arc<Authorities>> {
        self.read().authorities.clone()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.read();
        f.debug_struct("Trust")
            .field("pinned", &rules.pinned.len())
            .field("blocked", &rules.blocked.len())
            .field("authorities", &rules.authorities.as_ref().map_or(0, |a| a.roots.len()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_rules() {
        let trust = Trust::new();
        let other = trust.clone();
        let peer = PeerId::of_key(b"a key");
        assert!(other.pin(peer) && !other.pin(peer));
        assert!(trust.is_pinned(peer));
        trust.set_pinned([]);
        assert!(!other.is_pinned(peer));
        assert!(!other.unpin(peer));
    }

    #[test]
    fn authorities_must_be_certificates() {
        let trust = Trust::new();
        assert_eq!(trust.set_authorities_pem(""), Err(TrustError::Certificate));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(trust.set_authorities_pem(broken), Err(TrustError::Certificate));
        assert!(trust.authorities().is_none());
    }
}
