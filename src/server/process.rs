//! What the process is: settled at the start, and the same until the end.

use crate::sys::oom::OomScore;
use crate::sys::supervise;

#[derive(Default)]
pub struct Process {
    pub run_id: String,
    pub started_ms: i64,
    pub argv: Vec<Vec<u8>>,
    pub config_file: Option<Vec<u8>>,
    /// The program, as an absolute path.
    pub executable: Vec<u8>,
    pub supervised: supervise::SuperviseMode,
    /// Bytes in use when the server was ready.
    pub startup_memory: usize,
    /// The score before the first change.
    pub oom: OomScore,
}
