//! Room set aside on a disk: given up when something else has filled it, so that a daemon can start there, serve, and
//! write down what it owes. The store's own reserve keeps imgxfer from filling the disk; it does not keep others.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Name of the file in a folder of ours.
const SPARE_FILE: &str = "spare";
/// What is set aside: room for the logs of the index and of the queue.
const SPARE_BYTES: u64 = 32 << 20;
/// Under so much free, it is given up ...
const SCARCE_BYTES: u64 = 8 << 20;
/// ... and over so much set aside.
const PLENTY_BYTES: u64 = 256 << 20;

/// Sets room aside in a folder, or gives it up, as the disk is; tells when it gives it up.
///
/// # Errors
/// When the disk cannot be asked, or the file not be made or removed.
pub(crate) fn tend(folder: &Path) -> io::Result<()> {
    let stat = statvfs(folder)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    tend_at(folder, free)
}

fn tend_at(folder: &Path, free: u64) -> io::Result<()> {
    let path = folder.join(SPARE_FILE);
    let is_there = path.try_exists()?;
    if free < SCARCE_BYTES && is_there {
        std::fs::remove_file(&path)?;
        tracing::error!(free, "the disk is full: the room set aside is given up, nothing more is taken; make room");
    } else if free > PLENTY_BYTES && !is_there {
        let file = File::create(&path)?;
        if let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, SPARE_BYTES) {
            std::fs::remove_file(&path)?;
            return Err(error.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_set_aside_and_given_up_in_need() {
        let folder = tempfile::tempdir().unwrap();
        let spare = folder.path().join(SPARE_FILE);
        let is_there = |free| {
            tend_at(folder.path(), free).unwrap();
            spare.exists()
        };
        assert!(!is_there(100 << 20), "not on a disk that is nearly full");
        assert!(is_there(PLENTY_BYTES + 1));
        assert_eq!(spare.metadata().unwrap().len(), SPARE_BYTES);
        assert!(is_there(SCARCE_BYTES), "not yet");
        assert!(!is_there(SCARCE_BYTES - 1));
        assert!(!is_there(0), "and does no harm twice");
        assert!(is_there(PLENTY_BYTES + 1), "there is room again");
    }
}
