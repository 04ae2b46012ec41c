//! nodes.conf on the disk: what a node knows of its cluster, and the lock by which it is this node's alone.
//!
//! ```text
//! open ─► lock ─► read                  save: write temp ─► lock it ─► fsync ─► rename ─► fsync the folder
//! ```
//!
//! The lock belongs to the file behind the name and not to the name. A save brings another file there, so
//! that one is locked before it gets the name, and its lock is what is held from then on: a second server
//! never finds the name unlocked.

use crate::sys::{errno, fsx};
use crate::warning;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const MODE: u32 = 0o644;

/// The file, locked as long as this lives.
pub struct NodesConf {
    path: PathBuf,
    lock: File,
}

impl NodesConf {
    /// Opens the file, or makes an empty one, and locks it. A failure has been logged.
    pub fn open(name: &[u8]) -> Result<NodesConf, ()> {
        let path = PathBuf::from(OsStr::from_bytes(name));
        let shown = path.display();
        let lock = loop {
            let file = File::options().read(true).append(true).create(true).mode(MODE).open(&path);
            let file = file.map_err(|e| {
                warning!("Can't open {shown} in order to acquire a lock: {}", errno::text(&e));
            })?;
            try_lock(&file, &path)?;
            // Between the two a save of another server may have brought another file there.
            match is_still_there(&file, &path) {
                Ok(true) => break file,
                Ok(false) => {}
                Err(e) => {
                    warning!("Impossible to lock {shown}: {}", errno::text(&e));
                    return Err(());
                }
            }
        };
        Ok(NodesConf { path, lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.lock.read_to_end(&mut text)?;
        Ok(text)
    }

    /// The file that a save has brought there.
    pub fn adopt(&mut self, lock: File) {
        self.lock = lock;
    }
}

/// Is the name that of this file?
fn is_still_there(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A failure has been logged.
fn try_lock(file: &File, path: &Path) -> Result<(), ()> {
    let shown = path.display();
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            warning!(
                "Sorry, the cluster configuration file {shown} is already used by a different Redis \
                     Cluster node. Please make sure that different nodes use different cluster \
                     configuration files."
            );
            Err(())
        }
        Err(TryLockError::Error(e)) => {
            warning!("Impossible to lock {shown}: {}", errno::text(&e));
            Err(())
        }
    }
}

/// Replaces the file; `fsync`: for good, whatever happens to the machine. Returns the new one, locked. Usable
/// on any thread.
pub fn save(path: &Path, temp: &Path, text: &[u8], fsync: bool) -> Result<File, String> {
    let done = write(temp, text).and_then(|file| {
        std::fs::rename(temp, path)?;
        if fsync {
            fsx::sync_folder_of(path)?;
        }
        Ok(file)
    });
    done.map_err(|e| {
        if let Err(left) = std::fs::remove_file(temp)
            && left.kind() != ErrorKind::NotFound
        {
            warning!("Can't remove the file {}: {}", temp.display(), errno::text(&left));
        }
        errno::text(&e)
    })
}

fn write(temp: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(MODE).open(temp)?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(text)?;
    // It takes the place of one that is on the disk.
    file.sync_all()?;
    Ok(file)
}

/// A name beside the file that no other save uses.
pub fn temp_name(path: &Path, now_ms: i64) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".tmp-{}-{now_ms}", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;

    #[test]
    fn the_file_stays_locked_across_a_save() {
        let dir = TempDir::new("nodes-conf");
        let path = dir.join("nodes.conf");
        let name = path.as_os_str().as_bytes();
        let mut first = NodesConf::open(name).expect("nothing is there");
        assert_eq!(first.read().expect("just made"), b"");
        assert!(NodesConf::open(name).is_err());
        let temp = temp_name(&path, 5);
        first.adopt(save(&path, &temp, b"text", true).expect("room"));
        assert!(!temp.exists() && NodesConf::open(name).is_err());
        first.adopt(save(&path, &temp, b"more text", false).expect("room"));
        assert!(NodesConf::open(name).is_err());
        drop(first);
        let mut second = NodesConf::open(name).expect("the lock has gone with its holder");
        assert_eq!(second.read().expect("it was saved"), b"more text");
    }

    #[test]
    fn a_file_that_was_replaced_is_known_by_its_handle() {
        let dir = TempDir::new("nodes-conf-replaced");
        let path = dir.join("nodes.conf");
        let old = save(&path, &temp_name(&path, 1), b"old", false).expect("room");
        assert!(is_still_there(&old, &path).expect("it is"));
        let new = save(&path, &temp_name(&path, 2), b"new", false).expect("room");
        assert!(!is_still_there(&old, &path).expect("it was looked at"));
        assert!(is_still_there(&new, &path).expect("it is"));
        std::fs::remove_file(&path).expect("it was there");
        assert!(!is_still_there(&new, &path).expect("it was looked at"));
    }

    #[test]
    fn a_save_that_fails_leaves_the_old_file() {
        let dir = TempDir::new("nodes-conf-fails");
        let path = dir.join("nodes.conf");
        save(&path, &temp_name(&path, 1), b"old", true).expect("room");
        let nowhere = dir.join("missing").join("temp");
        assert!(save(&path, &nowhere, b"new", true).is_err());
        assert_eq!(std::fs::read(&path).expect("it is there"), b"old");
    }
}
