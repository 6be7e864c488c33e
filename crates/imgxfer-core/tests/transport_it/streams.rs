//! What goes in at one end comes out at the other, or a typed error does.

use crate::site::Pair;
use bytes::Bytes;
use imgxfer_core::transport::{CloseCode, TransportError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

fn pattern(seed: u32, bytes: usize) -> Bytes {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

#[tokio::test(start_paused = true)]
async fn messages_cross_a_bad_line_in_order_and_whole() {
    let pair = Pair::known("bad-copper");
    let (a, b) = pair.session().await;
    let sizes = [0, 1, 1_199, 1_200, 65_536, 200_000, 3];
    let there = async {
        let (mut sender, mut receiver) = a.open_control().await.unwrap().into_split();
        for (i, size) in (0..).zip(sizes) {
            sender.send(&pattern(i, size)).await.unwrap();
        }
        sender.finish().unwrap();
        assert_eq!(receiver.recv(16).await.unwrap().unwrap(), b"all here"[..]);
        assert_eq!(receiver.recv(16).await, Ok(None));
    };
    let here = async {
        let mut control = b.accept_control().await.unwrap();
        for (i, size) in (0..).zip(sizes) {
            assert_eq!(control.recv(200_000).await.unwrap().unwrap(), pattern(i, size));
        }
        assert_eq!(control.recv(1).await, Ok(None));
        control.send(b"all here").await.unwrap();
        control.finish().unwrap();
    };
    tokio::join!(there, here);
    assert!(pair.net.up().counters().dropped_loss > 0);
}

#[tokio::test(start_paused = true)]
async fn data_streams_cross_a_bad_line_side_by_side() {
    let pair = Pair::known("bad-copper");
    let (a, b) = pair.session().await;
    let start = Instant::now();
    let send = async {
        let mut streams = Vec::new();
        for i in 0..8_u32 {
            let mut data = a.open_data().await.unwrap();
            data.set_priority(-i32::try_from(i).unwrap());
            data.send(Bytes::copy_from_slice(&i.to_le_bytes())).await.unwrap();
            data.send(pattern(i, 30_000)).await.unwrap();
            data.finish().unwrap();
            streams.push(data);
        }
        for data in &mut streams {
            data.received().await.unwrap();
        }
    };
    let receive = async {
        for _ in 0..8 {
            let mut data = b.accept_data().await.unwrap();
            let mut i = [0; 4];
            assert!(data.read_exact(&mut i).await.unwrap());
            let i = u32::from_le_bytes(i);
            let (head, tail) = (data.read_bytes(10_000).await, data.read_bytes(20_000).await);
            assert_eq!([head.unwrap().unwrap(), tail.unwrap().unwrap()].concat(), pattern(i, 30_000));
            assert!(!data.read_exact(&mut [0]).await.unwrap());
        }
    };
    tokio::join!(send, receive);
    // 240 kB at 0.5 Mbit/s cannot take less.
    assert!(start.elapsed() > Duration::from_millis(3_840), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn limits_and_early_ends_are_typed() {
    let pair = Pair::known("fibre100");
    let (a, b) = pair.session().await;
    let mut control = a.open_control().await.unwrap();
    control.send(&[0; 100]).await.unwrap();
    let mut heard = b.accept_control().await.unwrap();
    assert_eq!(heard.recv(99).await, Err(TransportError::MessageTooLong { bytes: 100, limit: 99 }));
    heard.reset(CloseCode::Limit);
    assert_eq!(control.recv(1).await, Err(TransportError::Reset { code: CloseCode::Limit }));

    let mut data = a.open_data().await.unwrap();
    data.send(Bytes::from_static(b"short")).await.unwrap();
    data.finish().unwrap();
    assert_eq!(data.send(Bytes::new()).await, Err(TransportError::StreamClosed));
    let mut got = b.accept_data().await.unwrap();
    assert_eq!(got.read_bytes(6).await, Err(TransportError::Truncated));

    let mut data = a.open_data().await.unwrap();
    data.send(Bytes::from_static(b"short")).await.unwrap();
    let mut got = b.accept_data().await.unwrap();
    drop(data);
    assert_eq!(got.read_bytes(6).await, Err(TransportError::Reset { code: CloseCode::Cancelled }));

    let mut data = a.open_data().await.unwrap();
    data.send(Bytes::from_static(b"unwanted")).await.unwrap();
    drop(b.accept_data().await.unwrap());
    data.finish().unwrap();
    assert!(matches!(data.received().await, Err(TransportError::Reset { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_receive_loses_nothing() {
    let pair = Pair::known("adsl");
    let (a, b) = pair.session().await;
    let mut control = a.open_control().await.unwrap();
    let mut out = a.open_data().await.unwrap();
    let send = async {
        control.send(&pattern(1, 50_000)).await.unwrap();
        out.send(pattern(2, 50_000)).await.unwrap();
        out.finish().unwrap();
        out.received().await.unwrap();
    };
    let receive = async {
        let mut control = b.accept_control().await.unwrap();
        let mut cancelled = 0;
        let message = loop {
            match timeout(Duration::from_millis(7), control.recv(1 << 20)).await {
                Ok(message) => break message,
                Err(_) => cancelled += 1,
            }
        };
        assert_eq!(message.unwrap().unwrap(), pattern(1, 50_000));
        let mut data = b.accept_data().await.unwrap();
        let bytes = loop {
            match timeout(Duration::from_millis(7), data.read_bytes(50_000)).await {
                Ok(bytes) => break bytes,
                Err(_) => cancelled += 1,
            }
        };
        assert_eq!(bytes.unwrap().unwrap(), pattern(2, 50_000));
        assert!(cancelled > 20, "{cancelled}");
    };
    tokio::join!(send, receive);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_send_of_a_message_goes_out_whole() {
    let pair = Pair::known("adsl");
    let (a, b) = pair.session().await;
    let (mut sender, _receiver) = a.open_control().await.unwrap().into_split();
    let long = pattern(1, 8 << 20);
    // More than the stream's window, so that it must wait for a reader.
    assert!(timeout(Duration::from_secs(1), sender.send(&long)).await.is_err());
    let receive = async {
        let mut control = b.accept_control().await.unwrap();
        assert_eq!(control.recv(8 << 20).await.unwrap().unwrap(), long);
        assert_eq!(control.recv(16).await.unwrap().unwrap(), b"next"[..]);
    };
    tokio::join!(async { sender.send(b"next").await.unwrap() }, receive);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_after_its_time() {
    let pair = Pair::known("fibre100");
    let (a, b) = pair.session().await;
    // Keep-alives hold a session in which nothing happens.
    assert!(timeout(Duration::from_secs(300), a.closed()).await.is_err());
    pair.net.cut();
    let start = Instant::now();
    assert_eq!(a.closed().await, TransportError::TimedOut);
    assert_eq!(b.closed().await, TransportError::TimedOut);
    let took = start.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(40)).contains(&took), "{took:?}");
    assert_eq!(a.open_data().await.unwrap_err(), TransportError::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_is_survived() {
    let pair = Pair::known("fibre100");
    let (a, b) = pair.session().await;
    pair.net.cut();
    let mut control = a.open_control().await.unwrap();
    control.send(b"through the cut").await.unwrap();
    assert!(timeout(Duration::from_secs(5), b.accept_control()).await.is_err());
    pair.net.restore();
    let mut heard = b.accept_control().await.unwrap();
    assert_eq!(heard.recv(64).await.unwrap().unwrap(), b"through the cut"[..]);
}

#[tokio::test(start_paused = true)]
async fn closing_tells_why() {
    let pair = Pair::known("fibre100");
    let (a, b) = pair.session().await;
    a.close(CloseCode::Stalled, "nothing moved");
    assert_eq!(a.closed().await, TransportError::LocallyClosed);
    let expected = TransportError::PeerClosed { code: CloseCode::Stalled, reason: "nothing moved".to_owned() };
    assert_eq!(b.closed().await, expected);
    assert_eq!(b.open_control().await.unwrap_err(), expected);

    let (a, b) = pair.session().await;
    drop(a);
    assert!(matches!(b.closed().await, TransportError::PeerClosed { code: CloseCode::Done, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stands_still_stops_its_sender_soon() {
    let pair = Pair::known("adsl");
    let (hospital, cloud) = pair.session().await;
    let mut sending = tokio::task::JoinSet::new();
    for i in 0..8 {
        let mut data = cloud.open_data().await.unwrap();
        sending.spawn(async move {
            data.send(pattern(i, 4 << 20)).await.unwrap();
            // Dropped before its end, the stream would be cancelled.
            std::future::pending::<()>().await;
        });
    }
    let stream = hospital.accept_data().await.unwrap();
    // 30 MB by the line's rate, of which nothing is read. In virtual time.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let came = pair.net.down().counters().delivered_bytes;
    assert!((4 << 20..5 << 20).contains(&came), "{came}");
    drop(stream);
}
