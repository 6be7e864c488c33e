//! Simulated lines under real sessions.

use crate::site::{ALPN, Pair, pinned};
use bytes::Bytes;
use imgxfer_core::sim::line::{LineParams, ShapedSocket};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Sends `bytes` from `a` to `b` and returns how long it took.
async fn transfer(a: &Session, b: &Session, bytes: usize) -> Duration {
    let start = Instant::now();
    let mut out = a.open_data().await.unwrap();
    let send = async {
        out.send(Bytes::from(vec![1; bytes])).await.unwrap();
        out.finish().unwrap();
    };
    let receive = async {
        let mut data = b.accept_data().await.unwrap();
        assert_eq!(data.read_bytes(bytes).await.unwrap().unwrap().len(), bytes);
    };
    tokio::join!(send, receive);
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_session_gets_the_lines_rate_and_delay() {
    let pair = Pair::known("fibre100");
    let (a, b) = pair.session().await;
    let took = transfer(&a, &b, 10 << 20).await;
    // 10 MiB at 100 Mbit/s are 0.84 s without headers.
    assert!((Duration::from_millis(840)..Duration::from_millis(1_300)).contains(&took), "{took:?}");
    assert!(a.stats().mtu_bytes > 1_400, "{:?}", a.stats());
    let up = pair.net.up().counters();
    assert!(up.longest_queue <= Duration::from_millis(51), "{up:?}");
    assert_eq!((up.dropped_loss, up.dropped_outage), (0, 0));
    assert!(up.delivered_bytes <= up.offered_bytes && up.delivered_bytes > 10 << 20, "{up:?}");
}

#[tokio::test(start_paused = true)]
async fn directions_differ() {
    let pair = Pair::known("adsl");
    let (hospital, cloud) = pair.session().await;
    let down = transfer(&cloud, &hospital, 400_000).await;
    let up = transfer(&hospital, &cloud, 400_000).await;
    assert!(up > Duration::from_secs(4), "{up:?}");
    assert!(down < up / 3, "{down:?} down, {up:?} up");
}

#[tokio::test]
async fn a_real_socket_behind_a_line() {
    let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let trust = pinned(&[a.peer_id(), b.peer_id()]);
    let loopback = ([127, 0, 0, 1], 0).into();
    let shaped = |seed| {
        let params = LineParams::new(50_000_000, Duration::from_millis(15));
        Arc::new(ShapedSocket::bind(loopback, params, seed).unwrap())
    };
    let (socket_a, socket_b) = (shaped(1), shaped(2));
    let line = socket_a.line().clone();
    let open = |identity, socket| {
        Endpoint::with_socket(EndpointConfig::new(loopback, identity, trust.clone(), ALPN), socket).unwrap()
    };
    let (a, b) = (open(a, socket_a), open(b, socket_b));
    let dial = Dial::from(b.local_address().unwrap());
    let (dialled, accepted) = tokio::join!(a.connect(&dial), b.accept());
    let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
    let took = transfer(&dialled, &accepted, 1 << 20).await;
    // 1 MiB at 50 Mbit/s; how much slower a busy machine is cannot be said.
    assert!(took > Duration::from_millis(160), "{took:?}");
    assert!(dialled.stats().rtt >= Duration::from_millis(30), "{:?}", dialled.stats());
    assert!(line.counters().delivered_bytes > 1 << 20, "{:?}", line.counters());
}
