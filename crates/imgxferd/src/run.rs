//! Life of the process: from the configuration to the last drained transfer.

use anyhow::Context as _;
use imgxfer_core::work::blocking;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{Daemon, Options};
use crate::config::{Config, Reloaded, Sources};
use crate::notify::Manager;

/// Runs a daemon until `shutdown` resolves or an operator asks through the admin listener, then drains it.
///
/// # Errors
/// When the daemon cannot start.
pub async fn run(config: Config, options: Options, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let daemon = Box::pin(Daemon::start(config, options)).await?;
    tokio::select! {
        () = shutdown => {}
        () = daemon.drain_wanted() => {}
    }
    daemon.stop().await;
    Ok(())
}

/// Runs a daemon until SIGTERM or SIGINT; a second signal stops it at once. Tells systemd when it is ready,
/// lives, and stops, where that is what started it.
/// SIGHUP reads peers and limits anew from `sources`.
///
/// # Errors
/// When the daemon cannot start, or signals cannot be received.
pub async fn run_until_signal(config: Config, sources: &Sources) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot receive signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot receive signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot receive signals")?;
    let daemon = Box::pin(Daemon::start(config, Options::default())).await?;
    let mut reloads = daemon.reload_requests();
    let manager = Manager::of_environment();
    manager.ready();
    // For as long as there is a process, also while it drains.
    drop(tokio::spawn(manager.clone().keep_telling()));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = daemon.drain_wanted() => break,
            // Whoever sent a signal reads the log.
            _ = hangup.recv() => drop(reload(&daemon, sources).await),
            Some(answer) = reloads.recv() => drop(answer.send(reload(&daemon, sources).await)),
        }
    }
    manager.stopping();
    tokio::select! {
        () = daemon.stop() => {}
        _ = terminate.recv() => tracing::warn!("stopped at once by a second signal"),
        _ = interrupt.recv() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

async fn reload(daemon: &Daemon, sources: &Sources) -> Result<Reloaded, String> {
    let sources = sources.clone();
    match blocking("read the configuration", move || Config::load(&sources)).await {
        Ok(Ok(config)) => Ok(daemon.take(&config)),
        Ok(Err(error)) => {
            tracing::error!(%error, "the configuration is not read anew; what was read before holds");
            Err(error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}
