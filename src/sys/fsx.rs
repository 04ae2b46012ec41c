//! Replacing files so that a crash at any moment leaves the old one or the new one, whole.
//!
//! ```text
//!  write temp ─► fdatasync temp ─► rename temp over path ─► fsync the folder
//!  └ content ───────────────────┘  └ visible ────────────┘  └ durable: the name points to the new file
//! ```
//!
//! The temp file lies in the folder of the file it will replace (rename does not cross file systems),
//! and is removed when a step fails before the rename.
//!
//! [`Steady`] writes a big file so that the kernel never has more than two strides of it in memory alone:
//! the sync at the end finds little left to do, and the disk serves others meanwhile.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What was being done when it failed: callers word their log lines by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplaceStep {
    Create,
    Write,
    Sync,
    Rename,
    /// The new file is in place, but a power failure may bring the old one back.
    SyncFolder,
}

#[derive(Debug)]
pub struct Failed {
    pub step: ReplaceStep,
    pub error: io::Error,
}

impl ReplaceStep {
    fn of<T>(self, result: io::Result<T>) -> Result<T, Failed> {
        result.map_err(|error| Failed { step: self, error })
    }
}

/// May this process write the file?
pub fn check_writable(path: &Path) -> io::Result<()> {
    access(path, libc::W_OK)
}

/// Is it there, and may this process execute it?
pub fn may_execute(path: &Path) -> bool {
    access(path, libc::X_OK).is_ok()
}

fn access(path: &Path, how: libc::c_int) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a live text that ends with a zero.
    if unsafe { libc::access(path.as_ptr(), how) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
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
    let mut file = ReplaceStep::Create.of(open)?;
    let written =
        ReplaceStep::Write.of(write(&mut file)).and_then(|()| ReplaceStep::Sync.of(file.sync_data()));
    drop(file);
    if written.is_err() {
        let _ = fs::remove_file(temp); // the first failure is the one to tell
    }
    written?;
    install(temp, path)
}

/// Puts a temp file that is written and synced already in the place of `path`.
pub fn install(temp: &Path, path: &Path) -> Result<(), Failed> {
    let renamed = ReplaceStep::Rename.of(fs::rename(temp, path));
    if renamed.is_err() {
        let _ = fs::remove_file(temp); // as above
    }
    renamed?;
    ReplaceStep::SyncFolder.of(sync_folder_of(path))
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

/// Bytes between two syncs (REDIS_AUTOSYNC_BYTES).
const STRIDE: u64 = 4 << 20;

/// Writes a new file from its beginning. When a stride is full its way to the disk begins, and the
/// stride before it is waited for.
pub struct Steady<'f> {
    file: &'f File,
    /// None leaves the syncing to the kernel.
    strides: Option<Strides>,
}

impl<'f> Steady<'f> {
    pub fn new(file: &'f File, steady: bool) -> Self {
        Steady { file, strides: steady.then(Strides::default) }
    }
}

impl Write for Steady<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.strides {
            Some(strides) => strides.write(self.file, bytes),
            None => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How far a file is written that goes to the disk in strides.
#[derive(Default)]
pub struct Strides {
    written: u64,
}

const BEGIN: u32 = libc::SYNC_FILE_RANGE_WRITE;
const FINISH: u32 =
    libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

impl Strides {
    /// Appends all of it.
    pub fn write_all(&mut self, file: &File, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(file, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX).min(bytes.len());
        let n = file.write(&bytes[..room])?;
        for (from, flags) in self.add(n as u64).into_iter().flatten() {
            sync_range(file, from, flags)?;
        }
        Ok(n)
    }

    /// Bytes up to the end of the stride.
    fn room(&self) -> u64 {
        STRIDE - self.written % STRIDE
    }

    /// The strides to sync after `n` more bytes, by their first byte.
    fn add(&mut self, n: u64) -> [Option<(u64, u32)>; 2] {
        debug_assert!(n <= self.room());
        self.written += n;
        if n == 0 || !self.written.is_multiple_of(STRIDE) {
            return [None; 2];
        }
        let this = self.written - STRIDE;
        [Some((this, BEGIN)), this.checked_sub(STRIDE).map(|before| (before, FINISH))]
    }
}

fn sync_range(file: &File, from: u64, flags: u32) -> io::Result<()> {
    // SAFETY: plain numbers, and a descriptor that is open as long as the file.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), from as i64, STRIDE as i64, flags) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Not every kernel and file system can; the sync at the end is the one that counts.
        e if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)) => Ok(()),
        e => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;

    #[test]
    fn each_full_stride_is_begun_and_the_one_before_finished() {
        let mut strides = Strides::default();
        let mut asked = Vec::new();
        for n in [1, STRIDE - 2, 1, STRIDE, STRIDE / 2] {
            asked.extend(strides.add(n).into_iter().flatten());
        }
        assert_eq!(asked, [(0, BEGIN), (STRIDE, BEGIN), (0, FINISH)]);
        assert_eq!(strides.room(), STRIDE / 2);
    }

    #[test]
    fn a_steady_file_has_all_that_was_written() {
        let dir = TempDir::new("steady");
        let bytes: Vec<u8> = (0..9_500_000u32).map(|n| (n % 251) as u8).collect();
        for steady in [true, false] {
            let file = File::create(dir.join("f")).expect("a writable folder");
            Steady::new(&file, steady).write_all(&bytes).expect("room");
            assert!(fs::read(dir.join("f")).expect("the file") == bytes);
        }
    }
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
        assert_eq!((e.step, e.error.raw_os_error()), (ReplaceStep::Write, Some(libc::ENOSPC)));
        assert_eq!(fs::read(&path).expect("there"), b"old");
        assert_eq!(names(&dir), ["x"]);

        let folder = dir.join("folder");
        fs::create_dir(&folder).expect("writable");
        let e = replace(&temp, &folder, 0o644, |_| Ok(())).expect_err("a folder is in the way");
        assert_eq!(e.step, ReplaceStep::Rename);
        assert_eq!(names(&dir), ["folder", "x"]);

        let nowhere = dir.join("no/x");
        let e = replace(&dir.join("no/temp"), &nowhere, 0o644, |_| Ok(())).expect_err("no folder");
        assert_eq!(e.step, ReplaceStep::Create);
        assert!(sync_folder_of(&nowhere).is_err());
        sync_folder_of(Path::new("bare-name")).expect("the working folder is there");
    }
}
