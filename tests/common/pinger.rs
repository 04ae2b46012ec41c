//! How long a server lets a client wait: a ping every half millisecond, and the longest time to its answer.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub struct Pinger {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Pinger {
    pub fn start(port: u16) -> Pinger {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let mut p = TcpStream::connect(("127.0.0.1", port)).expect("listening");
        p.set_nodelay(true).expect("tcp");
        let mut answers = BufReader::new(p.try_clone().expect("tcp"));
        let thread = thread::spawn(move || {
            let (mut worst, mut line) = (Duration::ZERO, String::new());
            while !until.load(Ordering::Relaxed) {
                let begun = Instant::now();
                p.write_all(b"*1\r\n$4\r\nPING\r\n").expect("alive");
                line.clear();
                // Also a refusal is an answer: a replica may be loading.
                let n = answers.read_line(&mut line).expect("alive");
                assert!(n > 0, "the server closed");
                worst = worst.max(begun.elapsed());
                thread::sleep(Duration::from_micros(500));
            }
            worst
        });
        Pinger { stop, thread }
    }

    pub fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the pinger ends")
    }
}
