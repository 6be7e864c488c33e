//! Where this program keeps its files.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::exit::{Exit, problem};

/// The folders of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Identity, settings, peers.
    pub(crate) config: PathBuf,
    /// Receipts.
    pub(crate) state: PathBuf,
}

impl Places {
    /// What was asked for, else the XDG base directories (freedesktop.org, version 0.8).
    pub(crate) fn find(config: Option<PathBuf>, state: Option<PathBuf>) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var_os(name);
        let place = |given: Option<PathBuf>, name: &str, below_home: &str, option: &str| {
            given.or_else(|| base(variable(name), variable("HOME"), below_home)).ok_or_else(|| {
                problem(Exit::Config, format!("neither {name} nor HOME is set: name the folder with {option}"))
            })
        };
        Ok(Self {
            config: place(config, "XDG_CONFIG_HOME", ".config", "--config-dir")?,
            state: place(state, "XDG_STATE_HOME", ".local/state", "--state-dir")?,
        })
    }

    /// Where peers are kept.
    pub(crate) fn peers_file(&self) -> PathBuf {
        self.config.join("peers.toml")
    }

    /// Where settings are kept.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Where receipts are kept.
    pub(crate) fn receipts(&self) -> PathBuf {
        self.state.join("receipts")
    }
}

/// A relative path in a variable is to be ignored, by the specification.
fn base(xdg: Option<OsString>, home: Option<OsString>, below_home: &str) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let xdg = xdg.map(PathBuf::from).filter(absolute);
    let home = || home.map(PathBuf::from).filter(absolute).map(|home| home.join(below_home));
    xdg.or_else(home).map(|base| base.join("imgxfer"))
}

/// Makes a folder that only its owner may enter, with all above it.
pub(crate) fn make_private_folder(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make the folder {}", dir.display()))
}

/// Writes a file whole or not at all, readable by its owner alone; durable when it returns.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    make_private_folder(folder)?;
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(new);
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn base_directories() {
        let os = |text: &str| Some(OsString::from(text));
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(base(os("/x"), os("/home/a"), ".config"), path("/x/imgxfer"));
        assert_eq!(base(None, os("/home/a"), ".config"), path("/home/a/.config/imgxfer"));
        assert_eq!(base(os("x"), os("/home/a"), ".local/state"), path("/home/a/.local/state/imgxfer"));
        assert_eq!(base(None, None, ".config"), None);
    }

    #[test]
    fn private_files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.toml");
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}
