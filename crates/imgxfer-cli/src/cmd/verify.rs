//! `imgxfer verify`: checks a folder or a store, byte for byte.

use std::path::PathBuf;

use clap::Args;

use crate::exit::Exit;
use crate::output::Output;
use crate::verify;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["dir", "original", "store"])))]
pub(crate) struct VerifyArgs {
    /// Folder of DICOM files, such as a pull has written
    dir: Option<PathBuf>,
    /// What a copy is compared with by content, wherever the files stand in either
    #[arg(long, value_name = "DIR", requires = "copy")]
    original: Option<PathBuf>,
    /// The copy: what it lacks of the original, what differs, and what it has besides is told by name
    #[arg(long, value_name = "DIR", requires = "original")]
    copy: Option<PathBuf>,
    /// With --copy: leave files that are not DICOM instances out of the comparison
    #[arg(long, requires = "copy")]
    dicom_only: bool,
    /// Check the store of a daemon: the folder that holds its packs and its index
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// With --store: read, decode and hash everything, not just what should be there
    #[arg(long, requires = "store")]
    read_data: bool,
}

/// Checks what was named.
pub(crate) fn run(args: &VerifyArgs, output: &Output) -> anyhow::Result<Exit> {
    match (&args.original, &args.copy, &args.dir, &args.store) {
        (Some(original), Some(copy), ..) => verify::compare::run(original, copy, args.dicom_only, output),
        (.., Some(dir), _) => verify::folder::run(dir, output),
        (.., Some(store)) => verify::store::run(store, args.read_data, output),
        // clap asks for one of them.
        _ => Ok(Exit::Usage),
    }
}
