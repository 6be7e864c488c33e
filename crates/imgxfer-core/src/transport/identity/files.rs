//! A site's key and certificate on disk.

use super::{Identity, IdentityError, generated};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The private key: PEM, PKCS #8 (RFC 5958), readable by its owner alone.
const KEY_FILE: &str = "node.key";
/// The certificate, or the chain from it towards an authority: PEM.
const CERTIFICATE_FILE: &str = "node.crt";
/// Far above any key or chain; a larger file is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn io_error(path: &Path, error: &io::Error) -> IdentityError {
    IdentityError::File { path: path.to_owned(), cause: error.into() }
}

/// Refuses a key that others on this machine can read.
fn check_private(path: &Path, file: &File) -> Result<(), IdentityError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata().map_err(|e| io_error(path, &e))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: path.to_owned(), mode });
        }
    }
    #[cfg(not(unix))]
    let _ = (path, file);
    Ok(())
}

fn read(path: &Path, private: bool) -> Result<Zeroizing<String>, IdentityError> {
    let file = File::open(path).map_err(|e| io_error(path, &e))?;
    if private {
        check_private(path, &file)?;
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|e| io_error(path, &e))?;
    Ok(text)
}

/// Writes a whole file or none: to a neighbour first, then renamed over `path`.
fn write(path: &Path, text: &str, private: bool) -> Result<(), IdentityError> {
    let new = path.with_extension("new");
    let write_new = || -> io::Result<()> {
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(if private { 0o600 } else { 0o644 });
        }
        #[cfg(not(unix))]
        let _ = private;
        let mut file = options.open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write_new().map_err(|e| io_error(path, &e))
}

fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir)
}

fn paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join(KEY_FILE), dir.join(CERTIFICATE_FILE))
}

pub(super) fn load(dir: &Path) -> Result<Identity, IdentityError> {
    let (key, certificate) = paths(dir);
    let key = read(&key, true)?;
    let certificate = read(&certificate, false)?;
    Identity::from_pem(&certificate, &key)
}

pub(super) fn load_or_create(dir: &Path) -> Result<Identity, IdentityError> {
    let (key_path, certificate_path) = paths(dir);
    let missing = |path: &Path| path.try_exists().map(|there| !there).map_err(|e| io_error(path, &e));
    if missing(&key_path)? {
        create_dir(dir).map_err(|e| io_error(dir, &e))?;
        // An orphaned certificate belongs to a key that is gone.
        write(&key_path, &generated::key()?, true)?;
        write(&certificate_path, &generated::certificate(&read(&key_path, true)?)?, false)?;
    } else if missing(&certificate_path)? {
        // The process died between the two files. The key is the identity; a certificate can be made anew.
        write(&certificate_path, &generated::certificate(&read(&key_path, true)?)?, false)?;
    }
    load(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        let first = load_or_create(&dir).unwrap();
        assert_eq!(load_or_create(&dir).unwrap().peer_id(), first.peer_id());
        assert_eq!(load(&dir).unwrap().peer_id(), first.peer_id());

        fs::remove_file(dir.join(CERTIFICATE_FILE)).unwrap();
        assert!(
            matches!(load(&dir), Err(IdentityError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound)
        );
        assert_eq!(load_or_create(&dir).unwrap().peer_id(), first.peer_id());
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let key = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert_eq!(load_or_create(dir.path()).unwrap_err(), error);
    }

    #[test]
    fn a_key_without_its_certificate_is_told() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        load_or_create(one.path()).unwrap();
        load_or_create(two.path()).unwrap();
        fs::copy(one.path().join(CERTIFICATE_FILE), two.path().join(CERTIFICATE_FILE)).unwrap();
        assert_eq!(load(two.path()).unwrap_err(), IdentityError::Mismatch);
    }
}
