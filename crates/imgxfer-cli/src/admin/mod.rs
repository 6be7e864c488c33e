//! Talking to the daemon of this machine, over its admin listener on loopback.

mod http;
pub(crate) mod pairing;
pub(crate) mod peers;
pub(crate) mod render;
pub(crate) mod transfers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::config::Config;
use crate::exit::{Exit, problem};
use crate::output::safe;
use crate::places::Places;

/// How a daemon calls its own site where others have their names.
pub(crate) const SELF: &str = "self";

const DEFAULT_URL: &str = "http://127.0.0.1:11121";
const DEFAULT_TOKEN_FILE: &str = "/var/lib/imgxfer/admin.token";
/// A daemon that is alive answers at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Where the daemon answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminArgs {
    /// Where the daemon of this machine answers
    ///
    /// Default: what config.toml says, else <http://127.0.0.1:11121>.
    #[arg(long, value_name = "URL", env = "IMGXFER_ADMIN", hide_env_values = true)]
    admin: Option<String>,
    /// File with the daemon's token
    ///
    /// Default: what config.toml says, else /var/lib/imgxfer/admin.token.
    #[arg(long, value_name = "FILE", env = "IMGXFER_ADMIN_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

/// The daemon.
#[derive(Debug)]
pub(crate) struct Admin {
    host: String,
    token: Option<String>,
}

impl Admin {
    /// Finds out where the daemon is and how to be let in.
    pub(crate) fn new(args: &AdminArgs, places: &Places) -> anyhow::Result<Self> {
        let config = Config::load(places)?;
        let url = args.admin.clone().or(config.admin).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let host = url.strip_prefix("http://").map(|host| host.trim_end_matches('/').to_owned());
        let host = host.filter(|host| crate::peers::check_address(host).is_ok()).ok_or_else(|| {
            let message = format!("{} is no admin address: expected http://HOST:PORT", safe(&url));
            problem(Exit::Config, message)
        })?;
        let named = args.token_file.clone().or(config.token_file);
        let token = read_token(named.as_deref().unwrap_or_else(|| Path::new(DEFAULT_TOKEN_FILE)), named.is_some())?;
        Ok(Self { host, token })
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
                              its admin address with --admin http://HOST:PORT";
                problem(Exit::Unreachable, format!("no imgxferd answers at {} ({error}): {remedy}", self.host))
            }
        })?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let said = answer.body.get("error").and_then(Value::as_str).map(safe).unwrap_or_default();
        let (exit, what) = match answer.status {
            401 | 403 => (Exit::Refused, "the daemon refuses: name its token with --token-file, or run as its user"),
            404 => (Exit::NotFound, "the daemon knows nothing of this; it may be older"),
            409 | 410 | 422 => (Exit::Refused, "the daemon says no"),
            503 => (Exit::Temporary, "the daemon is busy"),
            _ => (Exit::Failed, "the daemon failed"),
        };
        let colon = if said.is_empty() { "" } else { ": " };
        Err(problem(exit, format!("{what}{colon}{said}")))
    }
}

/// A file that was named must be readable; without the usual one it may still go without.
fn read_token(file: &Path, named: bool) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(token) => {
            let token = token.trim();
            let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
            if plain {
                Ok(Some(token.to_owned()))
            } else {
                Err(problem(Exit::Config, format!("{} holds no token", file.display())))
            }
        }
        Err(_) if !named => Ok(None),
        Err(error) => Err(problem(Exit::Config, format!("cannot read the token {}: {error}", file.display()))),
    }
}
