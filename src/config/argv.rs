//! The command line: what is asked for, and its options as text of a configuration file.
//!
//! ```text
//! redis-server                       [file] [-] [--name value...]...
//! redis-server -v | --version | -h | --help | --check-system | --test-memory <megabytes>
//! ```
//!
//! Each `--name` starts a line of its own, whatever follows is its values, quoted. A value may itself
//! begin with `--` when it stands right behind a name, because a name needs a value: `--port --bla` is
//! `port "--bla"`. The exceptions are `--save` and `--sentinel`, which may stand alone. An argument
//! such as `"--port 6380"` holds name and value, so it needs nothing behind it. A lone `-` in the first
//! or the last place stands for standard input.

use std::os::unix::ffi::OsStringExt;

use crate::algo::quote;

/// What the process was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    Version,
    Help,
    CheckSystem,
    /// Megabytes; `None` when their number is missing, which is an error.
    TestMemory(Option<Vec<u8>>),
    Serve(CommandLine),
}

/// Where the configuration of a server is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The configuration file, as an absolute path.
    pub file: Option<Vec<u8>>,
    pub stdin: bool,
    /// The options as lines of a configuration.
    pub text: Vec<u8>,
    /// There were no arguments at all.
    pub bare: bool,
}

/// Reads the arguments behind the program's name.
pub fn parse(args: &[Vec<u8>]) -> Invocation {
    match args {
        [] => return Invocation::Serve(CommandLine { bare: true, ..CommandLine::default() }),
        [first, rest @ ..] => match (first.as_slice(), rest) {
            (b"-v" | b"--version", _) => return Invocation::Version,
            (b"-h" | b"--help", _) => return Invocation::Help,
            (b"--check-system", _) => return Invocation::CheckSystem,
            (b"--test-memory", [megabytes]) => {
                return Invocation::TestMemory(Some(megabytes.clone()));
            }
            (b"--test-memory", _) => return Invocation::TestMemory(None),
            _ => {}
        },
    }
    let (file, args, first_is_file) = match args.split_first() {
        Some((file, rest)) if !file.starts_with(b"-") => (Some(absolute_path(file)), rest, true),
        _ => (None, args, false),
    };
    let (text, stdin) = options_text(args, first_is_file);
    Invocation::Serve(CommandLine { file, stdin, text, bare: false })
}

/// How an argument that begins with `--` relates to what may follow.
enum Name {
    /// Needs a value.
    Open,
    /// `--save` or `--sentinel` with nothing behind it.
    Alone(&'static [u8]),
    /// Has its value with it.
    Whole,
}

fn classify(arg: &[u8], next: Option<&Vec<u8>>) -> Name {
    if quote::split_args(arg).is_none_or(|parts| parts.len() != 1) {
        return Name::Whole;
    }
    let ends = next.is_none_or(|next| next.starts_with(b"--"));
    match arg {
        _ if !ends => Name::Open,
        _ if arg.eq_ignore_ascii_case(b"--save") => Name::Alone(b"\"\""),
        _ if arg.eq_ignore_ascii_case(b"--sentinel") => Name::Alone(b""),
        _ => Name::Open,
    }
}

fn options_text(args: &[Vec<u8>], first_is_file: bool) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    let mut stdin = false;
    // Whether the last name has its value, so that `--` begins the next name.
    let mut complete = true;
    for (index, arg) in args.iter().enumerate() {
        let next = args.get(index.saturating_add(1));
        let at_an_end = (index == 0 && !first_is_file) || next.is_none();
        match arg.strip_prefix(b"--") {
            None if arg == b"-" && at_an_end => stdin = true,
            Some(name) if complete => {
                if !text.is_empty() {
                    text.push(b'\n');
                }
                text.extend_from_slice(name);
                text.push(b' ');
                complete = match classify(arg, next) {
                    Name::Whole => true,
                    Name::Open => false,
                    Name::Alone(value) => {
                        text.extend_from_slice(value);
                        true
                    }
                };
            }
            _ => {
                quote::push_repr(&mut text, arg);
                text.push(b' ');
                complete = true;
            }
        }
    }
    (text, stdin)
}

/// An absolute path for a file name: leading `../` are resolved, nothing else is.
fn absolute_path(name: &[u8]) -> Vec<u8> {
    let mut name = name.trim_ascii();
    if name.starts_with(b"/") {
        return name.to_vec();
    }
    let Ok(dir) = std::env::current_dir() else { return name.to_vec() };
    let mut dir = dir.into_os_string().into_vec();
    while let Some(rest) = name.strip_prefix(b"../") {
        name = rest;
        let parent = dir.iter().rposition(|b| *b == b'/').unwrap_or(0);
        dir.truncate(parent);
    }
    if !dir.ends_with(b"/") {
        dir.push(b'/');
    }
    dir.extend_from_slice(name);
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> CommandLine {
        let args: Vec<Vec<u8>> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        match parse(&args) {
            Invocation::Serve(options) => options,
            other => panic!("{other:?}"),
        }
    }

    fn text(args: &[&str]) -> String {
        String::from_utf8(serve(args).text).expect("ASCII")
    }

    #[test]
    fn options_become_lines() {
        assert_eq!(
            text(&["--port", "6380", "--save", "", "--save", "60", "1"]),
            "port \"6380\" \nsave \"\" \nsave \"60\" \"1\" "
        );
        assert_eq!(text(&["--port", "1", "2"]), "port \"1\" \"2\" ");
        assert_eq!(text(&["--port"]), "port ");
        assert_eq!(
            text(&["--maxmemory 700mb", "--loglevel debug"]),
            "maxmemory 700mb \nloglevel debug "
        );
        assert_eq!(text(&["f.conf", "loglevel", "verbose"]), "\"loglevel\" \"verbose\" ");
    }

    #[test]
    fn values_may_look_like_names() {
        assert_eq!(text(&["--port", "--loglevel", "verbose"]), "port \"--loglevel\" \"verbose\" ");
        assert_eq!(text(&["--a", "--b", "--c", "d"]), "a \"--b\" \nc \"d\" ");
        assert_eq!(text(&["--a \"x", "--b"]), "a \"x \nb ", "unbalanced quotes count as a value");
    }

    #[test]
    fn save_and_sentinel_may_stand_alone() {
        assert_eq!(text(&["--save", "--loglevel", "verbose"]), "save \"\"\nloglevel \"verbose\" ");
        assert_eq!(text(&["--loglevel", "verbose", "--SAVE"]), "loglevel \"verbose\" \nSAVE \"\"");
        assert_eq!(text(&["--sentinel", "--port", "1"]), "sentinel \nport \"1\" ");
        assert_eq!(text(&["--x", "--save", "--save", ""]), "x \"--save\" \nsave \"\" ");
    }

    #[test]
    fn standard_input() {
        assert!(serve(&["-"]).stdin);
        assert!(serve(&["-", "--port", "1"]).stdin);
        assert!(serve(&["--port", "1", "-"]).stdin);
        let options = serve(&["--bind", "-", "--port", "1"]);
        assert!(!options.stdin);
        assert_eq!(options.text, b"bind \"-\" \nport \"1\" ");
        assert!(!serve(&["f.conf", "-", "x"]).stdin);
    }

    #[test]
    fn special_invocations() {
        let parse = |args: &[&str]| {
            super::parse(&args.iter().map(|arg| arg.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(parse(&["-v"]), Invocation::Version);
        assert_eq!(parse(&["--version", "--port", "1"]), Invocation::Version);
        assert_eq!(parse(&["-h"]), Invocation::Help);
        assert_eq!(parse(&["--test-memory"]), Invocation::TestMemory(None));
        assert_eq!(parse(&["--test-memory", "5"]), Invocation::TestMemory(Some(b"5".to_vec())));
        assert_eq!(parse(&["--check-system"]), Invocation::CheckSystem);
        assert!(matches!(parse(&[]), Invocation::Serve(CommandLine { bare: true, .. })));
    }

    #[test]
    fn files_are_absolute() {
        assert_eq!(absolute_path(b" /a/../b "), b"/a/../b");
        let here = std::env::current_dir().expect("a working directory").into_os_string().into_vec();
        assert_eq!(absolute_path(b"a.conf"), [here.as_slice(), b"a.conf"].join(&b'/'));
        let up = absolute_path(b"../a.conf");
        assert!(up.ends_with(b"/a.conf") && up.len() < here.len() + 7);
        let top = b"../".repeat(100);
        assert_eq!(absolute_path(&[top.as_slice(), b"a"].concat()), b"/a");
    }
}
