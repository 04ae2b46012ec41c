//! Threads for what the disk takes long to do: one for the append only file, its syncs and the steps of
//! several files that belong together (a rewrite's end); another one for everything else. Closing a big file
//! that was removed takes seconds, in which the log must be synced all the same.
//!
//! ```text
//! main: sync(file)  ──► channel ──► bio_aof:        fdatasync ──► pending - 1, the error if there was one
//! main: unlink(path) ─► channel ──► bio_close_file: closes, which frees the blocks
//! ```
//!
//! While a sync is pending a write to the same file may have to wait for it, which is why the AOF asks
//! `syncing` before it writes. The jobs of a thread are done in their order. A file that was removed is
//! handed over open: its blocks are freed when the thread drops it.
//!
//! What waits for others than the disk (the addresses of a name) gets a thread of its own: `aside`.

use crate::sys::{alloc, cpu, crash, errno};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// How far a log is synced, in positions of the stream. Each log has its own: a late sync of the one before
/// says nothing about this one.
#[derive(Clone, Default)]
pub struct SyncedOffset(Arc<AtomicU64>);

impl SyncedOffset {
    pub fn new(at: u64) -> SyncedOffset {
        SyncedOffset(Arc::new(AtomicU64::new(at)))
    }

    /// A sync has succeeded, of a file with all that stands before this position.
    pub fn reached(&self, at: u64) {
        self.0.fetch_max(at, Ordering::Release);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Where the stream ended behind all that is written to a file, and what a sync of it is reported to.
type Covered = (SyncedOffset, u64);

enum Job {
    Sync(Arc<File>, Covered),
    /// The last that is done with a file of the log: synced first.
    SyncAndClose(Arc<File>, Covered),
    Close(File),
    /// Anything else.
    Work(Box<dyn FnOnce() + Send>),
}

/// Work that was handed over, and what has come of it.
#[derive(Debug)]
pub struct Handed<T> {
    done: Arc<AtomicBool>,
    outcome: Receiver<T>,
}

impl<T> Handed<T> {
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// What has come of it; waits when it is not done.
    pub fn outcome(self) -> T {
        self.outcome.recv().expect("the thread ends with the process, and work has an outcome")
    }
}

/// Work for another thread, and where its outcome is found.
fn handed<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    wake: impl FnOnce() + Send + 'static,
) -> (Handed<T>, impl FnOnce() + Send + 'static) {
    let (result, outcome) = channel();
    let done = Arc::new(AtomicBool::new(false));
    let theirs = done.clone();
    let job = move || {
        // Without a receiver the outcome is not wanted any more.
        let _taken = result.send(work());
        theirs.store(true, Ordering::Release);
        wake();
    };
    (Handed { done, outcome }, job)
}

/// Has something done on a thread of its own; `wake` is called when it is done.
pub fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
    wake: impl FnOnce() + Send + 'static,
) -> io::Result<Handed<T>> {
    let (handed, job) = handed(work, wake);
    std::thread::Builder::new().name(name.into()).spawn(move || {
        crash::adopt_worker();
        job();
    })?;
    Ok(handed)
}

#[derive(Default)]
struct Shared {
    syncs: AtomicUsize,
    jobs: AtomicUsize,
    /// The system's number of the last failed sync; 0 when the last one was good.
    failed: AtomicI32,
}

/// A thread, and what it is to do.
#[derive(Clone)]
struct Queue {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

impl Queue {
    fn start(name: &str, slot: usize, cpus: Option<&[u8]>) -> Queue {
        let (jobs, inbox) = channel();
        let shared = Arc::new(Shared::default());
        let (theirs, cpus) = (shared.clone(), cpus.map(<[u8]>::to_vec));
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                alloc::register_thread(slot);
                work(inbox, &theirs, cpus);
            })
            .expect("a server that cannot start a thread cannot run");
        Queue { jobs, shared }
    }

    fn send(&self, job: Job) {
        self.shared.jobs.fetch_add(1, Ordering::Relaxed);
        assert!(self.jobs.send(job).is_ok(), "the thread ends with the process");
    }

    /// Waits until everything is done that was asked for.
    fn drain(&self) {
        while self.shared.jobs.load(Ordering::Acquire) > 0 {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }
}

/// Removes files from whatever thread.
#[derive(Clone)]
pub struct Remover(Queue);

impl Remover {
    /// As `Bio::unlink`.
    pub fn unlink(&self, path: &Path) -> io::Result<()> {
        let open = File::open(path);
        std::fs::remove_file(path)?;
        if let Ok(file) = open {
            self.0.send(Job::Close(file));
        }
        Ok(())
    }
}

pub struct Bio {
    log: Queue,
    files: Queue,
}

impl Bio {
    /// Starts the threads, on the processors of `cpus` (`bio_cpulist`).
    pub fn start(cpus: Option<&[u8]>) -> Bio {
        Bio {
            log: Queue::start("bio_aof", alloc::slot::DISK, cpus),
            files: Queue::start("bio_close_file", alloc::slot::FILES, cpus),
        }
    }

    pub fn sync(&self, file: &Arc<File>, covered: (SyncedOffset, u64)) {
        self.log.shared.syncs.fetch_add(1, Ordering::Relaxed);
        self.log.send(Job::Sync(file.clone(), covered));
    }

    pub fn sync_and_close(&self, file: Arc<File>, covered: (SyncedOffset, u64)) {
        self.log.send(Job::SyncAndClose(file, covered));
    }

    /// Has something done with the files of the log; `wake` is called when it is done.
    pub fn hand_over<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        wake: impl FnOnce() + Send + 'static,
    ) -> Handed<T> {
        let (handed, job) = handed(work, wake);
        self.log.send(Job::Work(Box::new(job)));
        handed
    }

    /// The same, with other files.
    pub fn hand_over_file<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        wake: impl FnOnce() + Send + 'static,
    ) -> Handed<T> {
        let (handed, job) = handed(work, wake);
        self.files.send(Job::Work(Box::new(job)));
        handed
    }

    /// Takes the name of a file away at once and frees its blocks on the thread.
    pub fn unlink(&self, path: &Path) -> io::Result<()> {
        self.remover().unlink(path)
    }

    /// What removes files, for the thread of the log.
    pub fn remover(&self) -> Remover {
        Remover(self.files.clone())
    }

    /// Syncs that were asked for and are not done.
    pub fn syncing(&self) -> usize {
        self.log.shared.syncs.load(Ordering::Acquire)
    }

    /// The error of the last sync, by the system's number.
    pub fn failed(&self) -> Option<i32> {
        Some(self.log.shared.failed.load(Ordering::Relaxed)).filter(|e| *e != 0)
    }

    pub fn forget_failure(&self) {
        self.log.shared.failed.store(0, Ordering::Relaxed);
    }

    /// Waits until everything is done that was asked for with the log.
    pub fn drain(&self) {
        self.log.drain();
    }
}

fn work(inbox: Receiver<Job>, shared: &Shared, cpus: Option<Vec<u8>>) {
    crash::adopt_worker();
    if let Some(cpus) = cpus
        && let Err(e) = cpu::bind(&cpus)
    {
        crate::warning!("Can't bind a disk thread to its processors: {e}");
    }
    for job in inbox {
        match job {
            Job::Sync(file, covered) => {
                sync(shared, &file, &covered);
                shared.syncs.fetch_sub(1, Ordering::Release);
            }
            Job::SyncAndClose(file, covered) => sync(shared, &file, &covered),
            Job::Close(file) => drop(file),
            Job::Work(work) => work(),
        }
        shared.jobs.fetch_sub(1, Ordering::Release);
    }
}

fn sync(shared: &Shared, file: &File, (synced, at): &Covered) {
    let done = file.sync_data();
    // What cannot be synced at all (a device) need not be.
    if done.as_ref().map_or_else(|e| e.raw_os_error() == Some(libc::EINVAL), |()| true) {
        synced.reached(*at);
    }
    match done {
        Ok(()) => shared.failed.store(0, Ordering::Relaxed),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
        Err(e) => {
            let number = e.raw_os_error().unwrap_or(libc::EIO);
            if shared.failed.swap(number, Ordering::Relaxed) == 0 {
                crate::warning!("Fail to fsync the AOF file: {}", errno::text(&e));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;
    use std::io::Write;

    #[test]
    fn jobs_are_done_and_counted() {
        let dir = TempDir::new("bio");
        let path = dir.join("file");
        let mut file = File::create(&path).expect("writable");
        file.write_all(b"text").expect("room");
        let (bio, file) = (Bio::start(None), Arc::new(file));
        let covered = (SyncedOffset::new(3), 7);
        for _ in 0..10 {
            bio.sync(&file, covered.clone());
        }
        bio.sync_and_close(file, covered.clone());
        bio.unlink(&path).expect("it is there");
        assert!(!path.exists(), "the name is gone at once");
        bio.drain();
        bio.files.drain();
        assert_eq!((bio.syncing(), bio.failed(), covered.0.get()), (0, None, 7));
        assert!(bio.unlink(&path).is_err());
    }

    #[test]
    fn work_is_done_in_its_turn_and_has_an_outcome() {
        let bio = Bio::start(None);
        let (woken, bell) = channel();
        let handed = bio.hand_over(|| 6 * 7, move || woken.send(()).expect("the test waits"));
        bell.recv().expect("it rings");
        assert!(handed.is_done());
        assert_eq!(handed.outcome(), 42);
        assert_eq!(bio.hand_over(|| "waits", || ()).outcome(), "waits");
    }

    #[test]
    fn the_log_does_not_wait_for_other_files() {
        let dir = TempDir::new("bio-two");
        let bio = Bio::start(None);
        let (go, gate) = channel();
        // A file that takes long to close.
        let slow = bio.hand_over_file(move || gate.recv().expect("the test ends it"), || ());
        let file = Arc::new(File::create(dir.join("file")).expect("writable"));
        let covered = (SyncedOffset::default(), 5);
        bio.sync(&file, covered.clone());
        bio.drain();
        assert_eq!((covered.0.get(), slow.is_done()), (5, false));
        go.send(7).expect("it waits");
        assert_eq!(slow.outcome(), 7);
        assert_eq!(aside("test", || 3, || ()).expect("a thread").outcome(), 3);
    }

    #[test]
    fn a_failed_sync_is_remembered_until_one_succeeds() {
        let dir = TempDir::new("bio-fail");
        let bio = Bio::start(None);
        bio.log.shared.failed.store(libc::EIO, Ordering::Relaxed);
        assert_eq!(bio.failed(), Some(libc::EIO));
        let file = Arc::new(File::create(dir.join("file")).expect("writable"));
        bio.sync(&file, (SyncedOffset::default(), 1));
        bio.drain();
        assert_eq!(bio.failed(), None);
    }
}
