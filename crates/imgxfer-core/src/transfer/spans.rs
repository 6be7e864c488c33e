//! What log lines are about: a session with a peer, a transfer in it, an instance of that.
//!
//! Of a study and an instance a span holds digests alone, as their `Debug` writes them.

use tracing::Span;
use tracing::field::{Empty, debug};

use crate::ids::TransferId;
use crate::manifest::InstanceEntry;
use crate::transport::Session;

/// The span of a session.
pub(crate) fn session_span(session: &Session) -> Span {
    tracing::info_span!("session", peer = %session.peer().fingerprint())
}

/// The span of a transfer: `in` or `out`, seen from here. [`name_transfer`] says which.
pub(crate) fn transfer_span(direction: &'static str) -> Span {
    tracing::info_span!("transfer", direction, transfer = Empty)
}

/// Says in the span of a transfer which it is.
pub(crate) fn name_transfer(transfer: TransferId) {
    Span::current().record("transfer", debug(transfer));
}

/// Failed instances of a transfer that have a warning of their own in the log.
const FAILURES_TOLD_MAX: u64 = 20;

/// Warns of an instance that does not arrive, the `nth` of its transfer from 1. `reason` has nothing of a patient, nor of a
/// file's name.
pub(crate) fn log_failure(nth: u64, entry: Option<&InstanceEntry>, reason: &str) {
    let (study, sop_instance) = (entry.map(|entry| &entry.study), entry.map(|entry| &entry.sop_instance));
    match nth {
        ..=FAILURES_TOLD_MAX => tracing::warn!(?study, ?sop_instance, reason, "an instance failed; the others go on"),
        _ => tracing::debug!(?study, ?sop_instance, reason, "another instance failed"),
    }
}

/// The span of an instance.
pub(crate) fn instance_span(entry: &InstanceEntry) -> Span {
    tracing::debug_span!("instance", study = ?entry.study, sop_instance = ?entry.sop_instance)
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::*;
    use crate::ids::PeerId;
    use crate::sync::lock;
    use crate::testing::Sample;

    #[derive(Debug, Default, Clone)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            struct Words(String);
            impl Visit for Words {
                fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                    self.0 += &format!(" {field}={value:?}");
                }
            }
            let mut words = Words(event.metadata().level().to_string());
            event.record(&mut words);
            lock(&self.0).push(words.0);
        }
    }

    #[test]
    fn a_failed_instance_is_warned_of_with_the_reason_and_without_its_uids() {
        let entry = Sample::new(PeerId::of_key(b"ward"), 7, 1, 1, 10).entry();
        let lines = Lines::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), || {
            log_failure(1, Some(&entry), "its bytes did not arrive as they were sent");
            log_failure(FAILURES_TOLD_MAX + 1, None, "changed");
        });
        let lines = lock(&lines.0);
        assert!(lines[0].starts_with("WARN") && lines[0].contains("did not arrive as they were sent"), "{lines:?}");
        assert!(lines[0].contains(&format!("{:?}", entry.study)), "{lines:?}");
        assert!(!lines[0].contains(entry.study.as_str()), "{lines:?}");
        assert!(lines[1].starts_with("DEBUG"), "{lines:?}");
    }
}
