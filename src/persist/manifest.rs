//! The manifest of a multi-part AOF: which files make up the log, in which order.
//!
//! ```text
//! file appendonly.aof.1.base.rdb seq 1 type b
//! file appendonly.aof.1.incr.aof seq 1 type i
//! ```
//!
//! At most one base, then increments in the order of their numbers; history files (`h`) are waiting to
//! be deleted. A manifest that says anything else is refused: guessing would lose data.

use crate::algo::quote;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Base,
    History,
    Increment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub seq: u64,
    pub kind: Kind,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub files: Vec<File>,
}

impl Manifest {
    pub fn parse(text: &[u8]) -> Result<Manifest, String> {
        let mut files: Vec<File> = Vec::new();
        for (n, line) in text.split(|b| *b == b'\n').enumerate() {
            if line.is_empty() || line.first() == Some(&b'#') {
                continue;
            }
            let file = parse_line(line).ok_or(format!("line {} is no entry of a manifest", n + 1))?;
            let last = files.iter().rev().find(|f| f.kind == Kind::Increment);
            let wrong = match file.kind {
                Kind::Base => files.iter().any(|f| f.kind == Kind::Base),
                Kind::Increment => last.is_some_and(|l| l.seq >= file.seq),
                Kind::History => false,
            };
            if wrong {
                return Err(format!("line {} is out of order", n + 1));
            }
            files.push(file);
        }
        if files.is_empty() { Err("the manifest is empty".into()) } else { Ok(Manifest { files }) }
    }

    pub fn text(&self) -> String {
        let letter = |k| match k {
            Kind::Base => 'b',
            Kind::History => 'h',
            Kind::Increment => 'i',
        };
        let line = |f: &File| {
            let name = if quote::needs_repr(f.name.as_bytes()) {
                quote::repr(f.name.as_bytes())
            } else {
                f.name.clone()
            };
            format!("file {name} seq {} type {}\n", f.seq, letter(f.kind))
        };
        self.files.iter().map(line).collect()
    }

    /// The base, if there is one, and the increments: what is loaded, in order.
    pub fn live(&self) -> impl Iterator<Item = &File> {
        let base = self.files.iter().filter(|f| f.kind == Kind::Base);
        base.chain(self.files.iter().filter(|f| f.kind == Kind::Increment))
    }
}

fn parse_line(line: &[u8]) -> Option<File> {
    let words = quote::split_args(line)?;
    let mut words = words.iter().map(|w| String::from_utf8_lossy(w).into_owned());
    let (mut name, mut seq, mut kind) = (None, None, None);
    while let Some(key) = words.next() {
        let value = words.next()?;
        match key.as_str() {
            // A path would lead out of the folder.
            "file" if !value.contains('/') => name = Some(value),
            "seq" => seq = value.parse().ok(),
            "type" => {
                kind = match value.as_str() {
                    "b" => Some(Kind::Base),
                    "h" => Some(Kind::History),
                    "i" => Some(Kind::Increment),
                    _ => None,
                }
            }
            _ => return None,
        }
    }
    Some(File { name: name?, seq: seq?, kind: kind? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let file = |name: &str, seq, kind| File { name: name.into(), seq, kind };
        let m = Manifest {
            files: vec![
                file("a.1.base.rdb", 1, Kind::Base),
                file("a.1.incr.aof", 1, Kind::Increment),
                file("with blank.2.incr.aof", 2, Kind::Increment),
            ],
        };
        assert_eq!(Manifest::parse(m.text().as_bytes()), Ok(m));
    }

    #[test]
    fn broken_manifests_are_refused() {
        for text in [
            "",
            "nonsense",
            "file a seq x type b",
            "file a seq 1",
            "file ../a seq 1 type b",
            "file a seq 1 type q",
            "file a seq 1 type b\nfile b seq 2 type b\n",
            "file a seq 2 type i\nfile b seq 1 type i\n",
        ] {
            assert!(Manifest::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
