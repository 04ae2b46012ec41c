//! The server log: levels, line format and destinations of Redis, as a backend of the `log` crate.
//!
//! ```text
//!  notice!(..) ──► line ──┬─ main process ──► log crate ──► env_logger (filter) ──► compose ─┐
//!  log::info!(..) ────────┘                                                                 ├─► put
//!                 raw_line, and `line` in a forked child ──────────────────────► compose ───┤
//!                 raw (no prefix), handler_line (from a signal handler) ────────────────────┘
//!
//!  put: one write(2) to stdout, or open(O_APPEND), write, close of the log file; beside it, syslog
//! ```
//!
//! A line is `pid:role DD Mon YYYY HH:MM:SS.mmm mark text`. The role letter is X for a sentinel, C for
//! any process other than the one that called [`adopt_pid`] (a forked child, and the server itself
//! before it has settled in its final process), S for a replica and M for a master.
//!
//! Redis's four levels ride on those of the `log` crate, so that `notice` stays apart from `verbose`:
//! debug = Debug (and Trace), verbose = Info, notice = Warn, warning = Error.
//!
//! Invariants:
//! - Everything below the `log` crate is free of locks and of allocation: settings are atomics, lines
//!   are composed on the stack, the time zone is an offset cached by [`refresh_timezone`] (the C
//!   library takes a lock to compute it). So a forked child, whose parent's other threads may have held
//!   any lock, and a signal handler may log through the same code.
//! - The file is opened for each line: a rotation by renaming needs no signal to the server.
//! - Old settings (path, syslog) are leaked when replaced, since a handler may be reading them. They
//!   change at start-up only, so this is a few bytes in the life of a process.

use std::ffi::CString;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, Ordering::Relaxed};

/// Longest text of one line; the rest is cut off, as in Redis.
const TEXT_MAX: usize = 1023;
/// Longest prefix: pid, role, date, mark, newline.
const PREFIX_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Debug = 0,
    Verbose = 1,
    Notice = 2,
    Warning = 3,
    /// Only as a setting: logs nothing at all.
    Nothing = 4,
}

/// The names `loglevel` takes.
pub const LEVELS: [(&str, Level); 5] = [
    ("debug", Level::Debug),
    ("verbose", Level::Verbose),
    ("notice", Level::Notice),
    ("warning", Level::Warning),
    ("nothing", Level::Nothing),
];

/// The names `syslog-facility` takes, with their codes.
pub const FACILITIES: [(&str, i32); 9] = [
    ("user", libc::LOG_USER),
    ("local0", libc::LOG_LOCAL0),
    ("local1", libc::LOG_LOCAL1),
    ("local2", libc::LOG_LOCAL2),
    ("local3", libc::LOG_LOCAL3),
    ("local4", libc::LOG_LOCAL4),
    ("local5", libc::LOG_LOCAL5),
    ("local6", libc::LOG_LOCAL6),
    ("local7", libc::LOG_LOCAL7),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    Sentinel = b'X',
    Replica = b'S',
    Master = b'M',
}

struct Syslog {
    socket: UnixDatagram,
    addr: SocketAddr,
    ident: String,
    facility: i32,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(Role::Master as u8);
static MAIN_PID: AtomicI32 = AtomicI32::new(0);
static IN_CHILD: AtomicBool = AtomicBool::new(false);
static TZ_OFFSET: AtomicI32 = AtomicI32::new(0);
/// The log file, or null for stdout. Points to a leaked `CString`.
static FILE: AtomicPtr<CString> = AtomicPtr::new(std::ptr::null_mut());
/// Null when syslog is off. Points to a leaked `Syslog`.
static SYSLOG: AtomicPtr<Syslog> = AtomicPtr::new(std::ptr::null_mut());

#[macro_export]
macro_rules! log_at {
    ($level:expr, $($arg:tt)+) => {
        if $crate::sys::log::enabled($level) {
            $crate::sys::log::line($level, ::std::format_args!($($arg)+));
        }
    };
}
#[macro_export]
macro_rules! debug {
    ($($arg:tt)+) => { $crate::log_at!($crate::sys::log::Level::Debug, $($arg)+) };
}
#[macro_export]
macro_rules! verbose {
    ($($arg:tt)+) => { $crate::log_at!($crate::sys::log::Level::Verbose, $($arg)+) };
}
#[macro_export]
macro_rules! notice {
    ($($arg:tt)+) => { $crate::log_at!($crate::sys::log::Level::Notice, $($arg)+) };
}
#[macro_export]
macro_rules! warning {
    ($($arg:tt)+) => { $crate::log_at!($crate::sys::log::Level::Warning, $($arg)+) };
}

// ---- settings ---------------------------------------------------------------------------------------

/// Makes this the backend of the `log` crate. To be called once, before the first line; other crates'
/// chatter below debug stays out of the log.
pub fn init() {
    refresh_timezone();
    let mut b = env_logger::Builder::new();
    b.filter_level(log::LevelFilter::Debug).filter_module("oxidis", log::LevelFilter::Trace);
    b.target(env_logger::Target::Pipe(Box::new(Sink)));
    b.write_style(env_logger::WriteStyle::Never);
    b.format(|out, record| {
        let level = of_log_crate(record.level());
        let line = Line::compose(level, *record.args());
        to_syslog(level, line.text());
        out.write_all(line.bytes())
    });
    // A second call keeps the first backend, which is the same.
    let _ = b.try_init();
    set_level(level());
}

pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Relaxed);
    log::set_max_level(match level {
        Level::Debug => log::LevelFilter::Trace,
        Level::Verbose => log::LevelFilter::Info,
        Level::Notice => log::LevelFilter::Warn,
        Level::Warning => log::LevelFilter::Error,
        Level::Nothing => log::LevelFilter::Off,
    });
}

pub fn level() -> Level {
    let now = LEVEL.load(Relaxed);
    LEVELS.iter().map(|&(_, l)| l).find(|&l| l as u8 == now).expect("only set_level writes it")
}

/// Whether a line of this level would be written.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 >= LEVEL.load(Relaxed)
}

pub fn set_role(role: Role) {
    ROLE.store(role as u8, Relaxed);
}

/// From here on this process is the server, and only others log as C.
pub fn adopt_pid() {
    MAIN_PID.store(pid(), Relaxed);
}

/// This process is a forked child: its lines go past the `log` crate, whose lock may have been held by a
/// thread that was not forked along.
pub(super) fn mark_child() {
    IN_CHILD.store(true, Relaxed);
}

/// Learns the offset of local time, daylight saving included. Takes a lock inside the C library, so it
/// is for the server's own process: at start, and now and then from its cron.
pub fn refresh_timezone() {
    let now = unix_time().0;
    // SAFETY: an all-zero tm is a valid value of this plain C struct, which localtime_r fills.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers refer to live locals of the right types.
    if !unsafe { libc::localtime_r(&now, &mut tm) }.is_null() {
        TZ_OFFSET.store(i32::try_from(tm.tm_gmtoff).unwrap_or(0), Relaxed);
    }
}

/// Directs the log to a file, or to stdout. A file that cannot be opened for appending is refused, and
/// the log stays where it was.
pub fn set_file(path: Option<&Path>) -> io::Result<()> {
    let Some(path) = path else {
        FILE.store(std::ptr::null_mut(), Relaxed);
        return Ok(());
    };
    let path = CString::new(path.as_os_str().as_bytes())?;
    drop(open_append(&path)?);
    FILE.store(Box::into_raw(Box::new(path)), std::sync::atomic::Ordering::Release);
    Ok(())
}

/// Sends every line to the system's logger too.
pub fn open_syslog(ident: &str, facility: i32) -> io::Result<()> {
    open_syslog_at(SocketAddr::from_pathname("/dev/log")?, ident, facility)
}

fn open_syslog_at(addr: SocketAddr, ident: &str, facility: i32) -> io::Result<()> {
    debug_assert!(addr.as_pathname().is_some() || addr.as_abstract_name().is_some());
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?; // a stuck logger must not stop the server
    let s = Box::new(Syslog { socket, addr, ident: ident.to_owned(), facility });
    SYSLOG.store(Box::into_raw(s), std::sync::atomic::Ordering::Release);
    Ok(())
}

// ---- lines ------------------------------------------------------------------------------------------

/// Logs one line. The macros call this after asking [`enabled`].
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    if IN_CHILD.load(Relaxed) {
        return direct(level, text);
    }
    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Verbose => log::Level::Info,
        Level::Notice => log::Level::Warn,
        Level::Warning => log::Level::Error,
        Level::Nothing => return,
    };
    log::logger().log(&log::Record::builder().level(level).target("oxidis").args(text).build());
}

/// Logs one line past the `log` crate: no lock, no allocation.
pub fn raw_line(level: Level, text: &str) {
    if enabled(level) {
        direct(level, format_args!("{text}"));
    }
}

/// As [`raw_line`], with arguments to format; these must not allocate either, where that matters.
pub fn direct(level: Level, text: fmt::Arguments<'_>) {
    if enabled(level) {
        let line = Line::compose(level, text);
        put(line.bytes());
        to_syslog(level, line.text());
    }
}

/// Logs bytes as they are: no prefix, no newline, no limit.
pub fn raw(level: Level, text: &[u8]) {
    if enabled(level) {
        put(text);
        to_syslog(level, text);
    }
}

/// Logs a fixed text from within a handler of a signal that the server survives. Such lines carry
/// `pid:signal-handler (unix time)` in place of role and date.
pub fn handler_line(level: Level, text: &str) {
    if enabled(level) {
        let mut line = Line::empty();
        // Writing to a Line cannot fail.
        let _ = write!(line, "{}:signal-handler ({}) ", pid(), unix_time().0);
        line.finish(format_args!("{text}"));
        put(line.bytes());
    }
}

/// The log as a raw descriptor, for callers that write piecemeal where nothing else can be trusted.
pub fn descriptor() -> Option<LogFd> {
    match log_path() {
        None => Some(LogFd { fd: libc::STDOUT_FILENO, close: false }),
        Some(path) => open_append(path).ok(),
    }
}

/// Closes the descriptor when dropped, unless it is stdout.
pub struct LogFd {
    fd: i32,
    close: bool,
}

impl LogFd {
    pub fn raw(&self) -> i32 {
        self.fd
    }

    /// Writes all of it, or as much as the descriptor takes.
    pub fn put(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // SAFETY: the pointer and length are those of a live slice.
            let n = unsafe { libc::write(self.fd, bytes.as_ptr().cast(), bytes.len()) };
            match usize::try_from(n) {
                Ok(0) => return,
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl Drop for LogFd {
    fn drop(&mut self) {
        if self.close {
            // SAFETY: `close` says that this value opened the descriptor and is its only owner.
            unsafe { libc::close(self.fd) };
        }
    }
}

/// Where env_logger writes its finished lines.
struct Sink;

impl io::Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        put(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn put(bytes: &[u8]) {
    if let Some(fd) = descriptor() {
        fd.put(bytes);
    }
}

fn log_path() -> Option<&'static CString> {
    // SAFETY: the pointer is null or a leaked box, published with Release and never freed.
    unsafe { FILE.load(std::sync::atomic::Ordering::Acquire).as_ref() }
}

fn open_append(path: &CString) -> io::Result<LogFd> {
    let flags = libc::O_APPEND | libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the path is a NUL-terminated string; the mode is passed as open(2) wants it.
    let fd = unsafe { libc::open(path.as_ptr(), flags, 0o666 as libc::c_uint) };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(LogFd { fd, close: true }) }
}

fn to_syslog(level: Level, text: &[u8]) {
    // SAFETY: the pointer is null or a leaked box, published with Release and never freed.
    let Some(s) = (unsafe { SYSLOG.load(std::sync::atomic::Ordering::Acquire).as_ref() }) else {
        return;
    };
    let severity = match level {
        Level::Debug => libc::LOG_DEBUG,
        Level::Verbose => libc::LOG_INFO,
        Level::Notice => libc::LOG_NOTICE,
        _ => libc::LOG_WARNING,
    };
    // The traditional datagram, <priority>Mon dd hh:mm:ss ident[pid]: text, that syslog(3) would send;
    // that function holds a lock while it does.
    let d = Date::local(unix_time().0);
    let mut l = Line::empty();
    let _ = write!(l, "<{}>{} {:2} ", s.facility | severity, MONTHS[d.month], d.day);
    let _ = write!(l, "{:02}:{:02}:{:02} {}[{}]: ", d.hour, d.minute, d.second, s.ident, pid());
    l.append(text);
    let _ = s.socket.send_to_addr(l.bytes(), &s.addr);
}

fn of_log_crate(level: log::Level) -> Level {
    match level {
        log::Level::Trace | log::Level::Debug => Level::Debug,
        log::Level::Info => Level::Verbose,
        log::Level::Warn => Level::Notice,
        log::Level::Error => Level::Warning,
    }
}

/// One line being composed on the stack. What does not fit is cut off.
struct Line {
    buf: [u8; PREFIX_MAX + TEXT_MAX],
    len: usize,
    /// Where the text begins, and how far the line may grow.
    text: usize,
    cap: usize,
}

impl Line {
    fn empty() -> Self {
        Line { buf: [0; PREFIX_MAX + TEXT_MAX], len: 0, text: 0, cap: PREFIX_MAX + TEXT_MAX }
    }

    fn compose(level: Level, text: fmt::Arguments<'_>) -> Self {
        let pid = pid();
        let role = match ROLE.load(Relaxed) {
            r if r == Role::Sentinel as u8 => r,
            _ if pid != MAIN_PID.load(Relaxed) => b'C',
            r => r,
        };
        let mark = [b'.', b'-', b'*', b'#', b' '][level as usize];
        let (secs, millis) = unix_time();
        let d = Date::local(secs);
        let mut l = Line::empty();
        // Writing to a Line cannot fail.
        let _ = write!(l, "{pid}:{} {:02} {} {} ", role as char, d.day, MONTHS[d.month], d.year);
        let _ = write!(l, "{:02}:{:02}:{:02}.{millis:03} ", d.hour, d.minute, d.second);
        let _ = write!(l, "{} ", mark as char);
        l.finish(text);
        l
    }

    /// Appends the text, cut to its limit, and the newline, which always fits.
    fn finish(&mut self, text: fmt::Arguments<'_>) {
        debug_assert!(self.len < PREFIX_MAX);
        self.text = self.len;
        self.cap = self.text + TEXT_MAX;
        let _ = self.write_fmt(text);
        self.cap = self.buf.len();
        self.append(b"\n");
        debug_assert_eq!(self.buf[self.len - 1], b'\n');
    }

    fn append(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(self.cap - self.len);
        self.buf[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        self.len += n;
    }

    fn bytes(&self) -> &[u8] {
        &self.buf[..self.len]
    }

    /// The text alone: neither prefix nor newline.
    fn text(&self) -> &[u8] {
        let end = self.len.saturating_sub(1).max(self.text);
        &self.buf[self.text..end]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.append(s.as_bytes());
        Ok(())
    }
}

fn pid() -> i32 {
    // SAFETY: getpid has no preconditions.
    unsafe { libc::getpid() }
}

/// Seconds and milliseconds of the wall clock.
fn unix_time() -> (i64, i64) {
    let ms = super::clock::unix_ms();
    (ms.div_euclid(1000), ms.rem_euclid(1000))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Local time as C's ctime writes it, without its newline: `Mon Nov  3 09:05:07 2025`.
pub fn ctime(unix: i64) -> String {
    let d = Date::local(unix);
    // 1 January 1970 was a Thursday.
    let weekday = unix.saturating_add(i64::from(TZ_OFFSET.load(Relaxed))).div_euclid(86_400) + 4;
    let weekday = usize::try_from(weekday.rem_euclid(7)).map_or("???", |n| WEEKDAYS[n]);
    let Date { year, month, day, hour, minute, second } = d;
    let month = MONTHS[month];
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

#[derive(Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    /// From 0.
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Date {
    fn local(unix: i64) -> Self {
        Date::utc(unix.saturating_add(i64::from(TZ_OFFSET.load(Relaxed))))
    }

    /// The proleptic Gregorian date. Years are counted from March, so that the leap day comes last and
    /// the months' lengths follow one formula: (153 m + 2) / 5 days before month m.
    fn utc(unix: i64) -> Self {
        let (days, secs) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
        let z = days + 719_468; // days since 1 March of year 0
        let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let m = (5 * doy + 2) / 153;
        let (month, turn) = if m < 10 { (m + 2, 0) } else { (m - 10, 1) };
        Date {
            year: era * 400 + yoe + turn,
            month: usize::try_from(month).expect("0 to 11"),
            day: doy - (153 * m + 2) / 5 + 1,
            hour: secs / 3_600,
            minute: secs / 60 % 60,
            second: secs % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{TempDir, play, respawn, role};

    const SELF: &str = "sys::log::tests::";

    #[test]
    fn a_time_is_written_with_its_weekday() {
        let offset = TZ_OFFSET.swap(0, Relaxed);
        assert_eq!(ctime(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(ctime(1_762_160_707), "Mon Nov  3 09:05:07 2025");
        assert_eq!(ctime(-1), "Wed Dec 31 23:59:59 1969");
        TZ_OFFSET.store(offset, Relaxed);
    }

    #[test]
    fn dates_agree_with_the_c_library() {
        let mut t: i64 = -2_000_000_000;
        for step in (1..4_000i64).map(|n| n * 997 + 86_399) {
            // SAFETY: zero is valid for this plain struct, and gmtime_r fills it from a live integer.
            let tm = unsafe {
                let mut tm: libc::tm = std::mem::zeroed();
                assert!(!libc::gmtime_r(&t, &mut tm).is_null());
                tm
            };
            let want = Date {
                year: i64::from(tm.tm_year) + 1900,
                month: usize::try_from(tm.tm_mon).expect("a month"),
                day: i64::from(tm.tm_mday),
                hour: i64::from(tm.tm_hour),
                minute: i64::from(tm.tm_min),
                second: i64::from(tm.tm_sec),
            };
            assert_eq!(Date::utc(t), want, "{t}");
            t += step;
        }
        assert!(t > 4_000_000_000);
    }

    #[test]
    fn a_line_keeps_its_limit_and_its_newline() {
        let long = "x".repeat(5_000);
        let l = Line::compose(Level::Notice, format_args!("{long}"));
        assert_eq!(l.text(), &long.as_bytes()[..TEXT_MAX]);
        assert_eq!(l.bytes().last(), Some(&b'\n'));
        let l = Line::compose(Level::Notice, format_args!(""));
        assert_eq!(l.text(), b"");
    }

    /// Splits `pid:R DD Mon YYYY HH:MM:SS.mmm mark text` and checks its shape.
    fn parts(line: &str) -> (u32, char, char, &str) {
        let (pid, rest) = line.split_once(':').expect("pid");
        let f: Vec<&str> = rest.splitn(7, ' ').collect();
        assert_eq!(f.len(), 7, "{line}");
        assert!(f[1].len() == 2 && MONTHS.contains(&f[2]) && f[3].len() == 4, "{line}");
        let t = f[4].as_bytes();
        assert!(t.len() == 12 && t[2] == b':' && t[5] == b':' && t[8] == b'.', "{line}");
        let one = |s: &str| s.chars().next().expect("a character");
        (pid.parse().expect("a pid"), one(f[0]), one(f[5]), f[6])
    }

    #[test]
    fn levels_marks_roles_and_rotation() {
        if role().is_some() {
            let path = std::env::var("LOGFILE").expect("given by the other half");
            set_file(Some(Path::new(&path))).expect("a writable folder");
            init();
            set_level(Level::Debug);
            crate::notice!("before {}", "adoption");
            adopt_pid();
            crate::debug!("one");
            log::trace!("two");
            crate::verbose!("three");
            set_role(Role::Replica);
            crate::notice!("four");
            set_role(Role::Sentinel);
            crate::warning!("five");
            raw(Level::Warning, b"as it is\n");
            std::fs::rename(&path, format!("{path}.1")).expect("rotated");
            set_level(Level::Warning);
            crate::notice!("unseen");
            raw_line(Level::Notice, "unseen");
            raw_line(Level::Warning, "six");
            set_level(Level::Nothing);
            crate::warning!("unseen");
            set_level(Level::Verbose);
            log::logger().log(
                &log::Record::builder()
                    .target("elsewhere")
                    .level(log::Level::Info)
                    .args(format_args!("seven"))
                    .build(),
            );
            mark_child();
            crate::verbose!("eight");
            handler_line(Level::Warning, "nine");
            assert!(set_file(Some(Path::new("/nonexistent/x"))).is_err());
            crate::verbose!("ten");
            return;
        }
        let dir = TempDir::new("log");
        let path = dir.join("server.log");
        let mut c = respawn(&format!("{SELF}levels_marks_roles_and_rotation"), "child");
        let out = c.env("LOGFILE", &path).output().expect("runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        let first = std::fs::read_to_string(dir.join("server.log.1")).expect("the rotated log");
        let seen: Vec<_> =
            first.lines().map(|l| if l == "as it is" { (0, ' ', ' ', l) } else { parts(l) }).collect();
        let pid = seen[0].0;
        let want = [('C', '*', "before adoption"), ('M', '.', "one"), ('M', '.', "two")];
        let more = [('M', '-', "three"), ('S', '*', "four"), ('X', '#', "five")];
        for (s, w) in seen.iter().zip(want.iter().chain(&more)) {
            assert_eq!(*s, (pid, w.0, w.1, w.2));
        }
        assert_eq!(seen[6].3, "as it is");
        assert_eq!(seen.len(), 7);
        let second = std::fs::read_to_string(&path).expect("the new log");
        let l: Vec<&str> = second.lines().collect();
        assert_eq!(l.len(), 5, "{second}");
        assert_eq!((parts(l[0]).3, parts(l[1]).3, parts(l[2]).3), ("six", "seven", "eight"));
        assert!(l[3].starts_with(&format!("{pid}:signal-handler (")) && l[3].ends_with(") nine"));
        assert_eq!(parts(l[4]).3, "ten");
    }

    #[test]
    fn local_time_follows_the_zone() {
        if role().is_some() {
            refresh_timezone();
            print!("offset={};", TZ_OFFSET.load(Relaxed));
            return;
        }
        let mut c = respawn(&format!("{SELF}local_time_follows_the_zone"), "child");
        let out = c.env("TZ", "XXX-05:30").output().expect("runs");
        let out = String::from_utf8_lossy(&out.stdout);
        assert!(out.contains("offset=19800;"), "{out}");
    }

    #[test]
    fn syslog_gets_the_text_with_its_priority() {
        if role().is_some() {
            let addr = SocketAddr::from_abstract_name(b"oxidis-no-such-logger").expect("a short name");
            open_syslog_at(addr, "nobody", libc::LOG_LOCAL0).expect("a socket");
            raw_line(Level::Warning, "a missing logger does no harm");
            let name = format!("oxidis-syslog-{}", std::process::id());
            let addr = SocketAddr::from_abstract_name(name).expect("a short name");
            let logger = UnixDatagram::bind_addr(&addr).expect("a free name");
            open_syslog_at(addr, "redis", libc::LOG_LOCAL3).expect("a socket");
            init();
            crate::notice!("hello");
            let mut buf = [0; 200];
            let n = logger.recv(&mut buf).expect("a datagram");
            let got = String::from_utf8_lossy(&buf[..n]).into_owned();
            let start = format!("<{}>", libc::LOG_LOCAL3 | libc::LOG_NOTICE);
            assert!(got.starts_with(&start), "{got}");
            assert!(got.ends_with(&format!(" redis[{}]: hello", pid())), "{got}");
            return;
        }
        let out = play(&format!("{SELF}syslog_gets_the_text_with_its_priority"), "child");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
}
