//! The process title: what ps shows for the server, from the template `proc-title-template`.
//!
//! The kernel shows the memory where it once put the arguments, followed by the environment:
//!
//! ```text
//!  arg_start            arg_end = env_start                    env_end
//!  ├ redis-server\0 x.conf\0 ┤ PATH=...\0 HOME=...\0            ┤
//!  └─ the title is written over all of this ────────────────────┘
//! ```
//!
//! (prctl could point the kernel elsewhere, but wants privileges.) So the environment's strings move
//! to the heap first. While the last byte of the arguments is 0 the kernel shows exactly that
//! stretch, padding and all; any other byte there makes it show one string from the beginning. Hence
//! the full stop that a short title leaves at that place.
//!
//! After the first [`set`], `std::env::args` reads the title: collect the arguments before.

use std::ffi::c_char;
use std::ops::Range;
use std::sync::Mutex;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// What a template may speak of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vars<'a> {
    /// The program as it was started, or what a child is busy with.
    pub title: &'a [u8],
    /// The first address listened on.
    pub bind: Option<&'a [u8]>,
    pub port: u16,
    pub tls_port: u16,
    pub unixsocket: &'a [u8],
    pub config_file: Option<&'a [u8]>,
    pub cluster: bool,
    pub sentinel: bool,
}

impl Vars<'_> {
    fn get(&self, name: &[u8]) -> Option<Vec<u8>> {
        Some(match name {
            b"title" => self.title.to_vec(),
            b"listen-addr" => match (self.port, self.tls_port) {
                (0, 0) => [b"unixsocket:", self.unixsocket].concat(),
                (0, port) | (port, _) => {
                    [self.bind.unwrap_or(b"*"), format!(":{port}").as_bytes()].concat()
                }
            },
            b"server-mode" if self.cluster => b"[cluster]".to_vec(),
            b"server-mode" if self.sentinel => b"[sentinel]".to_vec(),
            b"server-mode" => Vec::new(),
            b"config-file" => self.config_file.unwrap_or(b"-").to_vec(),
            b"port" => self.port.to_string().into_bytes(),
            b"tls-port" => self.tls_port.to_string().into_bytes(),
            b"unixsocket" => self.unixsocket.to_vec(),
            _ => return None,
        })
    }
}

/// Replaces each `{name}` and trims blanks off the ends; `{{` is a brace. None for an unknown name or a
/// brace left open.
pub fn expand(template: &[u8], vars: &Vars<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.iter().position(|&b| b == b'{') {
        out.extend_from_slice(&rest[..open]);
        rest = &rest[open + 1..];
        if let [b'{', after @ ..] = rest {
            out.push(b'{');
            rest = after;
            continue;
        }
        let close = rest.iter().position(|&b| b == b'}')?;
        out.extend(vars.get(&rest[..close])?);
        rest = &rest[close + 1..];
    }
    out.extend_from_slice(rest);
    let end = out.iter().rposition(|&b| b != b' ').map_or(0, |i| i + 1);
    let start = out[..end].iter().position(|&b| b != b' ').unwrap_or(end);
    Some(out[start..end].to_vec())
}

/// Whether the template is acceptable: it expands, and to something even where the title is empty.
pub fn valid(template: &[u8], vars: &Vars<'_>) -> bool {
    expand(template, &Vars { title: b"", ..*vars }).is_some_and(|t| !t.is_empty())
}

/// The memory to write to.
struct Place {
    start: usize,
    arguments: usize,
    len: usize,
}

static PLACE: Mutex<Option<Place>> = Mutex::new(None);

/// Clears the place: moves the environment to the heap. False where the kernel does not tell the place,
/// and titles then are not shown.
///
/// # Safety
/// No other thread runs yet, and nothing keeps pointers that getenv returned.
pub unsafe fn init() -> bool {
    let mut place = PLACE.lock().expect("no code panics while holding it");
    if place.is_some() {
        return true;
    }
    let Some((args, env)) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|s| areas(&s))
    else {
        return false;
    };
    let end = if env.start == args.end { env.end } else { args.end };
    // SAFETY: the caller vouches that nothing else reads or changes the environment. The array ends with
    // a null, its strings with a 0; the copies are never freed.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            if (args.start..end).contains(&(*at as usize)) {
                let copy = libc::strdup(*at);
                if copy.is_null() {
                    return false;
                }
                *at = copy;
            }
            at = at.add(1);
        }
    }
    *place = Some(Place { start: args.start, arguments: args.len(), len: end - args.start });
    true
}

/// Where arguments and environment lie: fields 48 to 51 of the line. The second field, a name in
/// parentheses, may hold anything, so counting begins behind it.
fn areas(stat: &str) -> Option<(Range<usize>, Range<usize>)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(48 - 3);
    let mut next = || fields.next()?.parse::<usize>().ok();
    let (args, env) = (next()?..next()?, next()?..next()?);
    (args.start > 0 && args.start < args.end && env.start <= env.end).then_some((args, env))
}

/// Shows `title`, as much of it as there is room for.
pub fn set(title: &[u8]) {
    let place = PLACE.lock().expect("no code panics while holding it");
    let Some(place) = place.as_ref() else { return };
    let title = title.split(|&b| b == 0).next().unwrap_or_default();
    // SAFETY: this stretch of the stack is mapped for the life of the process; `init` has moved the
    // environment out of it, and the lock keeps other writers away. Its last byte stays 0, so that
    // a reader that still takes it for the arguments finds an end.
    let memory = unsafe { std::slice::from_raw_parts_mut(place.start as *mut u8, place.len) };
    write_title(memory, place.arguments, title);
}

fn write_title(memory: &mut [u8], arguments: usize, title: &[u8]) {
    debug_assert!(arguments > 0 && arguments <= memory.len());
    let n = title.len().min(memory.len() - 1);
    memory.fill(0);
    memory[..n].copy_from_slice(&title[..n]);
    // A byte other than 0 where the arguments ended: a blank if it borders on the title.
    let mark = arguments - 1;
    if arguments < memory.len() && n <= mark {
        memory[mark] = if n == mark { b' ' } else { b'.' };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{respawn, role};

    fn vars() -> Vars<'static> {
        Vars {
            title: b"./redis-server",
            bind: Some(b"127.0.0.1"),
            port: 6379,
            tls_port: 6380,
            unixsocket: b"/tmp/s",
            config_file: None,
            cluster: false,
            sentinel: false,
        }
    }

    fn text(template: &str, vars: &Vars<'_>) -> Option<String> {
        expand(template.as_bytes(), vars).map(|t| String::from_utf8(t).expect("text"))
    }

    #[test]
    fn templates_expand() {
        let v = vars();
        let t = |s: &str| text(s, &v);
        let default = "{title} {listen-addr} {server-mode}";
        assert_eq!(t(default).as_deref(), Some("./redis-server 127.0.0.1:6379"));
        let cluster = Vars { cluster: true, ..v };
        assert_eq!(text(default, &cluster).as_deref(), Some("./redis-server 127.0.0.1:6379 [cluster]"));
        let sentinel = Vars { sentinel: true, bind: None, port: 0, ..v };
        assert_eq!(text(default, &sentinel).as_deref(), Some("./redis-server *:6380 [sentinel]"));
        let unix = Vars { port: 0, tls_port: 0, ..v };
        assert_eq!(text("{listen-addr}", &unix).as_deref(), Some("unixsocket:/tmp/s"));
        assert_eq!(
            t("{port}/{tls-port} {unixsocket} {config-file}").as_deref(),
            Some("6379/6380 /tmp/s -")
        );
        assert_eq!(t("a {{b} }c ").as_deref(), Some("a {b} }c"));
        for bad in ["{", "x{title", "{nothing}", "{}", "{ title}"] {
            assert_eq!(t(bad), None, "{bad}");
        }
    }

    #[test]
    fn templates_must_yield_something_without_a_title() {
        let v = vars();
        assert!(valid(b"{title} {port}", &v) && valid(b"x", &v));
        assert!(
            !valid(b"{title}", &v)
                && !valid(b"", &v)
                && !valid(b"   ", &v)
                && !valid(b"{invalid-var}", &v)
        );
    }

    #[test]
    fn the_place_is_found_whatever_the_name() {
        let fields: Vec<String> = (3..=52).map(|n| (n * 10).to_string()).collect();
        let stat = format!("1 (a) b) {}", fields.join(" "));
        assert_eq!(areas(&stat), Some((480..490, 500..510)));
        assert_eq!(areas("1 (a) S 0"), None);
        let hidden = format!("1 (a) {}", vec!["0"; 50].join(" "));
        assert_eq!(areas(&hidden), None);
    }

    /// What the kernel makes of the memory: the arguments' stretch, or one string where its last byte
    /// is not 0.
    fn shown(memory: &[u8], arguments: usize) -> &[u8] {
        match memory[arguments - 1] {
            0 => &memory[..arguments],
            _ => memory.split(|&b| b == 0).next().expect("at least one part"),
        }
    }

    #[test]
    fn titles_of_every_length_show_as_they_are() {
        let title: Vec<u8> = (0..40).map(|n| b'a' + n % 26).collect();
        for (arguments, len) in [(10, 30), (1, 2), (30, 30), (5, 6)] {
            for n in 0..40 {
                let mut memory = vec![b'#'; len];
                write_title(&mut memory, arguments, &title[..n]);
                assert_eq!(memory.last(), Some(&0));
                let want = &title[..n.min(len - 1)];
                let got = shown(&memory, arguments);
                let got = got.strip_suffix(b" ").unwrap_or(got);
                let got = &got[..got.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1)];
                if arguments == 1 && n == 0 {
                    continue; // no room to show nothing
                }
                assert_eq!(got, want, "{arguments} {len} {n}");
            }
        }
    }

    #[test]
    fn the_title_shows_and_the_environment_lives_on() {
        if role().is_none() {
            let mut c =
                respawn("sys::proctitle::tests::the_title_shows_and_the_environment_lives_on", "child");
            let out = c.env("KEPT", "x".repeat(1000)).output().expect("runs");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
            return;
        }
        set(b"before its place is known");
        // SAFETY: libtest's main thread only waits meanwhile.
        assert!(unsafe { init() });
        // SAFETY: as above.
        assert!(unsafe { init() });
        for title in ["short".to_owned(), format!("long {}", "y".repeat(600)), "redis *:6379".to_owned()]
        {
            set(title.as_bytes());
            let got = std::fs::read("/proc/self/cmdline").expect("readable");
            let got = String::from_utf8(got).expect("text");
            assert_eq!(got.trim_end_matches(['\0', ' ']), title);
            assert_eq!(std::env::var("KEPT").expect("kept"), "x".repeat(1000));
        }
    }
}
