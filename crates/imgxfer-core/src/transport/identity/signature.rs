//! Signatures by a site's key outside TLS: receipts that a third party can check later.

use super::{Identity, IdentityError, certificate};
use crate::ids::PeerId;
use crate::receipt::Signature;
use crate::transport::tls;
use crate::units::to_u64;
use rustls::SignatureScheme;

/// Why a signature proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The certificate cannot be read.
    #[error("the signer's certificate cannot be read")]
    Certificate,
    /// The scheme is unknown, or is not one for this kind of key.
    #[error("signature scheme {scheme:#06x} is not one for the signer's key")]
    Scheme {
        /// The scheme named.
        scheme: u16,
    },
    /// The message, the domain or the key is another one.
    #[error("the signature does not match")]
    Mismatch,
}

/// What is signed: never the bare message, so that a signature for one purpose is none for another,
/// and none for a TLS handshake either.
fn to_be_signed(domain: &str, message: &[u8]) -> Vec<u8> {
    let length = to_u64(domain.len()).to_le_bytes();
    [b"imgxfer signature 1\0", &length[..], domain.as_bytes(), message].concat()
}

pub(super) fn sign(identity: &Identity, domain: &str, message: &[u8]) -> Result<Signature, IdentityError> {
    let schemes = tls::algorithms().supported_schemes();
    let signer = identity.key.key.choose_scheme(&schemes).ok_or(IdentityError::Key)?;
    let signature = signer.sign(&to_be_signed(domain, message)).map_err(|_| IdentityError::Key)?;
    let certificate = identity.key.cert.first().ok_or(IdentityError::Certificate)?.to_vec();
    Ok(Signature { scheme: signer.scheme().into(), certificate, signature })
}

/// Checks who signed `message` for the purpose `domain`.
///
/// Says whose key it was, and nothing about whether that site is trusted: the caller compares the
/// result with the peer it expects. The certificate's dates are not looked at, since a receipt
/// outlives the certificate that was valid when it was given.
///
/// # Errors
/// [`SignatureError`] when the certificate cannot be read, or the signature is not its key's.
pub fn verify(domain: &str, message: &[u8], signature: &Signature) -> Result<PeerId, SignatureError> {
    let key = certificate::public_key(&signature.certificate).map_err(|_| SignatureError::Certificate)?;
    let scheme = SignatureScheme::from(signature.scheme);
    let of_scheme = tls::algorithms().mapping.iter().filter(|(s, _)| *s == scheme).flat_map(|(_, list)| *list);
    let mut of_key = of_scheme.filter(|a| a.public_key_alg_id().as_ref() == key.algorithm.as_slice()).peekable();
    if of_key.peek().is_none() {
        return Err(SignatureError::Scheme { scheme: signature.scheme });
    }
    let message = to_be_signed(domain, message);
    let matches = of_key.any(|a| a.verify_signature(&key.bits, &message, &signature.signature).is_ok());
    if matches { Ok(key.peer) } else { Err(SignatureError::Mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_hold_for_message_domain_and_key_alone() {
        let (site, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let signature = site.sign("receipt", b"root").unwrap();
        assert_eq!(signature.scheme, 0x0807);
        assert_eq!(verify("receipt", b"root", &signature), Ok(site.peer_id()));
        assert_eq!(verify("receipt", b"boot", &signature), Err(SignatureError::Mismatch));
        assert_eq!(verify("other", b"root", &signature), Err(SignatureError::Mismatch));
        // The border between domain and message is part of what is signed.
        assert_eq!(verify("receiptr", b"oot", &signature), Err(SignatureError::Mismatch));

        let mut forged = signature.clone();
        forged.certificate = other.sign("receipt", b"root").unwrap().certificate;
        assert_eq!(verify("receipt", b"root", &forged), Err(SignatureError::Mismatch));
        forged.certificate.pop();
        assert_eq!(verify("receipt", b"root", &forged), Err(SignatureError::Certificate));
        let wrong_scheme = Signature { scheme: 0x0403, ..signature };
        assert_eq!(verify("receipt", b"root", &wrong_scheme), Err(SignatureError::Scheme { scheme: 0x0403 }));
    }

    #[test]
    fn keys_of_a_hospitals_authority_sign_too() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
            let site = Identity::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap();
            let signature = site.sign("receipt", b"root").unwrap();
            assert_eq!(verify("receipt", b"root", &signature), Ok(site.peer_id()), "{algorithm:?}");
        }
    }
}
