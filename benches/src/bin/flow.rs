//! Keeps a real line full, to see what congestion control makes of it: `benches/rig/race.py` runs several of these
//! beside TCP and a call on an emulated line.
//!
//! ```text
//! flow keys DIR                                     makes two identities
//! flow serve DIR ADDRESS                            prints "S seconds bytes" as bytes arrive
//! flow send DIR ADDRESS SECONDS [background|cubic|stat]...   sends as fast as it may
//! flow sink ADDRESS SECONDS                         prints one-way delays of a call
//! flow call ADDRESS SECONDS BYTES PACKETS           sends that many packets of so many bytes every 20 ms
//! ```
#![allow(clippy::print_stdout, reason = "a tool of the benches, which reports to the script that started it")]

use std::env;
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use imgxfer_core::ALPN;
use imgxfer_core::priority::Priority;
use imgxfer_core::transport::{Congestion, Dial, Endpoint, EndpointConfig, Identity, Profile, Session, Trust};
use tokio::time::Instant;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Streams at once, and what each carries.
const STREAMS: usize = 8;
const STREAM_BYTES: usize = 512 << 10;
const PIECE: usize = 16 << 10;
const EVERY: Duration = Duration::from_millis(100);
const CALL_TICK: Duration = Duration::from_millis(20);

fn identity(dir: &str, name: &str) -> Result<Identity, Box<dyn Error + Send + Sync>> {
    Ok(Identity::load_or_create(&Path::new(dir).join(name))?)
}

fn endpoint(
    dir: &str,
    me: &str,
    peer: &str,
    bind: SocketAddr,
    words: &[String],
) -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
    let trust = Trust::new();
    trust.pin(identity(dir, peer)?.peer_id());
    let mut config = EndpointConfig::new(bind, identity(dir, me)?, trust, ALPN);
    if words.iter().any(|word| word == "cubic") {
        config = config.with_congestion(Congestion::Cubic);
    }
    if words.iter().any(|word| word == "copper") {
        config = config.with_profile(Profile::Copper);
    }
    Ok(Endpoint::bind(config)?)
}

async fn receive(session: Session) {
    let began = Instant::now();
    let bytes = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&bytes);
    let telling = tokio::spawn(async move {
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tick.tick().await;
            println!("S {:.3} {}", began.elapsed().as_secs_f64(), count.load(Ordering::Relaxed));
        }
    });
    while let Ok(mut stream) = session.accept_data().await {
        let bytes = Arc::clone(&bytes);
        drop(tokio::spawn(async move {
            while let Ok(Some(piece)) = stream.read_bytes(PIECE).await {
                bytes.fetch_add(u64::try_from(piece.len()).unwrap_or(0), Ordering::Relaxed);
            }
        }));
    }
    telling.abort();
}

async fn serve(dir: &str, address: &str) -> Outcome {
    let endpoint = endpoint(dir, "a", "b", address.parse()?, &[])?;
    while let Some(session) = endpoint.accept().await {
        drop(tokio::spawn(receive(session)));
    }
    Ok(())
}

async fn send(dir: &str, address: &str, seconds: &str, words: &[String]) -> Outcome {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let endpoint = endpoint(dir, "b", "a", any, words)?;
    let session = endpoint.connect(&Dial::new(address).with_peer(identity(dir, "a")?.peer_id())).await?;
    let priority = match words {
        words if words.iter().any(|word| word == "background") => Priority::Background,
        words if words.iter().any(|word| word == "stat") => Priority::Stat,
        _ => Priority::Routine,
    };
    let _rank = session.rank(priority);
    let piece = Bytes::from(vec![7; PIECE]);
    for _ in 0..STREAMS {
        let (session, piece) = (session.clone(), piece.clone());
        drop(tokio::spawn(async move {
            while let Ok(mut stream) = session.open_data().await {
                for _ in 0..STREAM_BYTES / PIECE {
                    if stream.send(piece.clone()).await.is_err() {
                        return;
                    }
                }
                if stream.finish().is_err() {
                    return;
                }
            }
        }));
    }
    let until = Instant::now() + Duration::from_secs_f64(seconds.parse()?);
    while Instant::now() < until {
        tokio::time::sleep(EVERY.min(until - Instant::now())).await;
        session.adapt_windows();
    }
    println!("{:?}", session.stats());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "two programs of one machine compare its clock")]
fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Each packet begins with the time and its number.
fn call(address: &str, seconds: &str, bytes: &str, packets: &str) -> Outcome {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(address)?;
    let (mut packet, packets) = (vec![0; bytes.parse()?], packets.parse::<u64>()?);
    let began = Instant::now();
    let (seconds, mut number, mut tick) = (Duration::from_secs_f64(seconds.parse()?), 0_u64, 0);
    while began.elapsed() < seconds {
        for _ in 0..packets {
            packet[..8].copy_from_slice(&nanos().to_le_bytes());
            packet[8..16].copy_from_slice(&number.to_le_bytes());
            number += 1;
            // A full buffer loses the packet, as a call does.
            drop(socket.send(&packet));
        }
        tick += 1;
        std::thread::sleep((began + CALL_TICK * tick).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn sink(address: &str, seconds: &str) -> Outcome {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(EVERY))?;
    let (mut packet, mut delays, mut sent) = ([0; 2048], Vec::new(), 0);
    let (began, seconds) = (Instant::now(), Duration::from_secs_f64(seconds.parse()?));
    while began.elapsed() < seconds {
        let Ok(n) = socket.recv(&mut packet) else { continue };
        if n >= 16 {
            let number = |at: usize| packet[at..at + 8].iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
            delays.push(nanos().saturating_sub(number(0)));
            sent = sent.max(number(8) + 1);
        }
    }
    delays.sort_unstable();
    let at = |percent: usize| delays.get(delays.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0);
    let millis = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
    print!("P {} {sent}", delays.len());
    [0, 50, 95, 99].iter().for_each(|percent| print!(" {:.1}", millis(at(*percent))));
    println!();
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = env::args().skip(1).collect();
    let given: Vec<&str> = words.iter().map(String::as_str).collect();
    match given.as_slice() {
        ["keys", dir] => {
            println!("{} {}", identity(dir, "a")?.peer_id(), identity(dir, "b")?.peer_id());
            Ok(())
        }
        ["serve", dir, address] => serve(dir, address).await,
        ["send", dir, address, seconds, ..] => send(dir, address, seconds, &words[4..]).await,
        ["sink", address, seconds] => sink(address, seconds),
        ["call", address, seconds, bytes, packets] => call(address, seconds, bytes, packets),
        _ => Err("usage: see the top of flow.rs".into()),
    }
}
