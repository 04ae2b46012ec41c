//! LATENCY DOCTOR: what the spikes were, and what could be done about them.

use super::{Monitor, Series};

/// What the report has to know beside the samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    pub now: i64,
    /// Milliseconds.
    pub threshold: u64,
    /// Microseconds; below 0 is off.
    pub slowlog: i64,
    pub hz: u64,
    pub appendfsync_always: bool,
    pub huge_pages: bool,
    /// Gigabytes a second.
    pub fork_rate: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Advice {
    BetterMachine,
    EnableSlowlog,
    LowerSlowlog,
    ReadSlowlog,
    Scheduler,
    LocalDisk,
    Ssd,
    Writeback,
    DiskContention,
    NoFsyncOnRewrite,
    RelaxFsync,
    WriteLoad,
    Hz,
    BigObjects,
    MassEviction,
    HugePages,
}

pub fn text(monitor: &Monitor, around: &Surroundings) -> String {
    if monitor.iter().len() == 0 && around.threshold == 0 {
        return "I'm sorry, Dave, I can't do that: nobody has told me to watch latencies. CONFIG SET \
                latency-monitor-threshold <milliseconds> would.\n"
            .into();
    }
    let mut out = String::new();
    let mut advices = Vec::new();
    for (i, (event, series)) in monitor.iter().enumerate() {
        if i == 0 {
            out.push_str("Dave, this server has had latency spikes:\n\n");
        }
        out.push_str(&format!("{}. {}", i + 1, spikes(event, series, around.now)));
        if event == "fork" {
            let quality = fork_quality(around.fork_rate);
            out.push_str(&format!(" Fork rate is {:.2} GB/sec ({quality}).", around.fork_rate));
        }
        out.push('\n');
        advices.extend(advices_on(event, around));
    }
    if around.huge_pages {
        advices.push(Advice::HugePages);
    }
    advices.sort_unstable();
    advices.dedup();
    match (out.is_empty(), advices.is_empty()) {
        (true, true) => {
            out.push_str("Dave, not a single spike so far. Sit down calmly and think things over.\n")
        }
        (false, true) => out.push_str("\nNothing comes to my mind that would help against these.\n"),
        (_, false) => {
            out.push_str("\nI have a few advices for you:\n\n");
            advices.iter().for_each(|a| out.push_str(&format!("- {}\n", sentence(*a, around))));
        }
    }
    out
}

fn spikes(event: &str, series: &Series, now: i64) -> String {
    let Some(s) = series.summary(now) else { return format!("{event}: no latency spikes.") };
    format!(
        "{event}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). Worst all time event {}ms.",
        s.samples,
        s.average,
        s.deviation,
        s.period as f64 / s.samples as f64,
        series.max
    )
}

fn fork_quality(rate: f64) -> &'static str {
    match rate {
        r if r < 10.0 => "terrible",
        r if r < 25.0 => "poor",
        r if r < 100.0 => "good",
        _ => "excellent",
    }
}

fn advices_on(event: &str, around: &Surroundings) -> Vec<Advice> {
    use Advice::*;
    match event {
        "fork" if around.fork_rate < 25.0 => vec![BetterMachine],
        "command" => {
            let slowlog = match u64::try_from(around.slowlog) {
                Err(_) => Some(EnableSlowlog),
                Ok(us) => (us / 1000 > around.threshold).then_some(LowerSlowlog),
            };
            slowlog.into_iter().chain([ReadSlowlog, BigObjects]).collect()
        }
        "fast-command" => vec![Scheduler],
        "aof-write-pending-fsync" => vec![LocalDisk, DiskContention, Ssd, Writeback],
        "aof-write-active-child" => vec![NoFsyncOnRewrite, Writeback, Ssd],
        "aof-write-alone" => vec![LocalDisk, Writeback, Ssd],
        "aof-fsync-always" if around.appendfsync_always => vec![RelaxFsync],
        "aof-fstat" | "rdb-unlink-temp-file" => vec![DiskContention, LocalDisk],
        "aof-rename" => vec![WriteLoad, Writeback, Ssd, LocalDisk],
        "expire-cycle" if around.hz < 100 => vec![Hz, BigObjects],
        "expire-cycle" | "eviction-del" => vec![BigObjects],
        "eviction-cycle" => vec![MassEviction],
        _ => vec![],
    }
}

fn sentence(advice: Advice, around: &Surroundings) -> String {
    let text = match advice {
        Advice::BetterMachine => {
            "Forking is slow here. Another kind of virtual machine, or none, may fork faster."
        }
        Advice::EnableSlowlog | Advice::LowerSlowlog => {
            let us = around.threshold.saturating_mul(1000);
            return format!(
                "Let the slow log name the commands: 'CONFIG SET slowlog-log-slower-than {us}'."
            );
        }
        Advice::ReadSlowlog => "See SLOWLOG GET for the commands that take so long.",
        Advice::Scheduler => {
            "Even simple commands were slow, so the process did not get its processor time: lower the load of this \
             machine, look for noisy neighbours, and measure with 'redis-cli --intrinsic-latency 100'."
        }
        Advice::LocalDisk => "Keep the files on a local disk.",
        Advice::Ssd => "An SSD writes and syncs faster.",
        Advice::Writeback => {
            "On ext3 and ext4 data=writeback is faster than data=ordered; after a power failure the AOF may then end \
             in half a command."
        }
        Advice::DiskContention => "Other processes use the same disk: give it fewer of them.",
        Advice::NoFsyncOnRewrite => {
            "If your data can bear it, 'no-appendfsync-on-rewrite yes' saves the fsyncs while a child writes."
        }
        Advice::RelaxFsync => "'appendfsync everysec' costs far less than 'always'.",
        Advice::WriteLoad => {
            "So many writes come in that swapping AOF files takes long: batch or reduce them."
        }
        Advice::Hz => "'CONFIG SET hz 100' lets keys expire in smaller portions.",
        Advice::BigObjects => {
            "Deleting, expiring or evicting huge values takes long: split them, or turn on the lazyfree-lazy options."
        }
        Advice::MassEviction => {
            "Memory had to be freed in bulk: raise maxmemory, or lower it in small steps."
        }
        Advice::HugePages => {
            "This process uses transparent huge pages, which make copies of memory after a fork expensive: 'echo never \
             > /sys/kernel/mm/transparent_hugepage/enabled', then restart the server."
        }
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_fits_what_happened() {
        let mut m = Monitor::default();
        assert!(m.report(&Surroundings::default()).contains("latency-monitor-threshold"));
        let around =
            Surroundings { threshold: 100, now: 110, slowlog: -1, hz: 10, ..Surroundings::default() };
        assert!(m.report(&around).contains("not a single spike"));
        m.add("command", 300, 100, 100);
        m.add("command", 500, 100, 105);
        let text = m.report(&around);
        let spikes = "1. command: 2 latency spikes (average 400ms, mean deviation 100ms, period 5.00 sec). Worst all \
                      time event 500ms.\n";
        assert!(text.contains(spikes), "{text}");
        assert!(text.contains("slowlog-log-slower-than 100000"), "{text}");
    }
}
