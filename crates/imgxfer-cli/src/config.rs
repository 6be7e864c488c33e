//! `config.toml`: the few settings of the command line.

use std::io;
use std::path::PathBuf;

use imgxfer_core::transport::{Congestion, Dscp, EndpointConfig, Profile};
use imgxferd::config::read_toml;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::exit::{Exit, problem};
use crate::places::Places;

/// Exactly what may stand in `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What this site calls itself when it pairs.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// What kind of line this machine stands on.
    #[serde(default)]
    pub(crate) line: LineKind,
    /// Largest UDP payload to try.
    #[serde(default)]
    pub(crate) mtu: Mtu,
    /// What decides how much of the line is used.
    #[serde(default)]
    pub(crate) congestion: CongestionKind,
    /// What packets are marked with.
    #[serde(default, deserialize_with = "dscp")]
    pub(crate) dscp: Option<Dscp>,
    /// Where the daemon of this machine answers.
    #[serde(default)]
    pub(crate) admin: Option<String>,
    /// The file that holds its token.
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
}

/// A kind of line, by the names of [`Profile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LineKind {
    /// Finds out.
    #[default]
    Auto,
    /// ADSL, VDSL, LTE.
    Copper,
    /// 1 Gbit/s and more.
    Fibre,
}

/// The largest UDP payload to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "MtuAsWritten")]
pub(crate) enum Mtu {
    /// What the way to each peer carries.
    #[default]
    Auto,
    /// So many bytes.
    Bytes(u16),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "mtu: expected \"auto\" or a number of bytes")]
enum MtuAsWritten {
    Word(String),
    Bytes(i64),
}

impl TryFrom<MtuAsWritten> for Mtu {
    type Error = String;

    fn try_from(written: MtuAsWritten) -> Result<Self, String> {
        let (least, most) = (EndpointConfig::MTU_DEFAULT, EndpointConfig::MTU_JUMBO);
        match written {
            MtuAsWritten::Word(word) if word == "auto" => Ok(Self::Auto),
            MtuAsWritten::Word(word) => {
                Err(format!("mtu = {word:?} is neither \"auto\" nor a number from {least} to {most}"))
            }
            MtuAsWritten::Bytes(bytes) => {
                let found = u16::try_from(bytes).ok().filter(|bytes| (least..=most).contains(bytes));
                found.map(Self::Bytes).ok_or_else(|| format!("mtu = {bytes} is not within {least} and {most}"))
            }
        }
    }
}

/// A congestion control, by the names that the daemon uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CongestionKind {
    /// imgxfer's.
    #[default]
    Own,
    /// RFC 9438.
    Cubic,
}

fn dscp<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Dscp>, D::Error> {
    let value = u8::deserialize(input)?;
    let wrong = || D::Error::custom(format!("dscp = {value} is not within 0 and {}", Dscp::MAX));
    Dscp::new(value).map(Some).ok_or_else(wrong)
}

impl LineKind {
    /// The transport's settings for it.
    pub(crate) const fn profile(self) -> Profile {
        match self {
            Self::Auto => Profile::Auto,
            Self::Copper => Profile::Copper,
            Self::Fibre => Profile::Fibre,
        }
    }
}

impl Config {
    /// Reads the settings; a file that is not there means the defaults.
    pub(crate) fn load(places: &Places) -> anyhow::Result<Self> {
        let path = places.config_file();
        match std::fs::read_to_string(&path) {
            Ok(text) => read_toml(&path, &text).map_err(|error| problem(Exit::Config, error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(problem(Exit::Config, format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// Puts what is said about the line into a socket's settings.
    pub(crate) fn tune(&self, settings: EndpointConfig) -> EndpointConfig {
        let mut settings = settings.with_profile(self.line.profile());
        if self.congestion == CongestionKind::Cubic {
            settings = settings.with_congestion(Congestion::Cubic);
        }
        if let Mtu::Bytes(bytes) = self.mtu {
            settings = settings.with_mtu_upper(bytes);
        }
        if let Some(dscp) = self.dscp {
            settings = settings.with_dscp(dscp);
        }
        settings
    }

    /// What this site calls itself.
    pub(crate) fn site_name(&self) -> String {
        self.name.clone().filter(|name| !name.trim().is_empty()).unwrap_or_else(host_name)
    }
}

/// The text of a new `config.toml`.
pub(crate) fn initial(name: &str) -> String {
    let name = toml::Value::String(name.to_owned());
    format!(
        "# Settings of the imgxfer command line. Unknown keys are refused.\n\n\
         # What this site calls itself when it pairs.\n\
         name = {name}\n\n\
         # The line this machine stands on: \"auto\", \"copper\" (below about 80 Mbit/s) or \"fibre\".\n\
         #line = \"auto\"\n\n\
         # Largest UDP payload to try, 1452 to 8952 bytes, or \"auto\": what the way to each peer carries.\n\
         #mtu = \"auto\"\n\n\
         # Congestion control: \"own\" or \"cubic\". And a DSCP (0 to 63), for networks that sort packets by it.\n\
         #congestion = \"own\"\n\
         #dscp = 10\n\n\
         # The daemon of this machine, for `imgxfer status` and `imgxfer pair --invite`.\n\
         #admin = \"http://127.0.0.1:11121\"\n\
         #token_file = \"/var/lib/imgxfer/admin.token\"\n"
    )
}

/// The machine's name, where it has one.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "a site without a name".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_file_reads_back() {
        let config: Config = toml::from_str(&initial("Ward \"3\"\n")).unwrap();
        assert_eq!(config.site_name(), "Ward \"3\"\n");
        assert_eq!(config.line, LineKind::Auto);
        // The settings that are commented out have no space behind the mark.
        let all: String = initial("x")
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let all: Config = toml::from_str(&all).unwrap();
        assert_eq!((all.mtu, all.dscp), (Mtu::Auto, Dscp::new(10)));
        assert_eq!(all.admin.as_deref(), Some("http://127.0.0.1:11121"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let refused = |text: &str| read_toml::<Config>("config.toml".as_ref(), text).unwrap_err().to_string();
        let lime = refused("name = \"x\"\nlime = \"auto\"");
        assert!(
            lime.starts_with("config.toml:2:1: lime: there is no setting `lime`") && lime.contains("`line`"),
            "{lime}"
        );
        let line = refused("line = \"wet string\"");
        assert!(line.starts_with("config.toml:1:8: line: \"wet string\"") && line.contains("`copper`"), "{line}");
    }

    #[test]
    fn the_line_is_tuned_within_bounds() {
        for (text, word) in [
            ("mtu = 1000", "1452"),
            ("mtu = 9000", "8952"),
            ("mtu = -1", "1452"),
            ("mtu = 1e3", "auto"),
            ("mtu = \"jumbo\"", "auto"),
            ("dscp = 64", "63"),
            ("congestion = \"bbr\"", "own"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let config: Config = toml::from_str("mtu = 8952\ncongestion = \"cubic\"\ndscp = 46").unwrap();
        assert_eq!((config.mtu, config.congestion), (Mtu::Bytes(8952), CongestionKind::Cubic));
        let bare = || {
            EndpointConfig::new(
                ([127, 0, 0, 1], 0).into(),
                imgxfer_core::transport::Identity::generate().unwrap(),
                imgxfer_core::transport::Trust::new(),
                b"x",
            )
        };
        let tuned = format!("{:?}", config.tune(bare()));
        assert!(tuned.contains("Cubic") && tuned.contains("Dscp(46)") && tuned.contains("8952"), "{tuned}");
    }
}
