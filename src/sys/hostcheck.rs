//! Is this machine set up for a server of this kind? A few settings are checked and warned of at start,
//! and `--check-system` prints the verdict on each.
//!
//! A check reads a file of the kernel's and judges its content, apart from each other, so that the
//! judging can be tested. To add one: a row in [`CHECKS`].

use std::time::Duration;

use super::clock;
use crate::warning;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// It could not be found out.
    Skipped,
    Bad(String),
}

const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0";

type Check = fn() -> Verdict;

/// In the order they are printed, under the names that scripts may look for.
const CHECKS: [(&str, Check); 4] = [
    ("slow-clocksource", slow_clocksource),
    ("xen-clocksource", xen_clocksource),
    ("overcommit", overcommit),
    ("THP", huge_pages),
];

/// `--check-system`: prints to stdout; the answer is the exit code.
pub fn check_system() -> i32 {
    let mut code = 0;
    for (name, check) in CHECKS {
        match check() {
            Verdict::Fine => println!("[{name}]...OK"),
            Verdict::Skipped => println!("[{name}]...skipped"),
            Verdict::Bad(why) => {
                println!("[{name}]...WARNING:\n{why}");
                code = 1;
            }
        }
    }
    code
}

/// The warnings of a server that starts. With `disable_thp` huge pages are switched off for this
/// process, where they are always on. The answer is whether they stay on.
pub fn warn_at_start(disable_thp: bool) -> bool {
    let mut huge = false;
    if let Verdict::Bad(why) = overcommit() {
        warning!("WARNING {why}");
    }
    if let Verdict::Bad(why) = huge_pages() {
        huge = !(disable_thp && switch_off_huge_pages());
        if huge {
            warning!("WARNING {why}");
        }
    }
    if let Verdict::Bad(why) = xen_clocksource() {
        warning!("WARNING {why}");
    }
    huge
}

/// Warns where the kernel would silently shorten the queue of connections not yet accepted.
pub fn warn_of_backlog(backlog: i32) {
    let max = read("/proc/sys/net/core/somaxconn").and_then(|s| s.parse().ok()).unwrap_or(0);
    if too_long(backlog, max) {
        warning!(
            "WARNING: The TCP backlog setting of {backlog} cannot be enforced because \
             /proc/sys/net/core/somaxconn is set to the lower value of {max}."
        );
    }
}

fn too_long(backlog: i32, max: i32) -> bool {
    max > 0 && max < backlog
}

fn switch_off_huge_pages() -> bool {
    // SAFETY: prctl with plain numbers.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1 as libc::c_ulong, 0, 0, 0) == 0 }
}

/// A kernel file's first line.
fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(|l| l.trim_matches([' ', '\n']).to_owned())
}

fn judge(content: Option<String>, bad: impl FnOnce(&str) -> Option<String>) -> Verdict {
    match content {
        None => Verdict::Skipped,
        Some(c) => bad(&c).map_or(Verdict::Fine, Verdict::Bad),
    }
}

fn overcommit() -> Verdict {
    judge(read("/proc/sys/vm/overcommit_memory"), bad_overcommit)
}

fn bad_overcommit(setting: &str) -> Option<String> {
    let why = "Memory overcommit must be enabled! Otherwise the kernel may refuse the fork behind a \
               background save or a replica's synchronization for want of memory that the child would \
               never use, and the allocator may be refused memory as well. Put 'vm.overcommit_memory \
               = 1' into /etc/sysctl.conf for every start to come, and run 'sysctl \
               vm.overcommit_memory=1' for now.";
    (setting != "1").then(|| why.to_owned())
}

fn huge_pages() -> Verdict {
    judge(read("/sys/kernel/mm/transparent_hugepage/enabled"), bad_huge_pages)
}

fn bad_huge_pages(setting: &str) -> Option<String> {
    let why = "You have Transparent Huge Pages (THP) support enabled in your kernel. While a child is \
               saving, a write to one key then copies two megabytes, which shows as latency and as \
               memory. As root run 'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled', have \
               that done at boot too, and restart the server.";
    setting.contains("[always]").then(|| why.to_owned())
}

fn xen_clocksource() -> Verdict {
    judge(read(&format!("{CLOCKS}/current_clocksource")), bad_clocksource)
}

fn bad_clocksource(setting: &str) -> Option<String> {
    let why = "The system's clocksource is 'xen', which is slow to ask on most machines. Run \
               'redis-server --check-system' to see from [slow-clocksource] whether it is on this \
               one.";
    (setting == "xen").then(|| why.to_owned())
}

/// Asks for the time over and over: where a tenth of that is spent in the kernel, asking is a system
/// call.
fn slow_clocksource() -> Verdict {
    // SAFETY: sysconf takes a plain number.
    let hz = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(0).max(1);
    let Some((user, system)) = cpu_time() else { return Verdict::Skipped };
    // Five ticks, since the kernel may count processor time in ticks.
    let end = clock::mono_ns() + 5 * 1_000_000_000 / hz;
    while clock::mono_ns() < end {}
    let Some((user2, system2)) = cpu_time() else { return Verdict::Skipped };
    if mostly_user(user2.saturating_sub(user), system2.saturating_sub(system)) {
        return Verdict::Fine;
    }
    let clocks = |which: &str| read(&format!("{CLOCKS}/{which}_clocksource")).unwrap_or_default();
    Verdict::Bad(format!(
        "Slow system clocksource detected: asking for the time enters the kernel, and the server asks \
         for it with every command. Current clocksource: {}. Available clocksources: {}. To try \
         another one run, for example, 'echo tsc > {CLOCKS}/current_clocksource' as root; the kernel \
         parameter 'clocksource=' makes it last.",
        clocks("current"),
        clocks("available")
    ))
}

fn mostly_user(user: Duration, system: Duration) -> bool {
    system * 10 <= user + system
}

/// Processor time of this process: user and system.
fn cpu_time() -> Option<(Duration, Duration)> {
    // SAFETY: zero is valid for this plain struct, and the kernel fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &mut usage) == 0).then_some(usage)
    }?;
    let span = |t: libc::timeval| {
        let us = t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_usec);
        Duration::from_micros(u64::try_from(us).unwrap_or(0))
    };
    Some((span(usage.ru_utime), span(usage.ru_stime)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{play, role};

    #[test]
    fn settings_are_judged() {
        assert_eq!(bad_overcommit("1"), None);
        let bad = |s: &str| {
            bad_overcommit(s).is_some_and(|w| w.starts_with("Memory overcommit must be enabled!"))
        };
        assert!(bad("0") && bad("2"));
        assert_eq!(bad_huge_pages("always [madvise] never"), None);
        assert!(bad_huge_pages("[always] madvise never").is_some_and(|w| w.contains("(THP)")));
        assert_eq!(bad_clocksource("tsc"), None);
        assert!(bad_clocksource("xen").is_some());
        assert_eq!(judge(None, bad_overcommit), Verdict::Skipped);
        assert_eq!(judge(Some("1".to_owned()), bad_overcommit), Verdict::Fine);
        let ms = Duration::from_millis;
        assert!(mostly_user(ms(45), ms(5)) && !mostly_user(ms(44), ms(6)) && mostly_user(ms(0), ms(0)));
        assert!(too_long(511, 128) && !too_long(511, 511) && !too_long(511, 0) && !too_long(511, -1));
    }

    #[test]
    fn the_checks_are_printed_and_huge_pages_switched_off() {
        if role().is_some() {
            assert!(switch_off_huge_pages());
            let status = std::fs::read_to_string("/proc/self/status").expect("there");
            assert!(!status.contains("THP_enabled:\t1"), "{status}");
            println!();
            std::process::exit(20 + check_system());
        }
        let out =
            play("sys::hostcheck::tests::the_checks_are_printed_and_huge_pages_switched_off", "child");
        let text = String::from_utf8_lossy(&out.stdout);
        let verdicts: Vec<&str> = text.lines().filter(|l| l.starts_with('[')).collect();
        assert_eq!(verdicts.len(), CHECKS.len(), "{text}");
        for (v, (name, _)) in verdicts.iter().zip(CHECKS) {
            let rest = v.strip_prefix(&format!("[{name}]...")).expect("in order");
            assert!(["OK", "skipped", "WARNING:"].contains(&rest), "{v}");
        }
        let bad = verdicts.iter().any(|v| v.ends_with("WARNING:"));
        assert_eq!(out.status.code(), Some(20 + i32::from(bad)), "{text}");
    }
}
