//! Keys that outlive the process, so that a peer learns at once that this side was restarted.
//!
//! A restarted endpoint gets packets of connections that it knows nothing of. It answers with a stateless
//! reset (RFC 9000 section 10.3), which the peer believes only if its token was made with the key from before
//! the restart. So the key is derived from the site's own. Without it a peer waits for the idle timeout.

use std::sync::Arc;

use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;

use crate::transport::{Identity, TransportError};

const DOMAIN: &str = "imgxfer 2026 stateless reset v1";

/// Makes reset tokens, by BLAKE3 with a key.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(data).finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // BLAKE3's comparison takes the same time whatever differs.
        let expected = blake3::keyed_hash(&self.0, data);
        <[u8; 32]>::try_from(signature).ok().filter(|given| expected == *given).map(|_| ()).ok_or(CryptoError)
    }
}

/// Settings of an endpoint whose resets are believed after a restart.
///
/// With an Ed25519 key, whose signatures are always the same; other keys sign differently each time, and
/// their sites are found to be gone by silence.
pub(in crate::transport) fn endpoint_config(identity: &Identity) -> Result<quinn::EndpointConfig, TransportError> {
    let secret = identity.sign(DOMAIN, &[])?.signature;
    let key = ResetKey(blake3::derive_key(DOMAIN, &secret));
    let mut cid_key = [0; 8];
    key.sign(b"connection ids", &mut cid_key);
    let cid_key = u64::from_le_bytes(cid_key);
    let mut config = quinn::EndpointConfig::new(Arc::new(key));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_after_a_restart_and_another_for_another_site() {
        let token = |key: &[u8; 32]| {
            let mut token = [0; 32];
            ResetKey(*key).sign(b"a connection id", &mut token);
            token
        };
        assert_eq!(token(&[1; 32]), token(&[1; 32]));
        assert_ne!(token(&[1; 32]), token(&[2; 32]));
        ResetKey([1; 32]).verify(b"a connection id", &token(&[1; 32])).unwrap();
        ResetKey([1; 32]).verify(b"another", &token(&[1; 32])).unwrap_err();
        ResetKey([1; 32]).verify(b"a connection id", &[]).unwrap_err();
        let identity = Identity::generate().unwrap();
        assert_eq!(identity.sign(DOMAIN, &[]).unwrap().signature, identity.sign(DOMAIN, &[]).unwrap().signature);
    }
}
