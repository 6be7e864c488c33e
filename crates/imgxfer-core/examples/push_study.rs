//! Pushes files and folders: `push_study KEY_FOLDER HOST:PORT FINGERPRINT PATH...`

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::{Path, PathBuf};

use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PushOptions};
use imgxfer_core::ids::PeerId;
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Trust};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(keys), Some(address), Some(peer)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: push_study KEY_FOLDER HOST:PORT FINGERPRINT PATH...".into());
    };
    let paths: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let identity = Identity::load_or_create(Path::new(&keys))?;
    println!("this site is {}", identity.peer_id().fingerprint());
    let endpoint = Endpoint::bind(EndpointConfig::new("[::]:0".parse()?, identity, Trust::new(), ALPN))?;

    let dial = Dial::new(address).with_peer(PeerId::parse(&peer)?);
    let source = || Box::new(FileSource::new(&paths, OtherFiles::Skip)) as _;
    let print = |event: &TransferEvent| {
        if let TransferEvent::Failed { label, reason } | TransferEvent::Skipped { label, reason } = event {
            println!("{label}: {reason}");
        }
    };
    let receipt = Client::new(endpoint).push(&dial, source, &PushOptions::default(), &print).await?.complete()?;
    println!("{} instances committed; receipt for {}", receipt.instances, receipt.root);
    Ok(())
}
