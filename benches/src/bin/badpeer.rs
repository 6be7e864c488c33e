//! A peer that is known to a site and has gone bad, for measuring what it can do there:
//!
//! ```text
//! badpeer id FOLDER                        prints the fingerprint of the identity in the folder, made when missing
//! badpeer ADDRESS KEY FOLDER MODE          goes on until it is killed
//! ```
//!
//! Modes, each over as many connections and transfers as it is let: `pages` (the longest manifests, nothing of what they
//! name), `studies` (manifests of thousands of studies), `idle` (transfers without a word), `stat` (the same as
//! emergencies), `beat` (says that it works, for ever), `silence` (half a request), `lies` (noise for messages and records).

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the command line")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use imgxfer_core::ALPN;
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::limits::MESSAGE_BYTES_MAX;
use imgxfer_core::manifest::{InstanceEntry, Page};
use imgxfer_core::testing::noise;
use imgxfer_core::testing::pair::Item;
use imgxfer_core::transport::{ControlStream, Dial, Endpoint, EndpointConfig, Identity, Session, Trust, random_bytes};
use imgxfer_core::wire::message::{Body, PageBody, Start, Working};
use tokio::task::JoinSet;

/// More than a site takes of one peer.
const CONNECTIONS: usize = 10;
const TRANSFERS: usize = 6;
/// After a refusal.
const AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pages,
    Studies,
    Idle,
    Stat,
    Beat,
    Silence,
    Lies,
}

impl Mode {
    fn named(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "pages" => Self::Pages,
            "studies" => Self::Studies,
            "idle" => Self::Idle,
            "stat" => Self::Stat,
            "beat" => Self::Beat,
            "silence" => Self::Silence,
            "lies" => Self::Lies,
            _ => anyhow::bail!("no such mode: {name}"),
        })
    }
}

/// The message of a page, as it is for every transfer: made once.
fn page_message(page: &Page, index: u32) -> anyhow::Result<Vec<u8>> {
    let encoded = page.encode();
    let raw_len = u32::try_from(encoded.len())?;
    let zstd = zstd::bulk::compress(&encoded, 1)?.into();
    Ok(Body::Page(PageBody { index, raw_len, zstd }).into_bytes())
}

/// One instance of as many chunks as may be.
fn long_pages() -> anyhow::Result<Vec<Vec<u8>>> {
    let page = |n: u32| Page { instances: vec![Item::opaque(&noise(u64::from(n), 100_000), 1).entry] };
    (0..4).map(|n| page_message(&page(n), n)).collect()
}

/// 256 instances of as many studies, each.
fn study_pages() -> anyhow::Result<Vec<Vec<u8>>> {
    let entry = Item::opaque(&noise(1, 1000), 1000).entry;
    let instance = |n: u32| -> anyhow::Result<InstanceEntry> {
        Ok(InstanceEntry { study: StudyUid::new(&format!("1.2.826.0.1.{n}"))?, ..entry.clone() })
    };
    let page = |n: u32| -> anyhow::Result<Vec<u8>> {
        page_message(&Page { instances: (n * 256..(n + 1) * 256).map(instance).collect::<anyhow::Result<_>>()? }, n)
    };
    (0..200).map(page).collect()
}

async fn begin(session: &Session, mode: Mode) -> anyhow::Result<ControlStream> {
    let mut control = session.open_control().await?;
    if mode == Mode::Silence {
        return Ok(control);
    }
    let transfer = Bytes::copy_from_slice(&random_bytes::<16>()?);
    let priority = u32::from(mode == Mode::Stat);
    let start = Start { transfer, priority, instances: 1, bytes: 1, ..Start::default() };
    control.send(&Body::Start(start).into_bytes()).await?;
    Ok(control)
}

/// One transfer, until the site ends it.
async fn transfer(session: &Session, mode: Mode, pages: &[Vec<u8>]) -> anyhow::Result<()> {
    let (mut out, mut answers) = begin(session, mode).await?.into_split();
    let talk = async {
        match mode {
            Mode::Pages | Mode::Studies => {
                for page in pages {
                    out.send(page).await?;
                }
            }
            Mode::Beat => {
                for done in 1.. {
                    out.send(&Body::Working(Working { done }).into_bytes()).await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Mode::Lies => {
                for seed in 0.. {
                    let mut data = session.open_data().await?;
                    data.send(noise(seed, 20_000).into()).await?;
                    drop(data.finish());
                    out.send(&noise(seed, 300)).await?;
                }
            }
            Mode::Idle | Mode::Stat | Mode::Silence => {}
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    let listen = async { while let Ok(Some(_)) = answers.recv(MESSAGE_BYTES_MAX).await {} };
    tokio::select! {
        said = talk => said,
        () = listen => Ok(()),
    }
}

async fn connection(endpoint: Arc<Endpoint>, dial: Dial, mode: Mode, pages: Arc<[Vec<u8>]>) {
    loop {
        if let Ok(session) = endpoint.connect(&dial).await {
            let mut transfers = JoinSet::new();
            for _ in 0..TRANSFERS {
                let (session, pages) = (session.clone(), Arc::clone(&pages));
                transfers.spawn(async move {
                    let again = async {
                        loop {
                            drop(transfer(&session, mode, &pages).await);
                            tokio::time::sleep(AGAIN).await;
                        }
                    };
                    tokio::select! {
                        () = again => {}
                        _ = session.closed() => {}
                    }
                });
            }
            while transfers.join_next().await.is_some() {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn misbehave(address: &str, key: &str, folder: &str, mode: Mode) -> anyhow::Result<()> {
    let identity = Identity::load_or_create(Path::new(folder))?;
    let peer = PeerId::parse(key).context("the key")?;
    let config = EndpointConfig::new("127.0.0.1:0".parse()?, identity, Trust::new(), ALPN);
    let endpoint = Arc::new(Endpoint::bind(config)?);
    let dial = Dial::new(address.to_owned()).with_peer(peer);
    let pages: Arc<[Vec<u8>]> = match mode {
        Mode::Pages => long_pages()?,
        Mode::Studies => study_pages()?,
        _ => Vec::new(),
    }
    .into();
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(connection(Arc::clone(&endpoint), dial.clone(), mode, Arc::clone(&pages)));
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

fn run(args: &[String]) -> anyhow::Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["id", folder] => {
            println!("{}", Identity::load_or_create(Path::new(folder))?.peer_id().fingerprint());
            Ok(())
        }
        [address, key, folder, mode] => {
            let mode = Mode::named(mode)?;
            tokio::runtime::Runtime::new()?.block_on(misbehave(address, key, folder, mode))
        }
        _ => anyhow::bail!("usage: badpeer id FOLDER | badpeer ADDRESS KEY FOLDER MODE"),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("badpeer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
