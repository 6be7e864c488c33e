//! Making the manifest entry of an instance from its bytes.

use std::io;

use crate::chunk::{self, Cut};
use crate::dicom::{ReadAt, Scan};
use crate::ids::{ChunkId, InstanceHash, opaque_uids};
use crate::limits::NAME_BYTES_MAX;
use crate::manifest::{ChunkEntry, InstanceEntry};
use crate::scratch;
use crate::units::{to_u64, to_usize};

/// An instance, cut and hashed.
#[derive(Debug)]
pub struct Described {
    /// Its manifest entry.
    pub entry: InstanceEntry,
    /// Where its chunks are in the file.
    pub cuts: Vec<Cut>,
}

impl Described {
    /// Cuts and hashes an instance in one pass over its bytes. It is who [`Scan::identify`] says; what is no instance is
    /// opaque: it gets UIDs made from its content, and keeps `name`, the file's without its folder.
    ///
    /// # Errors
    /// Of reading, and those of [`chunk::cut`].
    pub fn read(source: &dyn ReadAt, scan: Option<&Scan>, name: &[u8]) -> io::Result<Self> {
        let scan = scan.filter(|scan| !scan.is_dicomdir());
        let cuts = chunk::cut(source, scan)?;
        let (chunks, hash) = hash_cuts(source, &cuts)?;
        let entry = entry_of(source.len(), scan, name, chunks, hash);
        Ok(Self { entry, cuts })
    }

    /// The same for an instance whose bytes are all at hand: hashing the whole at one go takes half the time of
    /// hashing a small file piece by piece.
    ///
    /// # Errors
    /// Those of [`chunk::cut`].
    pub fn of_bytes(bytes: &[u8], scan: Option<&Scan>, name: &[u8]) -> io::Result<Self> {
        let scan = scan.filter(|scan| !scan.is_dicomdir());
        let cuts = chunk::cut(&bytes, scan)?;
        let chunk = |cut: &Cut| {
            let start = to_usize(cut.offset);
            let id = ChunkId::of(&bytes[start..start + to_usize(u64::from(cut.len))]);
            ChunkEntry { id, len: cut.len, class: cut.class }
        };
        let chunks = cuts.iter().map(chunk).collect();
        let hash = InstanceHash::from_bytes(*blake3::hash(bytes).as_bytes());
        let entry = entry_of(to_u64(bytes.len()), scan, name, chunks, hash);
        Ok(Self { entry, cuts })
    }
}

fn hash_cuts(file: &dyn ReadAt, cuts: &[Cut]) -> io::Result<(Vec<ChunkEntry>, InstanceHash)> {
    let mut whole = blake3::Hasher::new();
    let mut chunks = Vec::with_capacity(cuts.len());
    let longest = cuts.iter().map(|cut| cut.len).max().unwrap_or(0);
    let mut buf = scratch::take_len(to_usize(u64::from(longest)));
    for cut in cuts {
        let buf = &mut buf[..to_usize(u64::from(cut.len))];
        file.read_exact_at(cut.offset, buf)?;
        whole.update(buf);
        chunks.push(ChunkEntry { id: ChunkId::of(buf), len: cut.len, class: cut.class });
    }
    scratch::keep(buf);
    Ok((chunks, InstanceHash::from_bytes(*whole.finalize().as_bytes())))
}

fn entry_of(len: u64, scan: Option<&Scan>, name: &[u8], chunks: Vec<ChunkEntry>, hash: InstanceHash) -> InstanceEntry {
    let identity = scan.and_then(|scan| scan.identify(&hash));
    let (study, series, sop_instance, name) = match identity {
        Some(identity) => (identity.study, identity.series, identity.sop_instance, Vec::new()),
        None => {
            let (study, series, sop_instance) = opaque_uids(&hash);
            (study, series, sop_instance, name.iter().copied().take(NAME_BYTES_MAX).collect())
        }
    };
    InstanceEntry {
        study,
        series,
        sop_instance,
        sop_class: scan.and_then(|scan| scan.sop_class.clone()),
        transfer_syntax: scan.and_then(|scan| scan.transfer_syntax.clone()),
        name,
        len,
        hash,
        chunks,
    }
}
