//! Sites that may talk to each other do.

use crate::site::{ALPN, Authority, Pair, Setup, line, pinned, self_signed};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Protocol, Trust};

#[tokio::test(start_paused = true)]
async fn pinned_sites_know_each_other() {
    let pair = Pair::known("fibre100");
    let (dialled, accepted) = pair.session().await;
    assert_eq!(dialled.peer(), pair.cloud.endpoint.identity().peer_id());
    assert_eq!(accepted.peer(), pair.hospital.endpoint.identity().peer_id());
    assert_eq!(accepted.protocol(), Protocol::Transfer);
    assert_eq!(accepted.peer_subject(), "CN=imgxfer");
    assert_eq!(accepted.peer_expires(), pair.hospital.endpoint.identity().expires());
    assert_eq!(accepted.peer_address(), imgxfer_core::sim::line::VirtualNet::HOSPITAL);
    let stats = dialled.stats();
    assert!(stats.rtt >= std::time::Duration::from_millis(10), "{stats:?}");
    assert!(stats.sent_bytes > 1200 && stats.received_bytes > 1200, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn an_authority_vouches_for_both() {
    let authority = Authority::new();
    let site = || Setup::new(authority.issue(|_| {}), authority.trust());
    let pair = Pair::new(line("fibre100"), site(), site());
    pair.outcome(&Pair::dial().with_name("pacs.example")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_authority_on_one_side_and_a_pin_on_the_other() {
    let authority = Authority::new();
    let hospital = authority.issue(|_| {});
    let cloud = Identity::generate().unwrap();
    let cloud_id = cloud.peer_id();
    let pair =
        Pair::new(line("fibre100"), Setup::new(hospital, pinned(&[cloud_id])), Setup::new(cloud, authority.trust()));
    // A pinned key needs no name in its certificate.
    pair.outcome(&Pair::dial().with_name("elsewhere.example")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn naming_the_key_when_dialling_is_trust_enough() {
    let cloud = self_signed(|_| {});
    let hospital = self_signed(|_| {});
    let (cloud_id, trust) = (cloud.peer_id(), pinned(&[hospital.peer_id()]));
    let pair = Pair::new(line("fibre100"), Setup::new(hospital, Trust::new()), Setup::new(cloud, trust));
    pair.outcome(&Pair::dial().with_peer(cloud_id)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handshake_survives_a_bad_line() {
    let pair = Pair::known("bad-copper");
    for _ in 0..4 {
        pair.outcome(&Pair::dial()).await.unwrap();
    }
}

#[tokio::test]
async fn real_sockets_on_loopback() {
    let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = pinned(&[a.peer_id(), b.peer_id()]);
    let bind = |identity| {
        let config = EndpointConfig::new(([127, 0, 0, 1], 0).into(), identity, trust.clone(), ALPN);
        Endpoint::bind(config).unwrap()
    };
    let (a, b) = (bind(a), bind(b));
    let dial = Dial::from(b.local_address().unwrap()).with_peer(b.identity().peer_id());
    let (dialled, accepted) = tokio::join!(a.connect(&dial), b.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let mut out = dialled.open_data().await.unwrap();
    let sending = async {
        out.send(vec![7; 3 << 20].into()).await.unwrap();
        out.finish().unwrap();
        out.received().await.unwrap();
    };
    let receiving = async {
        let mut data = accepted.accept_data().await.unwrap();
        assert_eq!(data.read_bytes(3 << 20).await.unwrap().unwrap(), vec![7; 3 << 20]);
        assert_eq!(data.read_bytes(1).await, Ok(None));
    };
    tokio::join!(sending, receiving);
    b.close(imgxfer_core::transport::CloseCode::ShuttingDown, "");
    b.wait_idle().await;
    assert!(b.accept().await.is_none());
}
