//! A load of the dataset under way, as INFO shows it.

use crate::clients::ClientId;
use std::time::Duration;

/// What INFO persistence tells of a load under way.
#[derive(Debug, Default)]
pub struct Loading {
    pub started: i64,
    pub total: u64,
    pub loaded: u64,
    /// What the dataset took when the file was written, by its own word.
    pub used_then: u64,
    /// The client that runs the commands of a log.
    pub reader: Option<ClientId>,
    pub keys: u64,
}

impl Loading {
    pub fn percent(&self) -> f64 {
        self.loaded as f64 * 100.0 / self.total.max(1) as f64
    }

    /// Seconds to go, if the rest comes as fast.
    pub fn eta(&self, now: i64) -> u64 {
        let elapsed = u64::try_from(now - self.started).unwrap_or(0);
        let rest = self.total.saturating_sub(self.loaded);
        elapsed.saturating_mul(rest).checked_div(self.loaded).unwrap_or(1)
    }
}

/// `key-load-delay` and `rdb-key-save-delay`: so many microseconds for each key, or, below zero, one
/// for every so many keys.
pub fn delay(us: i64, keys: u64) {
    let us = match u64::try_from(us) {
        Ok(us) => us,
        Err(_) => u64::from(keys.is_multiple_of(us.unsigned_abs())),
    };
    if us > 0 {
        std::thread::sleep(Duration::from_micros(us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_its_share_of_the_time() {
        let l = Loading { started: 100, total: 1000, loaded: 250, ..Loading::default() };
        assert_eq!((l.percent(), l.eta(110)), (25.0, 30));
        assert_eq!(Loading { loaded: 0, ..l }.eta(110), 1);
    }
}
