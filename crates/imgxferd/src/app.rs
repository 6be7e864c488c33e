//! Wires the parts: a [`Daemon`] is a whole site, started and stopped in-process.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use imgxfer_core::client::Client;
use imgxfer_core::clock::Stopwatch;
use imgxfer_core::depot::Depot;
use imgxfer_core::ids::PeerId;
use imgxfer_core::server::{Server, ServerLimits};
use imgxfer_core::sync::lock;
use imgxfer_core::transport::{AsyncUdpSocket, CloseCode, Endpoint, EndpointConfig, Identity};
use imgxfer_core::work::blocking;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::audit::{Actor, Audit, Entry, Event, PeerRow};
use crate::backfill::backfill;
use crate::config::{Config, PeerConfig, Reloaded, SELF, Setting};
use crate::host::DaemonHost;
use crate::house::{keep_house, mend_index};
use crate::inbox::watch_inbox;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::pair::Pairings;
use crate::peers::Peers;
use crate::queue::{Lane, LaneKind, NewJob, PushParts, Queue, Stamp};
use crate::rates::{Rates, follow_hours, local_time};
use crate::retention::keep_no_longer;
use crate::room::give_room_back;
use crate::scrub::scrub;
use crate::{admin, files, open};

/// Name of the file under the state folder with the token for the admin listener.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// How long one step of what reads the store, and the writing down of where it stands, may take at the end.
const READING_END: Duration = Duration::from_secs(5);

/// Where the outcome of reading the configuration anew goes.
pub(crate) type ReloadAnswer = oneshot::Sender<Result<Reloaded, String>>;

type EndpointHook = Box<dyn FnOnce(EndpointConfig) -> EndpointConfig + Send>;

/// What a program that embeds a daemon may change beyond its configuration.
#[derive(Default)]
#[non_exhaustive]
pub struct Options {
    /// The UDP socket to use, for example one with a simulated line behind it.
    pub socket: Option<Arc<dyn AsyncUdpSocket>>,
    /// Changes the settings of the endpoint before it is opened.
    pub endpoint: Option<EndpointHook>,
}

impl Options {
    /// Uses this socket instead of opening one.
    #[must_use]
    pub fn with_socket(mut self, socket: Arc<dyn AsyncUdpSocket>) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Changes the endpoint's settings.
    #[must_use]
    pub fn with_endpoint(mut self, hook: impl FnOnce(EndpointConfig) -> EndpointConfig + Send + 'static) -> Self {
        self.endpoint = Some(Box::new(hook));
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("socket", &self.socket.is_some()).finish_non_exhaustive()
    }
}

/// What the parts of a daemon share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) depot: Depot,
    pub(crate) queue: Arc<Queue>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) live: Live,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) audit: Audit,
    pub(crate) pairings: Pairings,
    pub(crate) uptime: Stopwatch,
    pub(crate) quic_address: SocketAddr,
    pub(crate) stopping: watch::Sender<bool>,
    /// Set by somebody who wants the daemon to stop.
    pub(crate) drain_wanted: watch::Sender<bool>,
    /// Told of removals: there is room to be given back.
    pub(crate) room_wanted: Arc<Notify>,
    /// The settings that were read last.
    pub(crate) settings: Mutex<Vec<Setting>>,
    /// Changes when all inboxes should look what is to be done.
    pub(crate) inboxes_wanted: watch::Sender<u64>,
    /// Takes requests to read the configuration anew, where there is one to read.
    pub(crate) reloads: OnceLock<mpsc::Sender<ReloadAnswer>>,
    /// Studies and bytes in the store, and when they were counted.
    pub(crate) totals: Mutex<Option<(Stopwatch, admin::StoreTotals)>>,
}

impl Shared {
    /// Opens identity, socket, store and queue.
    async fn open(
        config: Config,
        options: Options,
        uptime: Stopwatch,
        added: mpsc::UnboundedSender<String>,
    ) -> anyhow::Result<Self> {
        open::tend_spare(&config);
        let identity = open::identity(&config)?;
        let trust = open::trust(&config)?;
        let peers = Arc::new(Peers::new(config.peers.clone(), trust.clone(), &config.state_dir));
        let metrics = Arc::new(Metrics::new(identity.expires().0));
        let at_the_door = Arc::new(OnceLock::new());
        let told = (Arc::clone(&metrics), Arc::clone(&at_the_door));
        let endpoint = Arc::new(open::endpoint(&config, options, &identity, trust, told)?);
        let quic_address = endpoint.local_address().context("the QUIC socket has no address")?;
        let depot = open::depot(&config).await?;
        let path = config.state_dir.join("queue.db");
        let queue = blocking("open the queue", move || Queue::open(&path)).await?;
        let queue = Arc::new(queue.context("cannot open the queue")?);
        // Behind the locks of store and queue: nobody else writes to it now.
        let audit = Audit::start(&config.audit, &identity).context("cannot start the audit")?;
        audit.tell(&started(&config, &identity));
        // Nobody else has set it.
        drop(at_the_door.set(audit.clone()));
        let pairings =
            Pairings::new(Arc::clone(&endpoint), Arc::clone(&peers), (config.site_name.clone(), audit.clone()), added);
        let rates = Arc::new(Rates::new(&config, local_time()));
        Ok(Self {
            settings: Mutex::new(config.settings().to_vec()),
            config,
            identity,
            endpoint,
            depot,
            queue,
            peers,
            live: Live::default(),
            metrics,
            rates,
            audit,
            pairings,
            uptime,
            quic_address,
            stopping: watch::channel(false).0,
            drain_wanted: watch::channel(false).0,
            room_wanted: Arc::default(),
            inboxes_wanted: watch::channel(0).0,
            reloads: OnceLock::new(),
            totals: Mutex::new(None),
        })
    }

    fn server(&self) -> Server {
        let host = DaemonHost {
            peers: Arc::clone(&self.peers),
            queue: Arc::clone(&self.queue),
            live: self.live.clone(),
            metrics: Arc::clone(&self.metrics),
            rates: Arc::clone(&self.rates),
            audit: self.audit.clone(),
            room_wanted: Arc::clone(&self.room_wanted),
            depot: self.depot.clone(),
            store: self.config.store.clone(),
        };
        let mut limits = ServerLimits::default();
        limits.transfers_max = self.config.transfers;
        limits.drain_deadline = self.config.drain;
        Server::new(Arc::clone(&self.endpoint), self.depot.clone(), Arc::new(host), limits)
    }

    fn push_parts(
        &self,
        done: mpsc::UnboundedSender<PathBuf>,
        aborting: watch::Receiver<bool>,
    ) -> anyhow::Result<PushParts> {
        Ok(PushParts {
            queue: Arc::clone(&self.queue),
            client: Client::new(Arc::clone(&self.endpoint)),
            depot: self.depot.clone(),
            peers: Arc::clone(&self.peers),
            live: self.live.clone(),
            metrics: Arc::clone(&self.metrics),
            rates: Arc::clone(&self.rates),
            audit: self.audit.clone(),
            stopping: self.stopping.subscribe(),
            aborting,
            done,
            seed: u64::from_le_bytes(imgxfer_core::transport::random_bytes()?),
        })
    }
}

/// A running site. Dropping it ends everything at once, as a crash would; nothing committed is lost.
#[derive(Debug)]
pub struct Daemon {
    shared: Arc<Shared>,
    admin_address: SocketAddr,
    tasks: JoinSet<()>,
    /// What reads and rewrites the store by itself. Ends when the daemon stops.
    reading: Option<JoinHandle<()>>,
    lanes: Arc<Mutex<JoinSet<()>>>,
    server: Server,
    serving: Option<JoinHandle<()>>,
    stop_server: Option<oneshot::Sender<()>>,
    /// Told of peers that may be new.
    peers_added: mpsc::UnboundedSender<String>,
    abort: watch::Sender<bool>,
}

impl Daemon {
    /// Starts a site: opens or makes its identity, store and queue, opens its ports, and takes up its work.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// With what to do, when anything is not as the configuration says, or a port is taken.
    pub async fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        let uptime = Stopwatch::start();
        files::private_folder(&config.state_dir).with_context(|| {
            format!("cannot make the state folder {}; check permissions", config.state_dir.display())
        })?;
        let token = open::admin_token(&config.state_dir)?;
        // Ports first: whoever starts a second daemon by mistake is told so before its store is touched.
        let admin_listener = TcpListener::bind(config.admin).await.with_context(|| {
            format!(
                "cannot open the admin listener at TCP {}: stop what holds the port, or set admin.listen",
                config.admin
            )
        })?;
        let admin_address = admin_listener.local_addr().context("the admin listener has no address")?;
        let (added, peers_added) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::open(config, options, uptime, added.clone()).await?);
        let (done, jobs_done) = mpsc::unbounded_channel();
        let (abort, aborting) = watch::channel(false);
        let (stop_server, server_stopped) = oneshot::channel::<()>();
        let server = shared.server();
        let serving = server.clone();
        let mut daemon = Self {
            admin_address,
            tasks: JoinSet::new(),
            reading: None,
            lanes: Arc::default(),
            serving: Some(tokio::spawn(async move { serving.serve(async { drop(server_stopped.await) }).await })),
            server,
            stop_server: Some(stop_server),
            peers_added: added,
            abort,
            shared,
        };
        let parts = daemon.shared.push_parts(done, aborting)?;
        daemon.announce(&daemon.shared.config.peers);
        spawn_lanes(&daemon.lanes, &parts, SELF);
        daemon.tasks.spawn(serve_new_peers(peers_added, Arc::clone(&daemon.lanes), parts));
        daemon.watch_inboxes(jobs_done);
        daemon.tasks.spawn(keep_house(Arc::clone(&daemon.shared)));
        daemon.reading = Some(tokio::spawn(read_store(Arc::clone(&daemon.shared))));
        daemon.tasks.spawn(keep_no_longer(Arc::clone(&daemon.shared)));
        daemon.tasks.spawn(mend_index(Arc::clone(&daemon.shared)));
        daemon.tasks.spawn(follow_hours(Arc::clone(&daemon.shared.rates), Arc::clone(&daemon.shared.peers)));
        let app = admin::router(Arc::clone(&daemon.shared), &token, admin_address);
        daemon.tasks.spawn(admin::serve(admin_listener, app));
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            site = %daemon.shared.config.site_name,
            fingerprint = %daemon.fingerprint(),
            quic = %daemon.quic_address(),
            admin = %admin_address,
            start_ms = u64::try_from(uptime.elapsed().as_millis()).unwrap_or(u64::MAX),
            "ready"
        );
        Ok(daemon)
    }

    fn announce(&self, peers: &[PeerConfig]) {
        for peer in peers {
            // Nobody listens any more only when the daemon stops.
            drop(self.peers_added.send(peer.name.clone()));
        }
    }

    /// Takes peers, limits and the settings of consultations from a configuration that was read anew. Running
    /// transfers go on, at the new pace. Everything else needs a restart.
    /// The log says which keys were taken, and which wait for that.
    pub fn reload(&self, config: &Config) {
        self.take(config);
    }

    /// Requests to read the configuration anew, from now on.
    pub(crate) fn reload_requests(&self) -> mpsc::Receiver<ReloadAnswer> {
        let (asked, requests) = mpsc::channel(1);
        // Only the one who runs the daemon asks, once.
        drop(self.shared.reloads.set(asked));
        requests
    }

    /// The same as [`Daemon::reload`], and what is left for a restart.
    pub(crate) fn take(&self, config: &Config) -> Reloaded {
        for event in changes(&self.shared.peers.all(), &config.peers) {
            self.shared.audit.tell(&Entry::new(Actor::Admin, event));
        }
        self.shared.peers.replace(config.peers.clone());
        self.shared.rates.reload(config, local_time());
        self.announce(&config.peers);
        let now = config.settings().to_vec();
        let before = std::mem::replace(&mut *lock(&self.shared.settings), now);
        let reloaded = Reloaded::between(self.shared.config.settings(), &before, config.settings());
        let Reloaded { taken, waiting } = &reloaded;
        tracing::info!(?taken, "peers, limits and consultations were read anew");
        if !waiting.is_empty() {
            tracing::warn!(?waiting, "these settings have changed, and wait for a restart");
        }
        reloaded
    }

    fn watch_inboxes(&mut self, mut jobs_done: mpsc::UnboundedReceiver<PathBuf>) {
        let mut nudges: HashMap<PathBuf, Arc<Notify>> = HashMap::new();
        for inbox in &self.shared.config.inboxes {
            let nudge = Arc::new(Notify::new());
            nudges.insert(inbox.path.clone(), Arc::clone(&nudge));
            let told = (Arc::clone(&self.shared.queue), self.shared.audit.clone(), Arc::clone(&self.shared.metrics));
            self.tasks.spawn(watch_inbox(inbox.clone(), told, nudge, self.shared.stopping.subscribe()));
        }
        let mut wanted = self.shared.inboxes_wanted.subscribe();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    Some(path) = jobs_done.recv() => {
                        if let Some(nudge) = nudges.get(&path) {
                            nudge.notify_one();
                        }
                    }
                    Ok(()) = wanted.changed() => nudges.values().for_each(|nudge| nudge.notify_one()),
                    else => return,
                }
            }
        });
    }

    /// Where other sites reach this one: UDP.
    #[must_use]
    pub fn quic_address(&self) -> SocketAddr {
        self.shared.quic_address
    }

    /// Where the admin listener is: TCP.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The token for requests that change something.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn admin_token(&self) -> std::io::Result<String> {
        let text = std::fs::read_to_string(self.shared.config.state_dir.join(ADMIN_TOKEN_FILE))?;
        Ok(text.trim().to_owned())
    }

    /// The key of this site.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.shared.identity.peer_id()
    }

    /// The fingerprint of this site's key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.peer_id().fingerprint()
    }

    /// Records and index.
    #[must_use]
    pub fn depot(&self) -> &Depot {
        &self.shared.depot
    }

    /// The socket and the sessions on it.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// What is to be sent.
    #[must_use]
    pub fn queue(&self) -> &Arc<Queue> {
        &self.shared.queue
    }

    /// The known sites.
    #[must_use]
    pub fn peers(&self) -> &Arc<Peers> {
        &self.shared.peers
    }

    /// Queues files, and all files below folders as they are now, for a peer; for `self`, to be put into this site's own
    /// store. Blocks on the disk.
    ///
    /// # Errors
    /// When there is no such peer, it has no address, or a path cannot be read.
    pub fn enqueue(
        &self,
        peer: &str,
        paths: &[PathBuf],
        urgency: imgxfer_core::priority::Priority,
    ) -> anyhow::Result<i64> {
        if peer != SELF {
            let known = self.shared.peers.named(peer).with_context(|| format!("there is no peer {peer:?}"))?;
            anyhow::ensure!(known.address.is_some(), "the peer {peer:?} has no address to send to");
        }
        let mut found = Vec::new();
        for path in paths {
            snapshot(path, &mut found).with_context(|| "a path cannot be read")?;
        }
        anyhow::ensure!(!found.is_empty(), "there is no file under the given paths");
        found.sort();
        found.dedup();
        Ok(self.shared.queue.push(&NewJob::new(peer, found).with_priority(urgency))?)
    }

    /// Resolves when somebody asked through the admin listener that the daemon stop.
    pub async fn drain_wanted(&self) {
        let mut wanted = self.shared.drain_wanted.subscribe();
        // An error means that the daemon is gone, which is what was asked for.
        drop(wanted.wait_for(|wanted| *wanted).await);
    }

    /// Stops in order: nothing new is begun, what runs is given the configured time, then everything ends.
    /// What did not end in time is resumed at the next start.
    pub async fn stop(mut self) {
        let deadline = tokio::time::Instant::now() + self.shared.config.drain;
        tracing::info!(drain_seconds = self.shared.config.drain.as_secs(), "stopping");
        self.shared.stopping.send_replace(true);
        self.shared.pairings.stop();
        // What is begun now could not end: the sender is told to come again.
        self.server.refuse_new();
        let mut lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        // What is being sent goes over the endpoint that the server closes at its end.
        if tokio::time::timeout_at(deadline, join_all(&mut lanes)).await.is_err() {
            tracing::warn!("what was being sent is put back; it is resumed at the next start");
            self.abort.send_replace(true);
            join_all(&mut lanes).await;
        }
        if let Some(stop) = self.stop_server.take() {
            // An error means that it has ended already.
            let _: Result<(), ()> = stop.send(());
        }
        if let Some(server) = self.serving.take() {
            let mut server = server;
            let left = deadline.max(tokio::time::Instant::now() + Duration::from_secs(5));
            if tokio::time::timeout_at(left, &mut server).await.is_err() {
                server.abort();
            }
        }
        self.shared.endpoint.close(CloseCode::ShuttingDown, "");
        if let Some(mut reading) = self.reading.take()
            && tokio::time::timeout(READING_END, &mut reading).await.is_err()
        {
            reading.abort();
        }
        self.tasks.shutdown().await;
        let audit = self.shared.audit.clone();
        audit.tell(&Entry::new(Actor::Daemon, Event::Stop { version: env!("CARGO_PKG_VERSION") }));
        if let Err(error) = blocking("end the audit", move || audit.close()).await {
            tracing::error!(%error, "the audit was not ended in order");
        }
        tracing::info!("stopped");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(server) = self.serving.take() {
            server.abort();
        }
        if let Some(reading) = self.reading.take() {
            reading.abort();
        }
        self.shared.pairings.stop();
        self.shared.endpoint.close(CloseCode::ShuttingDown, "");
        self.shared.audit.close();
    }
}

/// What reads and rewrites the store by itself, until the daemon stops.
async fn read_store(shared: Arc<Shared>) {
    tokio::join!(scrub(Arc::clone(&shared)), give_room_back(Arc::clone(&shared)), backfill(shared));
}

/// The start, for the audit.
fn started(config: &Config, identity: &Identity) -> Entry {
    let event = Event::Start {
        version: env!("CARGO_PKG_VERSION"),
        site: config.site_name.clone(),
        identity: identity.peer_id().fingerprint(),
        peers: config.peers.iter().map(PeerRow::of).collect(),
    };
    Entry::new(Actor::Daemon, event)
}

/// What is another now of the peers, for the audit.
fn changes(before: &[PeerConfig], now: &[PeerConfig]) -> Vec<Event> {
    let mut events = vec![Event::SettingsRead { peers: now.len() }];
    for old in before.iter().filter(|old| now.iter().all(|new| new.name != old.name)) {
        events.push(Event::PeerRemoved { peer: PeerRow::of(old) });
    }
    for new in now {
        let peer = PeerRow::of(new);
        match before.iter().find(|old| old.name == new.name).map(PeerRow::of) {
            None => events.push(Event::PeerAdded { peer }),
            Some(before) if before != peer => events.push(Event::RightsChanged { before, peer }),
            Some(_) => {}
        }
    }
    events
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

fn spawn_lanes(lanes: &Mutex<JoinSet<()>>, parts: &PushParts, peer: &str) {
    let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
    for kind in [LaneKind::Any, LaneKind::StatOnly] {
        lanes.spawn(Lane { parts: parts.clone(), peer: peer.to_owned(), kind, known: Default::default() }.run());
    }
}

async fn serve_new_peers(mut added: mpsc::UnboundedReceiver<String>, lanes: Arc<Mutex<JoinSet<()>>>, parts: PushParts) {
    let mut served = HashSet::new();
    while let Some(peer) = added.recv().await {
        // Without an address now, it may have one later.
        if parts.peers.dial(&peer).is_some() && served.insert(peer.clone()) {
            spawn_lanes(&lanes, &parts, &peer);
        }
    }
}

fn snapshot(path: &Path, found: &mut Vec<(PathBuf, Stamp)>) -> std::io::Result<()> {
    let metadata = path.metadata()?;
    if let Some(stamp) = Stamp::of(&metadata) {
        found.push((std::path::absolute(path)?, stamp));
        return Ok(());
    }
    for entry in files::list(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // Links inside are left out, so that nothing outside is sent by mistake.
        if metadata.is_dir() || metadata.is_file() {
            snapshot(&entry.path(), found)?;
        }
    }
    Ok(())
}
