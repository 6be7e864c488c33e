//! Makes the big studies that memory and listing are measured on:
//!
//! ```text
//! studies multiframe FILE FRAMES ROWS COLUMNS   one instance, written without holding it
//! studies small FOLDER COUNT                    one study of that many instances of some 4 kB
//! studies many FOLDER COUNT                     that many studies of one such instance
//! studies one FOLDER SEED COUNT SIZE            the study of that seed, instances of SIZE x SIZE pixels
//! ```

#![expect(clippy::print_stderr, reason = "a tool for the command line")]

use std::path::Path;
use std::process::ExitCode;

use imgxfer_core::sim::studies::{StudySpec, write_multiframe};

fn spec(seed: u64) -> StudySpec {
    StudySpec::new(seed).with_size(32, 32)
}

fn make(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["multiframe", file, frames, rows, columns] => {
            write_multiframe(Path::new(file), frames.parse()?, rows.parse()?, columns.parse()?, 1)?;
        }
        ["small", folder, count] => {
            let count: u32 = count.parse()?;
            spec(1).with_instances(count.div_ceil(1000), count.min(1000)).write_to(Path::new(folder))?;
        }
        ["many", folder, count] => {
            for seed in 0..count.parse()? {
                let folder = Path::new(folder).join(format!("{seed:06}"));
                spec(seed).with_instances(1, 1).write_to(&folder)?;
            }
        }
        ["one", folder, seed, count, size] => {
            let size: u16 = size.parse()?;
            let study = StudySpec::new(seed.parse()?).with_size(size, size).with_instances(1, count.parse()?);
            study.write_to(Path::new(folder))?;
        }
        _ => {
            return Err("usage: studies multiframe FILE FRAMES ROWS COLUMNS | small FOLDER COUNT | \
                 many FOLDER COUNT | one FOLDER SEED COUNT SIZE"
                .into());
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match make(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("studies: {error}");
            ExitCode::FAILURE
        }
    }
}
