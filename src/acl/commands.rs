//! A set of commands, one bit for each row of the table.

use crate::cmd::table::CmdId;

const BITS: usize = 1024;

/// Stands for the commands that will be added later: `+@all` allows them, too.
const LATER: usize = BITS - 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSet([u64; BITS / 64]);

impl CommandSet {
    pub const NONE: CommandSet = CommandSet([0; BITS / 64]);
    pub const ALL: CommandSet = CommandSet([u64::MAX; BITS / 64]);

    fn has_bit(&self, bit: usize) -> bool {
        self.0.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    /// A command that has no bit is in no set.
    #[inline]
    pub fn has(&self, cmd: CmdId) -> bool {
        let bit = usize::from(cmd);
        bit < LATER && self.has_bit(bit)
    }

    pub fn has_later(&self) -> bool {
        self.has_bit(LATER)
    }

    pub fn put(&mut self, cmd: CmdId, on: bool) {
        let bit = usize::from(cmd);
        if bit >= LATER {
            return;
        }
        let mask = 1 << (bit % 64);
        if on { self.0[bit / 64] |= mask } else { self.0[bit / 64] &= !mask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_bit() {
        let mut set = CommandSet::NONE;
        for cmd in [0, 63, 64, 1022] {
            set.put(cmd, true);
            assert!(set.has(cmd) && !set.has(cmd + 1));
        }
        set.put(64, false);
        assert!(!set.has(64) && set.has(63) && !set.has_later());
        set.put(1023, true);
        set.put(5000, true);
        assert!(!set.has(1023) && !set.has(5000) && !set.has_later());
        assert!(CommandSet::ALL.has_later() && CommandSet::ALL.has(7) && !CommandSet::ALL.has(2000));
    }
}
