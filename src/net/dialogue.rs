//! A connection that is used without the loop: the caller waits for each step, up to a deadline.
//!
//! ```text
//! connect ─► write_all ─► line ─► line ...        each within its time, or `Broken`
//! ```
//!
//! For commands that answer when another server has answered (MIGRATE). Bytes behind a line are kept for
//! the next one.

use super::connect::resolve;
use crate::proto::reply_in::{self, ReplyLine};
use crate::sys::clock::mono_ns;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bytes read at once.
const PIECE: usize = 4 * 1024;

#[derive(Debug)]
pub struct Dialogue {
    stream: TcpStream,
    input: Vec<u8>,
}

/// The connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    TimedOut,
    /// The peer has closed it, or it has failed.
    Lost,
}

/// The time left of a step; none is an error.
fn left(until_ns: u64) -> Result<Duration, Broken> {
    let left = until_ns.saturating_sub(mono_ns());
    if left == 0 { Err(Broken::TimedOut) } else { Ok(Duration::from_nanos(left)) }
}

/// When a step ends that begins now.
fn end_of(within: Duration) -> u64 {
    mono_ns().saturating_add(u64::try_from(within.as_nanos()).unwrap_or(u64::MAX))
}

fn broken(e: &io::Error) -> Broken {
    match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Broken::TimedOut,
        _ => Broken::Lost,
    }
}

impl Dialogue {
    /// Connects to the first address of the host that answers in time.
    pub fn connect(host: &str, port: u16, within: Duration) -> io::Result<Dialogue> {
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for to in resolve(host, port)? {
            match TcpStream::connect_timeout(&to, within) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Dialogue { stream, input: Vec::new() });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    pub fn write_all(&mut self, mut bytes: &[u8], within: Duration) -> Result<(), Broken> {
        let until = end_of(within);
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(left(until)?)).map_err(|e| broken(&e))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(Broken::Lost),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(&e)),
            }
        }
        Ok(())
    }

    /// The next line, without its end.
    pub fn line(&mut self, within: Duration) -> Result<Vec<u8>, Broken> {
        let until = end_of(within);
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
            self.stream.set_read_timeout(Some(left(until)?)).map_err(|e| broken(&e))?;
            let mut piece = [0; PIECE];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(Broken::Lost),
                Ok(n) => self.input.extend_from_slice(piece.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(&e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_read_one_by_one_and_silence_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let mut ours = Dialogue::connect("127.0.0.1", port, LONG).expect("a listener is there");
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
        let mut ours = Dialogue::connect("127.0.0.1", port, LONG).expect("a listener is there");
        let piece = vec![0; 64 << 20];
        assert_eq!(ours.write_all(&piece, Duration::from_millis(50)), Err(Broken::TimedOut));
    }
}
