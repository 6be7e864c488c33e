//! The log of the process.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Config, LogFormat};

/// Writes the log to standard error, as the configuration says. Later calls do nothing.
pub fn start(config: &Config) {
    let filter: Targets = config.log_level.parse().unwrap_or_default();
    let text = match config.log_format {
        LogFormat::Json => false,
        LogFormat::Text => true,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let registry = tracing_subscriber::registry();
    let done = if text {
        let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_filter(filter)).try_init()
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(layer.with_filter(filter)).try_init()
    };
    // A program that embeds a daemon may have its own log.
    drop(done);
    // What a panic says may be of a patient: only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect of this program; please report it");
    }));
}
