//! `peers.toml`: the sites that this user knows.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use imgxfer_core::ids::PeerId;
use imgxferd::config::read_toml;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, problem};
use crate::places::{Places, write_private};

/// A site that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Host name or IP address, and port.
    pub(crate) address: String,
    /// Its key.
    pub(crate) key: PeerId,
}

/// All of them, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Peers(pub(crate) BTreeMap<String, Peer>);

/// Exactly what may stand in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeers {
    #[serde(default)]
    peers: BTreeMap<String, RawPeer>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeer {
    address: String,
    key: String,
}

const HEADING: &str =
    "# Sites that imgxfer knows. Written by `imgxfer peers` and `imgxfer pair`: comments do not last.\n\n";

impl Peers {
    /// Reads the file; one that is not there means no peers.
    pub(crate) fn load(places: &Places) -> anyhow::Result<Self> {
        let path = places.peers_file();
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text).map_err(|error| problem(Exit::Config, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(problem(Exit::Config, format!("cannot read {}: {error}", path.display()))),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let raw: RawPeers = read_toml(path, text).map_err(|error| error.to_string())?;
        let peer = |(name, raw): (String, RawPeer)| {
            let place = path.display();
            check_name(&name).map_err(|error| format!("{place}: peer {name:?}: {error}"))?;
            check_address(&raw.address).map_err(|error| format!("{place}: peer {name}: {error}"))?;
            let key = PeerId::parse(&raw.key).map_err(|error| format!("{place}: the key of peer {name}: {error}"))?;
            Ok((name, Peer { address: raw.address, key }))
        };
        raw.peers.into_iter().map(peer).collect::<Result<_, String>>().map(Self)
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn save(&self, places: &Places) -> anyhow::Result<()> {
        let raw = |peer: &Peer| RawPeer { address: peer.address.clone(), key: peer.key.fingerprint() };
        let peers = self.0.iter().map(|(name, peer)| (name.clone(), raw(peer))).collect();
        write_private(&places.peers_file(), &format!("{HEADING}{}", toml::to_string(&RawPeers { peers })?))
    }
}

/// A name that cannot be taken for an address or an option.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(harmless) || name.starts_with('-') {
        return Err("a peer's name has 1 to 64 letters, digits, dots, hyphens and underscores".to_owned());
    }
    Ok(())
}

/// Host and port.
pub(crate) fn check_address(address: &str) -> Result<(), String> {
    let wrong = || "expected HOST:PORT, such as cloud.example:11120 or [2001:db8::1]:11120".to_owned();
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { config: dir.path().join("c"), state: dir.path().join("s") };
        assert_eq!(Peers::load(&places).unwrap(), Peers::default());
        let mut peers = Peers::default();
        let key = PeerId::of_key(b"key");
        peers.0.insert("cloud.1".to_owned(), Peer { address: "[::1]:5".to_owned(), key });
        peers.save(&places).unwrap();
        assert_eq!(Peers::load(&places).unwrap(), peers);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let key = PeerId::of_key(b"key").fingerprint();
        for (text, said) in [
            ("[peers.a]\naddress = \"x\"\nkey = \"\"", "HOST:PORT"),
            ("[peers.a]\naddress = \"x:1\"\nkey = \"ix-aa\"", "key of peer a"),
            ("[peers.a]\naddress = \"x:1\"\nkey = \"KEY\"\nport = 1", "no setting `port`"),
            ("[peers.\"a b\"]\naddress = \"x:1\"\nkey = \"KEY\"", "letters"),
        ] {
            let error = Peers::parse("peers.toml".as_ref(), &text.replace("KEY", &key)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn addresses_are_checked() {
        for good in ["a:1", "10.0.0.1:65535", "[::1]:11120", "cloud.example:443"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in ["a", "a:", ":1", "a:0", "a:65536", "::1:80", "a b:1", ""] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
