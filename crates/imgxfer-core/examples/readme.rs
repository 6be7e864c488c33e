//! The ten lines of the README, as they stand there.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use imgxfer_core::blocking::Client;
use imgxfer_core::client::PushOptions;
use imgxfer_core::ids::PeerId;
use imgxfer_core::send::{FileSource, OtherFiles};
use imgxfer_core::transport::{Dial, Identity};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new(Identity::load_or_create("/var/lib/radiology/imgxfer".as_ref())?)?;
    let cloud = Dial::new("cloud.example:11120").with_peer(PeerId::parse("ix-...")?);
    let files = || Box::new(FileSource::new(&["/data/study".into()], OtherFiles::Skip)) as _;
    // An error where anything was left out: see `complete`.
    let receipt = client.push(&cloud, files, &PushOptions::default(), &|_: &_| {})?.complete()?;
    println!("{} instances committed, receipt {}", receipt.instances, receipt.root);
    Ok(())
}
