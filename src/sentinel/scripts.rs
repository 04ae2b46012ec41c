//! The operator's scripts: a queue, some of which runs at a time.
//!
//! ```text
//! schedule ─► waits ─► Spawn ─► runs ─┬─ exit 0 ──────────────► done
//!               ▲                     ├─ exit 1, or a signal ─► again, up to 10 times, after 30 s, 60 s, ...
//!               └─────────────────────┘      (SIGKILL after 60 s is one)
//!                                     └─ exit 2 and more ─────► given up
//! ```

use super::instance::Ms;
use super::text::cat;
use super::{Action, Core, Ended, NotSpawned, Reply};
use crate::sys::log::Level;

const MOST_QUEUED: usize = 256;
const MOST_RUNNING: usize = 16;
const MOST_TRIES: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobState {
    /// Not before that time.
    Waits(Option<Ms>),
    /// With its pid, once that is known.
    Runs(Option<i32>, Ms),
}

#[derive(Debug)]
struct Job {
    id: u64,
    argv: Vec<Vec<u8>>,
    tries: u32,
    state: JobState,
}

impl Job {
    fn runs(&self) -> bool {
        matches!(self.state, JobState::Runs(..))
    }
}

#[derive(Debug, Default)]
pub(super) struct Scripts {
    queue: Vec<Job>,
    last: u64,
}

impl Scripts {
    /// Queues a script; a queue that is full loses the oldest that does not run.
    pub(super) fn schedule(&mut self, argv: Vec<Vec<u8>>) {
        self.last += 1;
        self.queue.push(Job { id: self.last, argv, tries: 0, state: JobState::Waits(None) });
        if self.queue.len() > MOST_QUEUED
            && let Some(oldest) = self.queue.iter().position(|j| !j.runs())
        {
            self.queue.remove(oldest);
        }
    }

    pub(super) fn running(&self) -> usize {
        self.queue.iter().filter(|j| j.runs()).count()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// SENTINEL PENDING-SCRIPTS.
    pub(super) fn view(&self, now: Ms) -> Reply {
        let number = |n: i64| Reply::Bulk(cat![n]);
        let job = |j: &Job| {
            let argv = j.argv.iter().map(|a| Reply::Bulk(a.clone())).collect();
            let (flags, pid, name, time) = match j.state {
                JobState::Runs(pid, since) => ("running", pid.unwrap_or(0), "run-time", now - since),
                JobState::Waits(until) => {
                    ("scheduled", 0, "run-delay", until.map_or(0, |until| (until - now).max(0)))
                }
            };
            Reply::Map(vec![
                Reply::text("argv"),
                Reply::Array(argv),
                Reply::text("flags"),
                Reply::text(flags),
                Reply::text("pid"),
                number(pid.into()),
                Reply::text(name),
                number(time),
                Reply::text("retry-num"),
                number(j.tries.into()),
            ])
        };
        Reply::Array(self.queue.iter().map(job).collect())
    }
}

/// How long a script waits that has failed so many times.
fn retry_delay(tries: u32, first: Ms) -> Ms {
    first.saturating_mul(1 << tries.saturating_sub(1).min(20))
}

impl Core {
    /// Starts what is due, and ends what takes too long.
    pub(super) fn run_scripts(&mut self) {
        let now = self.now();
        let mut running = self.scripts.running();
        let mut late = Vec::new();
        for job in &mut self.scripts.queue {
            match job.state {
                JobState::Waits(until) if running < MOST_RUNNING && until.is_none_or(|t| t <= now) => {
                    job.state = JobState::Runs(None, now);
                    job.tries += 1;
                    running += 1;
                    self.out.push(Action::Spawn(job.id, job.argv.clone()));
                }
                JobState::Runs(Some(pid), since) if now - since > self.periods.script_runtime => {
                    late.push((job.argv.first().cloned().unwrap_or_default(), pid));
                }
                _ => {}
            }
        }
        for (path, pid) in late {
            self.announce(Level::Warning, "-script-timeout", None, cat![path, " ", pid]);
            self.out.push(Action::Kill(pid));
        }
    }

    pub(super) fn spawned(&mut self, id: u64, pid: i32) {
        let now = self.now();
        if let Some(job) = self.scripts.queue.iter_mut().find(|j| j.id == id) {
            job.state = JobState::Runs(Some(pid), now);
        }
        self.announce(Level::Debug, "+script-child", None, cat![pid]);
    }

    pub(super) fn not_spawned(&mut self, id: u64, why: NotSpawned) {
        let Some(at) = self.scripts.queue.iter().position(|j| j.id == id) else { return };
        // A process that cannot be made counts as ended by signal 99; a file that does not run as exit
        // code 2.
        match why {
            NotSpawned::NoProcess => {
                let path = self.scripts.queue.get(at).and_then(|j| j.argv.first().cloned());
                let message = cat![path.unwrap_or_default(), " 99 0"];
                self.announce(Level::Warning, "-script-error", None, message);
                self.retry_or_drop(at);
            }
            NotSpawned::NotExecutable => self.finish(at, Ended::Code(2)),
        }
    }

    /// A child has ended.
    pub(super) fn script_ended(&mut self, pid: i32, how: Ended) {
        let (code, signal) = match how {
            Ended::Code(code) => (code, 0),
            Ended::Signal(signal) => (0, signal),
        };
        self.announce(Level::Debug, "-script-child", None, cat![pid, " ", code, " ", signal]);
        let is = |j: &Job| matches!(j.state, JobState::Runs(Some(p), _) if p == pid);
        match self.scripts.queue.iter().position(is) {
            Some(at) => self.finish(at, how),
            None => {
                let text = cat![
                    "waitpid() returned a pid (",
                    pid,
                    ") we can't find in our scripts execution queue!"
                ];
                self.log(Level::Warning, text);
            }
        }
    }

    fn finish(&mut self, at: usize, how: Ended) {
        let Some(job) = self.scripts.queue.get(at) else { return };
        let again = matches!(how, Ended::Code(1) | Ended::Signal(_));
        if again && job.tries < MOST_TRIES {
            return self.retry_or_drop(at);
        }
        let job = self.scripts.queue.remove(at);
        let (signal, code) = match how {
            Ended::Code(0) => return,
            Ended::Code(code) => (0, code),
            Ended::Signal(signal) => (signal, 0),
        };
        let path = job.argv.into_iter().next().unwrap_or_default();
        let message = cat![path, " ", signal, " ", code];
        self.announce(Level::Warning, "-script-error", None, message);
    }

    fn retry_or_drop(&mut self, at: usize) {
        let now = self.now();
        let first = self.periods.script_retry;
        let Some(job) = self.scripts.queue.get_mut(at) else { return };
        if job.tries >= MOST_TRIES {
            self.scripts.queue.remove(at);
        } else {
            job.state = JobState::Waits(Some(now.saturating_add(retry_delay(job.tries, first))));
        }
    }
}
