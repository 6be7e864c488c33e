//! Talking to the daemon of this machine, over its admin listener on loopback.

pub(crate) mod came;
mod http;
pub(crate) mod pairing;
pub(crate) mod past;
pub(crate) mod peers;
pub(crate) mod render;
pub(crate) mod transfers;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use imgxferd::ADMIN_TOKEN_FILE;
use imgxferd::config::{DEFAULT_FILE, Sources};
use serde_json::Value;

use crate::config::Config;
use crate::exit::{Exit, problem};
use crate::output::safe;
use crate::places::Places;

/// How a daemon calls its own site where others have their names.
pub(crate) const SELF: &str = "self";

const DEFAULT_ADMIN: &str = "127.0.0.1:11121";
const DEFAULT_STATE: &str = "/var/lib/imgxfer";
/// A daemon that is alive answers at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Where the daemon answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminArgs {
    /// Where the daemon of this machine answers: HOST:PORT
    ///
    /// Default: what config.toml says, else what the daemon's configuration says, else 127.0.0.1:11121.
    #[arg(long, global = true, value_name = "ADDRESS", env = "IMGXFER_ADMIN", hide_env_values = true)]
    admin: Option<String>,
    /// File with the daemon's token
    ///
    /// Default: what config.toml says, else admin.token in the daemon's state folder.
    #[arg(long, global = true, value_name = "FILE", env = "IMGXFER_ADMIN_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
    /// Configuration of the daemon, which says where it answers and where its token is
    #[arg(long = "config", global = true, value_name = "FILE", default_value = DEFAULT_FILE)]
    daemon_config: PathBuf,
}

/// The daemon.
#[derive(Debug)]
pub(crate) struct Admin {
    host: String,
    token: Option<String>,
    /// Why there is no token, and what to do.
    no_token: String,
}

impl Admin {
    /// Finds out where the daemon is and how to be let in.
    pub(crate) fn new(args: &AdminArgs, places: &Places) -> anyhow::Result<Self> {
        let config = Config::load(places)?;
        let named = args.token_file.clone().or(config.token_file);
        let (url, token_file) = match (args.admin.clone().or(config.admin), &named) {
            (Some(url), Some(file)) => (url, file.clone()),
            (url, file) => {
                let (found, token_file) = found(&args.daemon_config)?;
                (url.unwrap_or(found), file.clone().unwrap_or(token_file))
            }
        };
        let host = url.strip_prefix("http://").unwrap_or(&url).trim_end_matches('/').to_owned();
        if crate::peers::check_address(&host).is_err() {
            let message = format!("{} is no admin address: expected HOST:PORT", safe(&url));
            return Err(problem(Exit::Config, message));
        }
        match read_token(&token_file) {
            Ok(token) => Ok(Self { host, token: Some(token), no_token: String::new() }),
            Err(error) if named.is_some() => Err(error),
            // Health and status need none.
            Err(error) => Ok(Self { host, token: None, no_token: error.to_string() }),
        }
    }

    /// Asks for something.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request("GET", path, None).await
    }

    /// Tells something.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.request("POST", path, Some(body)).await
    }

    async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = http::Request { host: &self.host, method, path, token: self.token.as_deref(), body };
        let silent = || problem(Exit::Temporary, format!("the daemon at {} does not answer", self.host));
        let answer = tokio::time::timeout(ANSWER_WITHIN, http::exchange(&request)).await.map_err(|_| silent())?;
        let answer = answer.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                problem(Exit::Failed, format!("{} answers, but not like imgxferd: {error}", self.host))
            }
            _ => {
                let remedy = "start it (systemctl start imgxferd; systemctl status imgxferd says why it ended), or name \
                              its admin address with --admin HOST:PORT";
                problem(Exit::Unreachable, format!("no imgxferd answers at {} ({error}): {remedy}", self.host))
            }
        })?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let said = answer.body.get("error").and_then(Value::as_str).map(safe).unwrap_or_default();
        let (exit, what) = match answer.status {
            401 | 403 if !self.no_token.is_empty() => {
                let remedy = "run it as root or as the daemon's user (sudo -u imgxfer ...), or name a copy of the token \
                              with --token-file";
                return Err(problem(
                    Exit::Refused,
                    format!("this needs the daemon's token: {}; {remedy}", self.no_token),
                ));
            }
            401 | 403 => (Exit::Refused, "the daemon refuses this token: it is old, or another daemon's"),
            404 => (Exit::NotFound, "the daemon knows nothing of this; it may be older"),
            409 | 410 | 422 => (Exit::Refused, "the daemon says no"),
            503 => (Exit::Temporary, "the daemon is busy"),
            _ => (Exit::Failed, "the daemon failed"),
        };
        let colon = if said.is_empty() { "" } else { ": " };
        Err(problem(exit, format!("{what}{colon}{said}")))
    }
}

/// Where the daemon answers and keeps its token by its own configuration. One that cannot be read says nothing, unless
/// somebody has named it.
fn found(file: &Path) -> anyhow::Result<(String, PathBuf)> {
    let is_default = file == Path::new(DEFAULT_FILE);
    let sources = Sources::file(file).with_environment(std::env::vars_os());
    match imgxferd::config::Config::admin_place(&sources) {
        Ok((mut admin, state)) => {
            if admin.ip().is_unspecified() {
                admin.set_ip(if admin.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
            }
            Ok((admin.to_string(), state.join(ADMIN_TOKEN_FILE)))
        }
        Err(_) if is_default => Ok((DEFAULT_ADMIN.to_owned(), Path::new(DEFAULT_STATE).join(ADMIN_TOKEN_FILE))),
        Err(error) => Err(problem(Exit::Config, format!("the daemon's configuration: {error}"))),
    }
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| problem(Exit::Config, format!("cannot read the token {}: {error}", file.display())))?;
    let token = text.trim();
    if !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(token.to_owned());
    }
    Err(problem(Exit::Config, format!("{} holds no token", file.display())))
}
