//! STAT overtakes on a full line.

use crate::site::{ALPN, pinned};
use bytes::Bytes;
use imgxfer_core::priority::Priority;
use imgxfer_core::sim::line::{LineProfile, VirtualNet};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Session};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Two sites on a line: the hospital pulls, so that the cloud sends down the line.
struct Sites {
    net: VirtualNet,
    hospital: Endpoint,
    cloud: Endpoint,
}

impl Sites {
    fn on(line: &str) -> Self {
        let net = VirtualNet::new(line.parse::<LineProfile>().unwrap(), 7);
        let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let trust = pinned(&[a.peer_id(), b.peer_id()]);
        let open = |address, identity, socket| {
            Endpoint::with_socket(EndpointConfig::new(address, identity, trust.clone(), ALPN), socket).unwrap()
        };
        let hospital = open(VirtualNet::HOSPITAL, a, net.hospital());
        let cloud = open(VirtualNet::CLOUD, b, net.cloud());
        Self { net, hospital, cloud }
    }

    /// The cloud's and the hospital's end of a new session.
    async fn session(&self) -> (Session, Session) {
        let dial = Dial::from(VirtualNet::CLOUD);
        let (dialled, accepted) = tokio::join!(self.hospital.connect(&dial), self.cloud.accept());
        (accepted.unwrap(), dialled.unwrap())
    }
}

/// Keeps the session full until it is dropped.
async fn fill(from: Session, to: Session) {
    let piece = Bytes::from(vec![3; 64 << 10]);
    let send = async {
        let mut stream = from.open_data().await.unwrap();
        while stream.send(piece.clone()).await.is_ok() {
            from.adapt_windows();
        }
    };
    let receive = async {
        let mut stream = to.accept_data().await.unwrap();
        while let Ok(Some(_)) = stream.read_bytes(1 << 10).await {}
    };
    tokio::join!(send, receive);
}

/// How long one byte takes, and then 200 kB.
async fn urgent(from: &Session, to: &Session) -> (Duration, Duration) {
    const BYTES: usize = 200_000;
    let _rank = from.rank(Priority::Stat);
    let began = Instant::now();
    let send = async {
        let mut stream = from.open_data().await.unwrap();
        stream.send(Bytes::from(vec![1; BYTES])).await.unwrap();
        stream.finish().unwrap();
        stream.received().await.unwrap();
    };
    let receive = async {
        let mut stream = to.accept_data().await.unwrap();
        stream.read_bytes(1).await.unwrap().unwrap();
        let first = began.elapsed();
        stream.read_bytes(BYTES - 1).await.unwrap().unwrap();
        (first, began.elapsed())
    };
    tokio::join!(send, receive).1
}

/// 200 kB alone take 0.2 s of an 8 Mbit/s line, the start of a fresh connection included 0.3 s.
#[tokio::test(start_paused = true)]
async fn stat_overtakes_a_full_routine_transfer() {
    let sites = Sites::on("adsl");
    let (routine, stat) = (sites.session().await, sites.session().await);
    let rank = routine.0.rank(Priority::Routine);
    let filling = tokio::spawn(fill(routine.0.clone(), routine.1));
    sleep(Duration::from_secs(5)).await;
    let before = sites.net.down().counters().delivered_bytes;
    let (first, all) = urgent(&stat.0, &stat.1).await;
    println!("first byte after {first:?}, 200 kB after {all:?}, {:?}", routine.0.stats());
    assert!(first <= Duration::from_millis(30 + 50), "one round trip and 50 ms: {first:?}");
    assert!(all <= Duration::from_millis(450), "{all:?}");
    // The line was full before, and is again after.
    assert!(before > 3_500_000, "{before}");
    let after = sites.net.down().counters().delivered_bytes;
    sleep(Duration::from_secs(3)).await;
    let again = sites.net.down().counters().delivered_bytes - after;
    assert!(again > 2_400_000, "{again} bytes in 3 s after the emergency");
    drop((rank, filling));
}
