//! The manifest of a multi-part AOF: which files make up the log, in which order.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.1.incr.aof seq 1 type h
//! file appendonly.aof.1.base.rdb seq 1 type h
//! file appendonly.aof.2.incr.aof seq 2 type i
//! ```
//!
//! At most one base, history files that wait to be deleted, then increments in the order of their
//! numbers. Keys that are unknown are skipped, so that a later version can add some. A manifest that
//! says anything else is refused: guessing would lose data.
//!
//! A change is made to a copy, which becomes the manifest when it is on the disk.

use crate::algo::num::decimal;
use crate::algo::quote;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Base,
    History,
    Increment,
}

impl FileKind {
    fn letter(self) -> char {
        match self {
            FileKind::Base => 'b',
            FileKind::History => 'h',
            FileKind::Increment => 'i',
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    pub name: Vec<u8>,
    pub seq: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<ManifestFile>,
    pub history: Vec<ManifestFile>,
    pub increments: Vec<ManifestFile>,
    base_seq: i64,
    increment_seq: i64,
    /// Differs from what is on the disk.
    pub changed: bool,
}

/// What is wrong, and with which line.
#[derive(Debug, PartialEq, Eq)]
pub struct ManifestBroken {
    pub why: &'static str,
    pub line: Option<(usize, Vec<u8>)>,
}

/// A line may have so many bytes, its end included (MANIFEST_MAX_LINE).
const MAX_LINE: usize = 1024;
const FORMAT: &str = "Invalid AOF manifest file format";
const TOO_LONG: &str = "The AOF manifest file contains too long line";

/// The name of a file: which log, which number, base or increment.
fn name_of(log: &[u8], seq: i64, kind: &str) -> Vec<u8> {
    [log, format!(".{seq}.{kind}").as_bytes()].concat()
}

impl Manifest {
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestBroken> {
        let mut m = Manifest::default();
        if text.is_empty() {
            return Err(ManifestBroken { why: "Found an empty AOF manifest", line: None });
        }
        for (n, whole) in text.split_inclusive(|b| *b == b'\n').enumerate() {
            if whole.first() == Some(&b'#') {
                continue;
            }
            if whole.len() > MAX_LINE || whole.last() != Some(&b'\n') {
                return Err(ManifestBroken { why: TOO_LONG, line: None });
            }
            let line = whole.trim_ascii();
            let broken = |why| ManifestBroken { why, line: Some((n + 1, line.to_vec())) };
            let (part, kind) = parse_line(line).map_err(broken)?;
            m.add(part, kind).map_err(broken)?;
        }
        Ok(m)
    }

    fn add(&mut self, part: ManifestFile, kind: FileKind) -> Result<(), &'static str> {
        match kind {
            FileKind::Base if self.base.is_some() => {
                return Err("Found duplicate base file information");
            }
            FileKind::Base => {
                self.base_seq = part.seq;
                self.base = Some(part);
            }
            FileKind::History => self.history.push(part),
            FileKind::Increment if part.seq <= self.increment_seq => {
                return Err("Found a non-monotonic sequence number");
            }
            FileKind::Increment => {
                self.increment_seq = part.seq;
                self.increments.push(part);
            }
        }
        Ok(())
    }

    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut write = |kind: FileKind, part: &ManifestFile| {
            out.extend_from_slice(b"file ");
            if quote::needs_repr(&part.name) {
                quote::push_repr(&mut out, &part.name);
            } else {
                out.extend_from_slice(&part.name);
            }
            out.extend_from_slice(format!(" seq {} type {}\n", part.seq, kind.letter()).as_bytes());
        };
        self.base.iter().for_each(|p| write(FileKind::Base, p));
        self.history.iter().for_each(|p| write(FileKind::History, p));
        self.increments.iter().for_each(|p| write(FileKind::Increment, p));
        out
    }

    /// The base, if there is one, and the increments: what is loaded, in order.
    pub fn live(&self) -> impl Iterator<Item = &ManifestFile> {
        self.base.iter().chain(&self.increments)
    }

    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.increments.is_empty()
    }

    /// A new base takes the place of the old one, which becomes history. Returns its name.
    pub fn add_base(&mut self, log: &[u8], snapshot: bool) -> Vec<u8> {
        if let Some(old) = self.base.take() {
            self.history.insert(0, old);
        }
        self.base_seq += 1;
        let seq = self.base_seq;
        let name = name_of(log, seq, if snapshot { "base.rdb" } else { "base.aof" });
        self.base = Some(ManifestFile { name: name.clone(), seq });
        self.changed = true;
        name
    }

    /// A log of one file, as servers before 7 wrote it, becomes the base.
    pub fn adopt(&mut self, log: &[u8]) {
        debug_assert!(self.increments.is_empty(), "it comes before any increment");
        self.base = Some(ManifestFile { name: log.to_vec(), seq: 1 });
        self.base_seq = 1;
        self.changed = true;
    }

    /// One more increment. Returns its name.
    pub fn add_increment(&mut self, log: &[u8]) -> Vec<u8> {
        self.increment_seq += 1;
        let seq = self.increment_seq;
        let name = name_of(log, seq, "incr.aof");
        self.increments.push(ManifestFile { name: name.clone(), seq });
        self.changed = true;
        name
    }

    /// The next names are passed over: files of these names were made, and a manifest on the disk that
    /// could not be made durable may name them. They must not be replaced by others.
    pub fn pass_over_names(&mut self) {
        self.base_seq += 1;
        self.increment_seq += 1;
    }

    /// The increment that is appended to: the last one, or a new one.
    pub fn last_increment(&mut self, log: &[u8]) -> Vec<u8> {
        match self.increments.last() {
            Some(p) => p.name.clone(),
            None => self.add_increment(log),
        }
    }

    /// The increments that a rewrite has made superfluous become history: all, but for the last one
    /// when it is being written.
    pub fn retire_increments(&mut self, keep_last: bool) {
        let kept = usize::from(keep_last).min(self.increments.len());
        let old: Vec<ManifestFile> = self.increments.drain(..self.increments.len() - kept).collect();
        self.history.splice(0..0, old);
        self.changed = true;
    }
}

fn parse_line(line: &[u8]) -> Result<(ManifestFile, FileKind), &'static str> {
    let words = quote::split_args(line).filter(|w| w.len() >= 6 && w.len().is_multiple_of(2));
    let words = words.ok_or(FORMAT)?;
    let (mut name, mut seq, mut kind) = (None, 0, 0);
    for pair in words.chunks_exact(2) {
        let [key, value] = pair else { return Err(FORMAT) };
        match &key.to_ascii_lowercase()[..] {
            // A path would lead out of the folder.
            b"file" if value.contains(&b'/') || value.contains(&b'\\') => {
                return Err("File can't be a path, just a filename");
            }
            b"file" => name = Some(value.clone()),
            b"seq" => seq = decimal(value).unwrap_or(0),
            b"type" => kind = value.first().copied().unwrap_or(0),
            _ => {}
        }
    }
    let Some(name) = name.filter(|n| !n.is_empty() && seq != 0 && kind != 0) else {
        return Err(FORMAT);
    };
    let kind = match kind {
        b'b' => FileKind::Base,
        b'h' => FileKind::History,
        b'i' => FileKind::Increment,
        _ => return Err("Unknown AOF file type"),
    };
    Ok((ManifestFile { name, seq }, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"appendonly.aof";

    fn lines(m: &Manifest) -> Vec<String> {
        String::from_utf8_lossy(&m.text()).lines().map(str::to_owned).collect()
    }

    fn saved(mut m: Manifest) -> Manifest {
        m.changed = false;
        m
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut m = Manifest::default();
        m.add_base(b"with blank", true);
        m.add_increment(b"with \"quotes\"");
        m.add_increment(LOG);
        m.add_base(LOG, false);
        assert_eq!(Manifest::parse(&m.text()), Ok(saved(m)));
    }

    #[test]
    fn names_that_were_passed_over_are_not_given_again() {
        let mut m = Manifest::default();
        m.add_base(LOG, true);
        m.add_increment(LOG);
        m.pass_over_names();
        assert_eq!(m.add_base(LOG, true), b"appendonly.aof.3.base.rdb");
        assert_eq!(m.add_increment(LOG), b"appendonly.aof.3.incr.aof");
        assert_eq!(Manifest::parse(&m.text()), Ok(saved(m)), "gaps harm nothing");
    }

    #[test]
    fn a_rewrite_leaves_its_history() {
        let mut m = Manifest::default();
        m.add_base(LOG, true);
        m.add_increment(LOG);
        m.add_increment(LOG);
        m.add_increment(LOG);
        m.add_base(LOG, false);
        m.retire_increments(true);
        assert_eq!(
            lines(&m),
            [
                "file appendonly.aof.2.base.aof seq 2 type b",
                "file appendonly.aof.1.incr.aof seq 1 type h",
                "file appendonly.aof.2.incr.aof seq 2 type h",
                "file appendonly.aof.1.base.rdb seq 1 type h",
                "file appendonly.aof.3.incr.aof seq 3 type i",
            ]
        );
        let names: Vec<_> = m.live().map(|p| p.seq).collect();
        assert_eq!(names, [2, 3]);
        m.retire_increments(false);
        assert!(m.increments.is_empty());
        assert_eq!(m.last_increment(LOG), b"appendonly.aof.4.incr.aof", "numbers are never used twice");
        assert_eq!(m.last_increment(LOG), b"appendonly.aof.4.incr.aof");
    }

    #[test]
    fn an_old_log_becomes_the_base() {
        let mut m = Manifest::default();
        m.adopt(LOG);
        m.add_increment(LOG);
        m.add_base(LOG, true);
        assert_eq!(
            lines(&m),
            [
                "file appendonly.aof.2.base.rdb seq 2 type b",
                "file appendonly.aof seq 1 type h",
                "file appendonly.aof.1.incr.aof seq 1 type i",
            ]
        );
    }

    #[test]
    fn comments_and_unknown_keys_are_skipped() {
        let text = b"# a comment\nFILE a SEQ 3 TYPE b later 7\n#\nfile \"b c\" seq 2 type i\n";
        let m = Manifest::parse(text).expect("sound");
        assert_eq!(lines(&m), ["file a seq 3 type b", "file \"b c\" seq 2 type i"]);
        assert!(!m.changed);
    }

    #[test]
    fn broken_manifests_are_refused() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(1020));
        for (text, why, at) in [
            ("", "Found an empty AOF manifest", None),
            ("nonsense\n", FORMAT, Some(1)),
            ("\n", FORMAT, Some(1)),
            ("file a seq 1\n", FORMAT, Some(1)),
            ("file a seq x type b\n", FORMAT, Some(1)),
            ("file a seq 1 type b extra\n", FORMAT, Some(1)),
            ("file \"a seq 1 type b\n", FORMAT, Some(1)),
            ("file a seq 1 type b", TOO_LONG, None),
            (&long, TOO_LONG, None),
            ("file ../a seq 1 type b\n", "File can't be a path, just a filename", Some(1)),
            ("# c\nfile a seq 1 type q\n", "Unknown AOF file type", Some(2)),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                "Found duplicate base file information",
                Some(2),
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                "Found a non-monotonic sequence number",
                Some(2),
            ),
        ] {
            let broken = Manifest::parse(text.as_bytes()).expect_err(text);
            assert_eq!((broken.why, broken.line.map(|(n, _)| n)), (why, at), "{text}");
        }
    }
}
