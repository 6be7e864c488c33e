//! Kinds of chunks.

/// What a chunk holds; says which chunks are alike and so share a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ChunkClass {
    /// Preamble and file meta group (PS3.10 section 7.1): how this file came to be, not what the instance is.
    Meta,
    /// Everything between them and the pixel data, or what follows it.
    Header,
    /// Frames or rows of native pixel data, or fragments of encapsulated pixel data.
    Pixels,
    /// Bytes of a file that could not be read as DICOM.
    Opaque,
}

impl ChunkClass {
    /// Its number in every encoding.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Header => 0,
            Self::Pixels => 1,
            Self::Opaque => 2,
            Self::Meta => 3,
        }
    }

    /// The class with that number.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Header),
            1 => Some(Self::Pixels),
            2 => Some(Self::Opaque),
            3 => Some(Self::Meta),
            _ => None,
        }
    }

    /// The class of the records that hold such chunks: what describes an instance travels together.
    #[must_use]
    pub const fn in_record(self) -> Self {
        match self {
            Self::Meta => Self::Header,
            other => other,
        }
    }
}
