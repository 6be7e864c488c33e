//! A whole push from disk to disk: files are read and hashed, sent, verified, and stored in packs that are synced. The
//! bytes do not compress, so that none of it is saved.

use std::path::Path;

use anyhow::Context as _;
use imgxfer_core::client::Client;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::store::FsOptions;
use imgxfer_core::testing::noise;
use imgxfer_core::transport::{Dial, Endpoint};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::cost::{Meter, Sample};
use crate::site::{Identities, push as push_folder, serve};

const FILE_BYTES: usize = 64 << 20;

/// Files of 64 MiB that do not compress, in a folder that goes away with this.
#[derive(Debug)]
pub struct Files {
    folder: TempDir,
    bytes: u64,
}

impl Files {
    /// Writes them, `bytes` together, rounded up.
    ///
    /// # Errors
    /// When there is no room.
    pub fn write(bytes: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let count = bytes.div_ceil(FILE_BYTES as u64);
        for n in 0..count {
            std::fs::write(folder.path().join(format!("noise-{n}.bin")), noise(n + 1, FILE_BYTES))?;
        }
        Ok(Self { folder, bytes: count * FILE_BYTES as u64 })
    }
}

pub(super) fn push(mtu: u16, files: &Files) -> anyhow::Result<Sample> {
    let store = tempfile::tempdir()?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let identities = Identities::generate()?;
        let any = ([127, 0, 0, 1], 0).into();
        let cloud = Endpoint::bind(identities.cloud(any).with_mtu_upper(mtu))?;
        let dial = Dial::from(cloud.local_address()?).with_peer(identities.cloud.peer_id());
        serve(cloud, depot(store.path())?);
        let client = Client::new(Endpoint::bind(identities.hospital(any).with_mtu_upper(mtu))?);
        let meter = Meter::start();
        push_folder(&client, &dial, files.folder.path().to_owned()).await?.complete()?;
        Ok(meter.stop(files.bytes))
    })
}

fn depot(folder: &Path) -> anyhow::Result<Depot> {
    let (depot, _) = Depot::open(folder, FsOptions::default(), Registry::default()).context("open the store")?;
    Ok(depot)
}
