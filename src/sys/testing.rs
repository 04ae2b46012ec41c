//! Helpers for tests that need a process or a folder of their own.
//!
//! Signal handlers, panic hooks, forks and titles belong to a whole process, so such a test runs twice:
//! once as the test, which respawns the test binary for itself alone, and once inside that process,
//! where `role` answers with what it shall play.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const ROLE: &str = "OXIDIS_TEST_ROLE";

/// The part this process plays, when it was respawned to play one. Then it has a minute to live, so that
/// one that hangs fails its test and is not left behind.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    // SAFETY: alarm takes a plain number; unhandled, it kills this process.
    unsafe { libc::alarm(60) };
    Some(role)
}

/// A command that runs the test `name` (its full path) alone, on the main thread, in the part `role`.
pub fn respawn(name: &str, role: &str) -> Command {
    let mut c = Command::new(std::env::current_exe().expect("a running test has a path"));
    c.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    c
}

/// Runs it to its end.
pub fn play(name: &str, role: &str) -> Output {
    respawn(name, role).output().expect("the test binary starts")
}

/// Waits until `ready` says so; half a minute is the bound after which the test has failed.
pub fn wait_until(mut ready: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !ready() {
        assert!(std::time::Instant::now() < end, "the condition never came true");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

pub fn signal(child: &Child, sig: i32) {
    let pid = libc::pid_t::try_from(child.id()).expect("a pid fits");
    // SAFETY: kill takes plain numbers; the child is ours and not reaped yet.
    assert_eq!(unsafe { libc::kill(pid, sig) }, 0);
}

/// A fresh folder, removed with all it holds when dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let p = std::env::temp_dir().join(format!("oxidis-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&p);
        std::fs::create_dir_all(&p).expect("the temp folder is writable");
        TempDir(p)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
