//! Sites to test with: identities of every kind, and two endpoints with a line between them.

use imgxfer_core::ids::PeerId;
use imgxfer_core::sim::line::{LineProfile, VirtualNet};
use imgxfer_core::transport::{
    AcceptLimits, Dial, Endpoint, EndpointConfig, Identity, Refused, Session, TransportError, Trust,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::sync::{Arc, Mutex};

pub(crate) const ALPN: &[u8] = b"imgxfer-test/1";

/// What to change about a certificate.
pub(crate) type Change = fn(&mut CertificateParams);

fn params(change: Change) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["pacs.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params
}

/// An identity that vouches for itself.
pub(crate) fn self_signed(change: Change) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params(change).self_signed(&key).unwrap();
    Identity::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap()
}

/// A hospital's certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Hospital authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn issue(&self, change: Change) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params(change).signed_by(&key, &self.0).unwrap();
        Identity::from_pem(&certificate.pem(), &key.serialize_pem()).unwrap()
    }

    pub(crate) fn trust(&self) -> Trust {
        let trust = Trust::new();
        trust.set_authorities_pem(&self.0.pem()).unwrap();
        trust
    }
}

/// Trusts these keys.
pub(crate) fn pinned(peers: &[PeerId]) -> Trust {
    let trust = Trust::new();
    trust.set_pinned(peers.iter().copied());
    trust
}

/// An endpoint and what it refused.
pub(crate) struct Site {
    pub(crate) endpoint: Endpoint,
    refused: Arc<Mutex<Vec<Refused>>>,
}

impl Site {
    pub(crate) fn errors(&self) -> Vec<TransportError> {
        self.refused.lock().unwrap().iter().map(|r| r.error.clone()).collect()
    }
}

/// How a test wants one side.
pub(crate) struct Setup {
    pub(crate) identity: Identity,
    pub(crate) trust: Trust,
    pub(crate) alpn: &'static [u8],
    pub(crate) limits: AcceptLimits,
}

impl Setup {
    pub(crate) fn new(identity: Identity, trust: Trust) -> Self {
        Self { identity, trust, alpn: ALPN, limits: AcceptLimits::default() }
    }
}

/// A hospital and a cloud, joined by a line.
pub(crate) struct Pair {
    pub(crate) net: VirtualNet,
    pub(crate) hospital: Site,
    pub(crate) cloud: Site,
}

pub(crate) fn line(name: &str) -> LineProfile {
    name.parse().unwrap()
}

impl Pair {
    pub(crate) fn new(profile: LineProfile, hospital: Setup, cloud: Setup) -> Self {
        let net = VirtualNet::new(profile, 1);
        let site = |address, setup: Setup, socket| {
            let refused = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&refused);
            let config = EndpointConfig::new(address, setup.identity, setup.trust, setup.alpn)
                .with_limits(setup.limits)
                .with_audit(move |r| seen.lock().unwrap().push(r.clone()));
            Site { endpoint: Endpoint::with_socket(config, socket).unwrap(), refused }
        };
        let hospital = site(VirtualNet::HOSPITAL, hospital, net.hospital());
        let cloud = site(VirtualNet::CLOUD, cloud, net.cloud());
        Self { net, hospital, cloud }
    }

    /// Two sites that know each other, on the line with this name.
    pub(crate) fn known(profile: &str) -> Self {
        Self::known_with(profile, AcceptLimits::default())
    }

    pub(crate) fn known_with(profile: &str, limits: AcceptLimits) -> Self {
        let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let hospital = Setup::new(a.clone(), pinned(&[b.peer_id()]));
        let cloud = Setup { limits, ..Setup::new(b, pinned(&[a.peer_id()])) };
        Self::new(line(profile), hospital, cloud)
    }

    /// Two sites that do not know each other.
    pub(crate) fn strangers() -> Self {
        let site = || Setup::new(Identity::generate().unwrap(), Trust::new());
        Self::new(line("fibre100"), site(), site())
    }

    pub(crate) fn dial() -> Dial {
        Dial::from(VirtualNet::CLOUD)
    }

    /// The hospital dials the cloud: both ends of the session.
    pub(crate) async fn session(&self) -> (Session, Session) {
        let dial = Self::dial();
        let (dialled, accepted) = tokio::join!(self.hospital.endpoint.connect(&dial), self.cloud.endpoint.accept());
        (dialled.unwrap(), accepted.unwrap())
    }

    /// What the hospital learns when it dials and tries to talk, the cloud being in nobody's way.
    pub(crate) async fn outcome(&self, dial: &Dial) -> Result<Session, TransportError> {
        let session = self.hospital.endpoint.connect(dial).await?;
        let mut control = session.open_control().await?;
        control.send(b"hello").await?;
        tokio::select! {
            error = session.closed() => Err(error),
            accepted = self.cloud.endpoint.accept() => {
                let accepted = accepted.unwrap();
                let heard = accepted.accept_control().await.unwrap().recv(64).await.unwrap();
                assert_eq!(heard.unwrap(), b"hello"[..]);
                Ok(session)
            }
        }
    }
}
