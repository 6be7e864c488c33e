//! Decides within the TLS handshake whether to talk to a peer, and remembers why not.
//!
//! One verifier serves one connection. Whatever is wrong with a peer, it sees the alert
//! `access_denied` and no more; the reason stays in the [`Verdict`], for the local user.

use crate::clock::UnixSeconds;
use crate::ids::PeerId;
use crate::sync::lock;
use crate::transport::identity::certificate::{self, CertificateInfo};
use crate::transport::trust::{PeerRefusal, Trust};
use crate::transport::{TransportError, tls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, Mutex};

/// Whom a handshake lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Peers that [`Trust`] names.
    TrustedOnly,
    /// Any key, because a person is about to pair with it. Dates still count.
    AnyKey,
}

/// Whom a caller wants to find at the other end.
#[derive(Debug, Clone, Default)]
pub(super) struct Expectation {
    pub(super) peer: Option<PeerId>,
    /// Host name or address that an authority's certificate must be for. Pinned keys need none.
    pub(super) name: Option<String>,
}

/// What was found out about a peer during one handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) info: CertificateInfo,
    /// Why the peer is not to be trusted; under [`Admission::AnyKey`] it may be connected all the same.
    pub(super) refusal: Option<PeerRefusal>,
}

/// Where a verifier leaves what it found, for whoever waits for the handshake.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict(Arc<Mutex<Option<Result<Finding, PeerRefusal>>>>);

impl Verdict {
    pub(super) fn get(&self) -> Option<Result<Finding, PeerRefusal>> {
        lock(&self.0).clone()
    }

    fn set(&self, found: Result<Finding, PeerRefusal>) {
        *lock(&self.0) = Some(found);
    }
}

/// Which side of the connection the peer is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PeerSide {
    Server,
    Client,
}

/// Verifies the peer of one connection.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    trust: Trust,
    admission: Admission,
    expected: Option<PeerId>,
    name: Option<ServerName<'static>>,
    verdict: Verdict,
}

impl PeerVerifier {
    pub(super) fn new(trust: Trust, admission: Admission, expected: Expectation) -> Result<Self, TransportError> {
        let name = expected.name.map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| TransportError::Local {
                reason: format!("{name:?} is neither a host name nor an address"),
            })
        });
        Ok(Self { trust, admission, expected: expected.peer, name: name.transpose()?, verdict: Verdict::default() })
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    /// Whether the peer may be talked to: the rules of this product in one place.
    fn judge(
        &self,
        side: PeerSide,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Finding, PeerRefusal> {
        let info = certificate::read(end_entity).map_err(|_| PeerRefusal::Malformed)?;
        let peer = info.peer;
        let seconds = UnixSeconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if seconds > info.not_after {
            return Err(PeerRefusal::Expired { peer, not_after: info.not_after });
        }
        if seconds < info.not_before {
            return Err(PeerRefusal::NotYetValid { peer, not_before: info.not_before });
        }
        if self.trust.is_blocked(peer) {
            return Err(PeerRefusal::Blocked { peer });
        }
        if let Some(expected) = self.expected
            && expected != peer
        {
            return Err(PeerRefusal::WrongPeer { expected, found: peer });
        }
        // Whoever names a key when dialling has said enough about it.
        let refusal = if self.expected == Some(peer) || self.trust.is_pinned(peer) {
            None
        } else {
            self.vouched_for(side, &info, end_entity, intermediates, now).err()
        };
        match (refusal, self.admission) {
            (Some(refusal), Admission::TrustedOnly) => Err(refusal),
            (refusal, _) => Ok(Finding { info, refusal }),
        }
    }

    /// Whether a trusted authority vouches for the peer, for this side of a connection and this host.
    fn vouched_for(
        &self,
        side: PeerSide,
        info: &CertificateInfo,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), PeerRefusal> {
        let Some(authorities) = self.trust.authorities() else {
            return Err(PeerRefusal::Unknown { peer: info.peer });
        };
        match side {
            PeerSide::Client => {
                let verified = authorities.for_clients.verify_client_cert(end_entity, intermediates, now);
                verified.map_err(|e| self.explain(info, &e))?;
            }
            PeerSide::Server => {
                let parsed = ParsedCertificate::try_from(end_entity).map_err(|_| PeerRefusal::Malformed)?;
                let algorithms = tls::algorithms().all;
                verify_server_cert_signed_by_trust_anchor(&parsed, &authorities.roots, intermediates, now, algorithms)
                    .map_err(|e| self.explain(info, &e))?;
                if let Some(name) = &self.name {
                    verify_server_name(&parsed, name).map_err(|e| self.explain(info, &e))?;
                }
            }
        }
        Ok(())
    }

    fn explain(&self, info: &CertificateInfo, error: &Error) -> PeerRefusal {
        let peer = info.peer;
        let Error::InvalidCertificate(error) = error else {
            return PeerRefusal::Malformed;
        };
        match error {
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                PeerRefusal::WrongPurpose { peer }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let name = self.name.as_ref().map(ServerName::to_str);
                PeerRefusal::WrongName { peer, name: name.unwrap_or_default().into_owned() }
            }
            CertificateError::BadEncoding => PeerRefusal::Malformed,
            // A certificate that its holder made itself was never meant to lead to an authority.
            _ if info.self_issued => PeerRefusal::Unknown { peer },
            _ => PeerRefusal::WrongAuthority { peer },
        }
    }

    /// Leaves the finding where it can be read, and tells TLS yes or no.
    fn conclude(&self, found: Result<Finding, PeerRefusal>) -> Result<(), Error> {
        let admitted = found.is_ok();
        self.verdict.set(found);
        if admitted { Ok(()) } else { Err(denied()) }
    }

    fn check_proof(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &tls::algorithms()).map_err(|_| {
            if let Some(Ok(finding)) = self.verdict.get() {
                self.verdict.set(Err(PeerRefusal::NoProof { peer: finding.info.peer }));
            }
            denied()
        })
    }
}

/// The one answer that every refused peer gets.
fn denied() -> Error {
    CertificateError::ApplicationVerificationFailure.into()
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.conclude(self.judge(PeerSide::Server, end_entity, intermediates, now))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &tls::algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_proof(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    /// No hints: they would tell strangers which hospital this is.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.conclude(self.judge(PeerSide::Client, end_entity, intermediates, now))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &tls::algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_proof(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::algorithms().supported_schemes()
    }
}
