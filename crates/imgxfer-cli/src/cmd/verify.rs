//! `imgxfer verify`: checks a folder or a store, byte for byte.

use std::path::PathBuf;

use clap::Args;

use crate::exit::Exit;
use crate::output::Output;
use crate::verify;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["dir", "store"])))]
pub(crate) struct VerifyArgs {
    /// Folder of DICOM files, such as a pull has written
    dir: Option<PathBuf>,
    /// Compare with this folder by content, wherever the files stand in it
    #[arg(long, value_name = "DIR2", requires = "dir")]
    against: Option<PathBuf>,
    /// With --against: leave files that are not DICOM instances out of the comparison
    #[arg(long, requires = "against")]
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
    match (&args.dir, &args.against, &args.store) {
        (Some(dir), Some(reference), _) => verify::compare::run(dir, reference, args.dicom_only, output),
        (Some(dir), None, _) => verify::folder::run(dir, output),
        (None, _, Some(store)) => verify::store::run(store, args.read_data, output),
        // clap asks for one of the two.
        (None, _, None) => Ok(Exit::Usage),
    }
}
