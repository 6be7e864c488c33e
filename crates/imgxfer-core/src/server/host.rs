//! What an embedding program is asked, and told.

use std::sync::Arc;

use super::told::{Answered, Asked, AskedBy, Published};
use crate::codec::LevelChoice;
use crate::error::TransferError;
use crate::ids::{ManifestRoot, StudyUid};
use crate::pace::Pace;
use crate::priority::Priority;
use crate::progress::{Progress, TransferEvent};
use crate::receipt::SignedReceipt;
use crate::store::Scope;
use crate::transport::Session;

/// What a peer may do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of its own")]
pub struct Rights {
    /// Send studies to this site.
    pub send: bool,
    /// Ask which studies are here.
    pub query: bool,
    /// Fetch studies from here.
    pub pull: bool,
    /// Remove what it has sent itself.
    pub delete: bool,
    /// Whose studies `query` and `pull` are about.
    pub scope: Scope,
    /// Original bytes that it may have here; `None`, the default, for no limit. What comes beyond it is refused.
    pub quota_bytes: Option<u64>,
    /// How hard to compress what it fetches. Default: as it asks, or as the line makes it pay.
    pub level: LevelChoice,
}

impl Rights {
    /// No rights at all.
    #[must_use]
    pub const fn none() -> Self {
        let scope = Scope::none();
        let level = LevelChoice::Auto;
        Self { send: false, query: false, pull: false, delete: false, scope, quota_bytes: None, level }
    }

    /// All rights, over everything in the store.
    #[must_use]
    pub const fn all() -> Self {
        let level = LevelChoice::Auto;
        Self { send: true, query: true, pull: true, delete: true, scope: Scope::All, quota_bytes: None, level }
    }

    /// Sets the right to send.
    #[must_use]
    pub const fn with_send(mut self, send: bool) -> Self {
        self.send = send;
        self
    }

    /// Sets the right to query.
    #[must_use]
    pub const fn with_query(mut self, query: bool) -> Self {
        self.query = query;
        self
    }

    /// Sets how hard to compress what it fetches.
    #[must_use]
    pub const fn with_level(mut self, level: LevelChoice) -> Self {
        self.level = level;
        self
    }

    /// Sets the right to pull.
    #[must_use]
    pub const fn with_pull(mut self, pull: bool) -> Self {
        self.pull = pull;
        self
    }

    /// Sets the right to remove what it has sent.
    #[must_use]
    pub const fn with_delete(mut self, delete: bool) -> Self {
        self.delete = delete;
        self
    }

    /// Sets how many original bytes it may have here.
    #[must_use]
    pub const fn with_quota(mut self, bytes: Option<u64>) -> Self {
        self.quota_bytes = bytes;
        self
    }

    /// Sets whose studies the peer may see.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

/// Which way a transfer goes, seen from this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// A peer sends to this site.
    In,
    /// This site sends to a peer.
    Out,
}

/// What an embedding program is asked, and told. Calls must not block for long.
pub trait Host: Send + Sync + 'static {
    /// What the peer of this session may do. Asked anew for each request, so that changes take effect at once.
    fn rights(&self, session: &Session) -> Rights;

    /// Whether new requests are taken. `false` tells peers to come again later. Asked anew for each request.
    fn takes_work(&self) -> bool {
        true
    }

    /// A peer has connected.
    fn on_session(&self, session: &Session) {
        let _ = session;
    }

    /// A peer asked for something that no transfer begins with, and gets this answer.
    fn on_asked(&self, session: &Session, asked: &Asked, answer: Answered) {
        let (_, _, _) = (session, asked, answer);
    }

    /// How fast may what is sent without a transfer go? Asked for each request for frames. By default as the line
    /// carries it.
    fn pace(&self, session: &Session, direction: Direction, priority: Priority) -> Pace {
        let (_, _, _) = (session, direction, priority);
        Pace::default()
    }

    /// A transfer of this priority begins: who watches it? By default nobody does.
    fn begin(&self, session: &Session, direction: Direction, priority: Priority) -> Box<dyn TransferWatch> {
        let (_, _, _) = (session, direction, priority);
        Box::new(())
    }
}

/// What an embedding program is asked, and told, of one transfer. Calls must not block for long.
pub trait TransferWatch: Send + Sync {
    /// How fast may it go? Asked once, when there is something to move.
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Something happened in it.
    fn on_event(&self, event: &TransferEvent) {
        let _ = event;
    }

    /// It is a pull that asks by this; these studies match, and what is wanted of them is sent now.
    fn on_pull(&self, by: &AskedBy, studies: &[StudyUid]) {
        let (_, _) = (by, studies);
    }

    /// Everything of a push is durable and published; its receipt is given when this returns. Called on a thread that
    /// may block.
    fn on_published(&self, published: &Published<'_>) {
        let _ = published;
    }

    /// A push ended early, and left instances of these studies committed; [`on_end`](Self::on_end) follows.
    fn on_left(&self, studies: &[StudyUid]) {
        let _ = studies;
    }

    /// Everything of a manifest is committed here, and a receipt has been given.
    fn on_committed(&self, studies: &[StudyUid], root: ManifestRoot) {
        let (_, _) = (studies, root);
    }

    /// The peer that pulled has given its signed receipt.
    fn on_receipt(&self, receipt: &SignedReceipt) {
        let _ = receipt;
    }

    /// It ended; the last call, and made for every transfer. `Ok` holds what was moved.
    fn on_end(&self, result: Result<&Progress, &TransferError>) {
        let _ = result;
    }
}

/// Watches nothing, and sets no limit.
impl TransferWatch for () {}

/// Tells a watch how its transfer ended, even when it was cut short by a panic or the end of the program.
pub(super) struct Watched {
    watch: Arc<dyn TransferWatch>,
    told: bool,
}

impl Watched {
    pub(super) fn new(watch: Box<dyn TransferWatch>) -> Self {
        Self { watch: Arc::from(watch), told: false }
    }

    /// The watch, to be told things elsewhere.
    pub(super) fn share(&self) -> Arc<dyn TransferWatch> {
        Arc::clone(&self.watch)
    }

    pub(super) fn ended(mut self, result: Result<&Progress, &TransferError>) {
        self.watch.on_end(result);
        self.told = true;
    }
}

impl std::ops::Deref for Watched {
    type Target = dyn TransferWatch;

    fn deref(&self) -> &Self::Target {
        self.watch.as_ref()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.told {
            self.watch.on_end(Err(&TransferError::Cancelled));
        }
    }
}
