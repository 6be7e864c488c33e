//! The command line as clap reads it. The names are a contract.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use imgxfer_core::client::{PullOptions, RetryPolicy};
use imgxfer_core::codec::LevelChoice;
use imgxfer_core::ids::{PeerId, StandardUid, StudyUid};
use imgxfer_core::pace::{Pace, RateLimit};
use imgxfer_core::units::bytes_of_mbit;

use crate::cmd;
use crate::exit;

/// Moves DICOM studies between sites: losslessly, resumable, proven byte for byte.
#[derive(Debug, Parser)]
#[command(name = "imgxfer", version, after_help = exit::TABLE, max_term_width = 110)]
pub(crate) struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print one JSON object a line on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but errors on standard error
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Log more on standard error (-v, -vv)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Folder of identity, settings and peers
    ///
    /// Default: `$XDG_CONFIG_HOME/imgxfer`, else `~/.config/imgxfer`.
    #[arg(long, global = true, value_name = "DIR", env = "IMGXFER_CONFIG_DIR", hide_env_values = true)]
    pub(crate) config_dir: Option<PathBuf>,
    /// Folder of receipts
    ///
    /// Default: `$XDG_STATE_HOME/imgxfer`, else `~/.local/state/imgxfer`.
    #[arg(long, global = true, value_name = "DIR", env = "IMGXFER_STATE_DIR", hide_env_values = true)]
    pub(crate) state_dir: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what it does: two sites on this machine, simulated lines, every byte verified
    Demo(cmd::demo::DemoArgs),
    /// Make this user's identity and configuration
    Init(cmd::init::InitArgs),
    /// Print this user's fingerprint
    Id,
    /// Make another site a peer, by a short code
    Pair(cmd::pair::PairArgs),
    /// List and change the known peers
    Peers(cmd::peers::PeersArgs),
    /// Send studies: folders, files, DICOMDIR
    Push(cmd::push::PushArgs),
    /// Fetch studies into a folder
    Pull(cmd::pull::PullArgs),
    /// List the studies at a peer
    Ls(cmd::ls::LsArgs),
    /// Remove a study, or a part of one: here, or at a peer what this site has sent there
    Rm(cmd::rm::RmArgs),
    /// Run the daemon of this machine: pair it, say what peers may do, look after its queue
    Daemon(cmd::daemon::DaemonArgs),
    /// Show what the daemon of this machine does
    Status(cmd::status::StatusArgs),
    /// Tell the daemon of this machine that a consultation by video is on the line
    Consultation(cmd::consultation::ConsultationArgs),
    /// Give a job in the daemon's queue another priority
    Priority(cmd::priority::PriorityArgs),
    /// Check a folder or a store, byte for byte
    Verify(cmd::verify::VerifyArgs),
    /// Mend what is damaged in a store, from a peer that holds the same
    Repair(cmd::repair::RepairArgs),
    /// Read and check what the daemon has written down of who did what
    Audit(cmd::audit::AuditArgs),
    /// Check a receipt that a push has kept
    Receipt(cmd::receipt::ReceiptArgs),
    /// List the receipts that pushes have kept, here or at the daemon
    Receipts(cmd::receipts::ReceiptsArgs),
    /// Measure hashing, cutting and compression on files of yours
    Bench(cmd::bench::BenchArgs),
}

/// A peer on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerArgument {
    /// A configured name, or HOST:PORT.
    pub(crate) peer: String,
    /// Its key, where it is not kept.
    pub(crate) peer_key: Option<PeerId>,
}

/// The key of a peer that is not kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct PeerKey {
    /// Fingerprint of the peer, where it is given as HOST:PORT
    #[arg(long, value_name = "FINGERPRINT", value_parser = crate::site::parse_key)]
    pub(crate) peer_key: Option<PeerId>,
}

impl PeerKey {
    /// Joins it to the peer's name.
    pub(crate) fn of(&self, peer: &str) -> PeerArgument {
        PeerArgument { peer: peer.to_owned(), peer_key: self.peer_key }
    }
}

/// How urgent, when to give up, and how hard to compress.
#[derive(Debug, Clone, Args)]
pub(crate) struct TransferArgs {
    /// How it ranks among other transfers
    #[arg(long, value_enum, default_value_t = PriorityArgument::Routine)]
    pub(crate) priority: PriorityArgument,
    /// Give up when nothing new has arrived for this long (such as 90s, 10m, 2h; 0 tries once). By default 10m, and 20s
    /// where nobody has answered yet
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Compress this hard: 0 (not at all) to 4 (copper), or auto, as the line, both machines and the images
    /// make it pay
    #[arg(long, value_name = "LEVEL", default_value_t = LevelChoice::Auto)]
    pub(crate) level: LevelChoice,
    /// Go no faster than so many Mbit/s (millions of bits a second, such as 4 or 0.5) of compressed images; the line
    /// carries some 5 % more for packets and encryption
    #[arg(long, value_name = "MBIT/S", value_parser = parse_limit)]
    pub(crate) limit: Option<f64>,
}

impl TransferArgs {
    /// How fast it may go.
    pub(crate) fn pace(&self) -> Pace {
        Pace::under(self.limit.map(|mbit| RateLimit::of(bytes_of_mbit(mbit))))
    }

    /// When to give up.
    pub(crate) fn retry(&self) -> RetryPolicy {
        let usual = RetryPolicy::default();
        self.give_up_after.map_or(usual, |after| usual.giving_up_after(after).reaching_within(after))
    }

    /// The same for what is fetched.
    pub(crate) fn pull_options(&self) -> PullOptions {
        PullOptions::default()
            .with_priority(self.priority.into())
            .with_retry(self.retry())
            .with_level(self.level)
            .with_pace(self.pace())
    }
}

/// The names of priorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PriorityArgument {
    /// An emergency: goes before everything else
    Stat,
    /// The ordinary day
    Routine,
    /// Migration, priors: yields to everything else
    Background,
}

impl From<PriorityArgument> for imgxfer_core::priority::Priority {
    fn from(argument: PriorityArgument) -> Self {
        match argument {
            PriorityArgument::Stat => Self::Stat,
            PriorityArgument::Routine => Self::Routine,
            PriorityArgument::Background => Self::Background,
        }
    }
}

/// Reads a time such as `90s`, `10m` or `2h`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90s, 10m or 2h".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds: u64 = match unit.trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// A Study Instance UID.
pub(crate) fn study_uid(text: &str) -> Result<StudyUid, String> {
    StudyUid::new(text).map_err(|error| error.to_string())
}

/// UIDs with commas between them, as they are: at least one.
pub(crate) fn parse_uids(text: &str) -> Result<String, String> {
    let mut parts = text.split(',').map(str::trim);
    parts.try_for_each(|part| StandardUid::new(part).map(drop)).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// The parts of a list with commas.
pub(crate) fn parts(list: Option<&str>) -> Vec<String> {
    list.into_iter().flat_map(|list| list.split(',')).map(|part| part.trim().to_owned()).collect()
}

/// Reads a limit in Mbit/s.
fn parse_limit(text: &str) -> Result<f64, String> {
    let limit: f64 = text.parse().map_err(|_| "expected Mbit/s, such as 4 or 0.5".to_owned())?;
    if (0.1..=400_000.0).contains(&limit) { Ok(limit) } else { Err("it is not within 0.1 and 400000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn limits_are_read() {
        assert_eq!((parse_limit("4"), parse_limit("0.5")), (Ok(4.0), Ok(0.5)));
        for wrong in ["", "0", "-1", "4M", "NaN", "inf"] {
            assert!(parse_limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7200), ("0", 0), ("15", 15)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "m", "1d", "-1s", "1.5h", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
