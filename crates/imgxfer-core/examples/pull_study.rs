//! Pulls a study into a folder: `pull_study KEY_FOLDER HOST:PORT FINGERPRINT STUDY_UID OUT`

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgxfer_core::ALPN;
use imgxfer_core::client::{Client, PullOptions, PullTarget};
use imgxfer_core::codec::Registry;
use imgxfer_core::ids::{PeerId, StudyUid};
use imgxfer_core::progress::TransferEvent;
use imgxfer_core::receive::FolderIntake;
use imgxfer_core::transport::{Dial, Endpoint, EndpointConfig, Identity, Trust};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [keys, address, peer, study, out] = args.as_slice() else {
        return Err("usage: pull_study KEY_FOLDER HOST:PORT FINGERPRINT STUDY_UID OUT".into());
    };
    let identity = Identity::load_or_create(Path::new(keys))?;
    let endpoint = Endpoint::bind(EndpointConfig::new("[::]:0".parse()?, identity, Trust::new(), ALPN))?;

    let dial = Dial::new(address).with_peer(PeerId::parse(peer)?);
    let target = PullTarget::study(StudyUid::new(study)?);
    let out = PathBuf::from(out);
    let intake = move |peer| Ok(Arc::new(FolderIntake::open(&out, peer, Registry::default())?) as _);
    let quiet = |_: &TransferEvent| {};
    let receipt =
        Client::new(endpoint).pull(&dial, &target, intake, &PullOptions::default(), &quiet).await?.complete()?;
    println!("{} instances, {} bytes", receipt.instances, receipt.bytes);
    Ok(())
}
