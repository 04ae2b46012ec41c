//! redis-check-aof: walks the files of a log, and cuts the last one on request.
//!
//! ```text
//! *n \r\n ( $len \r\n bytes \r\n )*     each command     `pos`: what stands before is sound
//! MULTI ... EXEC                        sound as a whole or not at all
//! #TS:seconds \r\n                      where --truncate-to-timestamp may cut
//! ```
//!
//! A stricter reader than the server's: every line end is looked at and lines are counted, so that a
//! person finds the place in an editor.

use super::{rdb, say};
use crate::algo::num::decimal;
use crate::persist::aof::manifest::Manifest;
use crate::sys::errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The process ends with 1; why has been said.
struct Stop;

enum Verdict {
    Sound,
    Empty,
    Cut,
    CutByTime,
}

/// What holds for all files of a run.
struct Check<'o> {
    out: &'o mut dyn Write,
    input: &'o mut dyn Read,
    fix: bool,
    until: Option<i64>,
    line: u64,
    /// The first thing that was wrong, with its place.
    error: Option<String>,
}

/// A file that is walked through.
struct Walk {
    from: BufReader<File>,
    at: u64,
    /// Where the last thing that was read begins.
    begun: u64,
    /// The end was met inside of something.
    end: bool,
    /// A read failed. That is not the end of the file: nothing may be cut there.
    failed: bool,
}

/// Lines of counts, lengths and notes.
const LINE: u64 = 128;

impl Walk {
    fn peek(&mut self) -> std::io::Result<Option<u8>> {
        Ok(self.from.fill_buf()?.first().copied())
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.begun = self.at;
        let Ok(n) = self.from.by_ref().take(LINE - 1).read_until(b'\n', &mut line) else {
            self.failed = true;
            return None;
        };
        self.at += n as u64;
        self.end |= line.last() != Some(&b'\n') && (n as u64) < LINE - 1;
        (n > 0).then_some(line)
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.begun = self.at;
        match self.from.by_ref().take(len).read_to_end(&mut bytes) {
            Ok(n) => {
                self.at += n as u64;
                self.end |= (n as u64) < len;
            }
            Err(_) => self.failed = true,
        }
        bytes
    }
}

/// The program; returns its exit code.
pub fn main(args: &[Vec<u8>], input: &mut dyn Read, out: &mut dyn Write) -> i32 {
    let mut c = Check { out, input, fix: false, until: None, line: 1, error: None };
    let words: Vec<&[u8]> = args.iter().skip(1).map(|a| &a[..]).collect();
    let file = match words[..] {
        [file] => file,
        [b"--fix", file] => {
            c.fix = true;
            file
        }
        [b"--truncate-to-timestamp", seconds, file] => {
            let Some(t) = decimal(seconds) else {
                say!(c.out, "Invalid timestamp, aborting...");
                return 1;
            };
            c.until = Some(t);
            file
        }
        _ => {
            let program = args.first().map_or(b"redis-check-aof".as_slice(), |a| a);
            say!(
                c.out,
                "Usage: {} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>",
                String::from_utf8_lossy(program)
            );
            return 1;
        }
    };
    i32::from(c.run(Path::new(OsStr::from_bytes(file))).is_err())
}

/// The first line that is no comment tells what a file is.
fn is_manifest(text: &[u8]) -> bool {
    let mut lines = text.split(|b| *b == b'\n').filter(|l| l.first() != Some(&b'#'));
    lines.next().is_some_and(|l| l.starts_with(b"file"))
}

impl Check<'_> {
    fn run(&mut self, path: &Path) -> Result<(), Stop> {
        let head = self.head(path)?;
        if is_manifest(&head) {
            return self.log(path);
        }
        say!(self.out, "Start checking Old-Style AOF");
        let name = path.display().to_string();
        let verdict = self.file(&name, path, true, head.starts_with(b"REDIS"))?;
        self.tell(verdict, &name, "AOF");
        Ok(())
    }

    /// What a file begins with.
    fn head(&mut self, path: &Path) -> Result<Vec<u8>, Stop> {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|f| f.take(4096).read_to_end(&mut head));
        match read {
            Ok(_) => Ok(head),
            Err(e) => Err(self.unopened(path, &e)),
        }
    }

    fn unopened(&mut self, path: &Path, e: &std::io::Error) -> Stop {
        say!(self.out, "Cannot open file {}: {}", path.display(), errno::text(e));
        Stop
    }

    fn log(&mut self, path: &Path) -> Result<(), Stop> {
        say!(self.out, "Start checking Multi Part AOF");
        let text = std::fs::read(path).map_err(|e| self.unopened(path, &e))?;
        let m = Manifest::parse(&text).map_err(|broken| {
            say!(self.out, "\n*** FATAL AOF MANIFEST FILE ERROR ***\n");
            if let Some((n, line)) = &broken.line {
                say!(self.out, "Reading the manifest file, at line {n}\n");
                say!(self.out, ">>> '{}'\n", String::from_utf8_lossy(line));
            }
            say!(self.out, "{}\n", broken.why);
            Stop
        })?;
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let total = m.live().count();
        let paths: Vec<_> = m.live().map(|part| dir.join(OsStr::from_bytes(&part.name))).collect();
        let is_empty = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.len() == 0);
        for (i, part) in m.live().enumerate() {
            let base = m.base.is_some() && i == 0;
            // A rewrite names a new increment before commands go there.
            let last = i + 1 == total || !base && paths.iter().skip(i + 1).all(is_empty);
            let name = String::from_utf8_lossy(&part.name).into_owned();
            let file = &paths[i];
            let mut snapshot = false;
            if base {
                snapshot = self.head(file)?.starts_with(b"REDIS");
                let format = if snapshot { "RDB" } else { "RESP" };
                say!(self.out, "Start to check BASE AOF ({format} format).");
            } else if i == usize::from(m.base.is_some()) {
                say!(self.out, "Start to check INCR files.");
            }
            let verdict = self.file(&name, file, last, snapshot)?;
            self.tell(verdict, &name, if base { "BASE AOF" } else { "INCR AOF" });
        }
        say!(self.out, "All AOF files and manifest are valid");
        Ok(())
    }

    fn tell(&mut self, verdict: Verdict, name: &str, kind: &str) {
        match verdict {
            Verdict::Sound => say!(self.out, "{kind} {name} is valid"),
            Verdict::Empty => say!(self.out, "{kind} {name} is empty"),
            Verdict::Cut => say!(self.out, "Successfully truncated AOF {name}"),
            Verdict::CutByTime => {
                let t = self.until.unwrap_or(0);
                say!(self.out, "Successfully truncated AOF {name} to timestamp {t}");
            }
        }
    }

    fn file(&mut self, name: &str, path: &Path, last: bool, snapshot: bool) -> Result<Verdict, Stop> {
        let open = File::options().read(true).write(true).open(path);
        let opened = open.and_then(|f| f.metadata().map(|m| (f, m.len())));
        let (file, size) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                let (path, why) = (path.display(), errno::text(&e));
                say!(self.out, "Cannot open file {path}: {why}, aborting...");
                return Err(Stop);
            }
        };
        if size == 0 {
            return Ok(Verdict::Empty);
        }
        let mut w = Walk { from: BufReader::new(file), at: 0, begun: 0, end: false, failed: false };
        if snapshot {
            self.snapshot(path, &mut w)?;
        }
        let Some(pos) = self.commands(name, path, &mut w, last)? else { return Ok(Verdict::CutByTime) };
        if let Some(why) = &self.error {
            say!(self.out, "{why}");
        }
        self.judge(name, &w, size, pos, last)
    }

    fn snapshot(&mut self, path: &Path, w: &mut Walk) -> Result<(), Stop> {
        let source = rdb::open(path).map_err(|e| self.unopened(path, &e))?;
        let end = rdb::check(&path.display().to_string(), source, &mut *self.out);
        let placed = end.filter(|at| w.from.seek(SeekFrom::Start(*at)).is_ok());
        let Some(at) = placed else {
            say!(self.out, "RDB preamble of AOF file is not sane, aborting.");
            return Err(Stop);
        };
        w.at = at;
        say!(self.out, "RDB preamble is OK, proceeding with AOF tail...");
        Ok(())
    }

    /// Walks to the end or to what is wrong; how much is sound. None when it was cut by time.
    fn commands(
        &mut self,
        name: &str,
        path: &Path,
        w: &mut Walk,
        last: bool,
    ) -> Result<Option<u64>, Stop> {
        let (mut open, mut pos) = (false, w.at);
        let mut ended = false;
        loop {
            if !open {
                pos = w.at;
            }
            match w.peek() {
                Ok(None) => {
                    ended = true;
                    break;
                }
                Ok(Some(b'#')) => {
                    if self.note(path, w, last)? {
                        return Ok(None);
                    }
                }
                Ok(Some(b'*')) => {
                    if self.command(path, w, &mut open).is_none() {
                        break;
                    }
                }
                Ok(Some(_)) => {
                    say!(self.out, "AOF {name} format error");
                    break;
                }
                Err(_) => {
                    w.failed = true;
                    break;
                }
            }
        }
        if w.failed {
            say!(self.out, "Failed to read from AOF {name}, aborting...");
            return Err(Stop);
        }
        if (ended || w.end) && open && self.error.is_none() {
            self.wrong(w.begun, "Reached EOF before reading EXEC for MULTI");
        }
        Ok(Some(pos))
    }

    fn wrong(&mut self, at: u64, why: &str) {
        self.error = Some(format!("0x{at:16x}: {why}"));
    }

    /// A line behind `#`; true when the file was cut there.
    fn note(&mut self, path: &Path, w: &mut Walk, last: bool) -> Result<bool, Stop> {
        let at = w.at;
        // A read that failed is looked at by the walk.
        let Some(line) = w.line() else { return Ok(false) };
        let (Some(until), Some(rest)) = (self.until, line.strip_prefix(b"#TS:")) else {
            return Ok(false);
        };
        let Some(seconds) = rest.strip_suffix(b"\r\n").and_then(decimal::<i64>) else {
            say!(self.out, "Invalid timestamp annotation");
            return Err(Stop);
        };
        if seconds <= until {
            return Ok(false);
        }
        let file = path.display();
        if at == 0 {
            say!(self.out, "AOF {file} has nothing before timestamp {until}, aborting...");
            return Err(Stop);
        }
        if !last {
            say!(
                self.out,
                "Failed to truncate AOF {file} to timestamp {until} to offset {at} because it is not the \
                 last file."
            );
            say!(
                self.out,
                "If you insist, please delete all files after this file according to the manifest file \
                 and delete the corresponding records in manifest file manually. Then re-run \
                 redis-check-aof."
            );
            return Err(Stop);
        }
        if w.from.get_ref().set_len(at).is_err() {
            say!(self.out, "Failed to truncate AOF {file} to timestamp {until}");
            return Err(Stop);
        }
        Ok(true)
    }

    /// One command; None when it is not sound.
    fn command(&mut self, path: &Path, w: &mut Walk, open: &mut bool) -> Option<()> {
        for i in 0..self.number(w, b'*')? {
            let len = self.number(w, b'$')?;
            let Ok(len) = u64::try_from(len) else {
                let why = format!(
                    "Expected to read string of {len} bytes, which is not in the suitable range"
                );
                self.wrong(w.at, &why);
                return None;
            };
            let (at, wanted) = (w.at, len.saturating_add(2));
            let bytes = w.bytes(wanted);
            let got = bytes.len();
            if (got as u64) < wanted {
                self.wrong(at, &format!("Expected to read {wanted} bytes, got {got} bytes"));
                return None;
            }
            let (word, end) = bytes.split_at(got.saturating_sub(2));
            self.newline(at, end)?;
            if i == 0 {
                self.transaction(path, at, word, open)?;
            }
        }
        Some(())
    }

    fn transaction(&mut self, path: &Path, at: u64, word: &[u8], open: &mut bool) -> Option<()> {
        for (name, opens) in [("MULTI", true), ("EXEC", false)] {
            if word.eq_ignore_ascii_case(name.as_bytes()) {
                if *open == opens {
                    self.wrong(at, &format!("Unexpected {name} in AOF {}", path.display()));
                    return None;
                }
                *open = opens;
            }
        }
        Some(())
    }

    /// The number of a line that begins with `mark`.
    fn number(&mut self, w: &mut Walk, mark: u8) -> Option<i64> {
        let at = w.at;
        let line = w.line()?;
        let (&first, rest) = line.split_first()?;
        if first != mark {
            let (want, got) = (char::from(mark), char::from(first));
            self.wrong(at, &format!("Expected prefix '{want}', got: '{got}'"));
            return None;
        }
        let digits = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'-').count();
        let (digits, end) = rest.split_at(digits);
        self.newline(at, end)?;
        Some(decimal(digits).unwrap_or(0))
    }

    fn newline(&mut self, at: u64, bytes: &[u8]) -> Option<()> {
        if !bytes.starts_with(b"\r\n") {
            // With a sign, as they always were.
            let byte = |i: usize| i32::from(bytes.get(i).copied().unwrap_or(0).cast_signed());
            let why = format!("Expected \\r\\n, got: {:02x}{:02x}", byte(0), byte(1));
            self.wrong(at, &why);
            return None;
        }
        self.line += 1;
        Some(())
    }

    /// What is to be done about what is not sound.
    fn judge(&mut self, name: &str, w: &Walk, size: u64, pos: u64, last: bool) -> Result<Verdict, Stop> {
        let diff = size.saturating_sub(pos);
        if let (0, Some(until)) = (diff, self.until) {
            say!(self.out, "Truncate nothing in AOF {name} to timestamp {until}");
            return Ok(Verdict::Sound);
        }
        let line = self.line;
        say!(
            self.out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={pos}, ok_up_to_line={line}, diff={diff}"
        );
        if diff == 0 {
            return Ok(Verdict::Sound);
        }
        if !self.fix {
            say!(self.out, "AOF {name} is not valid. Use the --fix option to try fixing it.");
            return Err(Stop);
        }
        if !last {
            say!(self.out, "Failed to truncate AOF {name} because it is not the last file");
            return Err(Stop);
        }
        say!(
            self.out,
            "This will shrink the AOF {name} from {size} bytes, with {diff} bytes, to {pos} bytes"
        );
        // Flushed, since the prompt has no line end. A prompt that cannot be printed does not stop the check.
        let _ = write!(self.out, "Continue? [y/N]: ").and_then(|()| self.out.flush());
        let mut answer = [0; 1];
        if self.input.read(&mut answer).unwrap_or(0) == 0 || !answer.eq_ignore_ascii_case(b"y") {
            say!(self.out, "Aborting...");
            return Err(Stop);
        }
        let cut = w.from.get_ref().set_len(pos).and_then(|()| w.from.get_ref().sync_all());
        if cut.is_err() {
            say!(self.out, "Failed to truncate AOF {name}");
            return Err(Stop);
        }
        Ok(Verdict::Cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::aof::{push_command, push_timestamp};
    use crate::sys::testing::TempDir;

    fn checked(options: &[&str], path: &Path, answer: &str) -> (i32, String) {
        let mut args: Vec<Vec<u8>> = vec![b"redis-check-aof".to_vec()];
        args.extend(options.iter().map(|o| o.as_bytes().to_vec()));
        args.push(path.as_os_str().as_bytes().to_vec());
        let (mut input, mut out) = (answer.as_bytes(), Vec::new());
        let code = main(&args, &mut input, &mut out);
        (code, String::from_utf8(out).expect("text"))
    }

    fn commands(words: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in words {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            push_command(&mut out, &args);
        }
        out
    }

    #[test]
    fn a_cut_end_is_found_and_repaired_when_asked() {
        let dir = TempDir::new("check-aof");
        let path = dir.join("appendonly.aof");
        let sound = commands(&["SELECT 0", "SET a b"]);
        let cut = [&sound[..], b"*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$5\r\nabc"].concat();
        std::fs::write(&path, &cut).expect("writable");
        let (code, text) = checked(&[], &path, "");
        assert!(code == 1 && text.contains("is not valid. Use the --fix option"), "{text}");
        let place = format!("ok_up_to={}, ok_up_to_line=19, diff=27", sound.len());
        assert!(text.contains(&place), "{place} in {text}");
        assert!(text.contains("Expected to read 7 bytes, got 3 bytes"));
        let (code, text) = checked(&["--fix"], &path, "n\n");
        assert!(code == 1 && text.ends_with("Aborting...\n"), "{text}");
        assert_eq!(std::fs::read(&path).expect("there"), cut, "nothing is done without consent");
        let (code, text) = checked(&["--fix"], &path, "y\n");
        assert!(code == 0 && text.contains("Successfully truncated AOF"), "{text}");
        assert_eq!(std::fs::read(&path).expect("there"), sound);
        let (code, text) = checked(&[], &path, "");
        assert!(code == 0 && text.ends_with("is valid\n"), "{text}");
    }

    #[test]
    fn an_open_transaction_is_not_sound() {
        let dir = TempDir::new("check-aof-multi");
        let path = dir.join("x.aof");
        std::fs::write(&path, commands(&["SET a b", "MULTI", "SET c d"])).expect("writable");
        let (code, text) = checked(&[], &path, "");
        assert!(code == 1 && text.contains("Reached EOF before reading EXEC for MULTI"), "{text}");
        std::fs::write(&path, commands(&["EXEC"])).expect("writable");
        assert!(checked(&[], &path, "").1.contains("Unexpected EXEC in AOF"));
        std::fs::write(&path, b"*1\r\n$4\r\nPINGxx").expect("writable");
        assert!(checked(&[], &path, "").1.contains("Expected \\r\\n, got: 7878"));
        std::fs::write(&path, b"nonsense").expect("writable");
        assert!(checked(&[], &path, "").1.contains("format error"));
    }

    #[test]
    fn a_log_is_walked_and_only_its_last_file_is_cut() {
        let dir = TempDir::new("check-aof-parts");
        let manifest = dir.join("a.manifest");
        let text = "file a.base.aof seq 1 type b\nfile a.1 seq 1 type i\nfile a.2 seq 2 type i\n";
        std::fs::write(&manifest, text).expect("writable");
        std::fs::write(dir.join("a.base.aof"), commands(&["SET a b"])).expect("writable");
        let timed = |seconds: &[i64]| {
            let mut out = Vec::new();
            for s in seconds {
                push_timestamp(&mut out, *s);
                out.extend(commands(&["SET a b"]));
            }
            out
        };
        std::fs::write(dir.join("a.1"), timed(&[10, 20])).expect("writable");
        std::fs::write(dir.join("a.2"), timed(&[30, 40])).expect("writable");
        let (code, out) = checked(&[], &manifest, "");
        assert!(code == 0 && out.contains("Start checking Multi Part AOF\n"), "{out}");
        assert!(out.contains("All AOF files and manifest are valid"), "{out}");
        let (code, out) = checked(&["--truncate-to-timestamp", "15"], &manifest, "");
        assert!(code == 1 && out.contains("because it is not the last file"), "{out}");
        let (code, out) = checked(&["--truncate-to-timestamp", "35"], &manifest, "");
        assert!(code == 0 && out.contains("Successfully truncated AOF a.2 to timestamp 35"), "{out}");
        assert_eq!(std::fs::read(dir.join("a.2")).expect("there"), timed(&[30]));
        std::fs::write(dir.join("a.1"), b"*1\r\n").expect("writable");
        let (code, out) = checked(&["--fix"], &manifest, "y");
        assert!(code == 1 && out.contains("because it is not the last file"), "{out}");
        std::fs::write(dir.join("a.2"), b"").expect("writable");
        let (code, out) = checked(&["--fix"], &manifest, "y");
        assert!(code == 0 && out.contains("Successfully truncated AOF a.1"), "{out}");
        std::fs::write(&manifest, "file a seq x type b\n").expect("writable");
        assert!(checked(&[], &manifest, "").1.contains("Invalid AOF manifest file format"));
    }

    #[test]
    fn a_read_that_fails_is_not_the_end_of_the_file() {
        // The memory at address 0: it opens, and reading it fails.
        let file = || BufReader::new(File::open("/proc/self/mem").expect("there"));
        let walk = || Walk { from: file(), at: 0, begun: 0, end: false, failed: false };
        let mut w = walk();
        assert!(w.bytes(5).is_empty() && w.failed && !w.end);
        let mut w = walk();
        assert!(w.line().is_none() && w.failed && !w.end);
        let (mut input, mut out) = (&b"y\n"[..], Vec::new());
        let mut c =
            Check { out: &mut out, input: &mut input, fix: true, until: None, line: 1, error: None };
        assert!(c.commands("x.aof", Path::new("x.aof"), &mut walk(), true).is_err());
        assert_eq!(out, b"Failed to read from AOF x.aof, aborting...\n");
    }
}
