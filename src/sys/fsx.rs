//! Replacing files so that a crash at any moment leaves the old one or the new one, whole.
//!
//! ```text
//!  write temp ─► fdatasync temp ─► rename temp over path ─► fsync the folder
//!  └ content ───────────────────┘  └ visible ────────────┘  └ durable: the name points to the new file
//! ```
//!
//! The temp file lies in the folder of the file it will replace (rename does not cross file systems),
//! and is removed when a step fails before the rename.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What was being done when it failed: callers word their log lines by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Create,
    Write,
    Sync,
    Rename,
    /// The new file is in place, but a power failure may bring the old one back.
    SyncFolder,
}

#[derive(Debug)]
pub struct Failed {
    pub step: Step,
    pub error: io::Error,
}

impl Step {
    fn of<T>(self, result: io::Result<T>) -> Result<T, Failed> {
        result.map_err(|error| Failed { step: self, error })
    }
}

/// Makes `path` a file with what `write` writes, by way of `temp`, created with the permissions `mode`.
pub fn replace(
    temp: &Path,
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), Failed> {
    debug_assert_eq!(temp.parent(), path.parent());
    let open = File::options().write(true).create(true).truncate(true).mode(mode).open(temp);
    let mut file = Step::Create.of(open)?;
    let written = Step::Write.of(write(&mut file)).and_then(|()| Step::Sync.of(file.sync_data()));
    drop(file);
    if written.is_err() {
        let _ = fs::remove_file(temp); // the first failure is the one to tell
    }
    written?;
    install(temp, path)
}

/// Puts a temp file that is written and synced already in the place of `path`.
pub fn install(temp: &Path, path: &Path) -> Result<(), Failed> {
    let renamed = Step::Rename.of(fs::rename(temp, path));
    if renamed.is_err() {
        let _ = fs::remove_file(temp); // as above
    }
    renamed?;
    Step::SyncFolder.of(sync_folder_of(path))
}

/// Makes the names in the folder of `path` durable. File systems that cannot do that are let be.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    match File::open(folder)?.sync_all() {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EBADF | libc::EINVAL)) => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(dir: &TempDir) -> Vec<String> {
        let mut n: Vec<String> = fs::read_dir(dir.path())
            .expect("a folder")
            .map(|e| e.expect("readable").file_name().into_string().expect("text"))
            .collect();
        n.sort();
        n
    }

    #[test]
    fn the_new_content_takes_the_old_ones_place() {
        let dir = TempDir::new("fsx");
        let (temp, path) = (dir.join("temp-x"), dir.join("x"));
        fs::write(&temp, "a longer left-over of a crash").expect("writable");
        replace(&temp, &path, 0o600, |f| f.write_all(b"one")).expect("works");
        assert_eq!(fs::read(&path).expect("there"), b"one");
        fs::remove_file(&path).expect("there");
        replace(&temp, &path, 0o600, |f| f.write_all(b"two")).expect("works");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&dir), ["x"]);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_no_temp() {
        let dir = TempDir::new("fsx-fail");
        let (temp, path) = (dir.join("temp-x"), dir.join("x"));
        fs::write(&path, "old").expect("writable");
        let broken = |f: &mut File| {
            f.write_all(b"half")?;
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        };
        let e = replace(&temp, &path, 0o644, broken).expect_err("it fails");
        assert_eq!((e.step, e.error.raw_os_error()), (Step::Write, Some(libc::ENOSPC)));
        assert_eq!(fs::read(&path).expect("there"), b"old");
        assert_eq!(names(&dir), ["x"]);

        let folder = dir.join("folder");
        fs::create_dir(&folder).expect("writable");
        let e = replace(&temp, &folder, 0o644, |_| Ok(())).expect_err("a folder is in the way");
        assert_eq!(e.step, Step::Rename);
        assert_eq!(names(&dir), ["folder", "x"]);

        let nowhere = dir.join("no/x");
        let e = replace(&dir.join("no/temp"), &nowhere, 0o644, |_| Ok(())).expect_err("no folder");
        assert_eq!(e.step, Step::Create);
        assert!(sync_folder_of(&nowhere).is_err());
        sync_folder_of(Path::new("bare-name")).expect("the working folder is there");
    }
}
