//! Opens what a daemon stands on: identity, socket, store and token. Errors say what to do.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use imgxfer_core::codec::Registry;
use imgxfer_core::depot::Depot;
use imgxfer_core::ids::PeerId;
use imgxfer_core::store::{FsOptions, RecoverReport, StoreError};
use imgxfer_core::transport::{Endpoint, EndpointConfig, Identity, PeerRefusal, Refused, TransportError, Trust};
use imgxfer_core::work::blocking;

use crate::app::{ADMIN_TOKEN_FILE, Options};
use crate::audit::{Actor, Audit, Entry, Event};
use crate::config::{Config, IdentityFiles};
use crate::metrics::Metrics;
use crate::{files, spare};

pub(crate) fn identity(config: &Config) -> anyhow::Result<Identity> {
    match &config.identity {
        IdentityFiles::Folder(folder) => {
            files::private_folder(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
            Identity::load_or_create(folder).with_context(|| format!("cannot use the identity in {}", folder.display()))
        }
        IdentityFiles::Files { certificate, key } => {
            use std::os::unix::fs::PermissionsExt as _;
            let read =
                |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
            let mode = std::fs::metadata(key).map_or(0, |m| m.permissions().mode() & 0o7777);
            anyhow::ensure!(
                mode & 0o077 == 0,
                "{} has mode {mode:04o} and others can read the private key; run: chmod 600 {}",
                key.display(),
                key.display()
            );
            Identity::from_pem(&read(certificate)?, &read(key)?)
                .with_context(|| format!("cannot use {} with {}", certificate.display(), key.display()))
        }
    }
}

/// Nobody, or whoever the configured authorities vouch for; pinned keys come with the peers.
pub(crate) fn trust(config: &Config) -> anyhow::Result<Trust> {
    let trust = Trust::new();
    if let Some(file) = &config.authorities {
        let pem = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the certificate authorities in {}", file.display()))?;
        let set = trust.set_authorities_pem(&pem);
        set.with_context(|| format!("cannot use the certificate authorities in {}", file.display()))?;
    }
    Ok(trust)
}

/// Who a connection that was turned away said to be, with a proof or without.
const fn key_of(error: &TransportError) -> Option<PeerId> {
    match error {
        TransportError::Peer(
            PeerRefusal::Unknown { peer }
            | PeerRefusal::Blocked { peer }
            | PeerRefusal::WrongAuthority { peer }
            | PeerRefusal::WrongPurpose { peer }
            | PeerRefusal::Expired { peer, .. }
            | PeerRefusal::NotYetValid { peer, .. }
            | PeerRefusal::WrongName { peer, .. },
        ) => Some(*peer),
        _ => None,
    }
}

pub(crate) fn endpoint(
    config: &Config,
    options: Options,
    identity: &Identity,
    trust: Trust,
    (metrics, audit): (Arc<Metrics>, Arc<OnceLock<Audit>>),
) -> anyhow::Result<Endpoint> {
    let turned_away = move |refused: &Refused| {
        let reason = match &refused.error {
            TransportError::Peer(PeerRefusal::Unknown { .. } | PeerRefusal::NotPaired { .. }) => "unknown",
            TransportError::Peer(PeerRefusal::Blocked { .. }) => "blocked",
            TransportError::Peer(PeerRefusal::Expired { .. } | PeerRefusal::NotYetValid { .. }) => "validity",
            TransportError::Peer(_) => "certificate",
            TransportError::Busy => "busy",
            _ => "handshake",
        };
        metrics.refused(reason);
        if let Some(audit) = audit.get() {
            let event = Event::Session { address: refused.address.to_string() };
            audit.tell_stranger(&Entry::new(Actor::Stranger { key: key_of(&refused.error) }, event).refused(reason));
        }
        let problem = match &refused.error {
            TransportError::Version => {
                "somebody tried to pair while no invitation is open, or has another version".to_owned()
            }
            error => error.to_string(),
        };
        tracing::warn!(address = %refused.address, problem, "a connection was turned away");
    };
    let settings = EndpointConfig::new(config.quic, identity.clone(), trust, imgxfer_core::ALPN)
        .with_profile(config.profile)
        .with_tcp_fallback(config.tcp_fallback)
        .with_congestion(config.congestion.clone())
        .with_audit(turned_away);
    let settings = match config.mtu {
        Some(bytes) => settings.with_mtu_upper(bytes),
        None => settings,
    };
    let settings = match config.dscp {
        Some(dscp) => settings.with_dscp(dscp),
        None => settings,
    };
    let settings = match options.endpoint {
        Some(hook) => hook(settings),
        None => settings,
    };
    match options.socket {
        Some(socket) => Ok(Endpoint::with_socket(settings, socket)?),
        None => Endpoint::bind(settings).map_err(|error| match error {
            TransportError::Bind { address, cause } if cause.kind() == std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "UDP {address} is in use: another imgxferd may be running; stop it, or set listen.quic to another port"
            ),
            other => anyhow::Error::new(other),
        }),
    }
}

pub(crate) async fn depot(config: &Config) -> anyhow::Result<Depot> {
    let folder = config.store.clone();
    let options = FsOptions { reserve_bytes: config.reserve_bytes, read_only: false };
    let open = move || -> Result<Depot, StoreError> {
        files::private_folder(&folder).map_err(|source| StoreError::Io { what: "make its folder", source })?;
        let (depot, report) = Depot::open(&folder, options, Registry::default())?;
        tell(&report);
        Ok(depot)
    };
    let opened = blocking("open the store", open).await?;
    opened.with_context(|| format!("cannot open the store in {}", config.store.display()))
}

/// Tends the room set aside beside the queue and beside the store. That it cannot be is no reason not to serve.
pub(crate) fn tend_spare(config: &Config) {
    for folder in [&config.state_dir, &config.store] {
        if folder.is_dir()
            && let Err(error) = spare::tend(folder)
        {
            tracing::debug!(%error, "no room could be set aside");
        }
    }
}

/// Says what the index learned from the packs.
fn tell(report: &RecoverReport) {
    let RecoverReport { notes, instances, instances_missing, notes_damaged, .. } = *report;
    if notes > 0 {
        tracing::info!(notes, instances, "the index learned from the packs what it did not know");
    }
    if instances_missing > 0 || notes_damaged > 0 {
        tracing::error!(
            instances_missing,
            notes_damaged,
            "packs that the store needs are missing or damaged; `imgxfer verify --store` says which"
        );
    }
}

pub(crate) fn admin_token(state_dir: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = state_dir.join(ADMIN_TOKEN_FILE);
    let cannot = || format!("cannot use the admin token in {}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let mode = std::fs::metadata(&path).with_context(cannot)?.permissions().mode() & 0o7777;
            anyhow::ensure!(
                mode & 0o077 == 0 && text.trim().len() >= 32,
                "{} is too short, or others can read it (mode {mode:04o}); remove it: a new one is made",
                path.display()
            );
            Ok(text.trim().to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let token = data_encoding::HEXLOWER.encode(&imgxfer_core::transport::random_bytes::<32>()?);
            files::write_private(&path, format!("{token}\n").as_bytes()).with_context(cannot)?;
            Ok(token)
        }
        Err(error) => Err(error).with_context(cannot),
    }
}
