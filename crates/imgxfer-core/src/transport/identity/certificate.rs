//! Reads what this crate needs of an X.509 certificate (RFC 5280).

use crate::clock::UnixSeconds;
use crate::ids::PeerId;
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::prelude::X509Certificate;

/// Longest subject that is kept for display, in characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// What is known of a peer from its end-entity certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateInfo {
    pub(crate) peer: PeerId,
    /// Printable and bounded; chosen by whoever made the certificate.
    pub(crate) subject: String,
    pub(crate) not_before: UnixSeconds,
    pub(crate) not_after: UnixSeconds,
    /// Made by its own holder: issuer and subject are the same.
    pub(crate) self_issued: bool,
}

/// A certificate that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Malformed> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

/// Reads an end-entity certificate in DER.
pub(crate) fn read(der: &[u8]) -> Result<CertificateInfo, Malformed> {
    let certificate = parse(der)?;
    let validity = certificate.validity();
    let subject = certificate.subject().to_string();
    Ok(CertificateInfo {
        peer: PeerId::of_key(certificate.public_key().raw),
        subject: subject.chars().filter(|c| !c.is_control()).take(SUBJECT_CHARS_MAX).collect(),
        not_before: UnixSeconds(validity.not_before.timestamp()),
        not_after: UnixSeconds(validity.not_after.timestamp()),
        self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
    })
}

/// The public key of a certificate as signature algorithms want it.
pub(crate) struct PublicKey {
    pub(crate) peer: PeerId,
    /// Contents of the `AlgorithmIdentifier`, without its outer tag and length.
    pub(crate) algorithm: Vec<u8>,
    pub(crate) bits: Vec<u8>,
}

/// Reads the public key of an end-entity certificate in DER.
pub(crate) fn public_key(der: &[u8]) -> Result<PublicKey, Malformed> {
    let certificate = parse(der)?;
    let key = certificate.public_key();
    let (_, outer) = Any::from_der(key.raw).map_err(|_| Malformed)?;
    let (_, algorithm) = Any::from_der(outer.data).map_err(|_| Malformed)?;
    Ok(PublicKey {
        peer: PeerId::of_key(key.raw),
        algorithm: algorithm.data.to_vec(),
        bits: key.subject_public_key.data.to_vec(),
    })
}
