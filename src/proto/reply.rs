//! The reply sink: RESP2 or RESP3 bytes of one client, in the order they leave.
//!
//! ```text
//! pieces: [Own 16K][Own 300K][Shared ..]   then   buf: [.........   ]
//!          ^ sent bytes into the first                  first buffer of the client, or the tail after pieces
//! ```
//!
//! Small replies go to `buf`, which the client got from a pool and gives back when all is written. When
//! `buf` is full it becomes a piece; a value of 16 KiB and more is a piece of its own exact size. A
//! reply that is not wanted (CLIENT REPLY OFF, a script's inner client) is switched off with `mute`.
//!
//! `limit` is the hard output limit: when the pieces behind the first buffer hold so much, everything
//! is dropped and `over` is set, so that a handler in a loop can stop; the caller closes the client.
//! What the first buffer holds is free, as it is upstream; `head` is its share of the pieces.
//!
//! Aggregates whose length is known late: `defer` marks the place, `set_deferred` inserts the head
//! there.

use crate::ds::append::{self, Head};
use crate::ds::listpack::{self, Element, SHORT_STRING, Sink};
use std::collections::VecDeque;
use std::sync::Arc;

/// A full first buffer; a piece is at least as long (PROTO_REPLY_CHUNK_BYTES).
pub const CHUNK: usize = 16 * 1024;

/// Bulk strings below this length have heads of one or two digits, and are put together in a few stores.
const SHORT_BULK: usize = 100;
/// `$<n>\r\n` for the short strings of a listpack.
static SHORT_HEADS: [Head; SHORT_STRING] = {
    let mut heads = [Head::new(b""); SHORT_STRING];
    let mut n = 0;
    while n < SHORT_STRING {
        heads[n] = if n < 10 { head_of_one(n) } else { head_of_two(n) };
        n += 1;
    }
    heads
};

#[inline(always)]
const fn head_of_one(n: usize) -> Head {
    Head::new(&[b'$', b'0' + n as u8, b'\r', b'\n'])
}

#[inline(always)]
const fn head_of_two(n: usize) -> Head {
    Head::new(&[b'$', b'0' + n as u8 / 10, b'0' + n as u8 % 10, b'\r', b'\n'])
}

/// Appends a short bulk string; false when there is no room. In either branch the length of the head is a
/// constant: that is quicker than one head from a table.
#[inline(always)]
fn short_bulk(to: &mut Vec<u8>, b: &[u8]) -> bool {
    match b.len() {
        n @ 0..10 => append::framed(to, head_of_one(n), b, LINE_END),
        n @ 10..SHORT_BULK => append::framed(to, head_of_two(n), b, LINE_END),
        _ => false,
    }
}

const LINE_END: [u8; 2] = *b"\r\n";

#[derive(Debug)]
pub enum Piece {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(v) => v,
            Piece::Shared(s) => s,
        }
    }
    fn footprint(&self) -> usize {
        match self {
            Piece::Own(v) => v.capacity(),
            Piece::Shared(s) => s.len(),
        }
    }
}

/// What only some replies need.
#[derive(Debug, Default)]
struct More {
    pieces: VecDeque<Piece>,
    piece_bytes: usize,
    footprint: usize,
    /// How much of the footprint stands for the client's first buffer, which counts against no limit.
    head: usize,
    /// Errors replied since `take_errors`, each its whole text.
    errors: Vec<String>,
    /// Errors replied that had been counted before.
    counted: u64,
}

#[derive(Debug, Default)]
pub struct Reply {
    pub buf: Vec<u8>,
    more: Option<Box<More>>,
    /// Bytes of the front that have been written to the socket.
    sent: usize,
    limit: usize,
    pub resp3: bool,
    /// See `end`.
    ended: bool,
    muted: bool,
    pub over: bool,
    /// Bytes that the pieces held when they were dropped.
    dropped: u32,
    /// Bytes in the first buffer when an aggregate of unknown length began there: as upstream, what
    /// follows counts against the limit.
    deferred: Option<u32>,
}

/// A place where the head of an aggregate will stand.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    piece: usize,
    at: usize,
}

impl Reply {
    pub fn new(resp3: bool) -> Self {
        Reply { resp3, limit: usize::MAX, ..Default::default() }
    }

    /// Past `limit` pending bytes (0: none) everything is dropped.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = if limit == 0 { usize::MAX } else { limit };
    }

    pub fn mute(&mut self, on: bool) {
        self.muted = on;
    }

    /// From now on nothing is written, not even aloud.
    pub fn end(&mut self) {
        (self.muted, self.ended) = (true, true);
    }

    /// Bytes that wait to be written.
    #[inline]
    pub fn pending(&self) -> usize {
        self.buf.len() + self.more.as_ref().map_or(0, |m| m.piece_bytes) - self.sent
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty() && self.more.as_ref().is_none_or(|m| m.pieces.is_empty())
    }

    /// Lets `write` through although the reply is switched off: pushes are never silenced.
    pub fn aloud(&mut self, write: impl FnOnce(&mut Reply)) {
        let silent = self.over || self.ended;
        let muted = std::mem::replace(&mut self.muted, silent);
        write(self);
        self.muted = muted || silent || self.over;
    }

    /// What was pushed while the reply was lent out: behind it, also where it is muted or has ended, since
    /// the pushes came before that.
    pub fn append_pushes(&mut self, pushes: Reply) {
        let muted = std::mem::replace(&mut self.muted, self.over);
        self.append(pushes);
        self.muted = muted || self.over;
    }

    /// Pieces behind the first buffer, and bytes they hold in memory; of a reply that was dropped, what
    /// they held.
    pub fn list(&self) -> (usize, usize) {
        let Some(m) = self.more.as_ref().filter(|m| !m.pieces.is_empty()) else {
            return (0, self.dropped as usize);
        };
        let tail = usize::from(self.buf.capacity() > 0);
        let n = m.pieces.len() + tail - usize::from(m.head > 0).min(m.pieces.len());
        (n, self.held_with(0) + n * size_of::<Piece>())
    }

    /// Bytes that stand in the first buffer.
    pub fn first_len(&self) -> usize {
        match &self.more {
            Some(m) if m.head > 0 => m.pieces.front().map_or(0, |p| p.bytes().len()) - self.sent,
            Some(m) if !m.pieces.is_empty() => 0,
            _ => self.buf.len() - self.sent,
        }
    }

    /// Has more been written than the first buffer takes?
    pub fn spilled(&self) -> bool {
        self.more.as_ref().is_some_and(|m| !m.pieces.is_empty())
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The one road in.
    #[inline]
    pub fn raw(&mut self, b: &[u8]) {
        if b.len() <= self.buf.capacity() - self.buf.len() && !self.muted {
            self.buf.extend_from_slice(b);
        } else {
            self.raw_slow(b);
        }
    }

    #[cold]
    fn raw_slow(&mut self, b: &[u8]) {
        if self.muted || self.over {
            return;
        }
        if b.len() >= CHUNK {
            self.freeze();
            if self.held_with(b.len()) >= self.limit {
                return self.overflow();
            }
            return self.push_piece(Piece::Own(b.to_vec()));
        }
        if !self.buf.is_empty() {
            self.freeze();
        }
        self.buf.reserve_exact(CHUNK);
        self.buf.extend_from_slice(b);
        self.check_limit();
    }

    /// What `list` would show with `extra` more bytes in a piece.
    fn held_with(&self, extra: usize) -> usize {
        match self.more.as_ref().filter(|m| !m.pieces.is_empty()) {
            Some(m) => (m.footprint + self.buf.capacity() + extra).saturating_sub(m.head),
            None if self.deferred.is_some() => extra,
            None => extra.saturating_sub(CHUNK),
        }
    }

    /// Drops all when the pieces hold what the limit says.
    fn check_limit(&mut self) {
        if self.list().1 >= self.limit {
            self.overflow();
        }
    }

    fn overflow(&mut self) {
        self.dropped = u32::try_from(self.list().1).unwrap_or(u32::MAX);
        self.over = true;
        self.muted = true;
        self.buf = Vec::new();
        self.more = None;
        self.sent = 0;
    }

    /// The current buffer becomes a piece.
    fn freeze(&mut self) {
        if !self.buf.is_empty() {
            let full = std::mem::take(&mut self.buf);
            self.push_piece(Piece::Own(full));
        }
    }

    fn push_piece(&mut self, p: Piece) {
        let deferred = self.deferred.take();
        let m = self.more();
        if m.pieces.is_empty() {
            // What the first buffer holds, and what would still have found room in it.
            m.head = match (&p, deferred) {
                (_, Some(before)) => before as usize,
                (Piece::Own(v), _) if v.capacity() <= CHUNK => 2 * v.capacity() - v.len(),
                _ => CHUNK,
            };
        }
        m.piece_bytes += p.bytes().len();
        m.footprint += p.footprint();
        m.pieces.push_back(p);
    }

    /// Bytes that several clients share.
    pub fn shared(&mut self, s: &Arc<[u8]>) {
        if self.muted || s.is_empty() {
            return;
        }
        if s.len() < CHUNK / 2 {
            return self.raw(s);
        }
        self.freeze();
        self.push_piece(Piece::Shared(s.clone()));
        self.check_limit();
    }

    /// Everything of `other` behind what is here.
    pub fn append(&mut self, mut other: Reply) {
        debug_assert_eq!(other.sent, 0);
        self.over |= other.over;
        if let Some(m) = other.more.take() {
            if !m.pieces.is_empty() && !self.muted {
                self.freeze();
                m.pieces.into_iter().for_each(|p| self.push_piece(p));
            }
            if !m.errors.is_empty() {
                self.more().errors.extend(m.errors);
            }
        }
        self.raw(&other.buf);
        self.check_limit();
    }

    // ---- writing out ----------------------------------------------------------------------------

    /// The slices to write next, at most `n` of them.
    pub fn slices(&self, n: usize) -> Vec<std::io::IoSlice<'_>> {
        let pieces = self.more.iter().flat_map(|m| m.pieces.iter().map(|p| p.bytes()));
        let mut skip = self.sent;
        let mut out = Vec::new();
        for b in pieces.chain([&self.buf[..]]) {
            if skip >= b.len() {
                skip -= b.len();
                continue;
            }
            out.push(std::io::IoSlice::new(&b[skip..]));
            skip = 0;
            if out.len() == n {
                break;
            }
        }
        out
    }

    /// The one slice of a reply without pieces.
    #[inline]
    pub fn single(&self) -> Option<&[u8]> {
        match &self.more {
            Some(m) if !m.pieces.is_empty() => None,
            _ => self.buf.get(self.sent..),
        }
    }

    /// `n` bytes have been written; true when nothing is left.
    pub fn advance(&mut self, n: usize) -> bool {
        self.sent += n;
        if let Some(m) = &mut self.more {
            while let Some(p) = m.pieces.front() {
                let len = p.bytes().len();
                if self.sent < len {
                    return false;
                }
                self.sent -= len;
                m.piece_bytes -= len;
                m.footprint -= p.footprint();
                m.head = 0;
                m.pieces.pop_front();
            }
        }
        if self.sent < self.buf.len() {
            return false;
        }
        debug_assert_eq!(self.sent, self.buf.len());
        self.sent = 0;
        self.deferred = None;
        self.buf.clear();
        true
    }

    // ---- errors for statistics ------------------------------------------------------------------

    pub fn has_errors(&self) -> bool {
        self.more.as_ref().is_some_and(|m| !m.errors.is_empty() || m.counted > 0)
    }

    pub fn take_errors(&mut self) -> Vec<String> {
        self.more.as_mut().map(|m| std::mem::take(&mut m.errors)).unwrap_or_default()
    }

    /// Errors that had been counted where they arose: their number only.
    pub fn take_counted(&mut self) -> u64 {
        self.more.as_mut().map_or(0, |m| std::mem::take(&mut m.counted))
    }

    // ---- scalars --------------------------------------------------------------------------------

    #[inline]
    fn head(&mut self, mark: u8, n: i64) {
        if self.buf.capacity() - self.buf.len() < 24 || self.muted {
            let mut text = itoa::Buffer::new();
            let mut b = Vec::with_capacity(24);
            b.push(mark);
            b.extend_from_slice(text.format(n).as_bytes());
            b.extend_from_slice(b"\r\n");
            return self.raw_slow(&b);
        }
        if (0..10).contains(&n) {
            self.buf.extend_from_slice(&[mark, b'0' + n as u8, b'\r', b'\n']);
            return;
        }
        let mut text = itoa::Buffer::new();
        self.buf.push(mark);
        self.buf.extend_from_slice(text.format(n).as_bytes());
        self.buf.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    pub fn status(&mut self, s: &str) {
        self.raw(b"+");
        self.raw(s.as_bytes());
        self.raw(b"\r\n");
    }

    /// `text` begins with its code. Line ends inside become spaces, as upstream does.
    pub fn error(&mut self, text: &str) {
        let clean: String = text.trim_end_matches(['\r', '\n']).replace(['\r', '\n'], " ");
        self.raw(b"-");
        self.raw(clean.as_bytes());
        self.raw(b"\r\n");
        self.more().errors.push(clean);
    }

    /// An error whose text may hold any bytes.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let clean = self.error_line(text);
        self.more().errors.push(String::from_utf8_lossy(&clean).into_owned());
    }

    /// An error that has been counted where it arose.
    pub fn counted_error(&mut self, text: &[u8]) {
        self.error_line(text);
        self.more().counted += 1;
    }

    /// Returns the text as it is sent.
    fn error_line(&mut self, text: &[u8]) -> Vec<u8> {
        let clean: Vec<u8> =
            text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }).collect();
        self.raw(b"-");
        self.raw(&clean);
        self.raw(b"\r\n");
        clean
    }

    #[inline]
    pub fn int(&mut self, n: i64) {
        self.head(b':', n);
    }

    #[inline]
    pub fn bulk(&mut self, b: &[u8]) {
        if !self.muted && short_bulk(&mut self.buf, b) {
            return;
        }
        self.head(b'$', b.len() as i64);
        self.raw(b);
        self.raw(b"\r\n");
    }

    /// A value as a bulk string.
    #[inline]
    pub fn element(&mut self, e: Element<'_>) {
        match e {
            Element::Str(s) => self.bulk(s),
            Element::Int(n) => self.bulk_int(n),
        }
    }

    /// A number as a bulk string.
    pub fn bulk_int(&mut self, n: i64) {
        let mut text = itoa::Buffer::new();
        self.bulk(text.format(n).as_bytes());
    }

    #[inline]
    pub fn null(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub fn null_array(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub fn bool(&mut self, b: bool) {
        match (self.resp3, b) {
            (true, true) => self.raw(b"#t\r\n"),
            (true, false) => self.raw(b"#f\r\n"),
            (false, b) => self.int(b as i64),
        }
    }

    /// `text` is the number as upstream prints it.
    pub fn double_text(&mut self, text: &[u8]) {
        if self.resp3 {
            self.raw(b",");
            self.raw(text);
            self.raw(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    pub fn big_number(&mut self, digits: &[u8]) {
        if self.resp3 {
            self.raw(b"(");
            self.raw(digits);
            self.raw(b"\r\n");
        } else {
            self.bulk(digits);
        }
    }

    /// `ext` is `txt`, `mkd`, or what a script gives.
    pub fn verbatim(&mut self, ext: &[u8; 3], b: &[u8]) {
        if !self.resp3 {
            return self.bulk(b);
        }
        self.head(b'=', b.len() as i64 + 4);
        self.raw(ext);
        self.raw(b":");
        self.raw(b);
        self.raw(b"\r\n");
    }

    // ---- aggregates -----------------------------------------------------------------------------

    #[inline]
    pub fn array(&mut self, n: usize) {
        self.head(b'*', n as i64);
    }

    pub fn map(&mut self, n: usize) {
        if self.resp3 { self.head(b'%', n as i64) } else { self.head(b'*', 2 * n as i64) }
    }

    pub fn set(&mut self, n: usize) {
        self.head(if self.resp3 { b'~' } else { b'*' }, n as i64);
    }

    pub fn push(&mut self, n: usize) {
        self.head(if self.resp3 { b'>' } else { b'*' }, n as i64);
    }

    /// RESP3 only; the caller looks.
    pub fn attribute(&mut self, n: usize) {
        debug_assert!(self.resp3);
        self.head(b'|', n as i64);
    }

    pub fn defer(&mut self) -> Mark {
        if !self.spilled() {
            self.deferred.get_or_insert(u32::try_from(self.buf.len()).unwrap_or(u32::MAX));
        }
        Mark { piece: self.more.as_ref().map_or(0, |m| m.pieces.len()), at: self.buf.len() }
    }

    pub fn set_array(&mut self, m: Mark, n: usize) {
        self.set_deferred(m, b'*', n);
    }
    pub fn set_set(&mut self, m: Mark, n: usize) {
        self.set_deferred(m, if self.resp3 { b'~' } else { b'*' }, n);
    }
    pub fn set_map(&mut self, m: Mark, n: usize) {
        if self.resp3 { self.set_deferred(m, b'%', n) } else { self.set_deferred(m, b'*', 2 * n) }
    }

    fn set_deferred(&mut self, m: Mark, mark: u8, n: usize) {
        if self.muted {
            return;
        }
        let head = [&[mark][..], n.to_string().as_bytes(), b"\r\n"].concat();
        let pieces = self.more.as_ref().map_or(0, |x| x.pieces.len());
        if m.piece >= pieces {
            self.buf.splice(m.at..m.at, head);
            return;
        }
        let more = self.more();
        let before = more.pieces[m.piece].footprint();
        if let Piece::Own(v) = &mut more.pieces[m.piece]
            && m.at <= v.len()
        {
            more.piece_bytes += head.len();
            v.splice(m.at..m.at, head);
            let after = more.pieces[m.piece].footprint();
            more.footprint = more.footprint + after - before;
        } else {
            // The mark stood at the end of the buffer, and a piece of its own followed.
            debug_assert_eq!(m.at, 0);
            more.piece_bytes += head.len();
            more.footprint += head.capacity();
            more.pieces.insert(m.piece, Piece::Own(head));
        }
    }

    /// All bytes in one vector (scripts, transactions and tests read replies this way).
    pub fn take_bytes(&mut self) -> Vec<u8> {
        if self.more.is_none() && self.sent == 0 {
            self.deferred = None;
            return std::mem::take(&mut self.buf);
        }
        let mut all = Vec::with_capacity(self.pending());
        for p in self.more.iter_mut().flat_map(|m| m.pieces.drain(..)) {
            all.extend_from_slice(p.bytes());
        }
        if let Some(m) = &mut self.more {
            (m.piece_bytes, m.footprint, m.head) = (0, 0, 0);
        }
        all.extend_from_slice(&self.buf);
        self.buf.clear();
        self.deferred = None;
        all.drain(..std::mem::take(&mut self.sent));
        all
    }
}

/// What a walk through a collection gives, as bulk strings.
impl Sink for Reply {
    #[inline]
    fn one(&mut self, e: Element<'_>) {
        self.element(e);
    }

    fn run(&mut self, entries: &mut listpack::Iter<'_>, mut n: usize) -> usize {
        while n > 0 {
            if !self.muted {
                n -= entries.append_framed(&mut self.buf, n, &SHORT_HEADS, LINE_END);
            }
            // The one that did not fit the form, the end, or the buffer.
            let Some(e) = (if n > 0 { entries.next() } else { None }) else { break };
            self.element(e);
            n -= 1;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_whatever_the_sizes() {
        let mut r = Reply::new(false);
        let mut want = Vec::new();
        let sizes = [0usize, 5, 9, 10, 4000, 13_000, 16_384, 70_000, 3, 15_000, 16_383, 1];
        for (i, &n) in sizes.iter().cycle().take(60).enumerate() {
            let v = vec![b'a' + (i % 26) as u8; n];
            r.bulk(&v);
            want.extend_from_slice(format!("${n}\r\n").as_bytes());
            want.extend_from_slice(&v);
            want.extend_from_slice(b"\r\n");
        }
        assert_eq!(r.pending(), want.len());
        let mut got = Vec::new();
        let mut step = 1;
        while !r.is_empty() {
            let part: Vec<u8> = r.slices(4).iter().flat_map(|s| s.to_vec()).collect();
            let n = part.len().min(step);
            got.extend_from_slice(&part[..n]);
            r.advance(n);
            step = step * 3 % 50_021 + 1;
        }
        assert_eq!(got, want);
        assert_eq!((r.pending(), r.list()), (0, (0, 0)));
    }

    #[test]
    fn bulk_strings_of_every_length_have_their_head() {
        let mut listpack = listpack::Listpack::new();
        let (mut single, mut whole, mut want) = (Reply::new(false), Reply::new(false), Vec::new());
        for n in 0..300 {
            let text = vec![b'x'; n];
            single.bulk(&text);
            listpack.push_back(text.as_slice());
            want.extend_from_slice(format!("${n}\r\n").as_bytes());
            want.extend_from_slice(&text);
            want.extend_from_slice(b"\r\n");
        }
        assert_eq!(single.take_bytes(), want);
        whole.buf.reserve(2 * want.len());
        assert_eq!(whole.run(&mut listpack.iter(), 301), 1);
        assert_eq!(whole.take_bytes(), want);
    }

    #[test]
    fn deferred_heads_land_where_they_were_marked() {
        for filler in [0usize, 10, 16_000, 17_000, 40_000] {
            for inside in [0usize, 3, 20_000] {
                let mut r = Reply::new(false);
                r.bulk(&vec![b'x'; filler]);
                let mark = r.defer();
                r.bulk(&vec![b'y'; inside]);
                r.int(7);
                r.set_array(mark, 2);
                r.int(8);
                let want = [
                    format!("${filler}\r\n").into_bytes(),
                    vec![b'x'; filler],
                    format!("\r\n*2\r\n${inside}\r\n").into_bytes(),
                    vec![b'y'; inside],
                    b"\r\n:7\r\n:8\r\n".to_vec(),
                ]
                .concat();
                assert_eq!(r.pending(), want.len());
                assert!(r.take_bytes() == want, "filler {filler}, inside {inside}");
            }
        }
    }

    #[test]
    fn past_the_limit_all_is_dropped() {
        let mut r = Reply::new(false);
        r.set_limit(100_000);
        for _ in 0..20 {
            r.bulk(&[b'x'; 10_000]);
        }
        assert!(r.over && r.is_empty());
        assert_eq!(r.pending(), 0);
    }

    #[test]
    fn what_follows_a_deferred_head_counts_from_its_first_byte() {
        let filled = |defer: bool| {
            let mut r = Reply::new(false);
            r.set_limit(100_000);
            if defer {
                r.defer();
            }
            (0..1000).for_each(|_| r.bulk(&[b'x'; 103]));
            r.over
        };
        assert_eq!((filled(false), filled(true)), (false, true), "110 KB, 16 of them free or not");
    }

    #[test]
    fn resp3_has_its_own_nulls_and_maps() {
        let mut r = Reply::new(true);
        r.null();
        r.map(2);
        r.set(1);
        r.bool(true);
        r.verbatim(b"txt", b"hi");
        assert_eq!(r.take_bytes(), b"_\r\n%2\r\n~1\r\n#t\r\n=6\r\ntxt:hi\r\n");
    }
}
