//! Ending on request: Ctrl-C and SIGTERM.

use std::pin::pin;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::output::Output;

/// Runs `work` until it is done or somebody asks for an end; `None` then.
///
/// From the first call on, both signals no longer end the process by themselves: what comes after must
/// be short.
pub(crate) async fn unless_stopped<T>(work: impl Future<Output = T>) -> anyhow::Result<Option<T>> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let work = pin!(work);
    Ok(tokio::select! {
        done = work => Some(done),
        _ = interrupted.recv() => None,
        _ = terminated.recv() => None,
    })
}

/// Says how to go on; returns the exit code for it.
pub(crate) fn resumable(output: &Output) -> anyhow::Result<Exit> {
    let command = crate::quote::own_command();
    output.object(&serde_json::json!({ "event": "interrupted", "resume": command }))?;
    output.warn("interrupted; what has arrived is kept. To go on where it stopped:");
    output.warn(&format!("    {command}"));
    Ok(Exit::Interrupted)
}
