//! Signatures of the site over the chain: in it, and over its end in a file beside it.

use std::io;
use std::path::Path;

use blake3::Hash;
use data_encoding::HEXLOWER;
use imgxfer_core::ids::PeerId;
use imgxfer_core::receipt::Signature;
use imgxfer_core::transport::{Identity, IdentityError, verify};
use serde::{Deserialize, Serialize};

use super::line::Record;
use crate::files;

/// What is signed in front of number and hash, so that a signature means nothing elsewhere.
const CONTEXT: &str = "imgxfer 2026 audit checkpoint v1";

/// The file with the signature over the end of the chain.
pub(super) const HEAD: &str = "head.json";

/// The site's word that it wrote everything up to a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    /// The newest record that it is about.
    pub(super) through: u64,
    /// Its hash, hexadecimal.
    pub(super) through_hash: String,
    signer: String,
    scheme: u16,
    certificate: String,
    signature: String,
}

fn message(through: u64, hash: &Hash) -> Vec<u8> {
    [&through.to_le_bytes()[..], hash.as_bytes()].concat()
}

impl Seal {
    pub(super) fn sign(identity: &Identity, through: u64, hash: &Hash) -> Result<Self, IdentityError> {
        let signed = identity.sign(CONTEXT, &message(through, hash))?;
        Ok(Self {
            through,
            through_hash: hash.to_hex().to_string(),
            signer: identity.peer_id().fingerprint(),
            scheme: signed.scheme,
            certificate: HEXLOWER.encode(&signed.certificate),
            signature: HEXLOWER.encode(&signed.signature),
        })
    }

    /// The hash that it is about.
    pub(super) fn hash(&self) -> Option<Hash> {
        Hash::from_hex(&self.through_hash).ok()
    }

    /// Who signed; `None` when the signature does not hold.
    pub(super) fn signer(&self) -> Option<PeerId> {
        let decoded = |text: &str| HEXLOWER.decode(text.as_bytes()).ok();
        let signature = Signature::new(self.scheme, decoded(&self.certificate)?, decoded(&self.signature)?);
        verify(CONTEXT, &message(self.through, &self.hash()?), &signature).ok()
    }

    /// The one that a record holds, if it is a checkpoint.
    pub(super) fn of(record: &Record) -> Option<Self> {
        if record.text("event") != "checkpoint" {
            return None;
        }
        serde_json::from_value(serde_json::Value::Object(record.fields().clone())).ok()
    }
}

/// Writes the signature over the end of the chain; durable when this returns.
pub(super) fn write_head(folder: &Path, head: &Seal) -> io::Result<()> {
    files::write_private(&folder.join(HEAD), format!("{}\n", serde_json::to_string(head)?).as_bytes())
}

/// The signature over the end of the chain; `None` when there is none.
pub(super) fn read_head(folder: &Path) -> io::Result<Option<Seal>> {
    match std::fs::read(folder.join(HEAD)) {
        Ok(text) => {
            let read = serde_json::from_slice(&text);
            read.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
