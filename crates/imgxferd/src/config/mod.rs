//! One TOML file says everything; this module reads it in two steps.
//!
//! First the texts are taken exactly as they are written, with the place of every value: the file, then
//! `conf.d/*.toml` beside it, then the environment, then flags; later ones win, and lists of peers and
//! inboxes add up. Then the values are resolved into checked types. A setting that would weaken safety
//! without saying so is refused. No port is opened and no file is written here.

mod origin;
mod raw;
mod read;
mod resolve;
mod schedule;
mod show;
#[cfg(test)]
mod tests;
mod types;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use origin::Place;
pub use origin::{ConfigError, Origin};
use read::Layers;
pub(crate) use resolve::is_host_and_port;
pub use schedule::Schedule;
pub(crate) use schedule::check_mbps;
pub(crate) use show::Reloaded;
pub use show::Setting;
pub use types::{
    After, AuditConfig, Config, Consultation, DEFAULT_ADMIN_PORT, DEFAULT_QUIC_PORT, IdentityFiles, Inbox, LogFormat,
    PeerConfig, PeerKey, PeerRights, Retention, Seen, Sees,
};
pub(crate) use types::{SELF, check_duplicate, check_name};
pub use words::read_toml;

/// Where the daemon looks for its configuration unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/imgxfer/imgxferd.toml";

/// Name of the file under the state folder that holds peers added by pairing.
pub const PAIRED_PEERS_FILE: &str = "peers.toml";

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Sources {
    /// The main file.
    pub file: PathBuf,
    /// Environment variables; those that do not begin with `IMGXFERD_` are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// `KEY=VALUE` from the command line.
    pub flags: Vec<String>,
}

impl Sources {
    /// Reads `file`, without environment or flags.
    #[must_use]
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }

    /// Takes these environment variables into account.
    #[must_use]
    pub fn with_environment(mut self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.environment = environment.into_iter().collect();
        self
    }

    /// Takes these settings from the command line into account, each `KEY=VALUE`.
    #[must_use]
    pub fn with_flags(mut self, flags: Vec<String>) -> Self {
        self.flags = flags;
        self
    }
}

/// Everything that is written, but for peers from pairing.
fn as_written(sources: &Sources) -> Result<Layers, ConfigError> {
    let mut layers = Layers::default();
    add_file(&mut layers, &sources.file)?;
    for file in extra_files(&sources.file)? {
        add_file(&mut layers, &file)?;
    }
    for (name, value) in &sources.environment {
        add_variable(&mut layers, name, value)?;
    }
    for flag in &sources.flags {
        let place = Place::Flag(format!("--set {flag}"));
        let Some((key, value)) = flag.split_once('=') else {
            let problem = "not of the form KEY=VALUE, for example --set log.level=debug";
            return Err(ConfigError::new(place.at(0..0), "", problem));
        };
        layers.set(&place, key.trim(), value.trim())?;
    }
    Ok(layers)
}

impl Config {
    /// Where a daemon with this configuration answers its operator, and its state folder. Needs no right to read that
    /// folder, and checks nothing else.
    ///
    /// # Errors
    /// [`ConfigError`] where the configuration cannot be read, or one of the two is wrong.
    pub fn admin_place(sources: &Sources) -> Result<(std::net::SocketAddr, PathBuf), ConfigError> {
        let layers = as_written(sources)?;
        Ok((resolve::admin_listen(&layers)?, resolve::state_dir(&layers)?))
    }

    /// Reads and checks the whole configuration.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut layers = as_written(sources)?;
        let state_dir = resolve::state_dir(&layers)?;
        let paired = state_dir.join(PAIRED_PEERS_FILE);
        if paired.exists() {
            private(&paired)?;
            let mut from_pairing = Layers::default();
            add_file(&mut from_pairing, &paired)?;
            layers.peers.append(&mut from_pairing.peers);
        }
        resolve::resolve(layers)
    }
}

fn add_file(layers: &mut Layers, path: &Path) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| cannot_read(path, &error))?;
    not_writable_by_all(path)?;
    let place = Place::File(Arc::new(path.to_owned()), text.as_str().into());
    layers.add(&place, &text)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> ConfigError {
    let origin = Origin::File { path: path.to_owned(), line: 1, column: 1 };
    let problem = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file; name the configuration with --config FILE, or make one from the example in the documentation".to_owned()
        }
        _ => format!("cannot be read ({error}); check its permissions"),
    };
    ConfigError::new(origin, "", problem)
}

/// `conf.d/*.toml` beside the file, by name.
fn extra_files(file: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = file.parent().unwrap_or_else(|| Path::new("")).join("conf.d");
    let entries = match crate::files::list(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot_read(&folder, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| cannot_read(&folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `IMGXFERD_LISTEN__QUIC` sets `listen.quic`. Unknown names under `IMGXFERD_` are errors.
fn add_variable(layers: &mut Layers, name: &OsString, value: &OsString) -> Result<(), ConfigError> {
    let Some(name) = name.to_str() else { return Ok(()) };
    // Not `IMGXFER_`: those are the command line tool's, whose folders are not the daemon's.
    let Some(key) = name.strip_prefix("IMGXFERD_") else { return Ok(()) };
    let place = Place::Environment(name.to_owned());
    let key = key.to_ascii_lowercase().replace("__", ".");
    let Some(value) = value.to_str() else {
        return Err(ConfigError::new(place.at(0..0), key, "its value is not UTF-8; correct it, or unset it"));
    };
    let well_formed =
        key.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    if !well_formed {
        return Err(ConfigError::new(
            place.at(0..0),
            key,
            "no setting has such a name; unset it, or correct its spelling",
        ));
    }
    layers.set(&place, &key, value)
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o7777)
}

fn not_writable_by_all(path: &Path) -> Result<(), ConfigError> {
    let mode = mode(path);
    if mode & 0o002 == 0 {
        return Ok(());
    }
    let origin = Origin::File { path: path.to_owned(), line: 1, column: 1 };
    let problem =
        format!("everybody on this machine can change it (mode {mode:04o}); run: chmod o-w {}", path.display());
    Err(ConfigError::new(origin, "", problem))
}

fn private(path: &Path) -> Result<(), ConfigError> {
    let mode = mode(path);
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let origin = Origin::File { path: path.to_owned(), line: 1, column: 1 };
    let problem = format!(
        "others can read or change it (mode {mode:04o}); check its peers, then run: chmod 600 {}",
        path.display()
    );
    Err(ConfigError::new(origin, "", problem))
}
