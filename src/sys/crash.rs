//! The crash report: what the log says when the server dies of a bug, and the watchdog's report of a
//! stall.
//!
//! ```text
//!  SIGSEGV BUS FPE ILL ABRT ─► on_signal ┐          ┌ stack trace, registers
//!  panic!, assert!          ─► on_panic  ┼► enter ─►┼ the server's sections, in turn ─► end ─► die by
//!  assertion_failed                     ─┘          ├ fast memory test               ▲   the signal,
//!                                                   └ code around the instruction    │   or abort
//!  a crash while reporting ──────────────────────────────────────────────────────────┘
//! ```
//!
//! This file knows no Server: band 3 registers [`Sections`], functions that write INFO, the
//! client list and so on. They run in a process that is already broken, so each may panic or crash
//! again: a panic ends that section only, a crash ends the report.
//!
//! Everything else here keeps to what a signal handler may do: no lock, no allocation, writes through
//! `sys::log`'s raw side. (Sections do allocate; that is the price of INFO in a report, and Redis pays
//! it too.) Handlers run on a stack of their own, so that a stack overflow is reported like any other
//! crash.
//!
//! One thread reports, ever: [`enter`] keeps any other that crashes waiting for the end of the process.

use std::ffi::{CString, c_void};
use std::fmt;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering::SeqCst};

use super::log::{self, Level};
use super::symbols::Symbols;
use super::{freeze, memtest, signals};

const CRASH_SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT];
const ALT_STACK: usize = 512 << 10;
const MAX_FRAMES: usize = 100;
/// Longest function whose code is dumped.
const MAX_DUMP: usize = 1 << 13;

/// The process reports a crash: what was going on in it does not go on. Only a section has one.
pub struct Crashed(());

/// Writes one part of the report. A part about something that may be absent (a client being served)
/// leaves its heading out by writing nothing.
pub type Section = fn(&mut Crashed, &mut dyn Write);

/// The parts that only the server can write.
#[derive(Clone, Copy)]
pub struct Sections {
    pub info: Section,
    pub client_list: Section,
    pub current_client: Section,
    pub executing_client: Section,
    pub modules: Section,
    pub config: Section,
}

static VERSION: OnceLock<&str> = OnceLock::new();
static SECTIONS: AtomicPtr<Sections> = AtomicPtr::new(std::ptr::null_mut());
static PIDFILE: AtomicPtr<CString> = AtomicPtr::new(std::ptr::null_mut());
static CRASH_LOG: AtomicBool = AtomicBool::new(true);
static MEMCHECK: AtomicBool = AtomicBool::new(true);
static EXIT_ON_PANIC: AtomicBool = AtomicBool::new(false);
/// The thread that reports, 0 before any does, and how often it has crashed meanwhile.
static REPORTER: AtomicI32 = AtomicI32::new(0);
static AGAIN: AtomicU32 = AtomicU32::new(0);
static STARTED: AtomicBool = AtomicBool::new(false);

// ---- settings ---------------------------------------------------------------------------------------

/// Takes over panics and fatal signals, and reports as this version of Redis. To be called on the main
/// thread, early.
pub fn install(version: &'static str) {
    VERSION.get_or_init(|| version);
    adopt_stack();
    let mut one = [std::ptr::null_mut(); 1];
    // The first call loads the unwinder and allocates; later ones, in handlers, must not.
    // SAFETY: the array has room for the one frame asked for.
    unsafe { libc::backtrace(one.as_mut_ptr(), 1) };
    std::panic::set_hook(Box::new(on_panic));
    set_crash_log(CRASH_LOG.load(SeqCst));
}

/// For each worker thread at its start: a stack for the handlers, and the watchdog's signal left to the
/// main thread, whose stall it is about.
pub fn adopt_worker() {
    adopt_stack();
    mask(libc::SIG_BLOCK, &[libc::SIGALRM]);
}

/// Registers what the server contributes. Leaks what an earlier call registered.
pub fn register(sections: Sections) {
    SECTIONS.store(Box::into_raw(Box::new(sections)), SeqCst);
}

/// `crash-log-enabled`: without it, signals kill as they come, and a panic is told in a few lines.
pub fn set_crash_log(on: bool) {
    CRASH_LOG.store(on, SeqCst);
    let handler = on_signal as extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);
    for sig in CRASH_SIGNALS {
        if on {
            let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            signals::set(sig, handler as libc::sighandler_t, flags);
        } else {
            signals::set(sig, libc::SIG_DFL, 0);
        }
    }
}

/// `crash-memcheck-enabled`: whether the report includes a memory test.
pub fn set_memcheck(on: bool) {
    MEMCHECK.store(on, SeqCst);
}

/// `use-exit-on-panic`: leave with status 1 where otherwise abort would dump core.
pub fn set_exit_on_panic(on: bool) {
    EXIT_ON_PANIC.store(on, SeqCst);
}

/// A pid file to be removed by the report's end. Leaks an earlier one.
pub fn set_pidfile(path: Option<&Path>) {
    let path = path.and_then(|p| CString::new(p.as_os_str().as_bytes()).ok());
    PIDFILE.store(path.map_or(std::ptr::null_mut(), |p| Box::into_raw(Box::new(p))), SeqCst);
}

/// Gives this thread a stack for signal handlers, with a guard page at each end.
fn adopt_stack() {
    const PAGE: usize = 4096;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping touches nothing that exists; the guards and the stack lie within it, and it
    // is never unmapped, so the stack outlives the thread.
    unsafe {
        let p = libc::mmap(std::ptr::null_mut(), ALT_STACK + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
        if p == libc::MAP_FAILED {
            return;
        }
        let stack = p.wrapping_byte_add(PAGE);
        libc::mprotect(stack, ALT_STACK, libc::PROT_READ | libc::PROT_WRITE);
        let ss = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: ALT_STACK };
        libc::sigaltstack(&ss, std::ptr::null_mut());
    }
}

fn mask(how: i32, sigs: &[i32]) {
    // SAFETY: the set is initialised by sigemptyset before use, and the numbers are valid signals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &s in sigs {
            libc::sigaddset(&mut set, s);
        }
        libc::pthread_sigmask(how, &set, std::ptr::null_mut());
    }
}

fn block_all() {
    // SAFETY: sigfillset initialises the set before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

// ---- the ways in ------------------------------------------------------------------------------------

enum Entry {
    First,
    /// This thread crashed while it was reporting.
    Again,
}

fn enter() -> Entry {
    // SAFETY: gettid has no preconditions.
    let me = unsafe { libc::gettid() };
    match REPORTER.compare_exchange(0, me, SeqCst, SeqCst) {
        Ok(_) => Entry::First,
        Err(tid) if tid == me => Entry::Again,
        Err(_) => loop {
            // SAFETY: waits for signals; the reporting thread will end the process.
            unsafe { libc::pause() };
        },
    }
}

extern "C" fn on_signal(sig: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    if let Entry::Again = enter() {
        if AGAIN.fetch_add(1, SeqCst) == 0 {
            log::direct(
                Level::Warning,
                format_args!("Crashed again by signal {sig}: the report is incomplete."),
            );
            end();
        }
        die(sig);
    }
    start();
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let info = unsafe { &*info };
    // SAFETY: as above, a valid context, ours for the time of the handler.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let eip = *instruction(context) as usize;
    // SAFETY: si_addr is set for the signals asked about; for others the field is just not meaningful.
    let addr = unsafe { info.si_addr() } as usize;
    let code = info.si_code;
    let version = VERSION.get().copied().unwrap_or("?");
    say(format_args!("Redis {version} crashed by signal: {sig}, si_code: {code}"));
    if sig == libc::SIGSEGV || sig == libc::SIGBUS {
        say(format_args!("Accessing address: {}", Ptr(addr)));
    }
    if code == libc::SI_USER {
        // SAFETY: both fields are set when a process sent the signal.
        let (pid, uid) = unsafe { (info.si_pid(), info.si_uid()) };
        say(format_args!("Killed by PID: {pid}, UID: {uid}"));
    }
    say(format_args!("Crashed running the instruction at: {}", Ptr(eip)));
    let symbols = Symbols::open();
    if eip == addr {
        // A call through a bad pointer: the unwinder would look at the code there and crash too. Let it
        // begin in a function that has just been entered, which is what the caller's frame looks like.
        *instruction(context) = (entered as fn() as usize) as _;
        print_trace(symbols.as_ref(), Some(eip));
        *instruction(context) = eip as _;
    } else {
        print_trace(symbols.as_ref(), Some(eip));
    }
    print_registers(context);
    print_sections();
    if let Some(s) = &symbols {
        print_code(s, eip);
    }
    end();
    die(sig);
}

#[inline(never)]
fn entered() {
    std::hint::black_box(());
}

/// A failed assertion is told as Redis tells it, any other panic as a "software failure".
fn on_panic(info: &PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("a panic without words");
    let (file, line) = info.location().map_or(("unknown", 0), |l| (l.file(), l.line()));
    if let Entry::Again = enter() {
        // A section panicked: the caller of the section catches it.
        return say(format_args!("This part of the report panicked at {file}:{line}: {text}"));
    }
    start();
    if text.starts_with("assertion") {
        tell_assertion(text.strip_prefix("assertion failed: ").unwrap_or(text), file, line);
    } else {
        tell_failure(format_args!("{text}"), file, line);
    }
    report_and_abort()
}

/// Ends the server over an assertion of the server's own wording.
pub fn assertion_failed(expression: &str, file: &str, line: u32) -> ! {
    begin_or_abort();
    tell_assertion(expression, file, line);
    report_and_abort()
}

/// Ends the server as DEBUG PANIC and unrecoverable states do.
pub fn software_failure(text: &str, file: &str, line: u32) -> ! {
    begin_or_abort();
    tell_failure(format_args!("{text}"), file, line);
    report_and_abort()
}

fn tell_assertion(expression: &str, file: &str, line: u32) {
    say(format_args!("=== ASSERTION FAILED ==="));
    say(format_args!("==> {file}:{line} '{expression}' is not true"));
}

/// Ends the server for want of memory. No allocation on the way to the report.
#[cold]
pub fn out_of_memory(bytes: usize) -> ! {
    say(format_args!("Out Of Memory allocating {bytes} bytes!"));
    begin_or_abort();
    let text = format_args!("Redis aborting for OUT OF MEMORY. Allocating {bytes} bytes!");
    tell_failure(text, file!(), line!());
    report_and_abort()
}

fn tell_failure(text: fmt::Arguments<'_>, file: &str, line: u32) {
    say(format_args!("------------------------------------------------"));
    say(format_args!("!!! Software Failure. Press left mouse button to continue"));
    say(format_args!("Guru Meditation: {text} #{file}:{line}"));
}

fn begin_or_abort() {
    if let Entry::Again = enter() {
        set_crash_log(false);
        end();
        std::process::abort()
    }
    start();
}

fn report_and_abort() -> ! {
    if CRASH_LOG.load(SeqCst) {
        print_trace(Symbols::open().as_ref(), None);
        print_sections();
    }
    // The abort to come is no crash of its own.
    set_crash_log(false);
    end();
    if EXIT_ON_PANIC.load(SeqCst) {
        // SAFETY: _exit has no preconditions.
        unsafe { libc::_exit(1) };
    }
    std::process::abort()
}

/// Kills this process by the signal that crashed it, so that its parent sees the signal, and a core
/// is dumped.
fn die(sig: i32) -> ! {
    signals::set(sig, libc::SIG_DFL, 0);
    mask(libc::SIG_UNBLOCK, &[sig]);
    // To this very thread: a signal to the process may be taken by another thread, later.
    // SAFETY: both take plain numbers.
    unsafe {
        libc::raise(sig);
        libc::_exit(128 + sig)
    }
}

// ---- the report's parts -----------------------------------------------------------------------------

fn say(text: fmt::Arguments<'_>) {
    log::direct(Level::Warning, text);
}

fn start() {
    if !STARTED.swap(true, SeqCst) {
        log::raw(
            Level::Warning,
            b"\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n",
        );
    }
}

fn end() {
    log::raw(
        Level::Warning,
        b"\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n\
          \x20      Please send the whole report to the issue tracker of this server.\n\n\
          \x20 Was a module loaded? Then its authors want to see the report first.\n\n\
          \x20 Could it be bad memory? Test it: redis-server --test-memory <megabytes>\n\n\
          \x20 For trouble with the machine's settings run redis-server --check-system\n",
    );
    // SAFETY: null or a leaked string.
    if let Some(path) = unsafe { PIDFILE.load(SeqCst).as_ref() } {
        // SAFETY: the path is NUL-terminated; unlink is async-signal-safe.
        unsafe { libc::unlink(path.as_ptr()) };
    }
}

/// Prints like `%p`.
struct Ptr(usize);

impl fmt::Display for Ptr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("(nil)") } else { write!(f, "{:#x}", self.0) }
    }
}

/// Collects small writes for the raw log. With a title, writes a heading before the first byte.
struct Out {
    title: Option<&'static str>,
    buf: [u8; 4096],
    len: usize,
}

impl Out {
    fn new() -> Self {
        Out { title: None, buf: [0; 4096], len: 0 }
    }

    /// Writes the heading, once.
    fn head(&mut self) {
        if let Some(title) = self.title.take() {
            let _ = writeln!(self, "\n------ {title} ------"); // cannot fail
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.head();
        }
        if self.len == self.buf.len() {
            self.flush()?;
        }
        let free = &mut self.buf[self.len..];
        let n = bytes.len().min(free.len());
        free[..n].copy_from_slice(&bytes[..n]);
        self.len += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        log::raw(Level::Warning, &self.buf[..self.len]);
        self.len = 0;
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if self.len > 0 {
            let _ = self.flush(); // cannot fail
        }
    }
}

/// This thread's calls, innermost first, beginning at `eip` where that is known.
fn print_trace(symbols: Option<&Symbols>, eip: Option<usize>) {
    let mut frames = [std::ptr::null_mut(); MAX_FRAMES];
    // SAFETY: the array has room for the frames asked for.
    let n = unsafe { libc::backtrace(frames.as_mut_ptr(), MAX_FRAMES as i32) };
    let frames = &frames[..usize::try_from(n).unwrap_or(0)];
    // Leave out the handler's own calls, and the stand-in for a bad pointer.
    let find = |at: usize| frames.iter().position(|&f| f as usize == at);
    let stand_in = || find(entered as fn() as usize).map(|i| i + 1);
    let from = eip.and_then(|e| find(e).or_else(stand_in)).unwrap_or(0);
    let mut out = Out::new();
    // Writing to an Out cannot fail.
    let _ = out.write_all(b"\n------ STACK TRACE ------\n");
    if let Some(eip) = eip {
        let _ = out.write_all(b"EIP:\n");
        print_frame(&mut out, symbols, eip, 0);
    }
    let _ = out.write_all(b"\nBacktrace:\n");
    for (i, &f) in frames[from..].iter().enumerate() {
        // All but the instruction itself are return addresses, which may lie past the end of a function
        // whose last act is a call.
        let back = usize::from(i > 0 || eip.is_none());
        print_frame(&mut out, symbols, f as usize, back);
    }
}

/// `program(function+0xoffset)[0xaddress]`.
fn print_frame(out: &mut Out, symbols: Option<&Symbols>, addr: usize, back: usize) {
    let mut path = [0u8; 256];
    if let Some(s) = symbols.and_then(|s| s.find(addr.wrapping_sub(back))) {
        let _ = writeln!(out, "{}({:#}+{:#x})[{addr:#x}]", program(&mut path), s.name, addr - s.base);
        return;
    }
    let _ = out.flush();
    if log::enabled(Level::Warning)
        && let Some(fd) = log::descriptor()
    {
        let frame = addr as *mut c_void;
        // SAFETY: an array of one address, which is looked up and not followed.
        unsafe { libc::backtrace_symbols_fd(&frame, 1, fd.raw()) };
    }
}

fn program(buf: &mut [u8]) -> &str {
    // SAFETY: the path is NUL-terminated, the buffer writable for the length given.
    let n = unsafe { libc::readlink(c"/proc/self/exe".as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    let path = usize::try_from(n).ok().and_then(|n| buf.get(..n)).unwrap_or_default();
    std::str::from_utf8(path).unwrap_or("redis-server")
}

fn print_sections() {
    // SAFETY: null or a leaked box.
    if let Some(s) = unsafe { SECTIONS.load(SeqCst).as_ref() } {
        print_section("INFO OUTPUT", true, s.info);
        print_section("CLIENT LIST OUTPUT", true, s.client_list);
        print_section("CURRENT CLIENT INFO", false, s.current_client);
        print_section("EXECUTING CLIENT INFO", false, s.executing_client);
        print_section("MODULES INFO OUTPUT", true, s.modules);
        print_section("CONFIG DEBUG OUTPUT", true, s.config);
    }
    if MEMCHECK.load(SeqCst) {
        log::raw(Level::Warning, b"\n------ FAST MEMORY TEST ------\n");
        test_memory();
    }
}

fn print_section(title: &'static str, always: bool, section: Section) {
    let mut out = Out::new();
    out.title = Some(title);
    if always {
        out.head();
    }
    // The panic has been told by the hook; the next section may do better.
    let _ = catch_unwind(AssertUnwindSafe(|| section(&mut Crashed(()), &mut out)));
}

fn test_memory() {
    let Some(out) = log::descriptor() else { return };
    if !freeze::others() {
        return out.put(b"Fast memory test skipped: a thread would not stop.\n");
    }
    block_all();
    // SAFETY: the other threads are stopped for good, and all signals are blocked.
    let errors = unsafe { memtest::own_memory(&out) };
    out.put(if errors > 0 {
        b"!!! MEMORY ERROR DETECTED! Check your memory ASAP !!!\n".as_slice()
    } else {
        b"Fast memory test PASSED, which is no proof: for certainty let --test-memory run for hours.\n"
    });
}

/// The code from the beginning of the crashed function to a little past the instruction, in hex, and
/// the functions it calls.
fn print_code(symbols: &Symbols, eip: usize) {
    let Some(s) = symbols.find(eip) else { return };
    let len = (eip - s.base + 128).min(s.size);
    if len > MAX_DUMP {
        return;
    }
    let mut path = [0u8; 256];
    let mut out = Out::new();
    // Writing to an Out cannot fail.
    let _ = writeln!(out, "\n------ DUMPING CODE AROUND EIP ------");
    let _ = writeln!(out, "Symbol: {:#} (base: {})", s.name, Ptr(s.base));
    let _ = writeln!(out, "Module: {} (base {})", program(&mut path), Ptr(symbols.bias()));
    let _ = writeln!(out, "$ xxd -r -p /tmp/dump.hex /tmp/dump.bin");
    let _ = write!(out, "$ objdump --adjust-vma={} -D -b binary ", Ptr(s.base));
    let arch = if cfg!(target_arch = "x86_64") { "i386:x86-64" } else { std::env::consts::ARCH };
    let _ = writeln!(out, "-m {arch} /tmp/dump.bin\n------");
    let _ = out.flush();
    say(format_args!("dump of function (hexdump of {len} bytes):"));
    let mut code = [0u8; MAX_DUMP];
    let code = read_memory(s.base, &mut code[..len]);
    for b in code {
        let _ = write!(out, "{b:02x}");
    }
    let _ = writeln!(out);
    if cfg!(target_arch = "x86_64") {
        print_calls(&mut out, symbols, code, s.base);
    }
}

/// Finds what looks like a direct call (E8, 32-bit distance) to the beginning of a function.
fn print_calls(out: &mut Out, symbols: &Symbols, code: &[u8], base: usize) {
    let mut last = [0usize; 16];
    for (i, w) in code.windows(5).enumerate().filter(|(_, w)| w[0] == 0xe8) {
        let distance = i32::from_ne_bytes([w[1], w[2], w[3], w[4]]) as isize;
        let target = (base + i + 5).wrapping_add_signed(distance);
        if last.contains(&target) {
            continue;
        }
        if let Some(f) = symbols.find(target).filter(|f| f.base == target) {
            let _ = writeln!(out, "Function at {target:#x} is {:#}", f.name); // cannot fail
            last[i % last.len()] = target;
        }
    }
}

/// Reads this process's memory at an address that may be bad. What could be read comes back.
fn read_memory(at: usize, to: &mut [u8]) -> &[u8] {
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: at as *mut c_void, iov_len: to.len() };
    // SAFETY: the kernel copies at most the slice's length into it, and checks the other address itself.
    let n = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    usize::try_from(n).ok().and_then(|n| to.get(..n)).unwrap_or_default()
}

// ---- registers --------------------------------------------------------------------------------------

#[cfg(target_arch = "x86_64")]
fn instruction(c: &mut libc::ucontext_t) -> &mut libc::greg_t {
    &mut c.uc_mcontext.gregs[libc::REG_RIP as usize]
}

#[cfg(target_arch = "aarch64")]
fn instruction(c: &mut libc::ucontext_t) -> &mut libc::c_ulonglong {
    &mut c.uc_mcontext.pc
}

#[cfg(target_arch = "x86_64")]
fn registers(c: &libc::ucontext_t) -> ([(&'static str, u64); 19], usize) {
    let g = |r: i32| c.uc_mcontext.gregs[r as usize] as u64;
    let all = [
        ("RAX:", g(libc::REG_RAX)),
        (" RBX:", g(libc::REG_RBX)),
        ("\nRCX:", g(libc::REG_RCX)),
        (" RDX:", g(libc::REG_RDX)),
        ("\nRDI:", g(libc::REG_RDI)),
        (" RSI:", g(libc::REG_RSI)),
        ("\nRBP:", g(libc::REG_RBP)),
        (" RSP:", g(libc::REG_RSP)),
        ("\nR8 :", g(libc::REG_R8)),
        (" R9 :", g(libc::REG_R9)),
        ("\nR10:", g(libc::REG_R10)),
        (" R11:", g(libc::REG_R11)),
        ("\nR12:", g(libc::REG_R12)),
        (" R13:", g(libc::REG_R13)),
        ("\nR14:", g(libc::REG_R14)),
        (" R15:", g(libc::REG_R15)),
        ("\nRIP:", g(libc::REG_RIP)),
        (" EFL:", g(libc::REG_EFL)),
        ("\nCSGSFS:", g(libc::REG_CSGSFS)),
    ];
    (all, g(libc::REG_RSP) as usize)
}

#[cfg(target_arch = "aarch64")]
fn registers(c: &libc::ucontext_t) -> ([(&'static str, u64); 17], usize) {
    let m = &c.uc_mcontext;
    let all = [
        ("X18:", m.regs[18]),
        (" X19:", m.regs[19]),
        ("\nX20:", m.regs[20]),
        (" X21:", m.regs[21]),
        ("\nX22:", m.regs[22]),
        (" X23:", m.regs[23]),
        ("\nX24:", m.regs[24]),
        (" X25:", m.regs[25]),
        ("\nX26:", m.regs[26]),
        (" X27:", m.regs[27]),
        ("\nX28:", m.regs[28]),
        (" X29:", m.regs[29]),
        ("\nX30:", m.regs[30]),
        ("\npc:", m.pc),
        (" sp:", m.sp),
        ("\npstate:", m.pstate),
        (" fault_address:", m.fault_address),
    ];
    (all, m.sp as usize)
}

fn print_registers(c: &libc::ucontext_t) {
    log::raw(Level::Warning, b"\n------ REGISTERS ------\n");
    let (all, sp) = registers(c);
    say(format_args!("\n{}", Registers(&all)));
    let mut stack = [0u8; 16 * 8];
    for (i, w) in read_memory(sp, &mut stack).chunks_exact(8).enumerate().rev() {
        let v = u64::from_ne_bytes(w.try_into().expect("chunks of eight"));
        say(format_args!("({:016x}) -> {v:016x}", sp.wrapping_add(i * 8)));
    }
}

struct Registers<'a>(&'a [(&'static str, u64)]);

impl fmt::Display for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, v)| write!(f, "{name}{v:016x}"))
    }
}

// ---- the watchdog -----------------------------------------------------------------------------------

/// `watchdog-period`: from now on, unless [`rearm_watchdog`] is called in time, the log gets a stack
/// trace of the main thread. 0 turns it off.
pub fn set_watchdog(period_ms: u32) {
    if period_ms == 0 {
        rearm_watchdog(0);
        signals::set(libc::SIGALRM, libc::SIG_IGN, 0);
    } else {
        let handler = on_watchdog as extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);
        signals::set(libc::SIGALRM, handler as libc::sighandler_t, libc::SA_SIGINFO | libc::SA_RESTART);
        rearm_watchdog(period_ms);
    }
}

/// The next expiry is a whole period away. It fires once.
pub fn rearm_watchdog(period_ms: u32) {
    let zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let value = libc::timeval {
        tv_sec: libc::time_t::from(period_ms / 1000),
        tv_usec: libc::suseconds_t::from(period_ms % 1000 * 1000),
    };
    let timer = libc::itimerval { it_interval: zero, it_value: value };
    // SAFETY: the timer is a live local, the old one is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
}

extern "C" fn on_watchdog(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: errno belongs to this thread; the interrupted code must find it unchanged.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel passes a valid context, ours for the time of the handler.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    log::handler_line(Level::Warning, "\n--- WATCHDOG TIMER EXPIRED ---");
    print_trace(Symbols::open().as_ref(), Some(*instruction(context) as usize));
    log::handler_line(Level::Warning, "--------\n");
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;
    use crate::sys::testing::{TempDir, respawn, role};
    use std::os::unix::process::ExitStatusExt as _;

    const SECTIONS: Sections = Sections {
        info: |_, w| w.write_all(b"# Server\r\nredis_version:7.2.6\r\n").expect("written"),
        client_list: |_, w| w.write_all(&[b'c'; 10_000]).expect("written"),
        current_client: |_, _| {},
        executing_client: |_, w| w.write_all(b"argv[0]: 'debug'\n").expect("written"),
        modules: |_, _| {},
        config: |_, w| w.write_all(b"activedefrag no\n").expect("written"),
    };

    /// Lets the test `name` die in the given way; returns the log and how it ended: (signal, exit code).
    fn death(name: &str, role: &str) -> (String, (Option<i32>, Option<i32>)) {
        let dir = TempDir::new(&format!("crash-{name}-{role}"));
        let (file, pidfile) = (dir.join("server.log"), dir.join("pid"));
        std::fs::write(&pidfile, "1\n").expect("a writable folder");
        let mut c = respawn(&format!("sys::crash::tests::{name}"), role);
        let out = c.env("LOGFILE", &file).env("PIDFILE", &pidfile).output().expect("runs");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let reported = text.contains("REPORT END");
        assert_eq!(pidfile.exists(), !reported, "the report ends with the pid file gone: {text}");
        (text, (out.status.signal(), out.status.code()))
    }

    fn prepare() {
        log::set_file(Some(Path::new(&std::env::var("LOGFILE").expect("given")))).expect("writable");
        log::init();
        log::adopt_pid();
        set_pidfile(Some(Path::new(&std::env::var("PIDFILE").expect("given"))));
        set_memcheck(false);
        register(SECTIONS);
        install("7.2.6");
    }

    /// The marks stand in the text in this order, each once.
    fn in_order(text: &str, marks: &[&str]) {
        let mut from = 0;
        for m in marks {
            assert_eq!(text.matches(m).count(), 1, "{m} in {text}");
            let at = text.find(m).expect("counted");
            assert!(at >= from, "{m} comes too early in {text}");
            from = at;
        }
    }

    const REST: [&str; 6] = [
        "\n------ INFO OUTPUT ------\n# Server\r\nredis_version:7.2.6\r\n",
        "\n------ CLIENT LIST OUTPUT ------\ncccc",
        "\n------ EXECUTING CLIENT INFO ------\nargv[0]: 'debug'\n",
        "\n------ MODULES INFO OUTPUT ------\n",
        "\n------ CONFIG DEBUG OUTPUT ------\nactivedefrag no\n",
        "\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n",
    ];
    const START: &str = "\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n";

    #[inline(never)]
    fn crashes_here(sig: i32) {
        // SAFETY: raise takes a plain number.
        assert_eq!(unsafe { libc::raise(sig) }, 0);
    }

    #[test]
    fn every_fatal_signal_is_reported_and_then_kills() {
        if let Some(role) = role() {
            prepare();
            crashes_here(role.parse().expect("a number"));
            return;
        }
        for sig in CRASH_SIGNALS {
            let (text, ended) = death("every_fatal_signal_is_reported_and_then_kills", &sig.to_string());
            assert_eq!(ended, (Some(sig), None), "{text}");
            let crashed = format!(" # Redis 7.2.6 crashed by signal: {sig}, si_code: -6\n");
            let head = [START, &crashed, "\n------ STACK TRACE ------\nEIP:\n", "\nBacktrace:\n"];
            in_order(&text, &head);
            in_order(&text, &["\nBacktrace:\n", "\n------ REGISTERS ------\n", "\nRIP:", REST[0]]);
            in_order(&text, &REST);
            assert!(text.contains("(oxidis::sys::crash::tests::crashes_here+0x"), "{text}");
            assert!(!text.contains("CURRENT CLIENT") && text.contains(&"c".repeat(10_000)));
        }
    }

    #[inline(never)]
    fn call_nowhere() -> u8 {
        let at = std::hint::black_box(0x1000usize);
        // SAFETY: none: the process is to die of it.
        std::hint::black_box(unsafe { std::mem::transmute::<usize, extern "C" fn() -> u8>(at)() })
    }

    #[test]
    fn faults_name_the_address_and_dump_the_code() {
        if let Some(role) = role() {
            prepare();
            match role.as_str() {
                // SAFETY: none; to crash is what it is here for.
                "read" => unsafe {
                    std::hint::black_box(std::ptr::without_provenance::<u8>(0x50).read_volatile())
                },
                "call" => call_nowhere(),
                _ => std::hint::black_box(overflow(1)),
            };
            return;
        }
        let name = "faults_name_the_address_and_dump_the_code";
        let (text, ended) = death(name, "read");
        assert_eq!(ended.0, Some(libc::SIGSEGV), "{text}");
        in_order(&text, &[" # Accessing address: 0x50\n", "instruction at: 0x", "STACK TRACE", REST[0]]);
        let code = [
            "\n------ DUMPING CODE AROUND EIP ------\nSymbol: ",
            "\nModule: ",
            "# dump of function (hexdump of ",
        ];
        in_order(&text, &code);
        let dump = text.split("bytes):\n").nth(1).and_then(|d| d.lines().next()).expect("a dump");
        assert!(dump.len() > 40 && dump.bytes().all(|b| b.is_ascii_hexdigit()), "{dump}");

        let (text, ended) = death(name, "call");
        assert_eq!(ended.0, Some(libc::SIGSEGV), "{text}");
        in_order(&text, &["instruction at: 0x1000\n", "\nBacktrace:\n", REST[0], REST[5]]);
        let trace = text.split("\nBacktrace:\n").nth(1).and_then(|d| d.lines().next()).expect("a frame");
        assert!(trace.contains("(oxidis::sys::crash::tests::"), "the caller comes first: {trace}");

        let (text, ended) = death(name, "overflow");
        assert_eq!(ended.0, Some(libc::SIGSEGV), "{text}");
        assert!(
            text.contains("(oxidis::sys::crash::tests::overflow+0x") && text.contains(REST[5]),
            "{text}"
        );
    }

    #[inline(never)]
    fn overflow(n: u8) -> u8 {
        let big = std::hint::black_box([n; 4096]);
        if n == 0 { 0 } else { overflow(big[7]) ^ std::hint::black_box(big)[9] }
    }

    #[test]
    fn panics_and_assertions_report_once_and_abort() {
        if let Some(role) = role() {
            prepare();
            match role.as_str() {
                "panic" => panic!("the {} is gone", "key"),
                "assert" => assert!(role.is_empty(), "{}", "assertion failed: role.is_empty()"),
                "assert_eq" => assert_eq!(role.len(), 1),
                "named" => assertion_failed("o->refcount > 0", "object.c", 12),
                "exit" => {
                    set_exit_on_panic(true);
                    software_failure("called by Unittest!", "debug.c", 3)
                }
                _ => {
                    set_crash_log(false);
                    panic!("quiet")
                }
            }
            return;
        }
        let name = "panics_and_assertions_report_once_and_abort";
        let cases = [
            ("panic", "Guru Meditation: the key is gone #src/sys/crash.rs:"),
            ("assert", "'role.is_empty()' is not true\n"),
            ("assert_eq", " 'assertion `left == right` failed\n"),
            ("named", "==> object.c:12 'o->refcount > 0' is not true\n"),
            ("exit", "Guru Meditation: called by Unittest! #debug.c:3\n"),
        ];
        for (role, mark) in cases {
            let (text, ended) = death(name, role);
            let want = if role == "exit" { (None, Some(1)) } else { (Some(libc::SIGABRT), None) };
            assert_eq!(ended, want, "{text}");
            in_order(&text, &[START, mark, "\n------ STACK TRACE ------\n", "\nBacktrace:\n"]);
            in_order(&text, &REST);
            let asserts = text.matches("# === ASSERTION FAILED ===\n").count();
            let software =
                text.matches("# !!! Software Failure. Press left mouse button to continue\n").count();
            assert_eq!((asserts, software), if mark.contains("Guru") { (0, 1) } else { (1, 0) });
            assert!(!text.contains("crashed by signal"), "{text}");
        }
        let (text, ended) = death(name, "quiet");
        assert_eq!(ended.0, Some(libc::SIGABRT));
        in_order(&text, &[START, "Guru Meditation: quiet", REST[5]]);
        assert!(!text.contains("STACK TRACE") && !text.contains("INFO OUTPUT"), "{text}");
    }

    #[test]
    fn a_report_survives_its_own_sections() {
        if let Some(role) = role() {
            prepare();
            let mut s = SECTIONS;
            s.client_list = if role == "panics" {
                |_, _| panic!("no clients")
            } else {
                |_, _| crashes_here(libc::SIGBUS)
            };
            register(s);
            crashes_here(libc::SIGSEGV);
            return;
        }
        let name = "a_report_survives_its_own_sections";
        let (text, ended) = death(name, "panics");
        assert_eq!(ended.0, Some(libc::SIGSEGV), "{text}");
        assert!(text.contains("This part of the report panicked at src/sys/crash.rs:"), "{text}");
        in_order(&text, &[REST[0], REST[2], REST[4], REST[5]]);
        let (text, ended) = death(name, "crashes");
        assert_eq!(ended.0, Some(libc::SIGBUS), "{text}");
        in_order(&text, &[REST[0], "# Crashed again by signal 7: the report is incomplete.\n", REST[5]]);
        assert!(!text.contains(REST[2]), "{text}");
    }

    #[test]
    fn without_crash_log_signals_just_kill() {
        if role().is_some() {
            prepare();
            set_crash_log(false);
            crashes_here(libc::SIGSEGV);
            return;
        }
        let (text, ended) = death("without_crash_log_signals_just_kill", "child");
        assert_eq!((text.as_str(), ended.0), ("", Some(libc::SIGSEGV)));
    }

    #[test]
    fn a_worker_crashes_and_memory_is_tested() {
        if role().is_some() {
            prepare();
            set_memcheck(true);
            let crash = || {
                adopt_worker();
                crashes_here(libc::SIGSEGV);
            };
            std::thread::spawn(crash).join().expect("it does not come back");
            return;
        }
        let (text, ended) = death("a_worker_crashes_and_memory_is_tested", "child");
        assert_eq!(ended.0, Some(libc::SIGSEGV), "{text}");
        in_order(
            &text,
            &[REST[4], "\n------ FAST MEMORY TEST ------\n", "Fast memory test PASSED", REST[5]],
        );
        assert!(text.contains("*** Preparing to test memory region "), "{text}");
    }

    #[inline(never)]
    fn stalls_here(file: &Path) {
        crate::sys::testing::wait_until(|| {
            std::fs::read_to_string(file).is_ok_and(|t| t.contains(") --------\n"))
        });
    }

    #[test]
    fn the_watchdog_shows_where_the_server_stalls() {
        if role().is_some() {
            prepare();
            // A forked child has one thread, which is its main thread.
            let pid = match process::fork().expect("forked") {
                process::Fork::Parent(pid) => pid,
                process::Fork::Child => {
                    set_watchdog(20);
                    stalls_here(Path::new(&std::env::var("LOGFILE").expect("given")));
                    set_watchdog(0);
                    crashes_here(libc::SIGALRM);
                    process::exit_child(4)
                }
            };
            assert_eq!(process::wait(pid), Some(process::Ended::Exited(4)));
            std::process::exit(4)
        }
        let (text, ended) = death("the_watchdog_shows_where_the_server_stalls", "child");
        assert_eq!(ended.1, Some(4), "{text}");
        in_order(&text, &["\n--- WATCHDOG TIMER EXPIRED ---\n", "\n------ STACK TRACE ------\n"]);
        assert!(text.contains("(oxidis::sys::crash::tests::stalls_here+0x"), "{text}");
    }
}
