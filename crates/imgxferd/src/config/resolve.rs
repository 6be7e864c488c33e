//! Second step: raw settings into checked types. Refuses what would weaken safety without saying so.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use imgxfer_core::codec::LevelChoice;
use imgxfer_core::ids::PeerId;
use imgxfer_core::priority::Priority;
use imgxfer_core::transport::{Congestion, Dscp, EndpointConfig, Profile};
use imgxfer_core::units::mbit_of_bytes;
use toml::Spanned;

use super::origin::{ConfigError, Origin, Place};
use super::raw;
use super::read::{Layers, Merged, Sourced};
use super::schedule::{self, Schedule};
use super::show::Setting;
use super::types::{
    After, AuditConfig, COMPACT_BYTES_A_SECOND, Config, Consultation, IdentityFiles, Inbox, LogFormat, PeerConfig,
    PeerKey, PeerRights, SELF, Sees, check_duplicate, check_name,
};

/// Less free space than this cannot keep the index alive when the disk fills up.
const RESERVE_BYTES_MIN: u64 = 16 << 20;
/// Slowest and fastest reading of the whole store: at the slowest, a week for 39 GB.
const SCRUB_BYTES_MIN: u64 = 65_536;
const SCRUB_BYTES_MAX: u64 = 10_000_000_000;
/// A hundred years.
const KEEP_DAYS_MAX: u64 = 36_500;

type Result<T> = std::result::Result<T, ConfigError>;

/// The state folder alone: the rest of the configuration may be in it.
pub(super) fn admin_listen(layers: &Layers) -> Result<SocketAddr> {
    address("admin.listen", layers.admin_listen.as_ref(), Config::defaults().admin)
}

pub(super) fn state_dir(layers: &Layers) -> Result<PathBuf> {
    let default = Config::defaults().state_dir;
    layers.state_dir.as_ref().map_or(Ok(default), |s| path_at("state_dir", s, &s.value))
}

/// A path as written at one place, made absolute.
fn path_at<T>(key: &str, at: &Sourced<T>, text: &str) -> Result<PathBuf> {
    if text.is_empty() {
        return Err(ConfigError::new(at.origin.clone(), key, "the path is empty; write one, or remove the setting"));
    }
    let path = at.place.folder().unwrap_or_else(|| Path::new("")).join(text);
    let absolute = std::path::absolute(&path)
        .map_err(|error| ConfigError::new(at.origin.clone(), key, format!("cannot be made absolute ({error})")))?;
    // `..` is folded by text, so that folders can be compared.
    let mut clean = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    Ok(clean)
}

fn path(key: &str, value: Option<&Sourced<String>>) -> Result<Option<PathBuf>> {
    value.map(|s| path_at(key, s, &s.value)).transpose()
}

fn address(key: &str, value: Option<&Sourced<String>>, default: SocketAddr) -> Result<SocketAddr> {
    let Some(s) = value else { return Ok(default) };
    s.value.parse().map_err(|_| {
        let problem = format!("{:?} is not an IP address and port; write for example \"{default}\"", s.value);
        ConfigError::new(s.origin.clone(), key, problem)
    })
}

fn one_of<T: Copy>(key: &str, value: Option<&Sourced<String>>, default: T, choices: &[(&str, T)]) -> Result<T> {
    let Some(s) = value else { return Ok(default) };
    choose(key, &s.origin, &s.value, choices)
}

fn choose<T: Copy>(key: &str, origin: &Origin, value: &str, choices: &[(&str, T)]) -> Result<T> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        ConfigError::new(origin.clone(), key, format!("{value:?} is none of {}", names.join(", ")))
    })
}

fn number(key: &str, value: Option<&Sourced<u64>>, default: u64, range: (u64, u64)) -> Result<u64> {
    let Some(s) = value else { return Ok(default) };
    in_range(key, &s.origin, s.value, range)
}

fn in_range(key: &str, origin: &Origin, value: u64, (least, most): (u64, u64)) -> Result<u64> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(origin.clone(), key, format!("{value} is not within {least} and {most}")))
}

/// Where imgxfer is to find out.
const AUTO: &str = "auto";
const PROFILES: [(&str, Profile); 3] =
    [("auto", Profile::Auto), ("copper", Profile::Copper), ("fibre", Profile::Fibre)];
/// Whether it is Cubic.
const CONGESTIONS: [(&str, bool); 2] = [("own", false), ("cubic", true)];
const FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
const PRIORITIES: [(&str, Priority); 3] =
    [("stat", Priority::Stat), ("routine", Priority::Routine), ("background", Priority::Background)];

fn name_of<T: PartialEq>(choices: &[(&'static str, T)], value: &T) -> &'static str {
    choices.iter().find(|(_, choice)| choice == value).map_or("", |(name, _)| name)
}

pub(super) fn resolve(mut layers: Layers) -> Result<Config> {
    let mut config = Config::defaults();
    config.state_dir = state_dir(&layers)?;
    if let Some(name) = &layers.site_name {
        let fits = !name.value.trim().is_empty() && name.value.chars().count() <= 64;
        if !fits || name.value.chars().any(char::is_control) {
            let problem = "a site's name has 1 to 64 printable characters";
            return Err(ConfigError::new(name.origin.clone(), "site.name", problem));
        }
        config.site_name.clone_from(&name.value);
    }
    config.quic = address("listen.quic", layers.listen_quic.as_ref(), config.quic)?;
    config.profile = one_of("listen.profile", layers.listen_profile.as_ref(), config.profile, &PROFILES)?;
    config.tcp_fallback = layers.listen_tcp_fallback.as_ref().is_none_or(|s| s.value);
    line(&mut config, &layers)?;
    admin(&mut config, &layers)?;
    store(&mut config, &layers)?;
    config.audit = audit(&config, &layers)?;
    config.identity = identity(&config, &layers)?;
    config.authorities = path("trust.authorities", layers.trust_authorities.as_ref())?;
    let transfers = number("limits.transfers", layers.limits_transfers.as_ref(), 16, (1, 1024))?;
    config.transfers = imgxfer_core::units::to_usize(transfers);
    let drain = number("limits.drain_seconds", layers.limits_drain_seconds.as_ref(), 60, (0, 3600))?;
    config.drain = Duration::from_secs(drain);
    rates(&mut config, &mut layers)?;
    config.log_format = one_of("log.format", layers.log_format.as_ref(), config.log_format, &FORMATS)?;
    if let Some(level) = &layers.log_level {
        config.log_level = log_level(level)?;
    }
    config.settings = settings(&config, &layers);
    for raw in std::mem::take(&mut layers.peers) {
        let peer = peer(raw, config.authorities.is_some())?;
        check_duplicate(&config.peers, &peer)?;
        config.settings.extend(peer_settings(&peer));
        config.peers.push(peer);
    }
    check_sees(&config)?;
    check_retention(&config, &layers)?;
    for raw in layers.inboxes {
        let inbox = inbox(&raw, &config)?;
        config.settings.extend(inbox_settings(&inbox, &raw.origin));
        config.inboxes.push(inbox);
    }
    Ok(config)
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// A log filter with a level for everything in it: a word that is no level would be taken for a target, and silence the
/// rest.
fn log_level(level: &Sourced<String>) -> Result<String> {
    let known = |level: &str| LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known));
    let wrong = |part: &str| {
        let problem = format!(
            "{part:?} is not allowed; write {}, or TARGET=LEVEL pairs such as \"info,imgxfer_core=debug\" (a TARGET may be off)",
            LEVELS.join(", ")
        );
        Err(ConfigError::new(level.origin.clone(), "log.level", problem))
    };
    let mut for_all = false;
    for part in level.value.split(',').map(str::trim) {
        match part.split_once('=') {
            None if known(part) => for_all = true,
            Some((target, level))
                if !target.trim().is_empty() && (known(level) || level.eq_ignore_ascii_case("off")) => {}
            _ => return wrong(part),
        }
    }
    let text = if for_all { level.value.clone() } else { format!("info,{}", level.value) };
    // What is checked above is what the filter takes.
    if text.parse::<tracing_subscriber::filter::Targets>().is_err() { wrong(&level.value) } else { Ok(text) }
}

fn admin(config: &mut Config, layers: &Layers) -> Result<()> {
    config.admin = address("admin.listen", layers.admin_listen.as_ref(), config.admin)?;
    let allow_remote = layers.admin_allow_remote.as_ref().is_some_and(|s| s.value);
    if !config.admin.ip().is_loopback() && !allow_remote {
        let origin = layers.admin_listen.as_ref().map_or(Origin::Default, |s| s.origin.clone());
        let problem = format!(
            "{} is not a loopback address: whoever reaches it sees this site's status and metrics, over plain HTTP. \
             Use 127.0.0.1, or write allow_remote = true under [admin] if a firewall guards it",
            config.admin
        );
        return Err(ConfigError::new(origin, "admin.listen", problem));
    }
    if let Some(hosts) = &layers.admin_hosts {
        if let Some(bad) = hosts.value.iter().find(|host| host.is_empty() || host.contains(['*', '/', ':', ' '])) {
            let problem = format!("{bad:?} is not a host name; write names without port or wildcard");
            return Err(ConfigError::new(hosts.origin.clone(), "admin.hosts", problem));
        }
        config.admin_hosts = hosts.value.iter().map(|host| host.to_ascii_lowercase()).collect();
    }
    Ok(())
}

fn store(config: &mut Config, layers: &Layers) -> Result<()> {
    let store = path("store.path", layers.store_path.as_ref())?;
    config.store = store.unwrap_or_else(|| config.state_dir.join("store"));
    if let Some(reserve) = &layers.store_reserve_bytes {
        if reserve.value < RESERVE_BYTES_MIN {
            let problem = format!(
                "{} bytes are too few to keep the index alive when the disk fills up; keep {RESERVE_BYTES_MIN} or more, or remove the setting",
                reserve.value
            );
            return Err(ConfigError::new(reserve.origin.clone(), "store.reserve_bytes", problem));
        }
        config.reserve_bytes = Some(reserve.value);
    }
    let days = number("store.spool_ttl_days", layers.store_spool_ttl_days.as_ref(), 7, (1, 365))?;
    config.spool_ttl = Duration::from_secs(days * 86_400);
    let scrub = layers.store_scrub_bytes_per_second.as_ref();
    if scrub.is_some_and(|scrub| scrub.value > 0) {
        let rate = number("store.scrub_bytes_per_second", scrub, 0, (SCRUB_BYTES_MIN, SCRUB_BYTES_MAX))?;
        config.scrub_bytes_a_second = Some(rate);
    }
    let compact = layers.store_compact_bytes_per_second.as_ref();
    config.compact_bytes_a_second = match compact.map(|compact| compact.value) {
        Some(0) => None,
        _ => {
            let bounds = (SCRUB_BYTES_MIN, SCRUB_BYTES_MAX);
            Some(number("store.compact_bytes_per_second", compact, COMPACT_BYTES_A_SECOND, bounds)?)
        }
    };
    config.recode = layers.store_recode.as_ref().is_none_or(|s| s.value);
    if let Some(days) = &layers.store_keep_days {
        let days = number("store.keep_days", Some(days), 1, (1, KEEP_DAYS_MAX))?;
        config.retention.keep = Some(Duration::from_secs(days * 86_400));
    }
    config.retention.at = layers.store_keep_at.as_ref().map(|at| at.value.clone());
    Ok(())
}

/// What is to be removed by itself must be elsewhere first.
fn check_retention(config: &Config, layers: &Layers) -> Result<()> {
    if let Some(at) = &layers.store_keep_at {
        let problem = match config.peer(&at.value).map(|peer| peer.address.is_some()) {
            Some(true) => return Ok(()),
            Some(false) => format!("the peer {:?} has no address: add address = \"HOST:PORT\" to it", at.value),
            None => format!("there is no peer {:?}; add it, or correct the name", at.value),
        };
        return Err(ConfigError::new(at.origin.clone(), "store.keep_at", problem));
    }
    let problem =
        "needs store.keep_at = \"PEER\": nothing is removed before that peer has signed that it holds the same";
    if let Some(days) = &layers.store_keep_days {
        return Err(ConfigError::new(days.origin.clone(), "store.keep_days", problem));
    }
    match config.peers.iter().find(|peer| peer.keep.is_some()) {
        Some(peer) => Err(ConfigError::new(peer.origin.clone(), "peers.keep_days", problem)),
        None => Ok(()),
    }
}

fn audit(config: &Config, layers: &Layers) -> Result<AuditConfig> {
    let enabled = layers.audit_enabled.as_ref().is_none_or(|s| s.value);
    let required = layers.audit_required.as_ref();
    if let Some(required) = required.filter(|required| required.value && !enabled) {
        let problem = "is true, and audit.enabled is false: remove one of the two";
        return Err(ConfigError::new(required.origin.clone(), "audit.required", problem));
    }
    let days = layers.audit_keep_days.as_ref();
    let days = days.map(|days| in_range("audit.keep_days", &days.origin, days.value, (1, 36_500))).transpose()?;
    Ok(AuditConfig {
        enabled,
        path: path("audit.path", layers.audit_path.as_ref())?.unwrap_or_else(|| config.state_dir.join("audit")),
        keep: days.map(|days| Duration::from_secs(days * 86_400)),
        required: required.is_some_and(|s| s.value),
    })
}

fn rates(config: &mut Config, layers: &mut Layers) -> Result<()> {
    if let Some(rates) = &mut layers.limits_rates {
        config.rates = Schedule::resolve("limits.rates", &rates.place, std::mem::take(&mut rates.value))?;
    }
    let rate = |key: &str, mbps: &Merged<f64>| {
        let Some(mbps) = mbps else { return Ok(None) };
        let wrong = |problem| ConfigError::new(mbps.origin.clone(), key, problem);
        schedule::check_mbps(mbps.value).map(Some).map_err(wrong)
    };
    let usual = Consultation::default();
    let minutes = layers.consultation_minutes.as_ref();
    let minutes = number("consultation.minutes", minutes, usual.time.as_secs() / 60, (1, Consultation::MINUTES_MAX))?;
    config.consultation = Consultation {
        bytes_a_second: rate("consultation.mbps", &layers.consultation_mbps)?.unwrap_or(usual.bytes_a_second),
        stat_bytes_a_second: rate("consultation.stat_mbps", &layers.consultation_stat_mbps)?,
        time: Duration::from_secs(minutes * 60),
    };
    Ok(())
}

fn identity(config: &Config, layers: &Layers) -> Result<IdentityFiles> {
    let certificate = path("identity.certificate", layers.identity_certificate.as_ref())?;
    let key = path("identity.key", layers.identity_key.as_ref())?;
    let folder = path("identity.dir", layers.identity_dir.as_ref())?;
    let missing = |given: &Merged<String>, lacking: &str, what: &str| {
        let origin = given.as_ref().map_or(Origin::Default, |s| s.origin.clone());
        Err(ConfigError::new(origin, format!("identity.{lacking}"), format!("is missing: {what} belong together")))
    };
    match (certificate, key, folder) {
        (None, None, folder) => Ok(IdentityFiles::Folder(folder.unwrap_or_else(|| config.state_dir.join("identity")))),
        (Some(certificate), Some(key), None) => Ok(IdentityFiles::Files { certificate, key }),
        (Some(_), None, _) => missing(&layers.identity_certificate, "key", "certificate and key"),
        (None, Some(_), _) => missing(&layers.identity_key, "certificate", "certificate and key"),
        (Some(_), Some(_), Some(_)) => {
            let origin = layers.identity_dir.as_ref().map_or(Origin::Default, |s| s.origin.clone());
            let problem = "stands beside certificate and key: keep the folder, or the two files";
            Err(ConfigError::new(origin, "identity.dir", problem))
        }
    }
}

fn peer(raw: Sourced<raw::Peer>, has_authorities: bool) -> Result<PeerConfig> {
    let Sourced { value: raw, place, origin } = raw;
    let wrong = |key: &str, span: std::ops::Range<usize>, problem: String| {
        Err(ConfigError::new(place.at(span), format!("peers.{key}"), problem))
    };
    let name = raw.name.as_ref().clone();
    if let Err(problem) = check_name(&name) {
        return wrong("name", raw.name.span(), problem);
    }
    let key = match (&raw.key, &raw.subject) {
        (Some(key), None) => match PeerId::parse(key.as_ref()) {
            Ok(id) => PeerKey::Pinned(id),
            Err(_) => {
                let problem = "not a fingerprint; copy it from `imgxfer id` at the other site, beginning with ix-";
                return wrong("key", key.span(), problem.to_owned());
            }
        },
        (None, Some(subject)) if !has_authorities => {
            let problem = "needs certificate authorities: write authorities = \"ca.pem\" under [trust], or name the peer by its key";
            return wrong("subject", subject.span(), problem.to_owned());
        }
        (None, Some(subject)) if subject.as_ref().trim().is_empty() => {
            return wrong(
                "subject",
                subject.span(),
                "is empty: it would fit nobody; write the certificate's subject".to_owned(),
            );
        }
        (None, Some(subject)) => PeerKey::Subject(subject.as_ref().clone()),
        (Some(_), Some(subject)) => {
            return wrong("subject", subject.span(), "stands beside key: keep one of the two".to_owned());
        }
        (None, None) => {
            let problem =
                "add key = \"ix-...\" (its fingerprint), or subject = \"CN=...\" with certificate authorities";
            return Err(ConfigError::new(origin, "peers.key", problem));
        }
    };
    if let Some(address) = &raw.address
        && !is_host_and_port(address.as_ref())
    {
        let problem = format!("{:?} is not HOST:PORT; write for example \"cloud.example:11120\"", address.as_ref());
        return wrong("address", address.span(), problem);
    }
    let rights = match &raw.rights {
        None => PeerRights::default(),
        Some(rights) => match PeerRights::parse(rights.as_ref()) {
            Ok(parsed) => parsed,
            Err(unknown) => {
                let problem =
                    format!("{unknown:?} is no right; there are \"send\", \"query\", \"pull\" and \"delete\"");
                return wrong("rights", rights.span(), problem);
            }
        },
    };
    let sees = match raw.sees.map(|sees| (sees.span(), sees.into_inner())) {
        None => Sees::Own,
        Some((span, sees)) => match self::sees(sees) {
            Ok(sees) => sees,
            Err(problem) => return wrong("sees", span, problem),
        },
    };
    let level = match raw.level.map(|level| (level.span(), level.into_inner())) {
        None => LevelChoice::Auto,
        Some((span, level)) => {
            let text = match level {
                raw::Level::Word(word) => word,
                raw::Level::Number(number) => number.to_string(),
            };
            match text.parse() {
                Ok(level) => level,
                Err(_) => {
                    return wrong("level", span, format!("{text:?} is neither \"auto\" nor a number from 0 to 4"));
                }
            }
        }
    };
    let priority = match &raw.priority {
        None => Priority::Routine,
        Some(text) => choose("peers.priority", &place.at(text.span()), text.as_ref(), &PRIORITIES)?,
    };
    let limits = Schedule::resolve("peers.limits", &place, raw.limits)?;
    let keep = match &raw.keep_days {
        None => None,
        Some(days) if (1..=KEEP_DAYS_MAX).contains(days.as_ref()) => Some(Duration::from_secs(days.as_ref() * 86_400)),
        Some(days) => return wrong("keep_days", days.span(), format!("must be from 1 to {KEEP_DAYS_MAX}")),
    };
    let quota_bytes = raw.quota_bytes.map(Spanned::into_inner);
    let address = raw.address.map(Spanned::into_inner);
    Ok(PeerConfig { name, key, address, rights, sees, level, priority, limits, keep, quota_bytes, origin })
}

/// What a peer sees, as far as that needs no look at other peers.
fn sees(written: raw::Sees) -> std::result::Result<Sees, String> {
    match written {
        raw::Sees::Word(word) => match word.as_str() {
            "own" => Ok(Sees::Own),
            "all" => Ok(Sees::All),
            _ => Err(format!("{word:?} is neither \"own\" nor \"all\" nor a list of peers and sources")),
        },
        raw::Sees::List(list) => Sees::of_list(&list),
    }
}

pub(crate) fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_is_sound = !host.is_empty() && (bracketed || !host.contains(':')) && !host.contains(char::is_whitespace);
    host_is_sound && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// `sees` may name peers in any order, but each must be there and be known by its key.
fn check_sees(config: &Config) -> Result<()> {
    for peer in &config.peers {
        for name in peer.sees.peers() {
            let problem = match config.peer(name).map(|other| &other.key) {
                Some(PeerKey::Pinned(_)) => continue,
                Some(PeerKey::Subject(_)) => {
                    format!(
                        "{name:?} is named by its subject, and its key may change: name it by its key, or use \"all\""
                    )
                }
                None => format!("there is no peer {name:?}; add it, or correct the name"),
            };
            return Err(ConfigError::new(peer.origin.clone(), "peers.sees", problem));
        }
    }
    Ok(())
}

fn inbox(raw: &Sourced<raw::Inbox>, config: &Config) -> Result<Inbox> {
    let wrong = |key: &str, span: std::ops::Range<usize>, problem: String| {
        Err(ConfigError::new(raw.place.at(span), format!("inbox.{key}"), problem))
    };
    let value = &raw.value;
    let path = path_at("inbox.path", raw, value.path.as_ref())?;
    for other in &config.inboxes {
        if path.starts_with(&other.path) || other.path.starts_with(&path) {
            let problem =
                format!("overlaps the inbox {}: a file would be sent twice; keep them apart", other.path.display());
            return wrong("path", value.path.span(), problem);
        }
    }
    for (what, folder) in [("state folder", &config.state_dir), ("store", &config.store), ("audit", &config.audit.path)]
    {
        if path.starts_with(folder) || folder.starts_with(&path) {
            let problem = format!("overlaps the {what} {}: keep them apart", folder.display());
            return wrong("path", value.path.span(), problem);
        }
    }
    let to = value.to.as_ref().map(|to| destination(to, &raw.place, config)).transpose()?;
    let priority = match &value.priority {
        None => to.map_or(Priority::Routine, |peer| peer.priority),
        Some(text) => choose("inbox.priority", &raw.place.at(text.span()), text.as_ref(), &PRIORITIES)?,
    };
    let seconds = |key: &str, value: &Option<Spanned<u64>>, default: u64, most: u64| match value {
        None => Ok(Duration::from_secs(default)),
        Some(s) => in_range(key, &raw.place.at(s.span()), *s.as_ref(), (1, most)).map(Duration::from_secs),
    };
    let after = match &value.after {
        None => After::Keep,
        Some(text) => match (text.as_ref().as_str(), text.as_ref().strip_prefix("move:")) {
            ("keep", _) => After::Keep,
            ("delete", _) => After::Delete,
            (_, Some(folder)) => {
                let folder = path_at("inbox.after", raw, folder)?;
                if folder.starts_with(&path) {
                    let problem =
                        "the files would move to a place inside the inbox and be sent again; name a folder outside it";
                    return wrong("after", text.span(), problem.to_owned());
                }
                After::Move(folder)
            }
            _ => {
                let problem = "write \"keep\", \"delete\" or \"move:FOLDER\"";
                return wrong("after", text.span(), problem.to_owned());
            }
        },
    };
    Ok(Inbox {
        settle: seconds("inbox.settle_seconds", &value.settle_seconds, 10, 86_400)?,
        hold: seconds("inbox.hold_seconds", &value.hold_seconds, 600, 86_400)?,
        poll: seconds("inbox.poll_seconds", &value.poll_seconds, 30, 3600)?,
        all_files: value.all_files.as_ref().is_some_and(|flag| *flag.as_ref()),
        path,
        to: to.map(|peer| peer.name.clone()),
        priority,
        after,
    })
}

/// The peer that an inbox sends to.
fn destination<'a>(to: &Spanned<String>, place: &Place, config: &'a Config) -> Result<&'a PeerConfig> {
    let name = to.as_ref();
    let problem = match config.peer(name) {
        Some(peer) if peer.address.is_some() => return Ok(peer),
        Some(_) => format!("the peer {name:?} has no address to send to; give it one under [[peers]]"),
        None if name == SELF => "leave `to` out: the files are put into this site's own store then".to_owned(),
        None => format!(
            "there is no peer {name:?}; add it under [[peers]], correct the name, or leave `to` out to put the files into this site's own store"
        ),
    };
    Err(ConfigError::new(place.at(to.span()), "inbox.to", problem))
}

/// What packets are like and how fast they go.
fn line(config: &mut Config, layers: &Layers) -> Result<()> {
    config.mtu = layers.listen_mtu.as_ref().map(mtu).transpose()?.flatten();
    if one_of("listen.congestion", layers.listen_congestion.as_ref(), false, &CONGESTIONS)? {
        config.congestion = Congestion::Cubic;
    }
    if let Some(s) = &layers.listen_dscp {
        let value = in_range("listen.dscp", &s.origin, s.value, (0, Dscp::MAX.into()))?;
        config.dscp = u8::try_from(value).ok().and_then(Dscp::new);
    }
    Ok(())
}

/// `None` for what the route carries.
fn mtu(s: &Sourced<raw::Mtu>) -> Result<Option<u16>> {
    let (least, most) = (EndpointConfig::MTU_DEFAULT, EndpointConfig::MTU_JUMBO);
    match &s.value {
        raw::Mtu::Word(word) if word == AUTO => Ok(None),
        raw::Mtu::Word(word) => {
            let problem = format!("\"{word}\" is neither \"{AUTO}\" nor a number from {least} to {most}");
            Err(ConfigError::new(s.origin.clone(), "listen.mtu", problem))
        }
        raw::Mtu::Bytes(bytes) => {
            let bytes = in_range("listen.mtu", &s.origin, *bytes, (least.into(), most.into()))?;
            Ok(u16::try_from(bytes).ok())
        }
    }
}

fn origin_of<T>(value: Option<&Sourced<T>>) -> Origin {
    value.map_or(Origin::Default, |s| s.origin.clone())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn mtu_shown(mtu: Option<u16>) -> toml::Value {
    mtu.map_or_else(|| AUTO.into(), |bytes| i64::from(bytes).into())
}

fn settings(config: &Config, layers: &Layers) -> Vec<Setting> {
    let mut out = vec![
        Setting::new("site.name", config.site_name.clone(), origin_of(layers.site_name.as_ref())),
        Setting::new("state_dir", text(&config.state_dir), origin_of(layers.state_dir.as_ref())),
        Setting::new("listen.quic", config.quic.to_string(), origin_of(layers.listen_quic.as_ref())),
        Setting::new("listen.profile", name_of(&PROFILES, &config.profile), origin_of(layers.listen_profile.as_ref())),
        Setting::new("listen.tcp_fallback", config.tcp_fallback, origin_of(layers.listen_tcp_fallback.as_ref())),
        Setting::new("listen.mtu", mtu_shown(config.mtu), origin_of(layers.listen_mtu.as_ref())),
        Setting::new(
            "listen.congestion",
            name_of(&CONGESTIONS, &matches!(config.congestion, Congestion::Cubic)),
            origin_of(layers.listen_congestion.as_ref()),
        ),
        Setting::new("admin.listen", config.admin.to_string(), origin_of(layers.admin_listen.as_ref())),
        Setting::new(
            "admin.allow_remote",
            layers.admin_allow_remote.as_ref().is_some_and(|s| s.value),
            origin_of(layers.admin_allow_remote.as_ref()),
        ),
        Setting::new("admin.hosts", config.admin_hosts.clone(), origin_of(layers.admin_hosts.as_ref())),
        Setting::new("audit.enabled", config.audit.enabled, origin_of(layers.audit_enabled.as_ref())),
        Setting::new("audit.path", text(&config.audit.path), origin_of(layers.audit_path.as_ref())),
        Setting::new("audit.required", config.audit.required, origin_of(layers.audit_required.as_ref())),
        Setting::new("store.path", text(&config.store), origin_of(layers.store_path.as_ref())),
        Setting::new(
            "store.spool_ttl_days",
            whole(config.spool_ttl.as_secs() / 86_400),
            origin_of(layers.store_spool_ttl_days.as_ref()),
        ),
        Setting::new(
            "store.scrub_bytes_per_second",
            whole(config.scrub_bytes_a_second.unwrap_or(0)),
            origin_of(layers.store_scrub_bytes_per_second.as_ref()),
        ),
        Setting::new(
            "store.compact_bytes_per_second",
            whole(config.compact_bytes_a_second.unwrap_or(0)),
            origin_of(layers.store_compact_bytes_per_second.as_ref()),
        ),
        Setting::new("store.recode", config.recode, origin_of(layers.store_recode.as_ref())),
        Setting::new(
            "limits.transfers",
            whole(imgxfer_core::units::to_u64(config.transfers)),
            origin_of(layers.limits_transfers.as_ref()),
        ),
        Setting::new(
            "limits.drain_seconds",
            whole(config.drain.as_secs()),
            origin_of(layers.limits_drain_seconds.as_ref()),
        ),
        Setting::new("limits.rates", config.rates.texts(), origin_of(layers.limits_rates.as_ref())),
        Setting::new(
            "consultation.mbps",
            mbit_of_bytes(config.consultation.bytes_a_second),
            origin_of(layers.consultation_mbps.as_ref()),
        ),
        Setting::new(
            "consultation.minutes",
            whole(config.consultation.time.as_secs() / 60),
            origin_of(layers.consultation_minutes.as_ref()),
        ),
        Setting::new("log.format", name_of(&FORMATS, &config.log_format), origin_of(layers.log_format.as_ref())),
        Setting::new("log.level", config.log_level.clone(), origin_of(layers.log_level.as_ref())),
    ];
    if let Some(dscp) = config.dscp {
        out.push(Setting::new("listen.dscp", i64::from(dscp.get()), origin_of(layers.listen_dscp.as_ref())));
    }
    if let Some(bytes) = config.consultation.stat_bytes_a_second {
        let origin = origin_of(layers.consultation_stat_mbps.as_ref());
        out.push(Setting::new("consultation.stat_mbps", mbit_of_bytes(bytes), origin));
    }
    if let Some(keep) = config.audit.keep {
        let days = whole(keep.as_secs() / 86_400);
        out.push(Setting::new("audit.keep_days", days, origin_of(layers.audit_keep_days.as_ref())));
    }
    if let Some(bytes) = config.reserve_bytes {
        out.push(Setting::new("store.reserve_bytes", whole(bytes), origin_of(layers.store_reserve_bytes.as_ref())));
    }
    if let Some(keep) = config.retention.keep {
        let days = whole(keep.as_secs() / 86_400);
        out.push(Setting::new("store.keep_days", days, origin_of(layers.store_keep_days.as_ref())));
    }
    if let Some(at) = &config.retention.at {
        out.push(Setting::new("store.keep_at", at.clone(), origin_of(layers.store_keep_at.as_ref())));
    }
    match &config.identity {
        IdentityFiles::Folder(folder) => {
            out.push(Setting::new("identity.dir", text(folder), origin_of(layers.identity_dir.as_ref())));
        }
        IdentityFiles::Files { certificate, key } => {
            let origin = origin_of(layers.identity_certificate.as_ref());
            out.push(Setting::new("identity.certificate", text(certificate), origin));
            out.push(Setting::new("identity.key", text(key), origin_of(layers.identity_key.as_ref())));
        }
    }
    if let Some(file) = &config.authorities {
        out.push(Setting::new("trust.authorities", text(file), origin_of(layers.trust_authorities.as_ref())));
    }
    out
}

fn peer_settings(peer: &PeerConfig) -> Vec<Setting> {
    let at =
        |key: &str, value: toml::Value| Setting::new(format!("peers.{}.{key}", peer.name), value, peer.origin.clone());
    let mut out = vec![match &peer.key {
        PeerKey::Pinned(id) => at("key", id.fingerprint().into()),
        PeerKey::Subject(subject) => at("subject", subject.clone().into()),
    }];
    out.extend(peer.address.clone().map(|address| at("address", address.into())));
    out.push(at("rights", peer.rights.names().into()));
    out.push(match &peer.sees {
        Sees::Own => at("sees", "own".into()),
        Sees::All => at("sees", "all".into()),
        Sees::These(_) => at("sees", peer.sees.texts().into()),
    });
    out.push(at(
        "level",
        peer.level.fixed().map_or_else(|| "auto".into(), |level| toml::Value::from(i64::from(level.get()))),
    ));
    out.push(at("priority", name_of(&PRIORITIES, &peer.priority).into()));
    out.push(at("limits", peer.limits.texts().into()));
    out.extend(peer.keep.map(|keep| at("keep_days", whole(keep.as_secs() / 86_400).into())));
    out.extend(peer.quota_bytes.map(|bytes| at("quota_bytes", whole(bytes).into())));
    out
}

fn inbox_settings(inbox: &Inbox, origin: &Origin) -> Vec<Setting> {
    let at = |key: &str, value: toml::Value| Setting::new(format!("inbox.{key}"), value, origin.clone());
    let after = match &inbox.after {
        After::Keep => "keep".to_owned(),
        After::Delete => "delete".to_owned(),
        After::Move(folder) => format!("move:{}", folder.display()),
    };
    let mut out = vec![at("path", text(&inbox.path).into())];
    out.extend(inbox.to.clone().map(|to| at("to", to.into())));
    out.extend([
        at("priority", name_of(&PRIORITIES, &inbox.priority).into()),
        at("settle_seconds", whole(inbox.settle.as_secs()).into()),
        at("hold_seconds", whole(inbox.hold.as_secs()).into()),
        at("poll_seconds", whole(inbox.poll.as_secs()).into()),
        at("after", after.into()),
        at("all_files", inbox.all_files.into()),
    ]);
    out
}
