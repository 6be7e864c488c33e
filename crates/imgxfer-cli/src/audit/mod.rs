//! The audit of a daemon, read where it lies.

pub(crate) mod check;
pub(crate) mod show;

use std::io;
use std::path::{Path, PathBuf};

use imgxferd::audit::files_in;
use imgxferd::config::{Config, Sources};

use crate::exit::{Exit, problem};

/// The configuration of the daemon, as it reads it itself.
fn configured(file: &Path) -> anyhow::Result<Config> {
    let sources = Sources::file(file).with_environment(std::env::vars_os());
    Config::load(&sources).map_err(|error| problem(Exit::Config, format!("the daemon's configuration: {error}")))
}

/// The folder of a daemon's audit.
fn folder_of(config: &Config) -> anyhow::Result<PathBuf> {
    if config.audit.enabled {
        return Ok(config.audit.path.clone());
    }
    Err(problem(Exit::NotFound, "this daemon keeps no audit: audit.enabled is false"))
}

/// The files in a folder, oldest first.
fn listed(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files = files_in(folder).map_err(|error| unreadable(folder, &error))?;
    if files.is_empty() {
        return Err(problem(Exit::NotFound, format!("there is no audit in {}", folder.display())));
    }
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => problem(Exit::NotFound, format!("there is no audit at {path}")),
        io::ErrorKind::PermissionDenied => {
            problem(Exit::Failed, format!("{path} may not be read: run it as the daemon's user, or as root"))
        }
        _ => problem(Exit::Failed, format!("{path} cannot be read: {error}")),
    }
}
