//! A connection that is used without the loop: the caller waits for each step, up to a deadline.
//!
//! ```text
//! connect ─► write_all ─► line ─► line ...        each within its time, or `Broken`
//! ```
//!
//! For commands that answer when another server has answered (MIGRATE). Bytes behind a line are kept for
//! the next one.

use super::connect::resolve;
use super::patient::Patient;
use super::stream::Stream;
use super::tls::Contexts;
use crate::proto::reply_in::{self, ReplyLine};
use crate::sys::clock::mono_ns;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Duration;

/// Bytes read at once.
const PIECE: usize = 4 * 1024;

#[derive(Debug)]
pub struct Dialogue {
    stream: Patient,
    input: Vec<u8>,
}

/// The connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    TimedOut,
    /// The peer has closed it, or it has failed.
    Lost,
}

fn broken(e: &io::Error) -> Broken {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Broken::TimedOut,
        _ => Broken::Lost,
    }
}

/// What is left of a time that began at `begun`, by the monotonic clock.
fn left(within: Duration, begun: u64) -> Duration {
    within.saturating_sub(Duration::from_nanos(mono_ns().saturating_sub(begun)))
}

impl Dialogue {
    /// Connects to the first address of the host that answers in time, with TLS when contexts are given.
    pub fn connect(
        host: &str,
        port: u16,
        within: Duration,
        contexts: Option<&Contexts>,
    ) -> io::Result<Dialogue> {
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for to in resolve(host, port)? {
            match TcpStream::connect_timeout(&to, within) {
                Ok(stream) => return Dialogue::over(stream, host, within, contexts),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn over(
        stream: TcpStream,
        host: &str,
        within: Duration,
        contexts: Option<&Contexts>,
    ) -> io::Result<Dialogue> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = Stream::Tcp(mio::net::TcpStream::from_std(stream));
        if let Some(contexts) = contexts {
            stream = stream.secured(contexts, host)?;
        }
        let mut stream = Patient::new(stream, within);
        stream.open(within)?;
        Ok(Dialogue { stream, input: Vec::new() })
    }

    pub fn write_all(&mut self, bytes: &[u8], within: Duration) -> Result<(), Broken> {
        self.stream.send_all(bytes, within).map_err(|e| broken(&e))
    }

    /// The next line, without its end.
    pub fn line(&mut self, within: Duration) -> Result<Vec<u8>, Broken> {
        let begun = mono_ns();
        loop {
            match reply_in::line(&self.input) {
                ReplyLine::TooLong => return Err(Broken::Lost),
                ReplyLine::Whole(line, n) => {
                    let line = line.to_vec();
                    self.input.drain(..n);
                    return Ok(line);
                }
                ReplyLine::Partial => {}
            }
            match self.stream.receive(&mut self.input, PIECE, left(within, begun)) {
                Ok(true) => {}
                Ok(false) => return Err(Broken::Lost),
                Err(e) => return Err(broken(&e)),
            }
        }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.stream.farewell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_read_one_by_one_and_silence_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let mut ours = Dialogue::connect("127.0.0.1", port, LONG, None).expect("a listener is there");
        let (mut theirs, _) = listener.accept().expect("it has connected");
        ours.write_all(b"ask", LONG).expect("room");
        let mut asked = [0; 3];
        theirs.read_exact(&mut asked).expect("it was sent");
        theirs.write_all(b"+OK\r\n-no\r\n+half").expect("room");
        assert_eq!(ours.line(LONG), Ok(b"+OK".to_vec()));
        assert_eq!(ours.line(LONG), Ok(b"-no".to_vec()));
        assert_eq!(ours.line(Duration::from_millis(20)), Err(Broken::TimedOut));
        theirs.write_all(b"\r\n").expect("room");
        assert_eq!(ours.line(LONG), Ok(b"+half".to_vec()), "nothing of it was lost");
        drop(theirs);
        assert_eq!(ours.line(LONG), Err(Broken::Lost));
    }

    #[test]
    fn a_peer_that_reads_nothing_ends_a_write() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let mut ours = Dialogue::connect("127.0.0.1", port, LONG, None).expect("a listener is there");
        let piece = vec![0; 64 << 20];
        assert_eq!(ours.write_all(&piece, Duration::from_millis(50)), Err(Broken::TimedOut));
    }
}
