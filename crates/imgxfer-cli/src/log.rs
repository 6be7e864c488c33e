//! The log, on standard error.

use crate::args::Global;

/// Logs for those who ask: `-v`, `-vv` or `IMGXFER_LOG`.
pub(crate) fn start(global: &Global) {
    let level = match global.verbose {
        0 if global.quiet => "off",
        0 => "error",
        1 => "imgxfer=info,imgxfer_core=info,imgxferd=info,warn",
        2 => "imgxfer=debug,imgxfer_core=debug,imgxferd=debug,info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("IMGXFER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second log cannot be started, and is not.
    let _already: Result<(), _> = log.with_ansi(false).try_init();
    // What a panic says may be of a patient: only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect of this program; please report it");
    }));
}
