//! How the program ends: exit codes, and the one place that maps errors to them.

use std::process::ExitCode;

use imgxfer_core::error::TransferError;
use imgxfer_core::proto::ProtocolError;
use imgxfer_core::store::StoreError;
use imgxfer_core::transport::pairing::PairingError;
use imgxfer_core::transport::{IdentityError, TransportError};
use imgxfer_core::wire::message::RefuseCode;

/// The table of exit codes, as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
    0  done
    1  failed
    2  usage: the command line makes no sense
    3  partial: some instances failed and are listed, the rest is done
    4  not found
    5  the peer cannot be reached
    6  refused: authentication or rights
    7  integrity failure: something is not what it should be
   75  temporary: try again later
   78  bad configuration
  130  interrupted: the command that resumes is printed";

/// How the program ends. The numbers are a contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is done.
    Done,
    /// Failed, for no reason that has a code of its own.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Some instances failed.
    Partial,
    /// What was asked for is not there.
    NotFound,
    /// The peer cannot be reached.
    Unreachable,
    /// Refused by this side or the other.
    Refused,
    /// Something is not what it should be.
    Integrity,
    /// Trying again later can help.
    Temporary,
    /// The configuration is wrong or lacks something.
    Config,
    /// Ended by a signal.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::NotFound => 4,
            Self::Unreachable => 5,
            Self::Refused => 6,
            Self::Integrity => 7,
            Self::Temporary => 75,
            Self::Config => 78,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error of this program's own, which knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    exit: Exit,
    message: String,
}

/// An error with the exit code that belongs to it.
pub(crate) fn problem(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Problem { exit, message: message.into() }.into()
}

/// Whoever read standard output has gone: no reason for words.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(crate) struct OutputClosed;

/// The exit code for an error: that of the first cause in its chain that has one.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(problem) = cause.downcast_ref::<Problem>() {
        return Some(problem.exit);
    }
    if let Some(error) = cause.downcast_ref::<TransferError>() {
        return Some(of_transfer(error));
    }
    if let Some(error) = cause.downcast_ref::<TransportError>() {
        return Some(of_transport(error));
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return Some(of_store(error));
    }
    if let Some(error) = cause.downcast_ref::<PairingError>() {
        return Some(of_pairing(error));
    }
    cause.is::<IdentityError>().then_some(Exit::Config)
}

fn of_transfer(error: &TransferError) -> Exit {
    match error {
        TransferError::Transport(error) => of_transport(error),
        TransferError::Protocol(ProtocolError::Refused { code, .. }) => of_refusal(*code),
        TransferError::Store(error) => of_store(error),
        TransferError::Identity(_) => Exit::Config,
        TransferError::Receipt(_) => Exit::Integrity,
        TransferError::Stalled => Exit::Temporary,
        TransferError::Incomplete { .. } => Exit::Partial,
        TransferError::NoSuchPath(_) => Exit::NotFound,
        _ => Exit::Failed,
    }
}

fn of_transport(error: &TransportError) -> Exit {
    match error {
        TransportError::Unreachable { .. }
        | TransportError::UnknownHost { .. }
        | TransportError::TimedOut
        | TransportError::Cut => Exit::Unreachable,
        TransportError::RefusedByPeer | TransportError::NotOpenForPairing { .. } | TransportError::Peer(_) => {
            Exit::Refused
        }
        TransportError::Busy
        | TransportError::PeerRestarted
        | TransportError::Reset { .. }
        | TransportError::Truncated
        | TransportError::PeerClosed { .. } => Exit::Temporary,
        TransportError::Identity(_) => Exit::Config,
        TransportError::Fingerprint(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

const fn of_refusal(code: RefuseCode) -> Exit {
    match code {
        RefuseCode::NotAllowed => Exit::Refused,
        RefuseCode::NotFound => Exit::NotFound,
        RefuseCode::NoSpace | RefuseCode::Busy | RefuseCode::ShuttingDown => Exit::Temporary,
        _ => Exit::Failed,
    }
}

const fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Full { .. } | StoreError::Locked => Exit::Temporary,
        StoreError::Damaged { .. } => Exit::Integrity,
        _ => Exit::Failed,
    }
}

fn of_pairing(error: &PairingError) -> Exit {
    match error {
        PairingError::WrongCode { .. }
        | PairingError::Void
        | PairingError::Expired
        | PairingError::DeclinedHere
        | PairingError::DeclinedThere => Exit::Refused,
        PairingError::TimedOut => Exit::Temporary,
        PairingError::Transport(error) => of_transport(error),
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use imgxfer_core::transport::CloseCode;

    fn refused(code: RefuseCode) -> TransferError {
        ProtocolError::Refused { code, remedy: String::new() }.into()
    }

    #[test]
    fn every_cause_has_its_code() {
        let transfer: Vec<(TransferError, u8)> = vec![
            (TransportError::Unreachable { address: "a:1".to_owned(), tcp: true }.into(), 5),
            (TransportError::TimedOut.into(), 5),
            (TransportError::RefusedByPeer.into(), 6),
            (TransportError::NotOpenForPairing { address: "a:1".to_owned() }.into(), 6),
            (TransportError::Reset { code: CloseCode::Internal }.into(), 75),
            (TransportError::Version.into(), 1),
            (refused(RefuseCode::NotAllowed), 6),
            (refused(RefuseCode::NotFound), 4),
            (refused(RefuseCode::NoSpace), 75),
            (refused(RefuseCode::Internal), 1),
            (StoreError::Full { free: 0 }.into(), 75),
            (TransferError::Receipt("x"), 7),
            (TransferError::Stalled, 75),
            (IdentityError::Key.into(), 78),
        ];
        for (error, code) in transfer {
            let shown = format!("{error:?}");
            assert_eq!(of(&error.into()).code(), code, "{shown}");
        }
    }

    #[test]
    fn context_does_not_hide_the_cause() {
        let error = Err::<(), _>(TransportError::TimedOut).context("push to cloud").unwrap_err();
        assert_eq!(of(&error), Exit::Unreachable);
        let error = problem(Exit::Config, "no such peer").context("push");
        assert_eq!(of(&error), Exit::Config);
        assert_eq!(of(&anyhow::anyhow!("something")), Exit::Failed);
        assert_eq!(of(&PairingError::DeclinedThere.into()), Exit::Refused);
    }

    #[test]
    fn the_table_names_every_code() {
        use Exit::*;
        for exit in
            [Done, Failed, Usage, Partial, NotFound, Unreachable, Refused, Integrity, Temporary, Config, Interrupted]
        {
            let code = exit.code().to_string();
            assert!(TABLE.lines().any(|line| line.split_whitespace().next() == Some(code.as_str())), "{code}");
        }
    }
}
