//! What WAIT and WAITAOF wait for: that the last write of a client is on enough replicas, or on enough disks.
//!
//! ```text
//! write ─► woff of the client ─┬─ WAIT     replicas that have applied up to it
//!                              └─ WAITAOF  this server's disk, and the disks of replicas
//! ```
//!
//! Only replicas that are online count. What is on the disk here is known by the fsync that has covered it
//! (`jobs::aof::Aof::fsynced`), and not at all while there is no log.

use super::replicas::{Replica, Replicas};

/// A client's last write, and how safe it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckWait {
    /// Where the stream ended behind the write.
    pub offset: u64,
    pub replicas: i64,
    /// WAITAOF; whether the log of this server counts.
    pub disk: Option<bool>,
}

/// How safe it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckCount {
    pub local: bool,
    pub replicas: i64,
}

impl AckWait {
    /// `fsynced`: the position up to which the log of this server is on its disk.
    pub fn count(&self, all: &Replicas, fsynced: Option<u64>) -> AckCount {
        let by = |r: &Replica| if self.disk.is_some() { r.aof_acked } else { r.acked };
        let offset = self.offset.cast_signed();
        let have = all.iter().filter(|r| r.is_online() && by(r) >= offset).count();
        AckCount {
            local: fsynced.is_some_and(|at| at >= self.offset),
            replicas: i64::try_from(have).unwrap_or(i64::MAX),
        }
    }

    pub fn is_met(&self, count: AckCount) -> bool {
        count.replicas >= self.replicas && (count.local || self.disk != Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientId;
    use crate::replication::replicas::Stage;

    #[test]
    fn each_kind_of_wait_counts_what_it_asks_for() {
        let mut all = Replicas::default();
        for (index, stage) in [(1, Stage::Online), (2, Stage::Online), (3, Stage::SendBulk)] {
            let id = ClientId { index, generation: 1 };
            all.attach(id, false, stage);
            all.acknowledge(id, 100, (index == 1).then_some(90), 7);
        }
        let wait = |offset, replicas, disk| AckWait { offset, replicas, disk };
        let met = |w: AckWait, fsynced| {
            let c = w.count(&all, fsynced);
            (c.replicas, c.local, w.is_met(c))
        };
        assert_eq!(met(wait(100, 2, None), None), (2, false, true), "one is not online");
        assert_eq!(met(wait(100, 3, None), None), (2, false, false));
        assert_eq!(met(wait(101, 1, None), None), (0, false, false));
        assert_eq!(met(wait(90, 1, Some(false)), None), (1, false, true));
        assert_eq!(met(wait(90, 2, Some(false)), None), (1, false, false));
        assert_eq!(met(wait(90, 1, Some(true)), Some(89)), (1, false, false));
        assert_eq!(met(wait(90, 1, Some(true)), Some(90)), (1, true, true));
        assert_eq!(met(wait(0, 0, Some(true)), None), (2, false, false), "there is no log");
    }
}
