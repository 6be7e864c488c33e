//! The configuration as checked types.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use imgxfer_core::codec::LevelChoice;
use imgxfer_core::ids::PeerId;
use imgxfer_core::priority::Priority;
use imgxfer_core::store::Provenance;
use imgxfer_core::transport::{Congestion, Dscp, Profile};

use super::origin::{ConfigError, Origin};
use super::schedule::Schedule;
use super::show::Setting;

/// UDP port that sites listen on unless told otherwise.
pub const DEFAULT_QUIC_PORT: u16 = 11120;

/// TCP port of the admin listener unless told otherwise.
pub const DEFAULT_ADMIN_PORT: u16 = 11121;

/// The whole configuration of a daemon.
///
/// Made by [`Config::load`] from files, or by [`Config::in_folder`] by a program that embeds a daemon and
/// then sets what it wants otherwise.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What this site calls itself when it pairs, and in its status.
    pub site_name: String,
    /// Folder for everything the daemon keeps besides the store: queue, token, paired peers, identity.
    pub state_dir: PathBuf,
    /// UDP address for other sites. Port 0 takes any.
    pub quic: SocketAddr,
    /// Kind of line.
    pub profile: Profile,
    /// Whether TCP at the same port serves networks that pass no UDP, both ways. Default yes.
    pub tcp_fallback: bool,
    /// Largest UDP payload to try, bytes; `None`, the default: what the system's route to each peer carries.
    pub mtu: Option<u16>,
    /// What decides how much of a line a connection uses.
    pub congestion: Congestion,
    /// What packets are marked with for networks that sort by it; `None`: nothing.
    pub dscp: Option<Dscp>,
    /// TCP address of the admin listener. Port 0 takes any.
    pub admin: SocketAddr,
    /// Names, besides `localhost` and IP addresses, under which the admin listener may be asked.
    pub admin_hosts: Vec<String>,
    /// Who did what is written down, and where.
    pub audit: AuditConfig,
    /// Folder of the record store and its index.
    pub store: PathBuf,
    /// Bytes kept free on the store's file system; `None` for the store's own default.
    pub reserve_bytes: Option<u64>,
    /// How long the remains of an interrupted transfer are kept for resuming it. Default 7 days.
    pub spool_ttl: Duration,
    /// Bytes a second at which the store is read over and over, to find what is damaged; `None`, the default, for
    /// never. More finds damage sooner and takes that much from the disk; while transfers run, a tenth of it.
    pub scrub_bytes_a_second: Option<u64>,
    /// Bytes a second at which packs are rewritten that much was removed from, so that its room is given back; a tenth
    /// of it while transfers run. `None` for never. Default 20 MB/s.
    pub compact_bytes_a_second: Option<u64>,
    /// Whether what came over slow lines is coded anew while no transfer runs, so that it is read fast, at that rate at
    /// most. Costs processor time once, and room: what takes long to read takes less of it. Default `true`.
    pub recode: bool,
    /// What is removed by itself, and when.
    pub retention: Retention,
    /// Key and certificate.
    pub identity: IdentityFiles,
    /// Certificate authorities that may vouch for peers: a PEM file.
    pub authorities: Option<PathBuf>,
    /// Known sites.
    pub peers: Vec<PeerConfig>,
    /// Watched folders.
    pub inboxes: Vec<Inbox>,
    /// Transfers at once, in and out. Each may take up to about 60 MB of memory. Default 16.
    pub transfers: usize,
    /// How long running transfers are given when the daemon stops. Default 60 s.
    pub drain: Duration,
    /// What the whole site sends at most, and what it receives at most, by day and hour.
    pub rates: Schedule,
    /// What holds while a consultation by video is on the line.
    pub consultation: Consultation,
    /// Format of the log.
    pub log_format: LogFormat,
    /// Filter of the log: a level, or `target=level` pairs with commas between them. Default `info`.
    pub log_level: String,
    pub(super) settings: Vec<Setting>,
}

impl Config {
    /// A daemon that keeps everything under `folder`, on ports of the system's choice on loopback, without peers.
    #[must_use]
    pub fn in_folder(folder: &Path, site_name: &str) -> Self {
        Self {
            site_name: site_name.to_owned(),
            state_dir: folder.to_owned(),
            quic: (Ipv4Addr::LOCALHOST, 0).into(),
            admin: (Ipv4Addr::LOCALHOST, 0).into(),
            audit: AuditConfig::in_folder(folder.join("audit")),
            store: folder.join("store"),
            identity: IdentityFiles::Folder(folder.join("identity")),
            ..Self::defaults()
        }
    }

    pub(super) fn defaults() -> Self {
        let state_dir = PathBuf::from("/var/lib/imgxfer");
        Self {
            site_name: "imgxfer".to_owned(),
            quic: (Ipv6Addr::UNSPECIFIED, DEFAULT_QUIC_PORT).into(),
            profile: Profile::default(),
            tcp_fallback: true,
            mtu: None,
            congestion: Congestion::default(),
            dscp: None,
            admin: (Ipv4Addr::LOCALHOST, DEFAULT_ADMIN_PORT).into(),
            admin_hosts: Vec::new(),
            audit: AuditConfig::in_folder(state_dir.join("audit")),
            store: state_dir.join("store"),
            reserve_bytes: None,
            spool_ttl: Duration::from_hours(7 * 24),
            scrub_bytes_a_second: None,
            compact_bytes_a_second: Some(COMPACT_BYTES_A_SECOND),
            recode: true,
            retention: Retention::default(),
            identity: IdentityFiles::Folder(state_dir.join("identity")),
            authorities: None,
            peers: Vec::new(),
            inboxes: Vec::new(),
            transfers: 16,
            drain: Duration::from_secs(60),
            rates: Schedule::default(),
            consultation: Consultation::default(),
            log_format: LogFormat::Auto,
            log_level: "info".to_owned(),
            settings: Vec::new(),
            state_dir,
        }
    }

    /// Each setting with its effective value and origin, in the order of the documentation.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The peer with this name.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&PeerConfig> {
        self.peers.iter().find(|peer| peer.name == name)
    }
}

/// At which rate packs are rewritten unless told otherwise.
pub(super) const COMPACT_BYTES_A_SECOND: u64 = 20_000_000;

/// How long studies are kept. Nothing is removed before the peer [`at`](Self::at) has signed that it holds exactly the
/// same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Retention {
    /// How long after it has last changed a study is kept, where nothing else is said for its source; `None`, the
    /// default, for ever.
    pub keep: Option<Duration>,
    /// Name of the peer that must hold what is removed.
    pub at: Option<String>,
}

/// What is written down of who did what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditConfig {
    /// Whether anything is. Default yes.
    pub enabled: bool,
    /// The folder of `audit.log`. Default `audit` in the state folder.
    pub path: PathBuf,
    /// How long records are kept at least, whole days; `None`, the default, for ever.
    pub keep: Option<Duration>,
    /// Whether new work is refused while it cannot be written. Default no: transfers go on.
    pub required: bool,
}

impl AuditConfig {
    /// Kept for ever in this folder, and not required.
    #[must_use]
    pub const fn in_folder(path: PathBuf) -> Self {
        Self { enabled: true, path, keep: None, required: false }
    }
}

/// What holds while a consultation by video is on the line, unless its caller says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consultation {
    /// What all transfers but emergencies share each way, in bytes a second. Default 1 Mbit/s.
    pub bytes_a_second: u64,
    /// What emergencies share each way. Default none: as the line carries them.
    pub stat_bytes_a_second: Option<u64>,
    /// When it ends by itself. Default 30 minutes.
    pub time: Duration,
}

impl Consultation {
    /// Longest time: whoever forgets to end it has his line back in the same shift.
    pub const MINUTES_MAX: u64 = 240;
}

impl Default for Consultation {
    fn default() -> Self {
        Self { bytes_a_second: 125_000, stat_bytes_a_second: None, time: Duration::from_mins(30) }
    }
}

/// Where key and certificate come from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityFiles {
    /// A folder; a new identity is made there when it holds none.
    Folder(PathBuf),
    /// Two PEM files, from a hospital's certificate authority.
    Files {
        /// Certificate chain, the site's own first.
        certificate: PathBuf,
        /// Private key, readable by the daemon's user alone.
        key: PathBuf,
    },
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// How a peer is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerKey {
    /// By its public key, whatever certificate carries it.
    Pinned(PeerId),
    /// By the subject of a certificate that one of the trusted authorities issued.
    Subject(String),
}

/// What a peer may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each right is given by itself")]
pub struct PeerRights {
    /// Send studies to this site.
    pub send: bool,
    /// Ask which studies are here.
    pub query: bool,
    /// Fetch studies from here.
    pub pull: bool,
    /// Remove what it has sent.
    pub delete: bool,
}

impl PeerRights {
    /// Names of the rights, in the order of the documentation.
    pub const NAMES: [&str; 4] = ["send", "query", "pull", "delete"];

    /// All rights.
    #[must_use]
    pub const fn all() -> Self {
        Self { send: true, query: true, pull: true, delete: true }
    }

    /// Takes names from [`PeerRights::NAMES`].
    ///
    /// # Errors
    /// The first name that is none.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, String> {
        let mut rights = Self::default();
        for name in names {
            match name.as_ref() {
                "send" => rights.send = true,
                "query" => rights.query = true,
                "pull" => rights.pull = true,
                "delete" => rights.delete = true,
                other => return Err(other.to_owned()),
            }
        }
        Ok(rights)
    }

    /// The names of these rights.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let held = [self.send, self.query, self.pull, self.delete];
        Self::NAMES.into_iter().zip(held).filter(|(_, held)| *held).map(|(name, _)| name).collect()
    }
}

/// What a peer's queries and pulls are about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sees {
    /// What it sent itself.
    #[default]
    Own,
    /// Everything in the store.
    All,
    /// These, and what it sent itself.
    These(Vec<Seen>),
}

/// Something that a peer sees.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// All that belongs to this site itself.
    Site,
    /// What a peer sent, by name.
    Peer(String),
    /// What belongs to this site itself and came by this source: `inbox:PATH`, `ae:TITLE`, `user:NAME`.
    Source(String),
}

impl Seen {
    /// One as it is written in a list; `None` for what it sent itself, which a peer always sees. A path is not
    /// compared with inboxes: what came by one that is gone may be seen as well.
    ///
    /// # Errors
    /// What is wrong with it, and what may be written.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, name)) = text.split_once(':') else {
            return match text {
                "own" => Ok(None),
                "all" => Err("\"all\" stands alone: write sees = \"all\"".to_owned()),
                SELF => Ok(Some(Self::Site)),
                name => Ok(Some(Self::Peer(name.to_owned()))),
            };
        };
        let source = |source: String| {
            let kept = Provenance::decode(&Provenance::of(&source).encode());
            let is_kept_whole = kept.is_ok_and(|kept| kept.source == source);
            if is_kept_whole { Ok(Some(Self::Source(source))) } else { Err(format!("{source:?} is too long")) }
        };
        match kind {
            _ if name.is_empty() || name.trim() != name => Err(format!("{text:?} needs a name behind the colon")),
            "peer" => Ok(Some(Self::Peer(name.to_owned()))),
            "inbox" if !Path::new(name).is_absolute() => {
                Err(format!("{text:?} needs the whole path of the inbox, such as \"inbox:/srv/inbox\""))
            }
            // As the inbox's own path is written: without a slash at its end.
            "inbox" => source(format!("inbox:{}", Path::new(name).components().collect::<PathBuf>().display())),
            "ae" | "user" => source(text.to_owned()),
            _ => Err(format!(
                "{text:?} is of no kind that can be seen; there are \"own\", \"self\", a peer's name or \"peer:NAME\", and what came here by \"inbox:PATH\", \"ae:TITLE\" or \"user:NAME\""
            )),
        }
    }

    /// As it is written in a list.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Site => SELF.to_owned(),
            Self::Peer(name) if matches!(name.as_str(), "own" | "all") => format!("peer:{name}"),
            Self::Peer(name) | Self::Source(name) => name.clone(),
        }
    }
}

impl Sees {
    /// What a list says.
    ///
    /// # Errors
    /// What is wrong with one of it, and what may be written.
    pub fn of_list(list: &[String]) -> Result<Self, String> {
        let seen: Vec<_> = list.iter().map(|text| Seen::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self::These(seen.into_iter().flatten().collect()))
    }

    /// Names of the peers of which it sees what they sent.
    pub fn peers(&self) -> impl Iterator<Item = &str> {
        let list = if let Self::These(list) = self { list.as_slice() } else { &[] };
        list.iter().filter_map(|seen| if let Seen::Peer(name) = seen { Some(name.as_str()) } else { None })
    }

    /// The words of it, as in a list.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Own => vec!["own".to_owned()],
            Self::All => vec!["all".to_owned()],
            Self::These(list) => list.iter().map(Seen::text).collect(),
        }
    }
}

/// A known site.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerConfig {
    /// What it is called here.
    pub name: String,
    /// How it is recognised.
    pub key: PeerKey,
    /// `host:port` to dial; without one it is only answered.
    pub address: Option<String>,
    /// What it may do here.
    pub rights: PeerRights,
    /// Whose studies that is about.
    pub sees: Sees,
    /// How hard to compress what goes to it.
    pub level: LevelChoice,
    /// Priority of what inboxes send to it, where the inbox names none.
    pub priority: Priority,
    /// What this site sends to it at most, and what it takes from it at most, by day and hour.
    pub limits: Schedule,
    /// How long what it sends is kept, in place of [`Retention::keep`].
    pub keep: Option<Duration>,
    /// Original bytes that it may have here; `None`, the default, for no limit.
    pub quota_bytes: Option<u64>,
    /// Where it was written.
    pub origin: Origin,
}

impl PeerConfig {
    /// A site recognised by its key, without address or rights.
    #[must_use]
    pub fn pinned(name: &str, key: PeerId) -> Self {
        Self {
            name: name.to_owned(),
            key: PeerKey::Pinned(key),
            address: None,
            rights: PeerRights::default(),
            sees: Sees::Own,
            level: LevelChoice::Auto,
            priority: Priority::Routine,
            limits: Schedule::default(),
            keep: None,
            quota_bytes: None,
            origin: Origin::Program,
        }
    }

    /// Sets where it is dialled.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Sets the limits of rate.
    #[must_use]
    pub fn with_limits(mut self, limits: Schedule) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what it may do here, and whose studies that is about.
    #[must_use]
    pub fn with_rights(mut self, rights: PeerRights, sees: Sees) -> Self {
        self.rights = rights;
        self.sees = sees;
        self
    }

    /// Its key, when it is recognised by that.
    #[must_use]
    pub const fn peer_id(&self) -> Option<PeerId> {
        match &self.key {
            PeerKey::Pinned(id) => Some(*id),
            PeerKey::Subject(_) => None,
        }
    }
}

/// What happens to an inbox's files once they are committed: at the other end, or in this site's store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum After {
    /// They stay, and are not sent again.
    Keep,
    /// They move to this folder, under the same relative path.
    Move(PathBuf),
    /// They are deleted, if they still are what was committed.
    Delete,
}

/// A watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbox {
    /// The folder, with everything below it. Symbolic links are not followed.
    pub path: PathBuf,
    /// Name of the peer that gets what arrives there; `None` where it is put into this site's own store.
    pub to: Option<String>,
    /// Priority of its jobs.
    pub priority: Priority,
    /// A study is sent when none of its files has changed for this long. Default 10 s.
    pub settle: Duration,
    /// How long after its last change a file that ends before its elements do, or that a program has open for
    /// writing, holds its study back. Then it is sent as it is, and such a beginning is never moved or
    /// deleted. Never shorter than [`Inbox::settle`]. Default 10 minutes.
    pub hold: Duration,
    /// How often the folder is read through besides notifications of the system, which network shares
    /// do not give. Default 30 s.
    pub poll: Duration,
    /// What happens to files that are committed.
    pub after: After,
    /// Whether files that are not DICOM are sent too, as opaque bytes. Default no.
    pub all_files: bool,
}

impl Inbox {
    /// A folder whose files are sent to a peer and kept, with the default times.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, to: &str) -> Self {
        Self { to: Some(to.to_owned()), ..Self::into_store(path) }
    }

    /// A folder whose files are put into this site's own store and kept, with the default times.
    #[must_use]
    pub fn into_store(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            to: None,
            priority: Priority::Routine,
            settle: Duration::from_secs(10),
            hold: Duration::from_mins(10),
            poll: Duration::from_secs(30),
            after: After::Keep,
            all_files: false,
        }
    }

    /// Sets what happens to files that are committed.
    #[must_use]
    pub fn with_after(mut self, after: After) -> Self {
        self.after = after;
        self
    }

    /// Sets how long a study must be quiet, and how often the folder is read through.
    #[must_use]
    pub const fn with_times(mut self, settle: Duration, poll: Duration) -> Self {
        self.settle = settle;
        self.poll = poll;
        self
    }

    /// Sets how long an unfinished file holds its study back.
    #[must_use]
    pub const fn with_hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Sets the priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }
}

/// How the site itself is called, among owners of studies and among destinations of jobs.
pub(crate) const SELF: &str = "self";

/// Refuses what [`super::resolve`] also refuses in files, for peers that come otherwise.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err("a name has 1 to 64 letters, digits, dashes, dots and underscores".to_owned());
    }
    if matches!(name, SELF | "unknown") {
        return Err("it has a meaning of its own: the site itself, and those who are no peers".to_owned());
    }
    Ok(())
}

/// Refuses a peer that has the name or the key of one that is there.
pub(crate) fn check_duplicate(peers: &[PeerConfig], new: &PeerConfig) -> Result<(), ConfigError> {
    for known in peers {
        let refuse = |key: &str, what: &str| {
            let problem = format!(
                "another peer, {:?} at {}, has the same {what}; remove one of the two",
                known.name, known.origin
            );
            Err(ConfigError::new(new.origin.clone(), format!("peers.{key}"), problem))
        };
        if known.name.eq_ignore_ascii_case(&new.name) {
            return refuse("name", "name");
        }
        if known.key == new.key {
            return match new.key {
                PeerKey::Pinned(_) => refuse("key", "key"),
                PeerKey::Subject(_) => refuse("subject", "subject"),
            };
        }
    }
    Ok(())
}
