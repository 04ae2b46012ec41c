//! Where the server stands: in which pass of the loop, in which command, for which client.
//!
//! ```text
//! passes      0 ── turn ──► 1 ── nested ──► 2 ...        2 and more: a command lets the loop turn
//! commands    0 ── call ──► 1 ── EXEC, script ──► 2 ...  0: between execution units
//!
//! serve ─► turn ─► command ─► call of a script                                passes 1, commands 2
//!                     └─────► busy, or loading: nested ─► turn ─► command     passes 2, commands 2
//! ```
//!
//! - A unit is what a command does with all that it calls; at its end ops leave and waiting clients are
//!   served, never before.
//! - The dataset belongs to the outermost pass. A nested one serves what may run meanwhile and neither
//!   expires, evicts, saves nor serves ready keys: the command that it interrupts relies on the data.
//! - A load at the start has no pass and no command around it; `enter_nested` makes it look as if it had,
//!   so that one rule holds for all nested passes.

use crate::clients::ClientId;

#[derive(Debug, Default)]
pub struct Execution {
    passes: u32,
    commands: u32,
    in_exec: bool,
    current: Option<ClientId>,
    /// The counter's reading at the end of the last command: where the next one begins.
    pub ticks: u64,
}

/// What a nested pass has changed, to be put back.
#[derive(Debug)]
#[must_use = "the outer pass goes on with it"]
pub struct Outer {
    passes: u32,
    ticks: u64,
}

impl Execution {
    /// No pass is under way: the loop is about to wait, and nothing it interrupts relies on the data.
    pub fn between_passes(&self) -> bool {
        self.passes == 0
    }

    /// A command lets the loop turn.
    #[inline]
    pub fn in_nested_pass(&self) -> bool {
        self.passes > 1
    }

    /// No command is running: a unit has ended or may begin.
    #[inline]
    pub fn between_units(&self) -> bool {
        self.commands == 0
    }

    /// Runs a command that nothing around it called: its unit ends with it.
    #[inline]
    pub fn in_outermost_command(&self) -> bool {
        self.commands == 1
    }

    /// May what runs now change data on its own account: expire, evict, save, serve waiting clients?
    pub fn owns_data(&self) -> bool {
        self.between_units() && !self.in_nested_pass()
    }

    /// Runs EXEC: what it called may not schedule, block or fork.
    pub fn in_exec(&self) -> bool {
        self.in_exec
    }

    /// The client that is being served, for crash reports.
    pub fn current(&self) -> Option<ClientId> {
        self.current
    }

    pub fn enter_pass(&mut self) {
        self.passes += 1;
    }

    pub fn leave_pass(&mut self) {
        debug_assert!(self.passes > 0);
        self.passes -= 1;
    }

    #[inline]
    pub fn enter_command(&mut self) {
        self.commands += 1;
    }

    #[inline]
    pub fn leave_command(&mut self) {
        debug_assert!(self.commands > 0);
        self.commands -= 1;
    }

    pub fn enter_nested(&mut self) -> Outer {
        let outer = Outer { passes: self.passes, ticks: self.ticks };
        self.passes = self.passes.max(1);
        self.commands += 1;
        outer
    }

    pub fn leave_nested(&mut self, outer: Outer) {
        debug_assert_eq!(self.passes, outer.passes.max(1), "passes inside have ended");
        self.commands -= 1;
        (self.passes, self.ticks) = (outer.passes, outer.ticks);
    }

    /// Returns what to put back: a nested pass may serve another EXEC inside this one.
    pub fn set_in_exec(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.in_exec, on)
    }

    /// Returns what to put back.
    #[inline]
    pub fn set_current(&mut self, id: Option<ClientId>) -> Option<ClientId> {
        std::mem::replace(&mut self.current, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_pass_owns_nothing_and_leaves_no_trace() {
        // At the start, where nothing is around a load; and inside a command.
        for inside in [false, true] {
            let mut e = Execution { ticks: 7, ..Execution::default() };
            if inside {
                e.enter_pass();
                e.enter_command();
            }
            let before = (e.between_passes(), e.in_nested_pass(), e.between_units());
            let outer = e.enter_nested();
            assert!(!e.between_passes() && !e.in_nested_pass());
            e.enter_pass();
            assert!(e.in_nested_pass() && !e.between_units() && !e.owns_data());
            e.ticks = 9;
            e.leave_pass();
            e.leave_nested(outer);
            assert_eq!((e.between_passes(), e.in_nested_pass(), e.between_units()), before);
            assert_eq!(e.ticks, 7);
        }
    }
}
