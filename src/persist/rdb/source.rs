//! Where the bytes of a snapshot come from: memory, a file through a window, or pieces as they arrive.
//!
//! ```text
//! Memory   the payload of DUMP       all of it is at hand, nothing is copied
//! Window   a file    [ taken │ at hand │ not read yet ............ ]   256 KiB of it at a time
//! Fed      a socket  pieces are fed by the loop; `NeedMore` until there are enough for a whole item
//! ```
//!
//! The decoder takes bytes in order and never looks back, but for one thing: an item that a `Fed` source
//! has not in full is left, and read again from its first byte when more has come (`mark`, `rewind`). A
//! source that blocks never says `NeedMore`, and its `rewind` is never called.
//!
//! A length is believed only as far as the source reaches: `take` compares it with `left` before it
//! allocates. What is longer than the window is read into one allocation of its own, by large reads.
//!
//! The checksum is kept over what was taken, a window at a time.

use super::error::Error;
use crate::algo::crc64;
use crate::sys::alloc;
use std::io::{self, Cursor, Read};

type Result<T> = std::result::Result<T, Error>;

pub trait Source {
    /// The next `n` bytes, which are done with.
    fn take(&mut self, n: usize) -> Result<&[u8]>;
    /// As `take`, in a block of their own that begins with `room` bytes of any content. None, and nothing is
    /// taken, where `take` copies no more.
    fn take_block(&mut self, _n: usize, _room: usize) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    /// How many bytes have been taken.
    fn at(&self) -> u64;
    /// So many bytes are known to follow: what memory is reserved by.
    fn left(&self) -> u64;
    /// The checksum of all that was taken.
    fn sum(&mut self) -> u64;
    /// An item begins here.
    fn mark(&mut self) -> Result<()> {
        Ok(())
    }
    /// Back to the beginning of the item.
    fn rewind(&mut self) {}
}

/// Bytes that are all at hand.
pub struct Memory<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Memory<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Memory { bytes, at: 0 }
    }

    /// As `take`, for bytes that outlive the source.
    pub fn take_for_long(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or(Error::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Error::Short)?;
        self.at = end;
        Ok(taken)
    }
}

impl Source for Memory<'_> {
    #[inline]
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        self.take_for_long(n)
    }

    fn at(&self) -> u64 {
        self.at as u64
    }

    fn left(&self) -> u64 {
        self.bytes.len().saturating_sub(self.at) as u64
    }

    fn sum(&mut self) -> u64 {
        self.bytes.get(..self.at).map_or(0, |b| crc64::update(0, b))
    }
}

/// Bytes of a file that are at hand at a time.
const WINDOW: usize = 256 << 10;

/// A file, or anything of a known length that can be read.
pub struct Window<R> {
    from: R,
    /// Read ahead: `at..end` is at hand, what stands before has been taken.
    buf: Vec<u8>,
    at: usize,
    end: usize,
    /// The last text that was longer than the window; a new window ends its life.
    long: Vec<u8>,
    /// Bytes before `buf`, and of the whole file.
    before: u64,
    total: u64,
    /// The checksum up to byte `summed` of the window; None when it is not wanted.
    crc: Option<u64>,
    summed: usize,
}

impl<R: Read> Window<R> {
    pub fn new(from: R, total: u64, checksum: bool) -> Self {
        Window {
            from,
            buf: vec![0; WINDOW],
            at: 0,
            end: 0,
            long: Vec::new(),
            before: 0,
            total,
            crc: checksum.then_some(0),
            summed: 0,
        }
    }

    /// What has not been taken yet.
    pub fn into_rest(mut self) -> io::Chain<Cursor<Vec<u8>>, R> {
        self.buf.truncate(self.end);
        self.buf.drain(..self.at.min(self.end));
        Cursor::new(self.buf).chain(self.from)
    }

    fn sum_window(&mut self) {
        if let (Some(crc), Some(b)) = (self.crc, self.buf.get(self.summed..self.at)) {
            self.crc = Some(crc64::update(crc, b));
        }
        self.summed = self.at;
    }

    /// More than is at hand.
    #[cold]
    fn take_more(&mut self, n: usize) -> Result<&[u8]> {
        if n as u64 > self.left() {
            return Err(Error::Short);
        }
        if n > WINDOW {
            self.long = Vec::new();
            self.long = self.read_long(n, 0)?;
            return Ok(&self.long);
        }
        self.sum_window();
        self.long = Vec::new();
        self.buf.copy_within(self.at..self.end, 0);
        self.before = self.before.saturating_add(self.at as u64);
        (self.end, self.at, self.summed) = (self.end.saturating_sub(self.at), 0, 0);
        while self.end < n {
            let Some(room) = self.buf.get_mut(self.end..) else { return Err(Error::Short) };
            match self.from.read(room) {
                Ok(0) => return Err(Error::Short),
                Ok(got) => self.end = self.end.saturating_add(got),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Io(e)),
            }
        }
        self.at = n;
        self.buf.get(..n).ok_or(Error::Short)
    }

    /// What no window holds. The file is as long as that, so the memory is not asked for in vain.
    fn read_long(&mut self, n: usize, room: usize) -> Result<Vec<u8>> {
        self.sum_window();
        let (mut long, size) = (Vec::new(), n.saturating_add(room));
        alloc::fallible(|| long.try_reserve_exact(size)).map_err(|_| Error::Short)?;
        long.resize(room, 0);
        long.extend_from_slice(self.buf.get(self.at..self.end).ok_or(Error::Short)?);
        let rest = size.saturating_sub(long.len()) as u64;
        self.from.by_ref().take(rest).read_to_end(&mut long).map_err(Error::Io)?;
        let taken = long.get(room..size).ok_or(Error::Short)?;
        self.crc = self.crc.map(|crc| crc64::update(crc, taken));
        self.before = self.before.saturating_add(self.at as u64).saturating_add(n as u64);
        (self.at, self.end, self.summed) = (0, 0, 0);
        Ok(long)
    }
}

impl<R: Read> Source for Window<R> {
    #[inline]
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.saturating_add(n);
        if end > self.end {
            return self.take_more(n);
        }
        let taken = self.buf.get(self.at..end).ok_or(Error::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn take_block(&mut self, n: usize, room: usize) -> Result<Option<Vec<u8>>> {
        if n <= WINDOW || n as u64 > self.left() {
            return Ok(None);
        }
        self.long = Vec::new();
        self.read_long(n, room).map(Some)
    }

    fn at(&self) -> u64 {
        self.before.saturating_add(self.at as u64)
    }

    fn left(&self) -> u64 {
        self.total.saturating_sub(self.at())
    }

    fn sum(&mut self) -> u64 {
        self.sum_window();
        self.crc.unwrap_or(0)
    }
}

/// Bytes that are fed in pieces. An item is held in full before it is read: a source for what comes
/// through a socket, where nothing may wait.
#[derive(Default)]
pub struct Fed {
    /// What was fed; the front goes when it is more than half of it, so that a byte is moved once.
    buf: Vec<u8>,
    /// Where the item begins, and how far it is read.
    begin: usize,
    at: usize,
    /// Another try is worth its while from so many bytes of the item on.
    enough: usize,
    /// Nothing more will come.
    over: bool,
    /// Bytes in front of `buf`.
    before: u64,
    /// Of all in front of the item.
    crc: u64,
}

impl Fed {
    pub fn feed(&mut self, piece: &[u8]) {
        debug_assert!(!self.over);
        if self.begin > self.buf.len() / 2 {
            self.buf.drain(..self.begin);
            self.before += self.begin as u64;
            self.at -= self.begin;
            self.begin = 0;
        }
        self.buf.extend_from_slice(piece);
    }

    /// What was fed and has not been taken.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.buf.drain(..self.at.min(self.buf.len()));
        self.buf
    }

    /// No more will be fed.
    pub fn end(&mut self) {
        self.over = true;
    }

    /// Bytes there are of the item, and behind it.
    fn held(&self) -> usize {
        self.buf.len() - self.begin
    }
}

impl Source for Fed {
    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.saturating_add(n);
        if let Some(taken) = self.buf.get(self.at..end) {
            self.at = end;
            return Ok(taken);
        }
        if self.over {
            return Err(Error::Short);
        }
        // Twice what was not enough: an item is read again few times, however long it is.
        self.enough = (end - self.begin).max(self.held().saturating_mul(2));
        Err(Error::NeedMore)
    }

    fn at(&self) -> u64 {
        self.before.saturating_add(self.at as u64)
    }

    fn left(&self) -> u64 {
        self.buf.len().saturating_sub(self.at) as u64
    }

    fn sum(&mut self) -> u64 {
        self.buf.get(self.begin..self.at).map_or(self.crc, |b| crc64::update(self.crc, b))
    }

    fn mark(&mut self) -> Result<()> {
        self.crc = self.sum();
        self.begin = self.at;
        if self.held() < self.enough && !self.over {
            return Err(Error::NeedMore);
        }
        self.enough = 0;
        Ok(())
    }

    fn rewind(&mut self) {
        self.at = self.begin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads in small pieces, then fails or ends.
    struct Sick<'a>(&'a [u8], Option<i32>);

    impl Read for Sick<'_> {
        fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
            let most = b.len().min(1000);
            match (self.0.read(&mut b[..most])?, self.1) {
                (0, Some(number)) => Err(io::Error::from_raw_os_error(number)),
                (n, _) => Ok(n),
            }
        }
    }

    fn sample() -> Vec<u8> {
        (0..3 * WINDOW as u32 / 4).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
    }

    #[test]
    fn a_window_gives_what_the_file_holds() {
        let bytes = sample();
        let mut all = Memory::new(&bytes);
        let mut w = Window::new(Sick(&bytes, None), bytes.len() as u64, true);
        let mut sizes =
            [1, 9, WINDOW - 1, 3, WINDOW + 1, 0, 70_000, WINDOW, 2, 500_000].into_iter().cycle();
        while all.left() > 0 {
            let n = sizes.next().expect("for ever").min(all.left() as usize);
            assert_eq!(w.take(n).expect("there"), all.take(n).expect("there"));
            assert_eq!((w.at(), w.left()), (all.at(), all.left()));
        }
        assert_eq!(w.sum(), crc64::update(0, &bytes));
        assert!(matches!(w.take(1), Err(Error::Short)));
    }

    #[test]
    fn a_long_text_comes_in_a_block_of_its_own() {
        let bytes: Vec<u8> = (0..WINDOW * 3).map(|i| (i % 251) as u8).collect();
        let mut w = Window::new(&bytes[..], bytes.len() as u64, true);
        assert_eq!(w.take(7).expect("there"), &bytes[..7]);
        assert_eq!(w.take_block(WINDOW, 16).expect("there"), None, "the window holds it");
        let end = 7 + WINDOW * 2;
        let block = w.take_block(WINDOW * 2, 16).expect("there").expect("long");
        assert_eq!(block[16..], bytes[7..end]);
        assert_eq!(w.take(10).expect("there"), &bytes[end..end + 10]);
        assert_eq!((w.at(), w.sum()), (end as u64 + 10, crc64::update(0, &bytes[..end + 10])));
        assert_eq!(w.take_block(WINDOW * 2, 16).expect("left to take"), None, "there is not so much");
    }

    #[test]
    fn what_was_not_taken_is_there_for_others() {
        let bytes = sample();
        for n in [0, 5, WINDOW, WINDOW + 10, bytes.len()] {
            let mut w = Window::new(Sick(&bytes, None), bytes.len() as u64, false);
            w.take(n).expect("there");
            let mut rest = Vec::new();
            w.into_rest().read_to_end(&mut rest).expect("sound");
            assert!(rest == bytes[n..], "{n}");
        }
    }

    #[test]
    fn a_read_that_fails_is_not_the_end() {
        let bytes = sample();
        for n in [1, bytes.len()] {
            // The file says that it is longer than what can be read of it.
            let mut w = Window::new(Sick(&bytes[..n - 1], Some(libc::EIO)), 1 << 30, true);
            assert!(matches!(w.take(n), Err(Error::Io(e)) if e.raw_os_error() == Some(libc::EIO)));
            let mut w = Window::new(Sick(&bytes[..n - 1], None), 1 << 30, true);
            assert!(matches!(w.take(n), Err(Error::Short)));
        }
    }

    #[test]
    fn a_length_past_the_end_is_an_error_and_no_allocation() {
        let bytes = sample();
        let mut w = Window::new(&bytes[..], bytes.len() as u64, true);
        for n in [bytes.len() + 1, 1 << 60, usize::MAX] {
            assert!(matches!(w.take(n), Err(Error::Short)));
            assert!(matches!(Memory::new(&bytes).take(n), Err(Error::Short)));
            let mut fed = Fed::default();
            fed.feed(&bytes);
            assert!(matches!(fed.take(n), Err(Error::NeedMore)));
            fed.end();
            assert!(matches!(fed.take(n), Err(Error::Short)));
        }
        assert!(w.long.capacity() == 0 && w.at() == 0);
    }
}
