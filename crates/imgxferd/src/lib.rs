//! The imgxfer daemon, as a library: the binary, `imgxfer demo` and the tests run whole sites in-process.
//!
//! ```no_run
//! # async fn site() -> anyhow::Result<()> {
//! use imgxferd::config::Config;
//! use imgxferd::{Daemon, Options};
//!
//! let config = Config::in_folder("/var/lib/imgxfer".as_ref(), "St Elsewhere");
//! let site = Daemon::start(config, Options::default()).await?;
//! println!("{} listens at {}", site.fingerprint(), site.quic_address());
//! site.stop().await;
//! # Ok(()) }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`config`] | one TOML file into checked types |
//! | [`peers`] | the known sites, and what each may do |
//! | [`queue`] | the durable queue of what is to be sent |
//! | `inbox` | watched folders |
//! | `admin` | health, metrics, status, pairing |
//! | [`log`] | the log of the process |

mod admin;
mod app;
pub mod audit;
mod backfill;
pub mod config;
mod files;
mod host;
mod house;
mod inbox;
mod live;
pub mod log;
mod metrics;
mod notify;
mod open;
mod owners;
mod pair;
pub mod peers;
pub mod queue;
mod rates;
mod retention;
mod room;
mod run;
mod scrub;
mod spare;

pub use app::{ADMIN_TOKEN_FILE, Daemon, Options};
pub use run::{run, run_until_signal};
