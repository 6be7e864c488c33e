//! Receipts on disk: proof of delivery, kept by the sender.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use imgxfer_core::ids::{ManifestRoot, PeerId};
use imgxfer_core::receipt::{Receipt, SignedReceipt};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, problem};
use crate::places::{Places, write_private};

/// Far above any receipt.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A receipt as it is kept: what the peer has signed, and this side's own notes, which nobody signs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What the peer has signed.
    #[serde(flatten)]
    pub(crate) signed: SignedReceipt,
    /// How the user called the peer.
    #[serde(default)]
    pub(crate) peer: Option<String>,
    /// Study Instance UIDs of what was sent.
    #[serde(default)]
    pub(crate) studies: Vec<String>,
}

/// Keeps a receipt; returns where. A later receipt for the same bytes takes the place of an earlier one.
pub(crate) fn keep(places: &Places, root: &ManifestRoot, kept: &Kept) -> anyhow::Result<PathBuf> {
    let path = places.receipts().join(format!("{root}.json"));
    write_private(&path, &(serde_json::to_string_pretty(kept)? + "\n"))?;
    Ok(path)
}

/// The files of all receipts that are kept, by name.
pub(crate) fn listed(places: &Places) -> anyhow::Result<Vec<PathBuf>> {
    let folder = places.receipts();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(problem(Exit::Failed, format!("cannot list {}: {error}", folder.display()))),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A receipt that was [checked](check), with this side's notes.
pub(crate) fn about(path: &Path) -> anyhow::Result<Kept> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| problem(Exit::Integrity, format!("{} is no receipt: {error}", path.display())))
}

/// Reads a receipt and checks its signature; with `signer`, also whose it is.
pub(crate) fn check(path: &Path, signer: Option<PeerId>) -> anyhow::Result<(Receipt, PeerId)> {
    let name = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        problem(if missing { Exit::NotFound } else { Exit::Failed }, format!("cannot read {name}: {error}"))
    })?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(problem(Exit::Integrity, format!("{name} is too long for a receipt")));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let signed: SignedReceipt = serde_json::from_str(&text)
        .map_err(|error| problem(Exit::Integrity, format!("{name} is no receipt: {error}")))?;
    let (receipt, by) = signed
        .verify(imgxfer_core::transport::verify)
        .map_err(|error| problem(Exit::Integrity, format!("the receipt {name} does not hold: {error}")))?;
    if by != receipt.receiver {
        return Err(problem(Exit::Integrity, format!("the receipt {name} was signed by somebody else than it names")));
    }
    if signer.is_some_and(|signer| signer != by) {
        let message =
            format!("the receipt {name} was signed by {}, not by the key that was asked for", by.fingerprint());
        return Err(problem(Exit::Integrity, message));
    }
    Ok((receipt, by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgxfer_core::clock::UnixSeconds;
    use imgxfer_core::ids::TransferId;
    use imgxfer_core::transport::Identity;

    #[test]
    fn receipts_are_kept_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { config: dir.path().join("c"), state: dir.path().join("s") };
        let me = Identity::generate().unwrap();
        let receipt = Receipt {
            transfer: TransferId::from_bytes([1; 16]),
            root: ManifestRoot::from_bytes([2; 32]),
            sender: PeerId::of_key(b"sender"),
            receiver: me.peer_id(),
            instances: 3,
            bytes: 4,
            complete: true,
            at: UnixSeconds(5),
        };
        let signed = SignedReceipt::sign(&receipt, |domain, text| me.sign(domain, text)).unwrap();
        let studies = vec!["1.2.3".to_owned()];
        let path = keep(&places, &receipt.root, &Kept { signed, peer: Some("cloud".to_owned()), studies }).unwrap();
        assert_eq!(listed(&places).unwrap(), std::slice::from_ref(&path));
        assert_eq!(about(&path).unwrap().studies, ["1.2.3"]);
        assert_eq!(check(&path, Some(me.peer_id())).unwrap(), (receipt, me.peer_id()));

        let code = |path: &Path, key| crate::exit::of(&check(path, key).unwrap_err());
        assert_eq!(code(&path, Some(PeerId::of_key(b"other"))), Exit::Integrity);
        assert_eq!(code(&dir.path().join("none"), None), Exit::NotFound);
        let text = std::fs::read_to_string(&path).unwrap();
        // One instance more than was signed.
        let forged = text.replace("0300000000000000", "0400000000000000");
        assert_ne!(forged, text);
        std::fs::write(&path, forged).unwrap();
        assert_eq!(code(&path, None), Exit::Integrity);
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(code(&path, None), Exit::Integrity);
    }
}
