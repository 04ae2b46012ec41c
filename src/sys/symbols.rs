//! Names for code addresses, read from this program's own ELF symbol table.
//!
//! The C library's `backtrace_symbols_fd` and `dladdr` know exported functions only, and a Rust program
//! exports none: its backtraces would be bare numbers. The full table (`.symtab`) is in the file unless
//! it was stripped. Opening maps the file, so there is no allocation and no lock, and a crash handler
//! may use it.
//!
//! The file is ours, but a crash report trusts nothing: every read is checked, and what does not add up
//! is just an unknown symbol.

use std::mem::size_of;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};

/// Field offsets of the 64-bit ELF structures.
const EHDR_PHOFF: usize = 32;
const EHDR_SHOFF: usize = 40;
const EHDR_PHNUM: usize = 56;
const EHDR_SHNUM: usize = 60;
const PHDR_SIZE: usize = 56;
const SHDR_SIZE: usize = 64;
const SYM_SIZE: usize = 24;
const _: () = assert!(size_of::<libc::Elf64_Ehdr>() == 64 && size_of::<libc::Elf64_Phdr>() == PHDR_SIZE);
const _: () =
    assert!(size_of::<libc::Elf64_Shdr>() == SHDR_SIZE && size_of::<libc::Elf64_Sym>() == SYM_SIZE);

const SHT_SYMTAB: u32 = 2;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;

pub struct Symbols {
    table: &'static [u8],
    names: &'static [u8],
    /// What the loader added to the file's addresses.
    bias: usize,
}

pub struct Symbol {
    pub name: rustc_demangle::Demangle<'static>,
    pub base: usize,
    pub size: usize,
}

impl Symbols {
    /// Maps the program file, once and for good.
    pub fn open() -> Option<Symbols> {
        let file = map_own_file()?;
        let shoff = word(file, EHDR_SHOFF)?;
        let shnum = half(file, EHDR_SHNUM)?;
        let headers = file.get(shoff..)?.chunks_exact(SHDR_SIZE).take(shnum);
        let find = |kind: u32| headers.clone().find(|h| quad(h, 4) == Some(kind));
        let sym = find(SHT_SYMTAB)?;
        let names = headers.clone().nth(usize::try_from(quad(sym, 40)?).ok()?)?;
        let part = |h: &[u8]| file.get(word(h, 24)?..)?.get(..word(h, 32)?);
        Some(Symbols { table: part(sym)?, names: part(names)?, bias: load_bias(file)? })
    }

    /// Where the loader put the program.
    pub fn bias(&self) -> usize {
        self.bias
    }

    /// The function this address lies in.
    pub fn find(&self, addr: usize) -> Option<Symbol> {
        let at = addr.checked_sub(self.bias)?;
        let entry = self.table.chunks_exact(SYM_SIZE).find(|s| {
            let kind = s.get(4).map_or(0, |info| info & 0xf);
            let (base, size) = (word(s, 8).unwrap_or(0), word(s, 16).unwrap_or(0));
            (kind == STT_FUNC || kind == STT_GNU_IFUNC) && at.checked_sub(base).is_some_and(|o| o < size)
        })?;
        let name = self.names.get(usize::try_from(quad(entry, 0)?).ok()?..)?;
        let name = name.get(..name.iter().position(|&b| b == 0)?)?;
        let name = rustc_demangle::demangle(std::str::from_utf8(name).ok()?);
        Some(Symbol { name, base: word(entry, 8)?.checked_add(self.bias)?, size: word(entry, 16)? })
    }
}

/// The loader tells where it put the program headers; the file says where they wanted to be.
fn load_bias(file: &[u8]) -> Option<usize> {
    // SAFETY: getauxval takes a plain number.
    let loaded = usize::try_from(unsafe { libc::getauxval(libc::AT_PHDR) }).ok()?;
    let headers = file.get(word(file, EHDR_PHOFF)?..)?.chunks_exact(PHDR_SIZE);
    let own = headers.take(half(file, EHDR_PHNUM)?).find(|h| quad(h, 0) == Some(libc::PT_PHDR))?;
    loaded.checked_sub(word(own, 16)?)
}

fn map_own_file() -> Option<&'static [u8]> {
    // Two threads that both find nothing map it twice, which does no harm.
    static MAPPED: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    static LEN: AtomicUsize = AtomicUsize::new(0);
    let known = MAPPED.load(SeqCst);
    if !known.is_null() {
        // SAFETY: published below, after its length, and never unmapped.
        return Some(unsafe { std::slice::from_raw_parts(known, LEN.load(SeqCst)) });
    }
    // SAFETY: the path is a NUL-terminated literal.
    let fd = unsafe { libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    // SAFETY: lseek and mmap on a descriptor opened here; closing it leaves the mapping alone.
    let (len, p) = unsafe {
        let len = usize::try_from(libc::lseek(fd, 0, libc::SEEK_END)).unwrap_or(0);
        let p = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
        libc::close(fd);
        (len, p)
    };
    if p == libc::MAP_FAILED {
        return None;
    }
    LEN.store(len, SeqCst);
    MAPPED.store(p.cast(), SeqCst);
    // SAFETY: a fresh read-only mapping of `len` bytes, never unmapped. The file of a running program
    // cannot be written to (ETXTBSY), only replaced by another.
    Some(unsafe { std::slice::from_raw_parts(p.cast(), len) })
}

fn word(b: &[u8], at: usize) -> Option<usize> {
    let v = u64::from_ne_bytes(b.get(at..)?.first_chunk().copied()?);
    usize::try_from(v).ok()
}

fn quad(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..)?.first_chunk().map(|c| u32::from_ne_bytes(*c))
}

fn half(b: &[u8], at: usize) -> Option<usize> {
    b.get(at..)?.first_chunk().map(|c| usize::from(u16::from_ne_bytes(*c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_with_a_name() -> u32 {
        std::hint::black_box(7)
    }

    #[test]
    fn finds_this_programs_functions_and_no_others() {
        let s = Symbols::open().expect("test binaries are not stripped");
        let f = a_function_with_a_name as fn() -> u32 as usize;
        assert_eq!(a_function_with_a_name(), 7);
        for at in [f, f + 1] {
            let found = s.find(at).expect("it has a symbol");
            assert_eq!(
                format!("{:#}", found.name),
                "oxidis::sys::symbols::tests::a_function_with_a_name"
            );
            assert!(found.base == f && found.size > 1);
        }
        assert!(s.find(8).is_none());
        assert!(s.find(usize::MAX).is_none());
        let local = 0u8;
        assert!(s.find(std::ptr::from_ref(&local) as usize).is_none());
    }
}
