//! The daemon's binary: flags, log, exit codes. Everything else is in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use imgxferd::config::{Config, DEFAULT_FILE, Sources};

/// Exit code for a bad configuration (`EX_CONFIG` of sysexits).
const BAD_CONFIGURATION: u8 = 78;

/// Receives, stores, serves and forwards DICOM studies.
///
/// Exit codes: 0 stopped in order; 1 failed; 2 wrong usage; 78 bad configuration.
#[derive(Debug, Parser)]
#[command(name = "imgxferd", version)]
struct Flags {
    /// Configuration, TOML; conf.d/*.toml beside it are read after it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// Print the settings in effect, each with its origin, and exit
    #[arg(long)]
    check: bool,
    /// Set one setting, over file and environment, for example log.level=debug
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "before there is a log, and for --check")]
fn main() -> ExitCode {
    let flags = Flags::parse();
    let sources = Sources::file(flags.config).with_environment(std::env::vars_os()).with_flags(flags.set);
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("imgxferd: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    if flags.check {
        for setting in config.settings() {
            println!("{setting}");
        }
        return ExitCode::SUCCESS;
    }
    imgxferd::log::start(&config);
    // Each connection, file and pack takes a handle; a shell gives a thousand, the system allows many more.
    let mut handles = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    handles.current = handles.maximum;
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, handles) {
        tracing::debug!(%error, "the limit of open files stays as it was");
    }
    // The network lives on few threads; disk and processor work has threads of its own.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("imgxferd: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(imgxferd::run_until_signal(config, &sources)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On standard error as well: once is enough, and once is needed whatever the filter.
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!(problem = %format!("{error:#}"), "cannot run");
            } else {
                eprintln!("imgxferd: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
