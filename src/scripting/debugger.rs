//! The script debugger: a session on the socket of the client that runs the script.
//!
//! ```text
//! line hook (ffi/debug) ─► at_line: stop here? ─► lines that wait are sent ─► next_order ─► the hook obeys
//!                              │ no: on                                           │ step, continue: on
//!                              ▼                                                  ▼ anything else: again
//! session: log ─► send: `*n`, then a status for each line        orders: requests, read byte by byte
//! ```
//!
//! It knows the source, the breakpoints and the protocol, and nothing of Lua or the server: values come as
//! texts. Orders that need neither are carried out here. What a line of the session says, and how, is what
//! `redis-cli --ldb` and other front ends read.

use crate::algo::num::{loose, parse_i64};
use crate::algo::quote::push_repr;
use crate::net::patient::Patient;
use crate::net::stream::Stream;
use std::io::{self, Read, Write};

/// Where the orders come from and the lines go to.
pub trait Console: Read + Write + Send {
    /// The stream, where it was not copied for the session.
    fn into_stream(self: Box<Self>) -> Option<Stream> {
        None
    }
}

impl Console for socket2::Socket {}

impl Console for Patient {
    fn into_stream(self: Box<Self>) -> Option<Stream> {
        Some(Patient::into_stream(*self))
    }
}

const BREAKPOINTS: usize = 64;
/// Values longer than this are cut, until `maxlen` says otherwise; a shorter limit is not taken.
const LONGEST: usize = 256;
const LEAST_LONGEST: i64 = 60;
/// Words of an order, and bytes of a word.
const MAX_WORDS: i64 = 1024;
const MAX_WORD: i64 = 1024;
/// Orders that do not end within so many bytes end the script.
const MAX_INPUT: usize = 1 << 20;
/// Words of a command that are shown.
const SHOWN_WORDS: usize = 10;

pub struct Debugger {
    console: Box<dyn Console>,
    source: Vec<Vec<u8>>,
    breakpoints: Vec<i64>,
    /// The next line stops; meanwhile commands and their replies are shown.
    step: bool,
    /// `redis.breakpoint` was called.
    called: bool,
    line: i64,
    /// Values are cut to so many bytes; 0 for never.
    longest: usize,
    hinted: bool,
    lines: Vec<Vec<u8>>,
    input: Vec<u8>,
    /// Without a stop for so long, the next look at the clock stops.
    patience_ns: u64,
    since_ns: u64,
}

/// What the hook is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// Let the script go on.
    Go,
    Abort,
    Trace,
    PrintAll,
    Print(Vec<u8>),
    Eval(Vec<u8>),
    /// The words of a command.
    Redis(Vec<Vec<u8>>),
    /// Carried out already.
    Done,
}

/// Why there is no order.
#[derive(Debug, PartialEq, Eq)]
pub enum NoOrder {
    /// The client is gone.
    Gone,
    /// The script ends with this error.
    Broken(&'static str),
}

/// The lines of a script, without the ends of lines behind the last.
fn lines_of(source: &[u8]) -> Vec<Vec<u8>> {
    let end = source.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
    match &source[..end] {
        [] => Vec::new(),
        text => text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect(),
    }
}

const HELP: &[&str] = &[
    "Redis Lua debugger help:",
    "[h]elp               Show these lines.",
    "[s]tep               Run the current line, and stop again.",
    "[n]ext               The same as step.",
    "[c]ontinue           Run to the next breakpoint.",
    "[l]ist               Show the source around the current line.",
    "[l]ist [line]        Show the source around that line; 0 is the current one.",
    "[l]ist [line] [ctx]  The same, with so many lines before and behind it.",
    "[w]hole              Show all of the source.",
    "[p]rint              Show all local variables.",
    "[p]rint <var>        Show a variable; of globals only KEYS and ARGV.",
    "[b]reak              Show all breakpoints.",
    "[b]reak <line>       Set a breakpoint at that line.",
    "[b]reak -<line>      Take it away.",
    "[b]reak 0            Take all breakpoints away.",
    "[t]race              Show the calls that lead here.",
    "[e]val <code>        Run Lua code in a frame of its own.",
    "[r]edis <cmd>        Run a command.",
    "[m]axlen [len]       Cut replies and values to that length; 0 is no limit.",
    "[a]bort              End the script. In sync mode its changes stay.",
    "",
    "Functions for scripts that are debugged:",
    "redis.debug()        Show values here.",
    "redis.breakpoint()   Stop at the next line as at a breakpoint.",
];

impl Debugger {
    /// A session about `source`; it stops at the first line.
    pub fn new(console: Box<dyn Console>, source: &[u8], patience_ns: u64, now_ns: u64) -> Debugger {
        Debugger {
            console,
            source: lines_of(source),
            breakpoints: Vec::new(),
            step: true,
            called: false,
            line: 0,
            longest: LONGEST,
            hinted: false,
            lines: Vec::new(),
            input: Vec::new(),
            patience_ns,
            since_ns: now_ns,
        }
    }

    // ---- lines that are shown ------------------------------------------------------------------

    pub fn log(&mut self, line: impl Into<Vec<u8>>) {
        self.lines.push(line.into());
    }

    /// A line that may be long.
    pub fn log_value(&mut self, mut line: Vec<u8>) {
        let cut = self.longest > 0 && line.len() > self.longest;
        if cut {
            line.truncate(self.longest);
            line.extend_from_slice(b" ...");
        }
        self.log(line);
        if cut && !self.hinted {
            self.hinted = true;
            self.log("<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.");
        }
    }

    /// Sends what has been logged. A client that is gone is found by the next read.
    pub fn send(&mut self) {
        let mut out = format!("*{}\r\n", self.lines.len()).into_bytes();
        for line in self.lines.drain(..) {
            out.push(b'+');
            out.extend(line.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
            out.extend_from_slice(b"\r\n");
        }
        let _ = self.console.write_all(&out);
    }

    /// The last lines of the session, and in a process of its own the reply behind them.
    pub fn end(&mut self, reply: &[u8]) {
        self.log("<endsession>");
        self.send();
        let _ = self.console.write_all(reply);
    }

    /// The console, when the session is over.
    pub fn into_console(self) -> Box<dyn Console> {
        self.console
    }

    pub fn log_source_line(&mut self, n: i64) {
        let mark = match (n == self.line, self.breakpoints.contains(&n)) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        let text = usize::try_from(n - 1).ok().and_then(|i| self.source.get(i));
        let text = text.map_or(&b"<out of range source code line>"[..], |t| t);
        self.log([format!("{mark}{n:<3} ").as_bytes(), text].concat());
    }

    fn list(&mut self, around: i64, context: i64) {
        for n in 1..=self.source.len() as i64 {
            if around == 0 || around.abs_diff(n) as i64 <= context {
                self.log_source_line(n);
            }
        }
    }

    // ---- what the script does ------------------------------------------------------------------

    /// Are commands and errors shown?
    pub fn shows(&self) -> bool {
        self.step
    }

    pub fn show_commands(&mut self, on: bool) {
        self.step = on;
    }

    pub fn line(&self) -> i64 {
        self.line
    }

    /// `redis.breakpoint`.
    pub fn break_here(&mut self) {
        self.called = true;
    }

    /// A command is about to run.
    pub fn command(&mut self, args: &[&[u8]]) {
        let mut line = b"<redis>".to_vec();
        for arg in args.iter().take(SHOWN_WORDS) {
            line.push(b' ');
            line.extend_from_slice(arg);
        }
        if args.len() > SHOWN_WORDS {
            let more = args.len() - SHOWN_WORDS - 1;
            line.extend_from_slice(format!(" ... ({more} more)").as_bytes());
        }
        self.log(line);
    }

    pub fn reply(&mut self, reply: &[u8]) {
        let mut line = b"<reply> ".to_vec();
        push_reply(&mut line, reply, 0);
        self.log_value(line);
    }

    /// The script gets to a line.
    pub fn set_line(&mut self, line: i64) {
        self.line = line;
    }

    /// Does the script stop at the line it has got to? `counted`: only some instructions have passed.
    /// Some(true) for a stop because it has run so long.
    pub fn stops(&mut self, counted: bool, now_ns: u64) -> Option<bool> {
        let breaks = self.breakpoints.contains(&self.line) || self.called;
        let mut late = false;
        if counted && !self.step && !breaks {
            late = now_ns.saturating_sub(self.since_ns) >= self.patience_ns;
            self.step |= late;
        }
        if !self.step && !breaks {
            return None;
        }
        let reason = match () {
            () if self.called => "redis.breakpoint() called",
            () if breaks => "break point",
            () if late => "timeout reached, infinite loop?",
            () => "step over",
        };
        (self.step, self.called) = (false, false);
        self.log(format!("* Stopped at {}, stop reason = {reason}", self.line));
        self.log_source_line(self.line);
        self.send();
        Some(late)
    }

    /// The script goes on.
    pub fn resumed(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
    }

    // ---- orders --------------------------------------------------------------------------------

    /// Waits for the next order.
    pub fn next_order(&mut self) -> Result<Order, NoOrder> {
        loop {
            match parse(&self.input) {
                Err(()) => return Err(NoOrder::Broken("protocol error")),
                Ok(Some(words)) => {
                    self.input.clear();
                    return Ok(self.order(words));
                }
                Ok(None) => {}
            }
            let mut buf = [0; 1024];
            let n = loop {
                match self.console.read(&mut buf) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Ok(n) => break n,
                    Err(_) => break 0,
                }
            };
            if n == 0 {
                // The script runs to its end: no one can tell it to go on.
                self.step = false;
                self.breakpoints.clear();
                return Err(NoOrder::Gone);
            }
            self.input.extend_from_slice(&buf[..n]);
            if self.input.len() > MAX_INPUT {
                self.input.clear();
                return Err(NoOrder::Broken("max client buffer reached"));
            }
        }
    }

    fn order(&mut self, mut words: Vec<Vec<u8>>) -> Order {
        let name = words[0].split(|b| *b == 0).next().unwrap_or(b"").to_ascii_lowercase();
        let number = |i: usize| words.get(i).map(|w| loose(w));
        match &name[..] {
            b"h" | b"help" => HELP.iter().for_each(|line| self.log(*line)),
            b"s" | b"step" | b"n" | b"next" => {
                self.step = true;
                return Order::Go;
            }
            b"c" | b"continue" => return Order::Go,
            b"t" | b"trace" => return Order::Trace,
            b"m" | b"maxlen" => self.maxlen(number(1).filter(|_| words.len() == 2)),
            b"b" | b"break" => self.set_breakpoints(&words[1..]),
            b"e" | b"eval" => return Order::Eval(words[1..].join(&b' ')),
            b"a" | b"abort" => return Order::Abort,
            b"r" | b"redis" if words.len() > 1 => return Order::Redis(words.split_off(1)),
            b"p" | b"print" if words.len() == 2 => return Order::Print(words.swap_remove(1)),
            b"p" | b"print" => return Order::PrintAll,
            b"l" | b"list" => {
                let around = number(1).filter(|n| *n > 0).unwrap_or(self.line);
                let context = number(2).unwrap_or(5);
                self.list(around, context);
            }
            b"w" | b"whole" => self.list(1, 1_000_000),
            _ => self.log("<error> Unknown Redis Lua debugger command or wrong number of arguments."),
        }
        self.send();
        Order::Done
    }

    fn maxlen(&mut self, to: Option<i64>) {
        if let Some(n) = to {
            self.hinted = true;
            let n = if n == 0 { 0 } else { n.max(LEAST_LONGEST) };
            self.longest = usize::try_from(n).unwrap_or(LONGEST);
        }
        match self.longest {
            0 => self.log("<value> replies are unlimited."),
            n => self.log(format!("<value> replies are truncated at {n} bytes.")),
        }
    }

    fn set_breakpoints(&mut self, words: &[Vec<u8>]) {
        if words.is_empty() {
            if self.breakpoints.is_empty() {
                return self.log("No breakpoints set. Use 'b <line>' to add one.");
            }
            self.log(format!("{} breakpoints set:", self.breakpoints.len()));
            self.breakpoints.clone().into_iter().for_each(|n| self.log_source_line(n));
        }
        for word in words {
            match parse_i64(word) {
                None => self.log([b"Invalid argument:'", &word[..], b"'"].concat()),
                Some(0) => {
                    self.breakpoints.clear();
                    self.log("All breakpoints removed.");
                }
                Some(n) if n < 0 => match self.breakpoints.iter().position(|b| *b == n.saturating_neg())
                {
                    Some(i) => {
                        self.breakpoints.remove(i);
                        self.log("Breakpoint removed.");
                    }
                    None => self.log("No breakpoint in the specified line."),
                },
                Some(_) if self.breakpoints.len() == BREAKPOINTS => {
                    self.log("Too many breakpoints set.")
                }
                Some(n) if n > self.source.len() as i64 || self.breakpoints.contains(&n) => {
                    self.log("Wrong line number.");
                }
                Some(n) => {
                    self.breakpoints.push(n);
                    self.list(n, 1);
                }
            }
        }
    }
}

/// The words of an order; None when it has not come in full.
fn parse(input: &[u8]) -> Result<Option<Vec<Vec<u8>>>, ()> {
    if input.is_empty() {
        return Ok(None);
    }
    let begin = memchr::memchr(b'*', input).ok_or(())?;
    let Some((count, mut rest)) = line(&input[begin + 1..]) else { return Ok(None) };
    let count = loose(count);
    if !(1..=MAX_WORDS).contains(&count) {
        return Err(());
    }
    let mut words = Vec::new();
    for _ in 0..count {
        match rest.first() {
            None => return Ok(None),
            Some(b'$') => {}
            Some(_) => return Err(()),
        }
        let Some((len, behind)) = line(&rest[1..]) else { return Ok(None) };
        let len = usize::try_from(Some(loose(len)).filter(|n| (1..=MAX_WORD).contains(n)).ok_or(())?)
            .map_err(|_| ())?;
        let Some((word, behind)) = behind.split_at_checked(len) else { return Ok(None) };
        match behind {
            [b'\r', b'\n', ..] => rest = &behind[2..],
            [_, _, ..] => return Err(()),
            _ => return Ok(None),
        }
        words.push(word.to_vec());
    }
    Ok(Some(words))
}

/// The bytes before the next line end, and those behind it.
fn line(b: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memmem::find(b, b"\r\n")?;
    Some((&b[..at], &b[at + 2..]))
}

/// Replies nested deeper than this are not shown.
const MAX_DEPTH: usize = 64;

/// A reply as people read it; returns what follows it.
fn push_reply<'a>(out: &mut Vec<u8>, reply: &'a [u8], depth: usize) -> &'a [u8] {
    let Some((head, rest)) = line(reply).filter(|_| depth < MAX_DEPTH) else { return &[] };
    let Some((kind, text)) = head.split_first() else { return rest };
    let count = parse_i64(text);
    match kind {
        b':' => out.extend_from_slice(text),
        b'+' | b'-' => push_repr(out, head),
        b'_' => out.extend_from_slice(b"(null)"),
        b'#' => out.extend_from_slice(if text == b"t" { b"#true" } else { b"#false" }),
        b',' => out.extend_from_slice(&[b"(double) ", text].concat()),
        b'$' | b'*' if count == Some(-1) => out.extend_from_slice(b"NULL"),
        b'$' => {
            let n = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(0).min(rest.len());
            push_repr(out, &rest[..n]);
            return rest.get(n + 2..).unwrap_or(&[]);
        }
        b'*' | b'~' | b'%' => {
            let (open, close): (&[u8], &[u8]) = match kind {
                b'*' => (b"[", b"]"),
                b'~' => (b"~(", b")"),
                _ => (b"{", b"}"),
            };
            let mut rest = rest;
            out.extend_from_slice(open);
            for i in 0..count.unwrap_or(0) {
                if i > 0 {
                    out.push(b',');
                }
                rest = push_reply(out, rest, depth + 1);
                if *kind == b'%' {
                    out.extend_from_slice(b" => ");
                    rest = push_reply(out, rest, depth + 1);
                }
                if rest.is_empty() && i + 1 < count.unwrap_or(0) {
                    break;
                }
            }
            out.extend_from_slice(close);
            return rest;
        }
        _ => {}
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Gives its input in pieces of seven bytes, unless it is long; keeps what is written.
    struct Script {
        input: Vec<u8>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Read for Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.input.len().min(if self.input.len() > 5000 { buf.len() } else { 7 });
            buf[..n].copy_from_slice(&self.input[..n]);
            self.input.drain(..n);
            Ok(n)
        }
    }

    impl Write for Script {
        fn write(&mut self, b: &[u8]) -> io::Result<usize> {
            self.written.lock().expect("one thread").extend_from_slice(b);
            Ok(b.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Console for Script {}

    fn session(source: &str, input: &[u8]) -> (Debugger, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::new(Mutex::new(Vec::new()));
        let console = Script { input: input.to_vec(), written: Arc::clone(&written) };
        (Debugger::new(Box::new(console), source.as_bytes(), 5_000, 0), written)
    }

    fn order(line: &str) -> Vec<u8> {
        let words: Vec<_> = line.split(' ').map(|w| format!("${}\r\n{w}\r\n", w.len())).collect();
        format!("*{}\r\n{}", words.len(), words.concat()).into_bytes()
    }

    /// What a session with these orders shows for the last one.
    fn shown(orders: &[&str]) -> String {
        let (mut d, written) = session("one\ntwo\nthree\n\n", &[]);
        d.set_line(2);
        for line in orders {
            written.lock().expect("one thread").clear();
            let words = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
            assert_eq!(d.order(words), Order::Done, "{line}");
        }
        let text = written.lock().expect("one thread").clone();
        String::from_utf8(text).expect("text").replace("\r\n", "|")
    }

    #[test]
    fn lines_and_breakpoints_are_shown_with_their_marks() {
        assert_eq!(shown(&["w"]), "*3|+   1   one|+-> 2   two|+   3   three|");
        assert_eq!(shown(&["b 3"]), "*2|+-> 2   two|+  #3   three|");
        assert_eq!(shown(&["b 2 1", "b"]), "*3|+2 breakpoints set:|+->#2   two|+  #1   one|");
        assert_eq!(shown(&["b 4"]), "*1|+Wrong line number.|");
        assert_eq!(shown(&["b 2", "b 2"]), "*1|+Wrong line number.|");
        assert_eq!(shown(&["b 2", "b -2", "b"]), "*1|+No breakpoints set. Use 'b <line>' to add one.|");
        assert_eq!(shown(&["b -2"]), "*1|+No breakpoint in the specified line.|");
        assert_eq!(shown(&["b x"]), "*1|+Invalid argument:'x'|");
        assert_eq!(shown(&["b 1 2 3", "b 0"]), "*1|+All breakpoints removed.|");
        assert_eq!(shown(&["l 1 0"]), "*1|+   1   one|");
        assert_eq!(shown(&["maxlen 5"]), "*1|+<value> replies are truncated at 60 bytes.|");
        assert_eq!(shown(&["m 0"]), "*1|+<value> replies are unlimited.|");
        assert!(shown(&["redis"]).starts_with("*1|+<error> Unknown Redis Lua debugger command"));
        assert!(shown(&["H"]).starts_with("*24|+Redis Lua debugger help:|"));
    }

    #[test]
    fn orders_arrive_in_pieces_and_broken_ones_end_the_script() {
        let input =
            [order("redis set a b"), order("e return 1"), order("p x"), order("s"), order("abort")];
        let (mut d, _) = session("x", &[]);
        for (bytes, expected) in input.iter().zip([
            Order::Redis(vec![b"set".to_vec(), b"a".to_vec(), b"b".to_vec()]),
            Order::Eval(b"return 1".to_vec()),
            Order::Print(b"x".to_vec()),
            Order::Go,
            Order::Abort,
        ]) {
            let console = Script { input: bytes.clone(), written: Default::default() };
            d.console = Box::new(console);
            assert_eq!(d.next_order(), Ok(expected));
        }
        assert_eq!(d.next_order(), Err(NoOrder::Gone));
        for broken in ["hello", "*0\r\n", "*x\r\n", "*1\r\nx", "*1\r\n$0\r\n", "*1\r\n$1\r\nabc"] {
            let (mut d, _) = session("x", broken.as_bytes());
            assert_eq!(d.next_order(), Err(NoOrder::Broken("protocol error")), "{broken}");
        }
        let endless = [b"*2\r\n$3\r\nabc\r\n$".to_vec(), vec![b'1'; MAX_INPUT]].concat();
        let (mut d, _) = session("x", &endless);
        assert_eq!(d.next_order(), Err(NoOrder::Broken("max client buffer reached")));
    }

    #[test]
    fn a_script_stops_for_a_reason() {
        let (mut d, written) = session("one\ntwo", &[]);
        let last = || {
            String::from_utf8(std::mem::take(&mut *written.lock().expect("one thread"))).expect("text")
        };
        d.set_line(1);
        assert_eq!(d.stops(false, 0), Some(false), "the first line");
        assert_eq!(last(), "*2\r\n+* Stopped at 1, stop reason = step over\r\n+-> 1   one\r\n");
        assert_eq!(d.stops(false, 0), None);
        d.break_here();
        assert!(d.stops(false, 0).is_some() && last().contains("redis.breakpoint() called"));
        assert_eq!(d.stops(true, 4_999), None);
        assert_eq!(d.stops(true, 5_000), Some(true));
        assert!(last().contains("timeout reached, infinite loop?"));
        d.order(vec![b"b".to_vec(), b"2".to_vec()]);
        d.set_line(2);
        last();
        assert!(d.stops(false, 0).is_some() && last().contains("break point\r\n+->#2"));
    }

    #[test]
    fn replies_are_shown_for_people() {
        for (reply, text) in [
            (&b":5\r\n"[..], "5"),
            (b"$3\r\na\r\n\r\n", "\"a\\r\\n\""),
            (b"$-1\r\n", "NULL"),
            (b"*-1\r\n", "NULL"),
            (b"+OK\r\n", "\"+OK\""),
            (b"-ERR x\r\n", "\"-ERR x\""),
            (b"*3\r\n:1\r\n*0\r\n_\r\n", "[1,[],(null)]"),
            (b"%1\r\n+a\r\n#t\r\n", "{\"+a\" => #true}"),
            (b"~2\r\n,1.5\r\n#f\r\n", "~((double) 1.5,#false)"),
            (b"*9\r\n:1\r\n", "[1]"),
        ] {
            let mut out = Vec::new();
            push_reply(&mut out, reply, 0);
            assert_eq!(String::from_utf8(out).expect("text"), text);
        }
    }

    #[test]
    fn long_values_are_cut_with_one_hint() {
        let (mut d, written) = session("x", &[]);
        d.log_value(vec![b'x'; 256]);
        d.log_value(vec![b'y'; 257]);
        d.log_value(vec![b'z'; 300]);
        d.send();
        let text = String::from_utf8(written.lock().expect("one thread").clone()).expect("text");
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], "*4");
        assert_eq!((lines[1].len(), lines[2].len(), lines[4].len()), (257, 261, 261));
        assert!(lines[3].starts_with("+<hint>"));
    }
}
