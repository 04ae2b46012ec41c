//! INFO cpu.

use super::line;
use crate::server::Server;
use crate::sys::usage::{Whose, cpu_time};

pub fn write(_: &mut Server, out: &mut String) {
    let all =
        [(Whose::Process, ""), (Whose::Children, "_children"), (Whose::ThisThread, "_main_thread")];
    for (whose, suffix) in all {
        let time = cpu_time(whose);
        for (kind, us) in [("sys", time.system_us), ("user", time.user_us)] {
            let (seconds, micros) = (us / 1_000_000, us % 1_000_000);
            line(out, format_args!("used_cpu_{kind}{suffix}:{seconds}.{micros:06}"));
        }
    }
}
