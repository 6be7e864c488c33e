//! Names of things: DICOM unique identifiers, content hashes, peers and transfers.
//!
//! Every type here is checked when it is made, so that code which holds one need not check again.
//! `Debug` never prints a whole DICOM identifier: UIDs of a study can be looked up in a hospital's
//! systems and lead to a patient, so logs get a short digest that is the same wherever it is printed.

use std::fmt;
use std::sync::Arc;

/// The longest a DICOM UID may be, in bytes (DICOM PS3.5 section 9.1).
pub const UID_BYTES_MAX: usize = 64;

/// Why a text is not a DICOM UID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UidError {
    /// Nothing in it.
    #[error("the UID is empty")]
    Empty,
    /// Longer than [`UID_BYTES_MAX`].
    #[error("the UID is {0} bytes long; DICOM allows 64")]
    TooLong(usize),
    /// Something other than digits and single dots between them.
    #[error("the UID holds something other than digits and single dots")]
    Malformed,
}

/// Checks the characters of a UID: digits, with single dots between them.
///
/// Leading zeros in a component break PS3.5 section 9.1 but occur in real files, so they pass.
/// The rule also makes the text safe as one component of a path.
fn check_uid(text: &str) -> Result<(), UidError> {
    if text.is_empty() {
        return Err(UidError::Empty);
    }
    if text.len() > UID_BYTES_MAX {
        return Err(UidError::TooLong(text.len()));
    }
    // In one pass: a manifest page holds hundreds of them.
    let mut before = b'.';
    for byte in text.bytes() {
        let fits = byte.is_ascii_digit() || (byte == b'.' && before != b'.');
        if !fits {
            return Err(UidError::Malformed);
        }
        before = byte;
    }
    if before == b'.' { Err(UidError::Malformed) } else { Ok(()) }
}

/// First 8 hex digits of the hash of `text`: tells two identifiers apart in a log and no more.
fn digest8(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    hash[..8].to_owned()
}

/// The letters `imgxfe`, version 8 and the variant of RFC 9562, in their places of a UUID.
const DERIVED_BITS: u128 = 0x696d_6778_6665_8000_8000_0000_0000_0000;
/// Bits of a UUID that are the same in all derived ones.
const DERIVED_MASK: u128 = 0xffff_ffff_ffff_f000_c000_0000_0000_0000;

fn derived_uuid(seed: &[u8; 32]) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&seed[..16]);
    u128::from_be_bytes(first) & !DERIVED_MASK | DERIVED_BITS
}

macro_rules! uid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone: manifest, jobs and index rows of an instance share the text.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text`, without the padding that DICOM puts behind a UID (a NUL or a space).
            ///
            /// # Errors
            /// [`UidError`] when it is empty, longer than 64 bytes or not digits and dots.
            pub fn new(text: &str) -> Result<Self, UidError> {
                let text = text.trim_end_matches(['\0', ' ']);
                check_uid(text)?;
                Ok(Self(text.into()))
            }

            /// A UID made from a hash, under the root `2.25` that needs no registration
            /// (DICOM PS3.5 annex B.2): for what carries none of its own.
            #[must_use]
            pub fn from_hash(hash: &[u8; 32]) -> Self {
                let mut first = [0; 16];
                first.copy_from_slice(&hash[..16]);
                Self(format!("2.25.{}", u128::from_be_bytes(first)).into())
            }

            /// A UID for what carries none that can be used, made from `seed`: a UUID of version 8 (RFC 9562) under
            /// the root `2.25`, whose first 48 bits say that it was made here.
            #[must_use]
            pub fn derived(seed: &[u8; 32]) -> Self {
                Self(format!("2.25.{}", derived_uuid(seed)).into())
            }

            /// Whether [`Self::derived`] has made it: no file says so of itself.
            #[must_use]
            pub fn is_derived(&self) -> bool {
                let number = self.0.strip_prefix("2.25.").and_then(|number| number.parse().ok());
                number.is_some_and(|uuid: u128| uuid & DERIVED_MASK == DERIVED_BITS)
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}#{}", stringify!($name), digest8(&self.0))
            }
        }
    };
}

uid! {
    /// Study Instance UID (0020,000D). `Debug` prints a digest; `Display` the whole text.
    StudyUid
}
uid! {
    /// Series Instance UID (0020,000E). `Debug` prints a digest; `Display` the whole text.
    SeriesUid
}
uid! {
    /// SOP Instance UID (0008,0018). `Debug` prints a digest; `Display` the whole text.
    SopInstanceUid
}
uid! {
    /// A UID that the standard defines, such as a transfer syntax or a SOP class.
    /// `Debug` prints a digest; `Display` the whole text.
    StandardUid
}

/// Why a text is not the hexadecimal form of a hash or an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits")]
pub struct HexError {
    /// How many digits there should have been.
    pub expected: usize,
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Takes the bytes as they are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Takes exactly the right number of bytes; `None` for any other number.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Reads lower-case or upper-case hexadecimal.
            ///
            /// # Errors
            /// [`HexError`] when the length or a digit is wrong.
            pub fn from_hex(text: &str) -> Result<Self, HexError> {
                let error = HexError { expected: $len * 2 };
                let bytes = data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .map_err(|_| error.clone())?;
                Self::from_slice(&bytes).ok_or(error)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), data_encoding::HEXLOWER.encode(&self.0[..4]))
            }
        }
    };
}

bytes_id! {
    /// Identity of a chunk: BLAKE3 of its original bytes.
    ChunkId, 32
}
bytes_id! {
    /// Identity of an instance: BLAKE3 of the whole original file.
    InstanceHash, 32
}
bytes_id! {
    /// Identity of what an instance holds, whatever its file meta group says (see
    /// [`InstanceEntry::content_id`](crate::manifest::InstanceEntry::content_id)).
    ContentId, 32
}
bytes_id! {
    /// Identity of a manifest page: BLAKE3 of its canonical encoding.
    PageHash, 32
}
bytes_id! {
    /// Identity of what a transfer carried: BLAKE3 over its page hashes (see [`crate::manifest`]).
    ManifestRoot, 32
}
bytes_id! {
    /// One transfer between two sites. Random, chosen by the sender; joins its streams together.
    TransferId, 16
}
bytes_id! {
    /// A site: BLAKE3 of the public key (DER `SubjectPublicKeyInfo`, RFC 5280) in its certificate.
    PeerId, 32
}
bytes_id! {
    /// A store: drawn at random when it is made. Its packs and its index carry it.
    StoreId, 16
}
bytes_id! {
    /// A pack in the store. Random, chosen by the store that holds it; never taken from a peer.
    PackId, 16
}

impl ChunkId {
    /// Hashes a chunk's original bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl PeerId {
    /// The site itself, as the owner of what arrives here otherwise than by a transfer of a peer. No key has this id.
    pub const SELF: Self = Self([0; 32]);

    /// Identity of the holder of a public key.
    ///
    /// `spki` is the DER encoding of `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn of_key(spki: &[u8]) -> Self {
        Self(*blake3::hash(spki).as_bytes())
    }

    /// The form that people compare and copy: `ix-` and 52 letters and digits (RFC 4648 base 32) in groups of four.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let text = data_encoding::BASE32_NOPAD.encode(&self.0).to_ascii_lowercase();
        let groups: Vec<&str> = text.as_bytes().chunks(4).filter_map(|c| std::str::from_utf8(c).ok()).collect();
        format!("ix-{}", groups.join("-"))
    }

    /// Reads what [`PeerId::fingerprint`] printed, or 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`HexError`] when it is neither.
    pub fn parse(text: &str) -> Result<Self, HexError> {
        let error = HexError { expected: 64 };
        let Some(groups) = text.trim().strip_prefix("ix-") else {
            return Self::from_hex(text.trim());
        };
        let letters = groups.replace('-', "").to_ascii_uppercase();
        let bytes = data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| error.clone())?;
        Self::from_slice(&bytes).ok_or(error)
    }
}

/// UIDs for a file that has none: made from its hash, so the same file always gets the same.
#[must_use]
pub fn opaque_uids(hash: &InstanceHash) -> (StudyUid, SeriesUid, SopInstanceUid) {
    let derive =
        |level: &str| blake3::derive_key(&format!("imgxfer 2026 uid of an opaque file, {level}"), hash.as_bytes());
    (
        StudyUid::from_hash(&derive("study")),
        SeriesUid::from_hash(&derive("series")),
        SopInstanceUid::from_hash(&derive("instance")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_checked_and_unpadded() {
        assert_eq!(StudyUid::new("1.2.840\0").unwrap().as_str(), "1.2.840");
        assert_eq!(StudyUid::new("1.2.00.3 ").unwrap().as_str(), "1.2.00.3");
        assert_eq!(StudyUid::new("\0"), Err(UidError::Empty));
        assert_eq!(StudyUid::new(&"1".repeat(65)), Err(UidError::TooLong(65)));
        assert!(StudyUid::new(&"1".repeat(64)).is_ok());
        for bad in ["..", ".", "1..2", ".1", "1.", "1/2", "1.2a", "1.2\n", "../..", "１.2"] {
            assert_eq!(StudyUid::new(bad), Err(UidError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn debug_of_a_uid_does_not_tell_it() {
        let uid = SopInstanceUid::new("1.2.840.113619.2.55.3").unwrap();
        let shown = format!("{uid:?}");
        assert!(!shown.contains("840"), "{shown}");
        assert_eq!(shown, format!("{uid:?}"), "the same each time");
    }

    #[test]
    fn uid_from_hash_is_valid() {
        let uid = StudyUid::from_hash(&[0xff; 32]);
        assert_eq!(StudyUid::new(uid.as_str()).unwrap(), uid);
        assert!(uid.as_str().len() <= UID_BYTES_MAX);
    }

    #[test]
    fn derived_uids_are_valid_and_known_again() {
        for seed in [[0; 32], [0xff; 32], [7; 32]] {
            let uid = SopInstanceUid::derived(&seed);
            assert!(uid.is_derived());
            assert_eq!(SopInstanceUid::new(uid.as_str()).unwrap(), uid);
        }
        assert_ne!(StudyUid::derived(&[1; 32]), StudyUid::derived(&[2; 32]));
        for other in ["2.25.1", "2.25", "1.2.840", "2.25.340282366920938463463374607431768211456"] {
            assert!(!StudyUid::new(other).unwrap().is_derived(), "{other}");
        }
        assert!(!StudyUid::from_hash(&[7; 32]).is_derived());
    }

    #[test]
    fn fingerprints_read_back() {
        let id = PeerId::of_key(b"a key");
        assert_eq!(PeerId::parse(&id.fingerprint()).unwrap(), id);
        assert_eq!(PeerId::parse(&id.to_string()).unwrap(), id);
        assert!(PeerId::parse("ix-aaaa").is_err());
        assert!(PeerId::parse("").is_err());
    }
}
