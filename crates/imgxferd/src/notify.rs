//! Tells the service manager how the daemon is (`sd_notify(3)`); nothing where there is none.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager that started this process.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says: `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub(crate) fn of_environment() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET"), std::env::var("WATCHDOG_USEC").ok())
    }

    fn new(socket: Option<OsString>, watchdog: Option<String>) -> Self {
        let socket = socket.and_then(|name| match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        let watchdog = watchdog.and_then(|text| text.parse().ok()).filter(|micros| *micros > 0);
        Self { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        // A manager that has gone away is no reason to stop.
        let told = UnixDatagram::unbound().and_then(|from| from.send_to_addr(state.as_bytes(), socket));
        if let Err(error) = told {
            tracing::debug!(%error, state, "the service manager could not be told");
        }
    }

    /// The ports are open and work is taken.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The daemon drains.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Says that the daemon lives, twice as often as the manager wants to hear it. To be run among the
    /// network's tasks: when those stand still, so does this.
    pub(crate) async fn keep_telling(self) {
        let Some(every) = self.watchdog else { return };
        let mut timer = tokio::time::interval(every / 2);
        loop {
            timer.tick().await;
            self.tell("WATCHDOG=1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_manager_hears_of_start_life_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let hear = || {
            let mut buffer = [0; 64];
            let len = heard.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        let manager = Manager::new(Some(path.into()), Some("2000000".to_owned()));
        manager.ready();
        assert_eq!(hear(), "READY=1");
        drop(tokio::time::timeout(Duration::from_millis(2_500), manager.clone().keep_telling()).await);
        assert_eq!([hear(), hear(), hear()], ["WATCHDOG=1"; 3]);
        manager.stopping();
        assert_eq!(hear(), "STOPPING=1");
        // Without a manager, or when it is gone, nothing happens.
        Manager::new(None, None).ready();
        Manager::new(Some("@nobody-listens-here".into()), Some("x".to_owned())).ready();
    }
}
