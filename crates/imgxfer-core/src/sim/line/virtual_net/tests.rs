//! Several hosts on one pair of lines.

use super::*;
use crate::sim::line::LineParams;
use quinn::udp::{RecvMeta, Transmit};
use std::future::poll_fn;
use std::io::IoSliceMut;
use std::time::Duration;

/// A payload that makes an IP packet of 1,500 bytes: 12 ms at 1 Mbit/s.
const PAYLOAD: usize = 1_472;

fn net() -> VirtualNet {
    let line = LineParams::new(1_000_000, Duration::from_millis(10)).with_queue(Duration::from_millis(120));
    VirtualNet::new(LineProfile::symmetric(line), 1)
}

fn send(socket: &Arc<dyn AsyncUdpSocket>, to: SocketAddr, packets: usize) {
    for _ in 0..packets {
        let contents = &[7; PAYLOAD];
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
        socket.try_send(&transmit).unwrap();
    }
}

/// Waits for the next datagrams; returns who sent them.
async fn receive(socket: &Arc<dyn AsyncUdpSocket>) -> Vec<SocketAddr> {
    let mut memory = vec![[0; 2_000]; 32];
    let mut meta = vec![RecvMeta::default(); 32];
    let received = poll_fn(|cx| {
        let mut bufs: Vec<_> = memory.iter_mut().map(|m| IoSliceMut::new(m)).collect();
        socket.poll_recv(cx, &mut bufs, &mut meta)
    });
    let received = received.await.unwrap();
    meta[..received].iter().map(|meta| meta.addr).collect()
}

#[tokio::test(start_paused = true)]
async fn hosts_share_the_line_and_get_their_own() {
    let net = net();
    let start = Instant::now();
    let [a, b] = [0, 1].map(|n| net.hospital_at(n));
    let [x, y] = [0, 1].map(|n| net.cloud_at(n));
    // Each waits before anything is sent, and is woken for its own.
    let read = |socket: &Arc<dyn AsyncUdpSocket>, mut missing: usize, from: SocketAddr| {
        let socket = Arc::clone(socket);
        tokio::spawn(async move {
            while missing > 0 {
                let got = receive(&socket).await;
                assert!(got.iter().all(|sender| *sender == from), "{got:?}");
                missing -= got.len();
            }
            start.elapsed()
        })
    };
    let [to_x, to_y] = [read(&x, 2, VirtualNet::hospital_address(0)), read(&y, 3, VirtualNet::hospital_address(1))];
    let to_a = read(&a, 1, VirtualNet::cloud_address(1));
    tokio::task::yield_now().await;
    send(&b, VirtualNet::cloud_address(1), 3);
    send(&a, VirtualNet::cloud_address(0), 2);
    send(&y, VirtualNet::hospital_address(0), 1);
    // The second flow waits behind the first, in one queue; the other direction is by itself.
    assert_eq!(to_y.await.unwrap(), Duration::from_millis(46));
    assert_eq!(to_x.await.unwrap(), Duration::from_millis(70));
    assert_eq!(to_a.await.unwrap(), Duration::from_millis(22));
}

#[tokio::test(start_paused = true)]
async fn flows_are_counted_each_by_itself() {
    let net = net();
    let [a, b] = [0, 1].map(|n| net.hospital_at(n));
    let x = net.cloud();
    send(&a, VirtualNet::CLOUD, 4);
    send(&b, VirtualNet::CLOUD, 8);
    let mut got = 0;
    while got < 10 {
        got += receive(&x).await.len();
    }
    let flow = |n| net.up().flow(Flow::new(VirtualNet::hospital_address(n), VirtualNet::CLOUD));
    let (first, second, all) = (flow(0), flow(1), net.up().counters());
    assert_eq!((first.offered_packets, first.delivered_bytes, first.dropped()), (4, 6_000, 0));
    assert_eq!((second.offered_bytes, second.delivered_packets, second.dropped_queue), (12_000, 6, 2));
    assert_eq!((all.offered_packets, all.delivered_packets, all.dropped()), (12, 10, 2));
    assert_eq!(first.longest_queue, Duration::from_millis(48));
    assert_eq!((second.longest_queue, second.queue.total()), (Duration::from_millis(120), 6));
    assert_eq!(net.up().flows().len(), 2);
    // It took 120 ms to empty, and 10 ms passed after that.
    let over_time = net.up().queue_over_time();
    assert_eq!((over_time.longest(), over_time.total()), (Duration::from_millis(119), 131));
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_socket_hears_nothing_and_a_new_socket_takes_over() {
    let net = net();
    let a = net.hospital();
    send(&a, VirtualNet::CLOUD, 1);
    let first = net.cloud();
    send(&a, VirtualNet::CLOUD, 1);
    assert_eq!(receive(&first).await.len(), 1);
    let second = net.cloud();
    send(&a, VirtualNet::CLOUD, 1);
    assert_eq!(receive(&second).await.len(), 1);
    drop(first);
    send(&a, VirtualNet::CLOUD, 1);
    assert_eq!(receive(&second).await.len(), 1);
    assert_eq!(net.up().counters().delivered_packets, 4);
}

#[tokio::test(start_paused = true)]
async fn a_cut_takes_what_is_on_the_way_to_every_host() {
    let net = net();
    let a = net.hospital();
    let (x, y) = (net.cloud_at(0), net.cloud_at(1));
    send(&a, VirtualNet::cloud_address(0), 1);
    send(&a, VirtualNet::cloud_address(1), 2);
    tokio::time::sleep(Duration::from_millis(30)).await;
    net.cut();
    send(&a, VirtualNet::cloud_address(0), 1);
    net.restore();
    send(&a, VirtualNet::cloud_address(1), 1);
    assert_eq!((receive(&x).await.len(), receive(&y).await.len()), (1, 1));
    let counters = net.up().counters();
    assert_eq!((counters.dropped_outage, counters.delivered_packets), (3, 2));
}
