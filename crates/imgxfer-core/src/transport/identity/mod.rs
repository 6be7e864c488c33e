//! Who this site is: a private key and the certificate that shows its public half.
//!
//! The name of a site is the hash of its public key ([`PeerId`]), whatever certificate carries it: a
//! renewed certificate for the same key is the same site. A site makes its own key and self-signed
//! certificate, or takes both from the hospital's certificate authority.

pub(crate) mod certificate;
mod files;
mod generated;
mod signature;

pub use signature::{SignatureError, verify};

use crate::clock::UnixSeconds;
use crate::ids::PeerId;
use crate::receipt::Signature;
use crate::transport::{SystemError, tls};
use certificate::CertificateInfo;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why an identity cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("cannot use {} ({cause})", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        cause: SystemError,
    },
    /// Others on this machine can read the private key.
    #[error("{} has mode {mode:04o} and others can read it; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No private key in it, or one of a kind that is not supported.
    #[error(
        "no usable private key (PEM: Ed25519, ECDSA P-256/P-384/P-521 or RSA of 2048 bits and more, without password)"
    )]
    Key,
    /// No certificate in it, or one that cannot be read.
    #[error("no usable certificate (PEM, the site's own first)")]
    Certificate,
    /// The certificate is for another key.
    #[error("the certificate does not belong to the private key")]
    Mismatch,
}

/// A site's private key and certificate chain. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    info: Arc<CertificateInfo>,
}

impl Identity {
    /// Makes a new key and certificate, in memory alone: Ed25519, self-signed, without any name.
    ///
    /// # Errors
    /// [`IdentityError::Key`] when the machine has no entropy.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = generated::key()?;
        Self::from_pem(&generated::certificate(&key)?, &key)
    }

    /// Reads `node.key` and `node.crt` in `dir`.
    ///
    /// # Errors
    /// [`IdentityError`] when either is missing or unusable, or when the key's file can be read by
    /// others (Unix).
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        files::load(dir)
    }

    /// Reads what is in `dir`, or makes a new identity there: `node.key` of mode 0600 and `node.crt`.
    ///
    /// A lost `node.crt` is made anew from the key; a lost `node.key` means a new identity.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        files::load_or_create(dir)
    }

    /// Takes a certificate chain, the site's own first, and its private key, both PEM.
    ///
    /// # Errors
    /// [`IdentityError`] when one of them cannot be read or they do not belong together.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, IdentityError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| IdentityError::Certificate)?;
        let end_entity = chain.first().ok_or(IdentityError::Certificate)?;
        let info = certificate::read(end_entity).map_err(|_| IdentityError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| IdentityError::Key)?;
        let signer = tls::provider().key_provider.load_private_key(key).map_err(|_| IdentityError::Key)?;
        let key = CertifiedKey::new(chain, signer);
        key.keys_match().map_err(|_| IdentityError::Mismatch)?;
        Ok(Self { key: Arc::new(key), info: Arc::new(info) })
    }

    /// The name of this site among its peers.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.info.peer
    }

    /// Last second at which peers accept the certificate.
    #[must_use]
    pub fn expires(&self) -> UnixSeconds {
        self.info.not_after
    }

    /// Signs `message` for one purpose, named by `domain`: a signature for one is none for another.
    ///
    /// # Errors
    /// [`IdentityError::Key`] when the key cannot sign with any scheme known here.
    pub fn sign(&self, domain: &str, message: &[u8]) -> Result<Signature, IdentityError> {
        signature::sign(self, domain, message)
    }

    /// Chain and key for TLS.
    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id().fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_fingerprint_alone() {
        let site = Identity::generate().unwrap();
        assert_eq!(format!("{site:?}"), format!("Identity({})", site.peer_id().fingerprint()));
        assert_eq!(site.info.subject, "CN=imgxfer");
        assert!(site.info.self_issued);
    }

    #[test]
    fn unusable_input_is_told_apart() {
        let key = generated::key().unwrap();
        let certificate = generated::certificate(&key).unwrap();
        assert_eq!(Identity::from_pem("", &key).unwrap_err(), IdentityError::Certificate);
        assert_eq!(Identity::from_pem(&certificate, "").unwrap_err(), IdentityError::Key);
        let other = generated::key().unwrap();
        assert_eq!(Identity::from_pem(&certificate, &other).unwrap_err(), IdentityError::Mismatch);
    }
}
