//! Being supervised: telling systemd or upstart how far the server has come.
//!
//! systemd names a datagram socket in NOTIFY_SOCKET (a path, or an abstract name after `@`) and reads
//! lines of `VARIABLE=value`: `STATUS=...` for people, `READY=1`, `STOPPING=1`. Upstart sets
//! UPSTART_JOB and waits for its job to stop itself, then continues it.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::{notice, verbose, warning};

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const UPSTART_JOB: &str = "UPSTART_JOB";

/// What `supervised` can be set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SuperviseMode {
    #[default]
    No,
    Auto,
    Systemd,
    Upstart,
}

/// Finds the supervisor that `asked` names or allows and tells it that the server is starting. The
/// answer is the supervisor in charge: Systemd, Upstart, or No.
///
/// # Safety
/// No other thread may run yet: upstart's variable is taken out of the environment.
pub unsafe fn begin(asked: SuperviseMode) -> SuperviseMode {
    let mode = match asked {
        SuperviseMode::Auto if std::env::var_os(UPSTART_JOB).is_some() => {
            verbose!("Upstart supervision detected.");
            SuperviseMode::Upstart
        }
        SuperviseMode::Auto if std::env::var_os(NOTIFY_SOCKET).is_some() => {
            verbose!("Systemd supervision detected.");
            SuperviseMode::Systemd
        }
        SuperviseMode::Auto => SuperviseMode::No,
        given => given,
    };
    let taken = match mode {
        // SAFETY: passed on to our caller.
        SuperviseMode::Upstart => unsafe { upstart() },
        SuperviseMode::Systemd => systemd(),
        _ => false,
    };
    if taken { mode } else { SuperviseMode::No }
}

/// # Safety
/// As for [`begin`].
unsafe fn upstart() -> bool {
    if std::env::var_os(UPSTART_JOB).is_none() {
        warning!("upstart supervision requested, but UPSTART_JOB not found!");
        return false;
    }
    notice!("supervised by upstart, will stop to signal readiness.");
    // SAFETY: stops this process until it is continued.
    unsafe { libc::raise(libc::SIGSTOP) };
    // SAFETY: the caller vouches that no other thread reads the environment.
    unsafe { std::env::remove_var(UPSTART_JOB) };
    true
}

fn systemd() -> bool {
    if !notify("STATUS=Redis is loading...\n") {
        return false;
    }
    notice!(
        "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
         TimeoutStopSec in your service unit."
    );
    true
}

/// Sends lines to systemd, such as `READY=1\n`. Failing is logged, and false.
pub fn notify(state: &str) -> bool {
    let Some(name) = std::env::var_os(NOTIFY_SOCKET) else {
        warning!("systemd supervision error: NOTIFY_SOCKET not found!");
        return false;
    };
    match send(&name, state.as_bytes()) {
        Ok(()) => true,
        Err(e) => {
            let code = e.raw_os_error().unwrap_or(libc::EINVAL);
            warning!("systemd supervision error: sd_notify: -{code}");
            false
        }
    }
}

fn send(name: &OsStr, state: &[u8]) -> io::Result<()> {
    let addr = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    };
    UnixDatagram::unbound()?.send_to_addr(state, &addr).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{TempDir, respawn, role, signal, wait_until};
    use crate::sys::{log, signals};

    const SELF: &str = "sys::supervise::tests::";

    fn begin_alone(asked: SuperviseMode) -> SuperviseMode {
        log::init();
        log::set_level(log::Level::Verbose);
        // SAFETY: the respawned test runs on the only thread.
        unsafe { begin(asked) }
    }

    fn recv(socket: &UnixDatagram) -> String {
        let mut buf = [0; 100];
        let n = socket.recv(&mut buf).expect("a datagram");
        String::from_utf8_lossy(&buf[..n]).into_owned()
    }

    #[test]
    fn systemd_is_told_by_path_and_by_abstract_name() {
        if role().is_some() {
            signals::install(None);
            assert_eq!(begin_alone(SuperviseMode::Auto), SuperviseMode::Systemd);
            assert!(notify("READY=1\n"));
            return;
        }
        let dir = TempDir::new("systemd");
        let name = format!("oxidis-notify-{}", std::process::id());
        let path = dir.join("socket");
        let places = [
            (SocketAddr::from_pathname(&path).expect("short"), path.display().to_string()),
            (SocketAddr::from_abstract_name(&name).expect("short"), format!("@{name}")),
        ];
        for (addr, told) in places {
            let socket = UnixDatagram::bind_addr(&addr).expect("free");
            let mut c = respawn(&format!("{SELF}systemd_is_told_by_path_and_by_abstract_name"), "child");
            let out = c.env(NOTIFY_SOCKET, told).output().expect("runs");
            let text = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success(), "{text}");
            assert_eq!(recv(&socket), "STATUS=Redis is loading...\n");
            assert_eq!(recv(&socket), "READY=1\n");
            assert!(text.contains(" - Systemd supervision detected.\n"), "{text}");
            assert!(text.contains(" * Supervised by systemd. Please make sure"), "{text}");
        }
    }

    #[test]
    fn a_missing_supervisor_is_reported() {
        if role().is_some() {
            for mode in
                [SuperviseMode::Systemd, SuperviseMode::Upstart, SuperviseMode::Auto, SuperviseMode::No]
            {
                assert_eq!(begin_alone(mode), SuperviseMode::No);
            }
            assert!(send(OsStr::new("relative"), b"x").is_err());
            return;
        }
        let mut c = respawn(&format!("{SELF}a_missing_supervisor_is_reported"), "child");
        let run = |c: &mut std::process::Command| {
            let out = c.output().expect("runs");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        c.env_remove(UPSTART_JOB).env_remove(NOTIFY_SOCKET);
        let text = run(&mut c);
        assert!(text.contains(" # systemd supervision error: NOTIFY_SOCKET not found!\n"), "{text}");
        assert!(
            text.contains(" # upstart supervision requested, but UPSTART_JOB not found!\n"),
            "{text}"
        );
        let text = run(c.env(NOTIFY_SOCKET, "/nonexistent/socket"));
        let want = format!(" # systemd supervision error: sd_notify: -{}\n", libc::ENOENT);
        assert!(text.contains(&want), "{text}");
    }

    #[test]
    fn upstart_is_told_by_stopping() {
        if role().is_some() {
            assert_eq!(begin_alone(SuperviseMode::Auto), SuperviseMode::Upstart);
            assert!(std::env::var_os(UPSTART_JOB).is_none());
            std::process::exit(9);
        }
        let mut c = respawn(&format!("{SELF}upstart_is_told_by_stopping"), "child");
        let mut child = c.env(UPSTART_JOB, "redis").spawn().expect("starts");
        let pid = i32::try_from(child.id()).expect("a pid fits");
        wait_until(|| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("not reaped yet");
            stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T'))
        });
        signal(&child, libc::SIGCONT);
        assert_eq!(child.wait().expect("ends").code(), Some(9));
    }
}
