//! Sites that may not talk to each other are refused, for reasons that only the refusing side learns.

use crate::site::{Authority, Change, Pair, Setup, line, pinned, self_signed};
use imgxfer_core::sim::line::VirtualNet;
use imgxfer_core::transport::{Dial, Identity, PeerRefusal, TransportError, Trust};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use std::time::Duration;
use tokio::time::Instant;

const EXPIRED: Change = |p| p.not_after = date_time_ymd(2021, 1, 1);
const NOT_YET_VALID: Change = |p| p.not_before = date_time_ymd(2400, 1, 1);

/// The hospital dials with `identity`; the cloud, trusting by `trust`, refuses it for this reason.
async fn refused_by_server(identity: Identity, trust: Trust) -> PeerRefusal {
    let cloud = Identity::generate().unwrap();
    let hospital = Setup::new(identity, pinned(&[cloud.peer_id()]));
    let pair = Pair::new(line("fibre100"), hospital, Setup::new(cloud, trust));
    let outward = pair.outcome(&Pair::dial()).await.unwrap_err();
    assert_eq!(outward, TransportError::RefusedByPeer, "whatever the reason");
    let errors = pair.cloud.errors();
    let [TransportError::Peer(refusal)] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(pair.cloud.endpoint.accept_counters().failed, 1);
    refusal.clone()
}

/// The hospital, trusting by `trust`, dials a cloud with `identity` and refuses it for this reason.
async fn refused_by_client(identity: Identity, trust: Trust, dial: Dial) -> PeerRefusal {
    let hospital = Identity::generate().unwrap();
    let cloud = Setup::new(identity, pinned(&[hospital.peer_id()]));
    let pair = Pair::new(line("fibre100"), Setup::new(hospital, trust), cloud);
    match pair.outcome(&dial).await {
        Err(TransportError::Peer(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn by_the_server() {
    let unknown = self_signed(|_| {});
    let peer = unknown.peer_id();
    assert_eq!(refused_by_server(unknown.clone(), Trust::new()).await, PeerRefusal::Unknown { peer });

    let blocked = pinned(&[peer]);
    blocked.block(peer);
    assert_eq!(refused_by_server(unknown, blocked).await, PeerRefusal::Blocked { peer });

    let expired = self_signed(EXPIRED);
    let trust = pinned(&[expired.peer_id()]);
    assert!(
        matches!(refused_by_server(expired, trust).await, PeerRefusal::Expired { not_after, .. } if not_after.0 == 1_609_459_200)
    );

    let early = self_signed(NOT_YET_VALID);
    let trust = pinned(&[early.peer_id()]);
    assert!(matches!(refused_by_server(early, trust).await, PeerRefusal::NotYetValid { .. }));
}

#[tokio::test(start_paused = true)]
async fn by_the_server_with_an_authority() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let check = async |identity: Identity| refused_by_server(identity, ours.trust()).await;

    let stranger = foreign.issue(|_| {});
    let peer = stranger.peer_id();
    assert_eq!(check(stranger).await, PeerRefusal::WrongAuthority { peer });

    let own = self_signed(|_| {});
    let peer = own.peer_id();
    assert_eq!(check(own).await, PeerRefusal::Unknown { peer });

    let server_only = ours.issue(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let peer = server_only.peer_id();
    assert_eq!(check(server_only).await, PeerRefusal::WrongPurpose { peer });

    assert!(matches!(check(ours.issue(EXPIRED)).await, PeerRefusal::Expired { .. }));
    assert!(matches!(check(ours.issue(NOT_YET_VALID)).await, PeerRefusal::NotYetValid { .. }));
}

#[tokio::test(start_paused = true)]
async fn by_the_client() {
    let dial = Pair::dial;
    let unknown = self_signed(|_| {});
    let peer = unknown.peer_id();
    assert_eq!(refused_by_client(unknown.clone(), Trust::new(), dial()).await, PeerRefusal::Unknown { peer });

    let expected = self_signed(|_| {}).peer_id();
    let known = pinned(&[peer]);
    let refusal = refused_by_client(unknown, known, dial().with_peer(expected)).await;
    assert_eq!(refusal, PeerRefusal::WrongPeer { expected, found: peer });

    let expired = self_signed(EXPIRED);
    let trust = pinned(&[expired.peer_id()]);
    assert!(matches!(refused_by_client(expired, trust, dial()).await, PeerRefusal::Expired { .. }));
    let early = self_signed(NOT_YET_VALID);
    let trust = pinned(&[early.peer_id()]);
    assert!(matches!(refused_by_client(early, trust, dial()).await, PeerRefusal::NotYetValid { .. }));

    let (ours, foreign) = (Authority::new(), Authority::new());
    let stranger = foreign.issue(|_| {});
    assert!(matches!(refused_by_client(stranger, ours.trust(), dial()).await, PeerRefusal::WrongAuthority { .. }));
    let elsewhere = dial().with_name("other.example");
    let refusal = refused_by_client(ours.issue(|_| {}), ours.trust(), elsewhere).await;
    assert!(matches!(refusal, PeerRefusal::WrongName { name, .. } if name == "other.example"));
    let client_only = ours.issue(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(matches!(refused_by_client(client_only, ours.trust(), dial()).await, PeerRefusal::WrongPurpose { .. }));
}

#[tokio::test(start_paused = true)]
async fn trust_changes_while_endpoints_run() {
    let pair = Pair::known("fibre100");
    let peer = pair.hospital.endpoint.identity().peer_id();
    pair.outcome(&Pair::dial()).await.unwrap();
    assert!(pair.cloud.endpoint.trust().unpin(peer));
    assert_eq!(pair.outcome(&Pair::dial()).await.unwrap_err(), TransportError::RefusedByPeer);
    pair.cloud.endpoint.trust().pin(peer);
    pair.outcome(&Pair::dial()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_version_in_common() {
    let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let hospital = Setup { alpn: b"imgxfer-test/2", ..Setup::new(a.clone(), pinned(&[b.peer_id()])) };
    let pair = Pair::new(line("fibre100"), hospital, Setup::new(b, pinned(&[a.peer_id()])));
    assert_eq!(pair.outcome(&Pair::dial()).await.unwrap_err(), TransportError::Version);
    assert_eq!(pair.cloud.errors(), [TransportError::Version]);
}

#[tokio::test(start_paused = true)]
async fn nobody_there() {
    let pair = Pair::known("fibre100");
    pair.net.cut();
    let start = Instant::now();
    let error = pair.outcome(&Pair::dial()).await.unwrap_err();
    assert_eq!(error, TransportError::Unreachable { address: VirtualNet::CLOUD.to_string(), tcp: false });
    assert!(start.elapsed() <= Duration::from_millis(10_100), "{:?}", start.elapsed());
    assert!(matches!(
        pair.outcome(&Dial::new("no port in this")).await,
        Err(TransportError::UnknownHost { cause, .. }) if cause.kind() == std::io::ErrorKind::InvalidInput
    ));
}
