//! The libraries of functions: which there are, and which function a name means.
//!
//! ```text
//! Libraries ─┬─ by name ───────────────► Library: code, functions ─► Arc<Function>
//!            └─ index, in lower case ──────────────────────────────────┘
//! load     one library, checked and made, joins those that are there
//! restore  those of a payload are gathered in a set of their own, which joins or takes the place of all
//! ```
//!
//! A set changes as a whole or not at all: `join` looks for every collision before it moves anything. What
//! a change drops is handed back, because the interpreter holds the compiled functions and must forget
//! them.
//!
//! Names of libraries tell upper from lower case; names of functions do not, but within one library two
//! may differ by case alone, and the one that was registered first is called.

use super::ffi::Compiled;
use super::header::Flags;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: Box<[u8]>,
    pub description: Option<Box<[u8]>>,
    pub flags: Flags,
    pub callback: Compiled,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    pub name: Box<[u8]>,
    /// All of it, with its header.
    pub code: Box<[u8]>,
    /// In the order in which they were registered.
    pub functions: Vec<Arc<Function>>,
}

#[derive(Debug, Default)]
pub struct Libraries {
    libraries: BTreeMap<Box<[u8]>, Library>,
    index: HashMap<Box<[u8]>, Arc<Function>>,
}

impl Library {
    fn memory(&self) -> usize {
        let of_function = |f: &Arc<Function>| {
            size_of::<Function>() + f.name.len() + f.description.as_ref().map_or(0, |d| d.len())
        };
        let functions: usize = self.functions.iter().map(of_function).sum();
        size_of::<Library>() + self.name.len() + self.code.len() + functions
    }
}

/// As the index has it.
fn lower(name: &[u8]) -> Box<[u8]> {
    name.to_ascii_lowercase().into()
}

impl Libraries {
    pub fn has(&self, name: &[u8]) -> bool {
        self.libraries.contains_key(name)
    }

    /// The function of that name, in any case of letters.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Function>> {
        if name.iter().any(u8::is_ascii_uppercase) {
            return self.index.get(&lower(name));
        }
        self.index.get(name)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Library> + Clone {
        self.libraries.values()
    }

    pub fn len(&self) -> usize {
        self.libraries.len()
    }

    /// Functions that can be called.
    pub fn callable(&self) -> usize {
        self.index.len()
    }

    /// Bytes of the libraries beside what the interpreter holds of them.
    pub fn memory(&self) -> usize {
        let libraries: usize = self.iter().map(Library::memory).sum();
        let index: usize = self.index.keys().map(|k| k.len()).sum();
        libraries + index + self.index.capacity() * size_of::<(Box<[u8]>, Arc<Function>)>()
    }

    /// Takes a library out.
    pub fn remove(&mut self, name: &[u8]) -> Option<Library> {
        let library = self.libraries.remove(name)?;
        for f in &library.functions {
            let key = lower(&f.name);
            if self.index.get(&key).is_some_and(|there| Arc::ptr_eq(there, f)) {
                self.index.remove(&key);
            }
        }
        Some(library)
    }

    /// Adds a library in the place of one of its name. Returns what was there; on a collision with a
    /// function of another library nothing has changed, and the new one comes back with the reason.
    pub fn add(&mut self, library: Library) -> Result<Option<Library>, (Library, Vec<u8>)> {
        if let Some(why) = self.collision(&library, |other| *other.name == *library.name) {
            return Err((library, why));
        }
        let old = self.remove(&library.name);
        self.link(library);
        Ok(old)
    }

    /// All libraries of `other` join these, with `replace` in the place of those of the same name. Returns
    /// what they replaced; on a collision nothing has changed, and `other` comes back with the reason.
    pub fn join(
        &mut self,
        other: Libraries,
        replace: bool,
    ) -> Result<Vec<Library>, (Libraries, Vec<u8>)> {
        if let Some(why) = self.keeps_out(&other, replace) {
            return Err((other, why));
        }
        let old = other.iter().filter_map(|l| self.remove(&l.name)).collect();
        other.libraries.into_values().for_each(|l| self.link(l));
        Ok(old)
    }

    fn keeps_out(&self, other: &Libraries, replace: bool) -> Option<Vec<u8>> {
        if let Some(twice) = other.iter().find(|l| !replace && self.has(&l.name)) {
            return Some([b"Library ", &*twice.name, b" already exists"].concat());
        }
        other.iter().find_map(|l| self.collision(l, |old| other.has(&old.name)))
    }

    /// Is a function of `new` one of a library that stays?
    fn collision(&self, new: &Library, goes: impl Fn(&Library) -> bool) -> Option<Vec<u8>> {
        let taken = new
            .functions
            .iter()
            .find(|f| self.find(&f.name).is_some_and(|there| !self.owner(there).is_some_and(&goes)))?;
        Some([b"Function ", &*taken.name, b" already exists"].concat())
    }

    fn owner(&self, f: &Arc<Function>) -> Option<&Library> {
        self.iter().find(|l| l.functions.iter().any(|other| Arc::ptr_eq(other, f)))
    }

    fn link(&mut self, library: Library) {
        debug_assert!(!self.has(&library.name), "looked for before");
        for f in &library.functions {
            self.index.entry(lower(&f.name)).or_insert_with(|| Arc::clone(f));
        }
        self.libraries.insert(library.name.clone(), library);
    }

    pub fn into_libraries(self) -> impl Iterator<Item = Library> {
        self.libraries.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, functions: &[&str]) -> Library {
        let make = |f: &&str| {
            Arc::new(Function {
                name: f.as_bytes().into(),
                description: None,
                flags: Flags::default(),
                callback: Compiled::default(),
            })
        };
        let functions = functions.iter().map(make).collect();
        Library { name: name.as_bytes().into(), code: name.as_bytes().into(), functions }
    }

    fn set(all: &[(&str, &[&str])]) -> Libraries {
        let mut set = Libraries::default();
        all.iter().for_each(|(name, f)| assert!(set.add(library(name, f)).is_ok()));
        set
    }

    /// Names of the libraries, and of the functions that are called.
    fn shape(set: &Libraries) -> (Vec<&[u8]>, Vec<&[u8]>) {
        let mut called: Vec<&[u8]> = set.index.values().map(|f| &*f.name).collect();
        called.sort_unstable();
        (set.iter().map(|l| &*l.name).collect(), called)
    }

    fn text<T>(failed: Result<T, (impl Sized, Vec<u8>)>) -> String {
        String::from_utf8(failed.err().expect("refused").1).expect("text")
    }

    #[test]
    fn functions_are_found_in_any_case_and_leave_with_their_library() {
        let mut all = set(&[("b", &["f", "F"]), ("a", &["G"])]);
        let found = |all: &Libraries, n: &str| all.find(n.as_bytes()).map(|f| f.name.to_vec());
        assert_eq!(found(&all, "F"), Some(b"f".to_vec()), "the first of its library");
        assert_eq!(found(&all, "g"), Some(b"G".to_vec()));
        assert_eq!((all.len(), all.callable()), (2, 2));
        assert!(all.remove(b"B").is_none(), "libraries tell case");
        let gone = all.remove(b"b").expect("there");
        assert_eq!(gone.functions.len(), 2);
        assert_eq!(found(&all, "f"), None);
        assert_eq!(all.callable(), 1);
    }

    #[test]
    fn a_library_takes_the_place_of_one_of_its_name_alone() {
        let mut all = set(&[("a", &["f", "g"]), ("b", &["h"])]);
        assert_eq!(text(all.add(library("a", &["f", "H"]))), "Function H already exists");
        assert_eq!(shape(&all), (vec![&b"a"[..], b"b"], vec![&b"f"[..], b"g", b"h"]));
        let old = all.add(library("a", &["F", "i"])).expect("its own names are free");
        assert_eq!(old.map(|l| l.functions.len()), Some(2));
        assert_eq!(shape(&all).1, [&b"F"[..], b"h", b"i"]);
    }

    #[test]
    fn sets_join_whole_or_not_at_all() {
        let mut all = set(&[("a", &["f"]), ("b", &["g"])]);
        let more = || set(&[("a", &["x"]), ("c", &["y"])]);
        assert_eq!(text(all.join(more(), false)), "Library a already exists");
        let clash = set(&[("a", &["x"]), ("c", &["G"])]);
        assert_eq!(text(all.join(clash, true)), "Function G already exists");
        assert_eq!(shape(&all), (vec![&b"a"[..], b"b"], vec![&b"f"[..], b"g"]));
        let old = all.join(more(), true).expect("no collision");
        assert_eq!(old.len(), 1);
        assert_eq!(shape(&all), (vec![&b"a"[..], b"b", b"c"], vec![&b"g"[..], b"x", b"y"]));
        // What is replaced may give its functions to another one.
        let swapped = set(&[("a", &["y"]), ("c", &["x"])]);
        assert_eq!(all.join(swapped, true).expect("both go").len(), 2);
        assert_eq!(
            all.find(b"x").map(|f| all.owner(f).map(|l| l.name.to_vec())),
            Some(Some(b"c".to_vec()))
        );
    }

    #[test]
    fn memory_grows_and_falls_with_what_is_kept() {
        let mut all = set(&[("a", &["f"])]);
        let before = all.memory();
        assert!(all.add(library("b", &["long_name_of_a_function"])).is_ok());
        assert!(all.memory() > before + 40);
        all.remove(b"b");
        assert!(all.memory() <= before + 100);
    }
}
