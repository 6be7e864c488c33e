//! A site in forty lines: `serve ADDRESS FOLDER FINGERPRINT...` takes studies from the peers named.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;
use std::sync::Arc;

use imgxfer_core::ALPN;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::ids::{ManifestRoot, PeerId, StudyUid};
use imgxfer_core::priority::Priority;
use imgxfer_core::server::{Direction, Host, Rights, Server, ServerLimits, TransferWatch};
use imgxfer_core::store::FsOptions;
use imgxfer_core::transport::{Endpoint, EndpointConfig, Identity, Session, Trust};

struct Everything;

impl Host for Everything {
    fn rights(&self, _: &Session) -> Rights {
        Rights::all()
    }

    fn begin(&self, _: &Session, _: Direction, _: Priority) -> Box<dyn TransferWatch> {
        Box::new(Self)
    }
}

impl TransferWatch for Everything {
    fn on_committed(&self, studies: &[StudyUid], root: ManifestRoot) {
        println!("committed {} studies, manifest {root}", studies.len());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(folder)) = (args.next(), args.next()) else {
        return Err("usage: serve ADDRESS FOLDER FINGERPRINT...".into());
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let identity = Identity::load_or_create(folder)?;
    let trust = Trust::new();
    for peer in args {
        trust.pin(PeerId::parse(&peer)?);
    }
    println!("this site is {}", identity.peer_id().fingerprint());

    let (depot, _) = Depot::open(&folder.join("store"), FsOptions::default(), Registry::default())?;
    let endpoint = Endpoint::bind(EndpointConfig::new(address.parse()?, identity, trust, ALPN))?;
    println!("listening on {}", endpoint.local_address()?);
    let server = Server::new(endpoint, depot, Arc::new(Everything), ServerLimits::default());
    server.serve(async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
