//! TLS as this product uses it: version 1.3, both sides named, post-quantum key exchange first.

use crate::transport::verifier::PeerVerifier;
use crate::transport::{Identity, TransportError};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use std::sync::{Arc, OnceLock};

/// Cryptography of the whole crate. Hybrid X25519 and ML-KEM-768 comes first, so that a recording of
/// today's traffic stays closed to a quantum computer; plain curves serve peers without it.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups =
            vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1];
        Arc::new(provider)
    }))
}

/// Signatures that this crate can check.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// Random bytes fit for keys.
pub(super) fn random<const N: usize>() -> Result<[u8; N], TransportError> {
    let mut bytes = [0; N];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| TransportError::Local { reason: "the machine has no entropy".to_owned() })?;
    Ok(bytes)
}

fn unusable(error: impl std::fmt::Display) -> TransportError {
    TransportError::Tls { reason: error.to_string() }
}

/// TLS for one connection that this side accepts.
pub(super) fn server(
    identity: &Identity,
    verifier: Arc<PeerVerifier>,
    protocols: Vec<Vec<u8>>,
) -> Result<rustls::ServerConfig, TransportError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())));
    config.alpn_protocols = protocols;
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// TLS for one connection that this side dials.
pub(super) fn client(
    identity: &Identity,
    verifier: Arc<PeerVerifier>,
    protocol: Vec<u8>,
) -> Result<rustls::ClientConfig, TransportError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())));
    config.alpn_protocols = vec![protocol];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // The name would travel in the clear, and the other side has only one identity to show.
    config.enable_sni = false;
    Ok(config)
}

/// The same for QUIC.
pub(super) fn quic_server(config: rustls::ServerConfig) -> Result<QuicServerConfig, TransportError> {
    QuicServerConfig::try_from(config).map_err(unusable)
}

/// The same for QUIC.
pub(super) fn quic_client(config: rustls::ClientConfig) -> Result<QuicClientConfig, TransportError> {
    QuicClientConfig::try_from(config).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Trust;
    use crate::transport::verifier::{Admission, Expectation};
    use rustls::quic::{ClientConnection, ServerConnection, Version};

    /// Runs a handshake in memory, without QUIC around it.
    fn shake(server: rustls::ServerConfig, client: rustls::ClientConfig) -> (ServerConnection, ClientConnection) {
        let name = "imgxfer".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(client), Version::V1, name, vec![]).unwrap();
        let mut server = ServerConnection::new(Arc::new(server), Version::V1, vec![]).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            // What is under one key must be read before what is under the next.
            loop {
                let mut bytes = Vec::new();
                let changed = client.write_hs(&mut bytes).is_some();
                server.read_hs(&bytes).unwrap();
                if bytes.is_empty() && !changed {
                    break;
                }
            }
            loop {
                let mut bytes = Vec::new();
                let changed = server.write_hs(&mut bytes).is_some();
                client.read_hs(&bytes).unwrap();
                if bytes.is_empty() && !changed {
                    break;
                }
            }
        }
        (server, client)
    }

    #[test]
    fn the_key_exchange_is_post_quantum() {
        let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let trust = Trust::new();
        trust.pin(a.peer_id());
        trust.pin(b.peer_id());
        let verifier =
            || Arc::new(PeerVerifier::new(trust.clone(), Admission::TrustedOnly, Expectation::default()).unwrap());
        let (server, client) =
            shake(server(&a, verifier(), vec![b"x".to_vec()]).unwrap(), client(&b, verifier(), b"x".to_vec()).unwrap());
        let group = rustls::NamedGroup::X25519MLKEM768;
        assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), group);
        assert_eq!(server.negotiated_key_exchange_group().unwrap().name(), group);
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
}
