//! Rules for comments: a thing has its name, and a ruler is one line.

use super::text::{comments, line_of, words};

/// A sentence with one of these leaves open which thing it is about.
const PRONOUNS: &[&str] = &[
    "who",
    "whom",
    "whoever",
    "whomever",
    "somebody",
    "someone",
    "nobody",
    "anybody",
    "anyone",
    "everybody",
    "everyone",
];

/// Words that stand for a thing where its name belongs: the client, the replica, the caller.
pub fn unnamed(file: &str, text: &str) -> Vec<String> {
    let comments = comments(text).to_ascii_lowercase();
    let mut wrong = Vec::new();
    for word in PRONOUNS {
        for at in words(&comments, word) {
            let line = line_of(&comments, at);
            wrong.push(format!("{file}:{line}: `{word}` in a comment; write the thing's name"));
        }
    }
    wrong
}

/// Lines of dashes alone: the second half of a ruler that a formatter has broken.
pub fn broken_rulers(file: &str, text: &str) -> Vec<String> {
    let is_half = |line: &str| {
        let dashes = line.trim_start().strip_prefix("//").map(str::trim);
        dashes.is_some_and(|d| d.len() > 4 && d.bytes().all(|c| c == b'-'))
    };
    let halves = text.lines().enumerate().filter(|(_, line)| is_half(line));
    halves.map(|(n, _)| format!("{file}:{}: a ruler is one line: `// ---- name ----`", n + 1)).collect()
}

#[test]
fn unnamed_things_can_fail() {
    let check = |text: &str| unnamed("src/a.rs", text);
    assert_eq!(
        check("let a = 1;\n// Whoever calls.\n"),
        ["src/a.rs:2: `whoever` in a comment; write the thing's name"]
    );
    for line in ["//! For those who wait.", "/// NOBODY's.", "f(); // someone", "/* a /* b */ who */"] {
        assert_eq!(check(line).len(), 1, "{line}");
    }
    for line in
        ["// A client whose key is whole.", "fn who() {}", "let s = \"// who\"; // is it", "r#\"who\"#"]
    {
        assert!(check(line).is_empty(), "{line}");
    }
}

#[test]
fn broken_rulers_can_fail() {
    let check = |text: &str| broken_rulers("src/a.rs", text);
    let dashes = "-".repeat(80);
    assert_eq!(
        check(&format!("    // ---- name\n    // {dashes}\n")),
        ["src/a.rs:2: a ruler is one line: `// ---- name ----`"]
    );
    assert!(check(&format!("// ---- name {dashes}\n//! ----\n// - a point\n{dashes}\n")).is_empty());
}
