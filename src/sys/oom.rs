//! The kernel's out-of-memory score: which process dies first when memory runs out. The server raises
//! its own by role, so that forked children go before replicas, and these before masters.
//!
//! Switching it off restores the score found when it was switched on, also when that happens in the
//! middle of a rolled back CONFIG SET.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use super::errno;
use crate::warning;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomMode {
    No,
    /// The values add to the score the process was started with.
    Relative,
    Absolute,
}

/// Indexes `oom-score-adj-values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Master = 0,
    Replica = 1,
    Child = 2,
}

const RANGE: std::ops::RangeInclusive<i32> = -1000..=1000;

#[derive(Debug)]
pub struct OomScore {
    path: &'static str,
    /// The score before ours, while it is ours.
    base: Option<i32>,
}

impl Default for OomScore {
    fn default() -> Self {
        OomScore { path: "/proc/self/oom_score_adj", base: None }
    }
}

impl OomScore {
    /// Sets the score for a process of this class. Failing is logged too.
    pub fn apply(&mut self, mode: OomMode, values: [i32; 3], class: Class) -> io::Result<()> {
        self.set(mode, values, class).map_err(|(doing, e)| {
            warning!("Unable to {doing} oom_score_adj: {}", errno::text(&e));
            e
        })
    }

    /// The same without a line in the log, which a forked child does not touch. An error comes with what
    /// was being done.
    pub fn set(
        &mut self,
        mode: OomMode,
        values: [i32; 3],
        class: Class,
    ) -> Result<(), (&'static str, io::Error)> {
        let score = match (mode, self.base) {
            (OomMode::No, None) => return Ok(()),
            (OomMode::No, Some(base)) => {
                self.base = None;
                base
            }
            (_, base) => {
                let base = base.map_or_else(|| self.read().map_err(|e| ("read", e)), Ok)?;
                self.base = Some(base);
                let value = values[class as usize];
                let sum = if mode == OomMode::Relative { value.saturating_add(base) } else { value };
                sum.clamp(*RANGE.start(), *RANGE.end())
            }
        };
        let done = File::options().write(true).truncate(true).open(self.path);
        done.and_then(|mut f| f.write_all(format!("{score}\n").as_bytes())).map_err(|e| ("write", e))
    }

    fn read(&self) -> io::Result<i32> {
        let mut text = String::new();
        File::open(self.path).and_then(|mut f| f.read_to_string(&mut text))?;
        Ok(text.trim().parse().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;

    #[test]
    fn the_score_follows_mode_and_class_and_is_restored() {
        let dir = TempDir::new("oom");
        let path: &'static str = Box::leak(dir.join("score").to_str().expect("text").to_owned().into());
        let read =
            || std::fs::read_to_string(path).expect("there").trim().parse::<i32>().expect("a number");
        std::fs::write(path, "22\n").expect("writable");
        let mut s = OomScore { path, base: None };
        let values = [9, 100, 2000];
        s.apply(OomMode::No, values, Class::Master).expect("nothing to do");
        assert_eq!(read(), 22);
        s.apply(OomMode::Relative, values, Class::Master).expect("writable");
        assert_eq!(read(), 31);
        s.apply(OomMode::Relative, values, Class::Replica).expect("writable");
        assert_eq!(read(), 122);
        s.apply(OomMode::Absolute, values, Class::Master).expect("writable");
        assert_eq!(read(), 9);
        s.apply(OomMode::Relative, values, Class::Child).expect("writable");
        assert_eq!(read(), 1000);
        s.apply(OomMode::No, values, Class::Master).expect("writable");
        assert_eq!(read(), 22);
        std::fs::write(path, "5\n").expect("writable");
        s.apply(OomMode::No, values, Class::Master).expect("nothing to do");
        assert_eq!(read(), 5);
        s.apply(OomMode::Absolute, [-2000; 3], Class::Master).expect("writable");
        assert_eq!(read(), -1000);
    }

    #[test]
    fn failures_are_errors() {
        let mut s = OomScore { path: "/nonexistent/score", base: None };
        assert!(s.apply(OomMode::Relative, [0; 3], Class::Master).is_err());
        assert!(s.base.is_none());
        s.apply(OomMode::No, [0; 3], Class::Master).expect("nothing to do");
    }

    #[test]
    fn the_real_file_can_be_raised() {
        // Raising the own score needs no privilege; the same value is as good as a higher one.
        let now: i32 = std::fs::read_to_string("/proc/self/oom_score_adj")
            .expect("there")
            .trim()
            .parse()
            .expect("a number");
        let mut s = OomScore::default();
        s.apply(OomMode::Relative, [0; 3], Class::Master).expect("allowed");
        assert_eq!(s.base, Some(now));
    }
}
