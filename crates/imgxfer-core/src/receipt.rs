//! Proof of delivery: the receiver's signed word that everything of a manifest is committed.
//!
//! A receipt is signed with the receiver's key over a fixed layout (`docs/wire-format.md`), kept by the
//! sender, and can be checked years later with nothing but this module and the receiver's fingerprint.

use crate::clock::UnixSeconds;
use crate::ids::{ManifestRoot, PeerId, TransferId};
use crate::wire::bytes::{Reader, Truncated};
use crate::wire::message::ReceiptBody;

/// First bytes of the signed text: format and version.
pub const RECEIPT_MAGIC: [u8; 4] = *b"IXC1";

/// What is signed in front of the text, so that a signature means nothing elsewhere.
pub const RECEIPT_CONTEXT: &str = "imgxfer 2026 delivery receipt v1";

/// What a receiver confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The transfer.
    pub transfer: TransferId,
    /// Root of its manifest: proves which bytes.
    pub root: ManifestRoot,
    /// Who sent.
    pub sender: PeerId,
    /// Who received and signed.
    pub receiver: PeerId,
    /// Instances committed.
    pub instances: u64,
    /// Their original bytes.
    pub bytes: u64,
    /// Whether these are whole studies: nothing was withdrawn or failed.
    pub complete: bool,
    /// When, by the receiver's clock; for people.
    pub at: UnixSeconds,
}

/// Bytes that are no receipt text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt of a version this program knows")]
pub struct NotAReceipt;

impl From<Truncated> for NotAReceipt {
    fn from(_: Truncated) -> Self {
        Self
    }
}

impl Receipt {
    /// The text that is signed, without [`RECEIPT_CONTEXT`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 16 + 32 * 3 + 8 * 3 + 1);
        out.extend_from_slice(&RECEIPT_MAGIC);
        out.extend_from_slice(self.transfer.as_bytes());
        out.extend_from_slice(self.root.as_bytes());
        out.extend_from_slice(self.sender.as_bytes());
        out.extend_from_slice(self.receiver.as_bytes());
        out.extend_from_slice(&self.instances.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.push(u8::from(self.complete));
        out
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`NotAReceipt`] when it is of another format or length.
    pub fn decode(text: &[u8]) -> Result<Self, NotAReceipt> {
        let mut reader = Reader::new(text);
        if reader.array::<4>()? != RECEIPT_MAGIC {
            return Err(NotAReceipt);
        }
        let receipt = Self {
            transfer: TransferId::from_bytes(reader.array()?),
            root: ManifestRoot::from_bytes(reader.array()?),
            sender: PeerId::from_bytes(reader.array()?),
            receiver: PeerId::from_bytes(reader.array()?),
            instances: reader.u64()?,
            bytes: reader.u64()?,
            at: UnixSeconds(i64::from_le_bytes(reader.array()?)),
            complete: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(NotAReceipt),
            },
        };
        if reader.is_empty() { Ok(receipt) } else { Err(NotAReceipt) }
    }
}

/// A signature and the certificate whose key made it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature {
    /// How it was made: a TLS `SignatureScheme` (RFC 8446, 4.2.3), such as 0x0807 for Ed25519.
    pub scheme: u16,
    /// The signer's end-entity certificate, DER.
    pub certificate: Vec<u8>,
    /// The signature itself, in the scheme's own encoding.
    pub signature: Vec<u8>,
}

impl Signature {
    /// Puts together what was stored or received.
    #[must_use]
    pub fn new(scheme: u16, certificate: Vec<u8>, signature: Vec<u8>) -> Self {
        Self { scheme, certificate, signature }
    }
}

/// A receipt with its signature: what the sender keeps.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedReceipt {
    /// The signed text: [`Receipt::encode`].
    #[serde(with = "hex_bytes")]
    text: Vec<u8>,
    /// TLS signature scheme (RFC 8446 section 4.2.3).
    scheme: u16,
    /// The signer's certificate, DER.
    #[serde(with = "hex_bytes")]
    certificate: Vec<u8>,
    /// The signature.
    #[serde(with = "hex_bytes")]
    signature: Vec<u8>,
}

/// A receipt that proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Not a receipt at all.
    #[error(transparent)]
    Text(#[from] NotAReceipt),
    /// The signature does not hold.
    #[error(transparent)]
    Signature(Box<dyn std::error::Error + Send + Sync>),
}

impl SignedReceipt {
    /// Signs a receipt: `sign` makes a signature for a purpose and a text, as a site's identity does.
    ///
    /// # Errors
    /// Those of `sign`.
    pub fn sign<E>(receipt: &Receipt, sign: impl FnOnce(&str, &[u8]) -> Result<Signature, E>) -> Result<Self, E> {
        let text = receipt.encode();
        let Signature { scheme, certificate, signature } = sign(RECEIPT_CONTEXT, &text)?;
        Ok(Self { text, scheme, certificate, signature })
    }

    /// Takes it from a message.
    #[must_use]
    pub fn from_wire(body: &ReceiptBody) -> Self {
        Self {
            text: body.text.to_vec(),
            scheme: u16::try_from(body.scheme).unwrap_or(0),
            certificate: body.certificate.to_vec(),
            signature: body.signature.to_vec(),
        }
    }

    /// Puts it into a message.
    #[must_use]
    pub fn to_wire(&self) -> ReceiptBody {
        ReceiptBody {
            text: self.text.clone().into(),
            scheme: u32::from(self.scheme),
            certificate: self.certificate.clone().into(),
            signature: self.signature.clone().into(),
        }
    }

    /// Checks the signature by `verify`, as `transport::verify` does it; returns what it says and who said it.
    ///
    /// Who signed is a claim of the certificate's key alone: compare it with the peer that is meant.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn verify<E: std::error::Error + Send + Sync + 'static>(
        &self,
        verify: impl FnOnce(&str, &[u8], &Signature) -> Result<PeerId, E>,
    ) -> Result<(Receipt, PeerId), ReceiptError> {
        let receipt = Receipt::decode(&self.text)?;
        let signature = Signature::new(self.scheme, self.certificate.clone(), self.signature.clone());
        let signer =
            verify(RECEIPT_CONTEXT, &self.text, &signature).map_err(|error| ReceiptError::Signature(error.into()))?;
        Ok((receipt, signer))
    }
}

mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}
