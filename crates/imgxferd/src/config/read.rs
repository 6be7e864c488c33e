//! First step: texts into raw settings, each with its origin. Looks at nothing but the texts it is given.

use toml::Spanned;

use super::origin::{ConfigError, Origin, Place};
use super::raw::{Inbox, Limit, Mtu, Peer, Raw};
use super::words::parse;

/// A value, and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) origin: Origin,
}

impl<T> Sourced<T> {
    pub(super) fn new(place: &Place, spanned: Spanned<T>) -> Self {
        let origin = place.at(spanned.span());
        Self { value: spanned.into_inner(), place: place.clone(), origin }
    }
}

/// A raw value of any kind of text, merged over its places.
pub(super) type Merged<T> = Option<Sourced<T>>;

/// What all places together say, later ones over earlier ones.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) state_dir: Merged<String>,
    pub(super) site_name: Merged<String>,
    pub(super) listen_quic: Merged<String>,
    pub(super) listen_profile: Merged<String>,
    pub(super) listen_tcp_fallback: Merged<bool>,
    pub(super) listen_mtu: Merged<Mtu>,
    pub(super) listen_congestion: Merged<String>,
    pub(super) listen_dscp: Merged<u64>,
    pub(super) admin_listen: Merged<String>,
    pub(super) admin_allow_remote: Merged<bool>,
    pub(super) admin_hosts: Merged<Vec<String>>,
    pub(super) audit_enabled: Merged<bool>,
    pub(super) audit_path: Merged<String>,
    pub(super) audit_keep_days: Merged<u64>,
    pub(super) audit_required: Merged<bool>,
    pub(super) store_path: Merged<String>,
    pub(super) store_reserve_bytes: Merged<u64>,
    pub(super) store_spool_ttl_days: Merged<u64>,
    pub(super) store_scrub_bytes_per_second: Merged<u64>,
    pub(super) store_compact_bytes_per_second: Merged<u64>,
    pub(super) store_recode: Merged<bool>,
    pub(super) store_keep_days: Merged<u64>,
    pub(super) store_keep_at: Merged<String>,
    pub(super) identity_dir: Merged<String>,
    pub(super) identity_certificate: Merged<String>,
    pub(super) identity_key: Merged<String>,
    pub(super) trust_authorities: Merged<String>,
    pub(super) limits_transfers: Merged<u64>,
    pub(super) limits_drain_seconds: Merged<u64>,
    pub(super) limits_rates: Merged<Vec<Limit>>,
    pub(super) consultation_mbps: Merged<f64>,
    pub(super) consultation_stat_mbps: Merged<f64>,
    pub(super) consultation_minutes: Merged<u64>,
    pub(super) log_format: Merged<String>,
    pub(super) log_level: Merged<String>,
    pub(super) peers: Vec<Sourced<Peer>>,
    pub(super) inboxes: Vec<Sourced<Inbox>>,
}

fn over<T>(slot: &mut Merged<T>, place: &Place, value: Option<Spanned<T>>) {
    if let Some(value) = value {
        *slot = Some(Sourced::new(place, value));
    }
}

impl Layers {
    /// Reads one text, over what is there.
    pub(super) fn add(&mut self, place: &Place, text: &str) -> Result<(), ConfigError> {
        let raw: Raw = parse(place, text)?;
        over(&mut self.state_dir, place, raw.state_dir);
        over(&mut self.site_name, place, raw.site.name);
        over(&mut self.listen_quic, place, raw.listen.quic);
        over(&mut self.listen_profile, place, raw.listen.profile);
        over(&mut self.listen_tcp_fallback, place, raw.listen.tcp_fallback);
        over(&mut self.listen_mtu, place, raw.listen.mtu);
        over(&mut self.listen_congestion, place, raw.listen.congestion);
        over(&mut self.listen_dscp, place, raw.listen.dscp);
        over(&mut self.admin_listen, place, raw.admin.listen);
        over(&mut self.admin_allow_remote, place, raw.admin.allow_remote);
        over(&mut self.admin_hosts, place, raw.admin.hosts);
        over(&mut self.audit_enabled, place, raw.audit.enabled);
        over(&mut self.audit_path, place, raw.audit.path);
        over(&mut self.audit_keep_days, place, raw.audit.keep_days);
        over(&mut self.audit_required, place, raw.audit.required);
        over(&mut self.store_path, place, raw.store.path);
        over(&mut self.store_reserve_bytes, place, raw.store.reserve_bytes);
        over(&mut self.store_spool_ttl_days, place, raw.store.spool_ttl_days);
        over(&mut self.store_scrub_bytes_per_second, place, raw.store.scrub_bytes_per_second);
        over(&mut self.store_compact_bytes_per_second, place, raw.store.compact_bytes_per_second);
        over(&mut self.store_recode, place, raw.store.recode);
        over(&mut self.store_keep_days, place, raw.store.keep_days);
        over(&mut self.store_keep_at, place, raw.store.keep_at);
        over(&mut self.identity_dir, place, raw.identity.dir);
        over(&mut self.identity_certificate, place, raw.identity.certificate);
        over(&mut self.identity_key, place, raw.identity.key);
        over(&mut self.trust_authorities, place, raw.trust.authorities);
        over(&mut self.limits_transfers, place, raw.limits.transfers);
        over(&mut self.limits_drain_seconds, place, raw.limits.drain_seconds);
        over(&mut self.limits_rates, place, raw.limits.rates);
        over(&mut self.consultation_mbps, place, raw.consultation.mbps);
        over(&mut self.consultation_stat_mbps, place, raw.consultation.stat_mbps);
        over(&mut self.consultation_minutes, place, raw.consultation.minutes);
        over(&mut self.log_format, place, raw.log.format);
        over(&mut self.log_level, place, raw.log.level);
        self.peers.extend(raw.peers.into_iter().map(|peer| Sourced::new(place, peer)));
        self.inboxes.extend(raw.inbox.into_iter().map(|inbox| Sourced::new(place, inbox)));
        Ok(())
    }

    /// Sets one setting by its dotted key, from a value without TOML's quotes.
    pub(super) fn set(&mut self, place: &Place, key: &str, value: &str) -> Result<(), ConfigError> {
        let quoted = toml::Value::String(value.to_owned());
        // A value that reads as a number, a truth value or a list may be one, or may be a text all the same.
        let plain = toml::from_str::<toml::Table>(&format!("value = {value}"));
        let plain = plain.ok().filter(|table| table.len() == 1);
        if let Some(plain) = plain
            && self.add(place, &format!("{key} = {}", plain["value"])).is_ok()
        {
            return Ok(());
        }
        self.add(place, &format!("{key} = {quoted}"))
    }
}
