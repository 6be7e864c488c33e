//! The file of paired peers, changed while the daemon runs: what an operator has written between its tables stays.
//!
//! The file is taken apart at its `[[peers]]` lines, and only the table that is meant is written anew.

use std::io;
use std::path::Path;

use crate::config::{PeerConfig, Sees};
use crate::files;

/// The text before the first peer of a new file.
pub(super) const HEADING: &str = "# Peers added by pairing. Edit while the daemon is stopped.\n";

const TABLE: &str = "[[peers]]";

/// What the file holds, or would hold if it were there.
pub(super) fn read(file: &Path) -> io::Result<String> {
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HEADING.to_owned()),
        read => read,
    }
}

/// A peer as it is added.
pub(super) fn written(peer: &PeerConfig) -> String {
    let mut table = toml::Table::new();
    table.insert("name".to_owned(), peer.name.clone().into());
    match &peer.key {
        crate::config::PeerKey::Pinned(id) => table.insert("key".to_owned(), id.fingerprint().into()),
        crate::config::PeerKey::Subject(subject) => table.insert("subject".to_owned(), subject.clone().into()),
    };
    if let Some(address) = &peer.address {
        table.insert("address".to_owned(), address.clone().into());
    }
    set_rights(&mut table, peer);
    if let Some(keep) = peer.keep {
        table.insert("keep_days".to_owned(), i64::try_from(keep.as_secs() / 86_400).unwrap_or(i64::MAX).into());
    }
    if let Some(bytes) = peer.quota_bytes {
        table.insert("quota_bytes".to_owned(), i64::try_from(bytes).unwrap_or(i64::MAX).into());
    }
    if let Some(level) = peer.level.fixed() {
        table.insert("level".to_owned(), i64::from(level.get()).into());
    }
    format!("\n{}", alone(table))
}

/// The peer as the one of a file: tables within it need its name before theirs.
fn alone(table: toml::Table) -> toml::Table {
    let peers = toml::Value::Array(vec![toml::Value::Table(table)]);
    toml::Table::from_iter([("peers".to_owned(), peers)])
}

fn set_rights(table: &mut toml::Table, peer: &PeerConfig) {
    table.insert("rights".to_owned(), peer.rights.names().into());
    let sees = match &peer.sees {
        Sees::Own => "own".into(),
        Sees::All => "all".into(),
        Sees::These(_) => peer.sees.texts().into(),
    };
    table.insert("sees".to_owned(), sees);
}

/// What becomes of a peer's table.
pub(super) enum Change<'a> {
    /// It goes.
    Remove,
    /// It gets the rights of this peer; all else in it stays.
    Rights(&'a PeerConfig),
}

/// Changes the table of the peer with this name. Returns false where the file has none. Durable when this returns; blocks.
pub(super) fn change(file: &Path, name: &str, change: &Change<'_>) -> io::Result<bool> {
    let text = read(file)?;
    let Some(changed) = changed(&text, name, change) else { return Ok(false) };
    files::write_private(file, changed.as_bytes())?;
    Ok(true)
}

fn changed(text: &str, name: &str, change: &Change<'_>) -> Option<String> {
    let mut parts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with(TABLE) {
            parts.push(String::new());
        }
        parts.last_mut()?.push_str(line);
    }
    let at = parts.iter().position(|part| named(part).is_some_and(|table| called(&table) == Some(name)))?;
    match change {
        Change::Remove => drop(parts.remove(at)),
        Change::Rights(peer) => {
            let mut table = named(&parts[at])?;
            set_rights(&mut table, peer);
            parts[at] = format!("{}\n", alone(table));
        }
    }
    Some(parts.concat())
}

/// The one peer in a part of the file.
fn named(part: &str) -> Option<toml::Table> {
    let mut whole: toml::Table = part.parse().ok()?;
    match whole.remove("peers")? {
        toml::Value::Array(mut peers) if peers.len() == 1 => match peers.remove(0) {
            toml::Value::Table(table) => Some(table),
            _ => None,
        },
        _ => None,
    }
}

fn called(table: &toml::Table) -> Option<&str> {
    table.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerRights;
    use imgxfer_core::ids::PeerId;

    #[test]
    fn only_the_table_that_is_meant_is_written_anew() {
        let text = "# ours\n\n[[peers]]\nname = \"a\"\nkey = \"x\" # told by phone\n\n[[peers]]\nname = \"b\"\nkey = \"y\"\n\
                    rights = [\"send\"]\nlimits = [{ mbps = 4 }]\n";
        let removed = changed(text, "b", &Change::Remove).unwrap();
        assert_eq!(removed, "# ours\n\n[[peers]]\nname = \"a\"\nkey = \"x\" # told by phone\n\n");
        let peer = PeerConfig::pinned("b", PeerId::of_key(b"b")).with_rights(PeerRights::all(), Sees::All);
        let set = changed(text, "b", &Change::Rights(&peer)).unwrap();
        assert!(
            set.starts_with("# ours\n\n[[peers]]\nname = \"a\"\nkey = \"x\" # told by phone\n\n[[peers]]\n"),
            "{set}"
        );
        let table = set.parse::<toml::Table>().unwrap();
        let b = &table["peers"][1];
        assert_eq!((b["sees"].as_str(), b["rights"].as_array().unwrap().len()), (Some("all"), 4));
        assert!(b["limits"].is_array(), "what else stands there stays");
        assert_eq!(changed(text, "c", &Change::Remove), None);
        assert_eq!(changed(HEADING, "a", &Change::Remove), None);
    }
}
