//! Asks a site which studies it has: `query KEY_FOLDER HOST:PORT FINGERPRINT [PATIENT_NAME]`

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;

use imgxfer_core::blocking::Client;
use imgxfer_core::dicom::tags;
use imgxfer_core::ids::PeerId;
use imgxfer_core::store::search::Search;
use imgxfer_core::transport::{Dial, Identity};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    query(&args)
}

/// What the program does.
pub(crate) fn query(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [keys, address, peer, name @ ..] = args else {
        return Err("usage: query KEY_FOLDER HOST:PORT FINGERPRINT [PATIENT_NAME]".into());
    };
    let client = Client::new(Identity::load_or_create(Path::new(keys))?)?;
    let mut search = Search::default();
    if let [name] = name {
        search = search.by(tags::PATIENT_NAME, name)?;
    }
    let answer = client.query(&Dial::new(address).with_peer(PeerId::parse(peer)?), &search)?;
    for row in &answer.rows {
        println!("{}  {} instances", row.study.study, row.study.instances);
    }
    // A site gives so many rows at once: ask again with `Search::skip`, or from `Search::after` on.
    println!("{} studies", answer.rows.len());
    Ok(())
}
