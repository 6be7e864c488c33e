//! The configuration exactly as it is written: every key optional, unknown keys refused, nothing checked.

use serde::Deserialize;
use toml::Spanned;

type Text = Option<Spanned<String>>;
type Flag = Option<Spanned<bool>>;
type Number = Option<Spanned<u64>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) state_dir: Text,
    pub(super) site: Site,
    pub(super) listen: Listen,
    pub(super) admin: Admin,
    pub(super) audit: Audit,
    pub(super) store: Store,
    pub(super) identity: Identity,
    pub(super) trust: Trust,
    pub(super) limits: Limits,
    pub(super) consultation: Consultation,
    pub(super) log: Log,
    pub(super) peers: Vec<Spanned<Peer>>,
    pub(super) inbox: Vec<Spanned<Inbox>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Site {
    pub(super) name: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listen {
    pub(super) quic: Text,
    pub(super) profile: Text,
    pub(super) tcp_fallback: Flag,
    pub(super) mtu: Option<Spanned<Mtu>>,
    pub(super) congestion: Text,
    pub(super) dscp: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    pub(super) listen: Text,
    pub(super) allow_remote: Flag,
    pub(super) hosts: Option<Spanned<Vec<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    pub(super) enabled: Flag,
    pub(super) path: Text,
    pub(super) keep_days: Number,
    pub(super) required: Flag,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub(super) path: Text,
    pub(super) reserve_bytes: Number,
    pub(super) spool_ttl_days: Number,
    pub(super) scrub_bytes_per_second: Number,
    pub(super) compact_bytes_per_second: Number,
    pub(super) recode: Flag,
    pub(super) keep_days: Number,
    pub(super) keep_at: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Identity {
    pub(super) dir: Text,
    pub(super) certificate: Text,
    pub(super) key: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Trust {
    pub(super) authorities: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) transfers: Number,
    pub(super) drain_seconds: Number,
    pub(super) rates: Option<Spanned<Vec<Limit>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Consultation {
    pub(super) mbps: Option<Spanned<f64>>,
    pub(super) stat_mbps: Option<Spanned<f64>>,
    pub(super) minutes: Number,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    #[serde(default)]
    pub(super) days: Text,
    #[serde(default)]
    pub(super) hours: Text,
    pub(super) mbps: Spanned<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) format: Text,
    pub(super) level: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) key: Text,
    #[serde(default)]
    pub(super) subject: Text,
    #[serde(default)]
    pub(super) address: Text,
    #[serde(default)]
    pub(super) rights: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(super) sees: Option<Spanned<Sees>>,
    #[serde(default)]
    pub(super) level: Option<Spanned<Level>>,
    #[serde(default)]
    pub(super) priority: Text,
    #[serde(default)]
    pub(super) limits: Vec<Limit>,
    #[serde(default)]
    pub(super) keep_days: Number,
    #[serde(default)]
    pub(super) quota_bytes: Number,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or a number of bytes from 1452 to 8952")]
pub(super) enum Mtu {
    Word(String),
    Bytes(u64),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or a number from 0 to 4")]
pub(super) enum Level {
    Word(String),
    Number(i64),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected \"own\", \"all\" or a list of peers and sources")]
pub(super) enum Sees {
    Word(String),
    List(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inbox {
    pub(super) path: Spanned<String>,
    #[serde(default)]
    pub(super) to: Text,
    #[serde(default)]
    pub(super) priority: Text,
    #[serde(default)]
    pub(super) settle_seconds: Number,
    #[serde(default)]
    pub(super) hold_seconds: Number,
    #[serde(default)]
    pub(super) poll_seconds: Number,
    #[serde(default)]
    pub(super) after: Text,
    #[serde(default)]
    pub(super) all_files: Flag,
}
