//! Whether a file may be the beginning of a longer one, and whether a program has it open for writing.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use imgxfer_core::dicom::{self, NotDicom, ReadAt as _};
use imgxfer_core::store::FileBytes;

/// Linux's fcntl(2) command for the signal that tells of a lease; the same on every architecture served.
const F_SETSIG: i32 = 10;

/// Whether the file's elements end before it does, or it is all zeros where a file's beginning should be.
///
/// # Errors
/// When it cannot be read.
pub(super) fn is_unfinished(file: &FileBytes) -> io::Result<bool> {
    match dicom::scan(file) {
        Ok(scan) => Ok(scan.unfinished && !scan.is_dicomdir()),
        Err(NotDicom::Read(error)) => Err(error),
        Err(_) => is_blank(file),
    }
}

/// Empty, or zeros up to where the marker of a DICOM file stands.
fn is_blank(file: &FileBytes) -> io::Result<bool> {
    let mut head = [0; 132];
    let len = usize::try_from(file.len()).unwrap_or(usize::MAX).min(head.len());
    file.read_exact_at(0, &mut head[..len])?;
    Ok(head.iter().all(|&byte| byte == 0))
}

/// Whether some program has the file open for writing, as far as the system tells. It does on local file
/// systems, to the file's owner or with the capability `CAP_LEASE`; otherwise the answer is no.
pub(super) fn has_writer(path: &Path) -> bool {
    FileBytes::open_no_follow(path).is_ok() && std::fs::File::open(path).is_ok_and(|file| lease_is_refused(&file))
}

/// A lease for reading is refused with `EAGAIN` while anybody has the file open for writing (fcntl(2)).
#[expect(unsafe_code, reason = "no safe wrapper of F_SETLEASE is at hand; three plain calls without pointers")]
fn lease_is_refused(file: &std::fs::File) -> bool {
    let fd = file.as_raw_fd();
    // Who opens the file in between makes the system send a signal, by default SIGIO, which would end the
    // daemon. SIGURG is ignored by default.
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and no memory is passed.
    let harmless = unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) } == 0;
    if !harmless {
        return false;
    }
    // SAFETY: as above.
    let taken = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) } == 0;
    if !taken {
        return io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
    }
    // Closing the descriptor gives the lease back too, should this fail.
    // SAFETY: as above.
    let _unused = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    false
}
