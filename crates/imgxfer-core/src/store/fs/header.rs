//! The header of a pack file.

use std::io;

use crate::clock::UnixSeconds;
use crate::dicom::ReadAt;
use crate::ids::{PackId, PeerId, StoreId};
use crate::wire::bytes::{Reader, Truncated};

/// First bytes of every pack.
pub const PACK_MAGIC: [u8; 4] = *b"IXPK";
/// Version of the layout that this program writes, and the newest that it reads.
pub const PACK_VERSION: u32 = 3;
/// Length of the header; the first record follows.
pub const PACK_HEADER_BYTES: usize = 96;
/// Bytes of the header that its check covers.
const CHECKED_BYTES: usize = 88;

/// Why bytes are not the header of a pack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackHeaderError {
    /// Shorter than a header.
    #[error("the pack is shorter than its header")]
    Truncated,
    /// Another kind of file, or damaged.
    #[error("the pack's header is damaged")]
    Damaged,
    /// Written by a newer program.
    #[error("the pack has format {found}, which this program does not know")]
    Version {
        /// Format found.
        found: u32,
    },
    /// Reading failed.
    #[error("the pack cannot be read")]
    Read(#[source] io::Error),
}

impl From<Truncated> for PackHeaderError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// What a pack file begins with:
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 4 | magic `IXPK` |
/// | 4 | 4 | version, 3 |
/// | 8 | 32 | owner: the peer whose transfer filled it |
/// | 40 | 16 | pack id, as in the file's name |
/// | 56 | 8 | created: seconds since 1970, signed |
/// | 64 | 16 | store: the id of the store that made it |
/// | 80 | 8 | sequence: grows by one with each pack that the store makes |
/// | 88 | 8 | check: the first 8 bytes of BLAKE3 over bytes 0 to 87 |
///
/// All integers are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    /// The peer whose transfer filled the pack.
    pub owner: PeerId,
    /// The pack's name.
    pub id: PackId,
    /// When it was created.
    pub created: UnixSeconds,
    /// The store that made it.
    pub store: StoreId,
    /// Its place in the order in which that store made its packs; tells what came first where no clock does.
    pub sequence: u64,
}

impl PackHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PACK_HEADER_BYTES] {
        let mut out = [0; PACK_HEADER_BYTES];
        out[..4].copy_from_slice(&PACK_MAGIC);
        out[4..8].copy_from_slice(&PACK_VERSION.to_le_bytes());
        out[8..40].copy_from_slice(self.owner.as_bytes());
        out[40..56].copy_from_slice(self.id.as_bytes());
        out[56..64].copy_from_slice(&self.created.0.to_le_bytes());
        out[64..80].copy_from_slice(self.store.as_bytes());
        out[80..88].copy_from_slice(&self.sequence.to_le_bytes());
        let check = check_of(&out);
        out[CHECKED_BYTES..].copy_from_slice(&check);
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`PackHeaderError`]. A newer version is told only from a header that is not damaged.
    pub fn decode(bytes: &[u8; PACK_HEADER_BYTES]) -> Result<Self, PackHeaderError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<4>()? != PACK_MAGIC || check_of(bytes)[..] != bytes[CHECKED_BYTES..] {
            return Err(PackHeaderError::Damaged);
        }
        let found = reader.u32()?;
        if found != PACK_VERSION {
            return Err(PackHeaderError::Version { found });
        }
        let owner = PeerId::from_bytes(reader.array()?);
        let id = PackId::from_bytes(reader.array()?);
        let created = UnixSeconds(i64::from_le_bytes(reader.array()?));
        let store = StoreId::from_bytes(reader.array()?);
        let sequence = reader.u64()?;
        Ok(Self { owner, id, created, store, sequence })
    }

    /// Reads the header of a pack.
    ///
    /// # Errors
    /// [`PackHeaderError`].
    pub fn read(source: &dyn ReadAt) -> Result<Self, PackHeaderError> {
        let mut bytes = [0; PACK_HEADER_BYTES];
        source.read_exact_at(0, &mut bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => PackHeaderError::Truncated,
            _ => PackHeaderError::Read(e),
        })?;
        Self::decode(&bytes)
    }
}

fn check_of(header: &[u8; PACK_HEADER_BYTES]) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&blake3::hash(&header[..CHECKED_BYTES]).as_bytes()[..8]);
    check
}
