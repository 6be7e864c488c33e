//! On what it was measured.

use std::process::Command;

use jiff::Zoned;
use serde::Serialize;

/// What a reader must know to judge figures of real time.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub processor: String,
    /// Threads that it runs at once.
    pub cores: usize,
    /// Memory, GiB.
    pub memory_gib: u64,
    /// The kernel.
    pub system: String,
    /// Programs that wanted to run, on average over a minute, when the measuring began: more than nothing is noise.
    pub load: String,
    /// When it began.
    pub date: String,
    /// Of the source, with a plus where it was changed since.
    pub commit: String,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here() -> Self {
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: field("/proc/meminfo", "MemTotal")
                .and_then(|kib| kib.trim_end_matches(" kB").parse::<u64>().ok())
                .map_or(0, |kib| kib >> 20),
            system: first_words("/proc/version", 3).unwrap_or_else(|| std::env::consts::OS.to_owned()),
            load: first_words("/proc/loadavg", 1).unwrap_or_else(|| "unknown".to_owned()),
            date: Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string(),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

/// The first value of `name: value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_words(path: &str, count: usize) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.split_whitespace().take(count).collect::<Vec<_>>().join(" "))
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { head } else { format!("{head}+") })
}
