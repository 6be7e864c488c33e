//! `imgxfer audit`: reads and checks what the daemon has written down.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use imgxfer_core::ids::{PeerId, StudyUid};

use crate::audit;
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List who did what
    Show(ShowArgs),
    /// Check that nothing was changed, removed, put in or cut off
    Verify(VerifyArgs),
}

/// The daemon whose audit it is.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Configuration of the daemon, which says where its audit is
    #[arg(long, value_name = "FILE", default_value = imgxferd::config::DEFAULT_FILE)]
    pub(crate) config: PathBuf,
}

/// Arguments of `audit show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
    /// Read this file, or all files of this folder, in place of the daemon's
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// Only what is about this study
    #[arg(long, value_name = "UID", value_parser = crate::args::study_uid)]
    pub(crate) study: Option<StudyUid>,
    /// Only what this peer did, or what was done for it: its name, or its fingerprint
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,
    /// From this day or time on, UTC: 2026-01-31 or 2026-01-31T08:00
    #[arg(long, value_name = "TIME", value_parser = audit::show::time)]
    pub(crate) from: Option<String>,
    /// Up to this day or time, which belongs to it
    #[arg(long, value_name = "TIME", value_parser = audit::show::time)]
    pub(crate) to: Option<String>,
    /// Only such events, for example received; may be given more than once. Without it all but the site's signatures
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: Vec<String>,
    /// Wait for more and show it as it comes
    #[arg(long)]
    pub(crate) follow: bool,
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
    /// Check these files, oldest first, or a folder of them, in place of the daemon's
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Fingerprint of the site that must have signed. Without it the daemon's own; may be given more than once
    #[arg(long, value_name = "FINGERPRINT", value_parser = crate::site::parse_key)]
    pub(crate) key: Vec<PeerId>,
}

/// Shows or checks.
pub(crate) fn run(args: &AuditArgs, output: &Output) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Show(args) => audit::show::run(args, output),
        Action::Verify(args) => audit::check::run(args, output),
    }
}
