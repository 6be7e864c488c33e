//! How much may still be written to the file system.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::StoreError;

/// Kept back at the least, unless configured.
const RESERVE_BYTES_MIN: u64 = 64 << 20;

/// Watches the free space of the file system that a folder is on.
#[derive(Debug)]
pub(super) struct Space {
    folder: File,
    reserve_bytes: Option<u64>,
    /// Bytes that writers were granted and have not written.
    granted: AtomicU64,
}

/// What a writer may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// What is free above the reserve.
    Free,
    /// Half of the reserve as well: to make room.
    HalfTheReserve,
}

/// Free space as the file system tells it to users other than root.
#[derive(Debug, Clone, Copy)]
struct Free {
    free: u64,
    reserve: u64,
}

impl Space {
    pub(super) fn new(folder: &Path, reserve_bytes: Option<u64>) -> io::Result<Self> {
        Ok(Self { folder: File::open(folder)?, reserve_bytes, granted: AtomicU64::new(0) })
    }

    /// Bytes that may be written before the reserve is touched.
    pub(super) fn left(&self) -> io::Result<u64> {
        let Free { free, reserve } = self.look()?;
        Ok(free.saturating_sub(reserve))
    }

    /// Grants a writer `wanted` bytes, beside what others were granted.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there are not as many that it may use.
    pub(super) fn grant(&self, wanted: u64, may: Use) -> Result<(), StoreError> {
        let granted = self.granted.fetch_add(wanted, Ordering::AcqRel).saturating_add(wanted);
        let look = self.look().map_err(|source| StoreError::Io { what: "ask for the free space", source });
        let answer = look.and_then(|Free { free, reserve }| {
            let kept = if may == Use::HalfTheReserve { reserve / 2 } else { reserve };
            if free.saturating_sub(kept) < granted { Err(StoreError::Full { free }) } else { Ok(()) }
        });
        if answer.is_err() {
            self.used(wanted);
        }
        answer
    }

    /// Of what was granted, so many bytes were written or are given back.
    pub(super) fn used(&self, bytes: u64) {
        self.granted.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn look(&self) -> io::Result<Free> {
        let stat = rustix::fs::fstatvfs(&self.folder)?;
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let reserve = self.reserve_bytes.unwrap_or_else(|| RESERVE_BYTES_MIN.max(total / 100));
        Ok(Free { free: stat.f_bavail.saturating_mul(stat.f_frsize), reserve })
    }
}
