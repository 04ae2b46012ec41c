//! Libraries of functions from the server's side: loading, restoring, and what a snapshot has of them.
//!
//! ```text
//! FUNCTION LOAD, log, snapshot ─► load ─► create: header, name, engine, code runs ─► joins the libraries
//! FUNCTION RESTORE ─► create each into a set of its own ─► the set joins, or takes the place of all
//! ```
//!
//! Either all of it happens or nothing: whatever fails has changed no library.

use super::script_api::CALLS;
use super::{Server, jobs, script};
use crate::persist::rdb::load::{FunctionsRefusal, functions_of};
use crate::scripting::ffi::{Dialect, Vm};
use crate::scripting::header::{check_name, parse_library};
use crate::scripting::library::{Libraries, Library};
use std::sync::Arc;

/// The code of a library may run for so long (LOAD_TIMEOUT_MS).
pub const LOAD_LIMIT_NS: u64 = 500_000_000;

/// What happens to libraries that are there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    Flush,
    Append,
    Replace,
}

/// The interpreter of functions; a busy one is not there.
fn vm(srv: &mut Server) -> &mut Vm {
    srv.scripting.functions.vm(Dialect::Functions, CALLS)
}

/// Makes a library for a set that `has` some of the same name; an error is the text without its code.
fn create(
    vm: &mut Vm,
    has: impl Fn(&[u8]) -> bool,
    code: &[u8],
    replace: bool,
    limit_ns: Option<u64>,
) -> Result<Library, Vec<u8>> {
    let header = parse_library(code)?;
    check_name(&header.name)?;
    if !header.engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"Engine '", &header.engine[..], b"' not found"].concat());
    }
    if has(&header.name) && !replace {
        return Err([b"Library '", &header.name[..], b"' already exists"].concat());
    }
    // The header is left out but its line end is kept, so that errors name the right lines.
    let functions = vm.load_library(&code[header.len..], limit_ns)?;
    if functions.is_empty() {
        return Err(b"No functions registered".to_vec());
    }
    let functions = functions.into_iter().map(Arc::new).collect();
    Ok(Library { name: header.name.into(), code: code.into(), functions })
}

/// The interpreter forgets the functions of libraries that are no more.
fn forget(vm: &mut Vm, libraries: impl IntoIterator<Item = Library>) {
    for f in libraries.into_iter().flat_map(|l| l.functions) {
        vm.forget(f.callback);
    }
}

/// Loads a library; its name, or the text of an error without its code.
pub fn load(
    srv: &mut Server,
    code: &[u8],
    replace: bool,
    limit_ns: Option<u64>,
) -> Result<Box<[u8]>, Vec<u8>> {
    vm(srv);
    let s = &mut srv.scripting;
    let vm = s.functions.vm(Dialect::Functions, CALLS);
    let library = create(vm, |name| s.libraries.has(name), code, replace, limit_ns)?;
    let name = library.name.clone();
    match s.libraries.add(library) {
        Ok(old) => {
            forget(vm, old);
            Ok(name)
        }
        Err((library, why)) => {
            forget(vm, [library]);
            Err(why)
        }
    }
}

/// False when there is no such library.
pub fn delete(srv: &mut Server, name: &[u8]) -> bool {
    let old = srv.scripting.libraries.remove(name);
    let there = old.is_some();
    forget(vm(srv), old);
    there
}

/// Deletes all libraries. The interpreter stays: what its libraries (`cjson`) were told lives on.
pub fn flush(srv: &mut Server) {
    debug_assert!(script::none_runs(srv).is_ok(), "a running function's interpreter is not there");
    let old = std::mem::take(&mut srv.scripting.libraries);
    discard(srv, old);
}

/// Lets go of libraries that are not in use any more.
pub fn discard(srv: &mut Server, old: Libraries) {
    if old.len() > 0 {
        forget(vm(srv), old.into_libraries());
    }
}

/// FUNCTION RESTORE.
pub fn restore(srv: &mut Server, payload: &[u8], policy: Policy) -> Result<(), Vec<u8>> {
    let mut parts = functions_of(payload, jobs::sums(srv)).map_err(|why| refusal(why).to_vec())?;
    let vm = vm(srv);
    let mut made = Libraries::default();
    let gathered = loop {
        let code = match parts.next() {
            None => break Ok(()),
            Some(Err(why)) => break Err(refusal(why).to_vec()),
            Some(Ok(code)) => code,
        };
        let added = create(vm, |name| made.has(name), &code, false, None).and_then(|library| {
            made.add(library).map_err(|(library, why)| {
                forget(vm, [library]);
                why
            })
        });
        if let Err(why) = added {
            break Err(why);
        }
    };
    let libraries = &mut srv.scripting.libraries;
    let joined = match (gathered, policy) {
        (Err(why), _) => Err((made, why)),
        (Ok(()), Policy::Flush) => Ok(std::mem::replace(libraries, made).into_libraries().collect()),
        (Ok(()), Policy::Append) => libraries.join(made, false),
        (Ok(()), Policy::Replace) => libraries.join(made, true),
    };
    let vm = srv.scripting.functions.vm(Dialect::Functions, CALLS);
    match joined {
        Ok(old) => {
            forget(vm, old);
            Ok(())
        }
        Err((made, why)) => {
            forget(vm, made.into_libraries());
            Err(why)
        }
    }
}

fn refusal(why: FunctionsRefusal) -> &'static [u8] {
    match why {
        FunctionsRefusal::Footer => b"DUMP payload version or checksum are wrong",
        FunctionsRefusal::NoType => b"can not read data type",
        FunctionsRefusal::PreRelease => b"Pre-GA function format not supported",
        FunctionsRefusal::OtherType => b"given type is not a function",
        FunctionsRefusal::Code => b"Failed loading library payload",
    }
}

/// The code of all libraries, for a snapshot.
pub fn codes(srv: &Server) -> Vec<&[u8]> {
    srv.scripting.libraries.iter().map(|l| &*l.code).collect()
}
