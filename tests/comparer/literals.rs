//! Literals of random scripts: numbers, strings, patterns, formats.

use super::values::pick;
use oxidis::algo::rng::Rng;

/// A name that begins as another one does stands before it.
pub const NAMES: &[&str] = &[
    "INT", "FLOAT", "POS", "NINE", "THREE", "BYTE", "QS", "WORD", "LONGKEY", "LONGK", "PAT", "JSON",
    "MSGPACK", "STRUCT", "FLAG", "SIGN",
];

const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "8",
    "10",
    "15",
    "16",
    "31",
    "32",
    "33",
    "100",
    "127",
    "128",
    "255",
    "256",
    "-128",
    "-129",
    "999",
    "32767",
    "65535",
    "65536",
    "-32769",
    "999999",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "99999999999999",
    "100000000000000",
    "999999999999999",
    "1000000000000000",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e15",
    "1e16",
    "0x10",
    "0xff",
    "0xffffffff",
    "0xFFFFFFFFFFFFFFFF",
];

const FLOATS: &[&str] = &[
    "0.1",
    "0.5",
    "-0.5",
    "1.5",
    "-1.5",
    "2.5",
    "0.25",
    "3.14159265358979",
    "1/3",
    "2/3",
    "1e100",
    "-1e100",
    "1e-100",
    "1e308",
    "1e309",
    "1.7976931348623157e308",
    "5e-324",
    "2.2250738585072014e-308",
    "123456.789",
    "1e14 + 0.5",
    "1e15 + 0.5",
    "0.1 + 0.2",
    "99999999999999.9",
    "999999999999999.9",
    "1e21",
    "1e-5",
    "0.0001",
    "0.00001",
    ".5",
    "5.",
    "3e0",
    "1E2",
    "-0",
    "(0/0)",
    "(1/0)",
    "(-1/0)",
    "4.35",
    "1.005",
    "1e22",
    "123456789.12345678",
];

const STRINGS: &[&str] = &[
    "",
    "a",
    "b",
    "c",
    "abc",
    "hello world",
    "Hello, World!",
    "10",
    "0x10",
    "0xg",
    "1e3",
    " 5 ",
    "5 5",
    "nan",
    "inf",
    "-inf",
    "-0",
    "1.5",
    "1e400",
    "0x",
    "1e",
    ".",
    "-",
    "+5",
    "- 5",
    "\\n",
    "\\0",
    "a\\0b",
    "\\255\\254",
    "\\r\\n",
    "\\t",
    "\\\\",
    "\\'",
    "\\\"",
    "a\\\nb",
    "aaa",
    "aXbXc",
    "key=value",
    "one two  three",
    "%d",
    "%s",
    "%5.1f",
    "100%",
    "a.b.c",
    "[x]",
    "(x)",
    "x,y,,z",
    "\\195\\169",
    "\\226\\130\\172",
    "ERR",
    "ERR x",
    "MY code",
    "-ERR x",
    "count",
    "step",
    "collect",
    "k1",
    "list",
    "0",
    "1",
    "2",
    "true",
    "nil",
    "\\7\\8\\27\\127",
];

const WORDS: &[&str] = &[
    "x", "y", "a", "b", "k", "id", "name", "value", "len", "sub", "n", "key", "foo", "bar", "user",
    "items", "count", "price", "upper", "rep", "call", "insert", "err", "ok", "q", "__index", "e5", "f",
    "d", "i",
];

const ATOMS: &[&str] = &[
    ".",
    "a",
    "b",
    "l",
    "%a",
    "%d",
    "%s",
    "%w",
    "%p",
    "%l",
    "%u",
    "%x",
    "%c",
    "%z",
    "%A",
    "%D",
    "%S",
    "%.",
    "%%",
    "[a-c]",
    "[^a]",
    "[%a_]",
    "[%w%s]",
    "[]]",
    "[^]]",
    "[a-]",
    "[-a]",
    "()",
    "(.)",
    "(a)",
    "(%a+)",
    "(%d*)",
    "((.).)",
    "%1",
    "%b()",
    "%bxx",
    "%f[%a]",
    "%f[%w]",
    " ",
    "\\0",
    "[\\0-\\31]",
    "x*",
    "(.-)",
    "%g",
];

const ODD_PATTERNS: &[&str] = &[
    "",
    "^",
    "$",
    "^$",
    "%",
    "[",
    "[a",
    "[^",
    "[]",
    "[%",
    "(",
    ")",
    "(()",
    "())",
    "%b",
    "%bx",
    "%f",
    "%fa",
    "%1",
    "%2",
    "(%1)",
    "(a)%2",
    "(.",
    ".)",
    "*",
    "-",
    "+",
    "?",
    "a**",
    "a-",
    "^*",
    "^^",
    "$$",
    "a$b",
    "a^b",
    "%0",
    "[z-a]",
    "[a-%z]",
    "[%a-z]",
    "^(.-)$",
    "(.*)(.*)",
    "()a()",
    "^%s*(.-)%s*$",
    "(%w+)=(%w+)",
    "[^,]*",
    "%w+",
];

const ODD_JSON: &[&str] = &[
    "",
    " ",
    "[",
    "]",
    "{",
    "}",
    "[1,]",
    "[,1]",
    "{\"a\":}",
    "{\"a\"}",
    "{a:1}",
    "[1 2]",
    "nul",
    "truex",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "Infinity",
    "-Infinity",
    "01",
    "1.",
    ".5",
    "-",
    "+1",
    "1e",
    "0x10",
    "1e5",
    "-0",
    "1e400",
    "\"a",
    "\"\\\\x\"",
    "\"\\\\u12\"",
    "\"\\\\ud800\"",
    "\"\\\\ud83d\\\\ude00\"",
    "\"\\\\udc00\"",
    "\"\\\\u0000\"",
    "\"\\\\u00e9\\\\n\\\\t\\\\/\"",
    "[1]x",
    "[[[[1]]]]",
    "{\"a\":1,\"a\":2}",
    "\"\\1\"",
    "\\0",
    "[1,\\0]",
    "\\239\\187\\191[1]",
    "'a'",
    "[true,false,null]",
    "{\"1\":1,\"2\":2}",
    "123456789012345678901234567890",
    "1e-400",
    "[1.0,2.50,1E2]",
    "// c",
    "/* c */ 1",
    "[nan,inf]",
    "tRue",
    "NULL",
    "{}",
    "[]",
    "[{}]",
    "\"\"",
    "1",
    "\"x\"",
    "null",
];

const FORMATS: &[&str] = &[
    "b", "B", "h", "H", "i", "I", "l", "L", "T", "f", "d", "n", "s", "x", "i1", "I2", "i3", "I4", "i8",
    "I8", "i16", "I32", "i33", "I0", "c0", "c1", "c3", "c9", "s", ">", "<", "!", "!4", "!8", "!3", "=",
    " ", "j", "c",
];

pub fn write(name: &str, rng: &mut Rng, out: &mut Vec<u8>) {
    let made = match name {
        "INT" if rng.below(3) == 0 => (rng.below(2_000) as i64 - 1_000).to_string(),
        "INT" => pick(rng, INTEGERS).to_string(),
        "FLOAT" => float(rng),
        "POS" => (rng.below(13) as i64 - 3).to_string(),
        "NINE" => (1 + rng.below(9)).to_string(),
        "THREE" => (1 + rng.below(3)).to_string(),
        "BYTE" => byte(rng).to_string(),
        "QS" => quoted(rng),
        "WORD" => pick(rng, WORDS).to_string(),
        "LONGK" => format!("{}_{:04}", "customer_record_field".repeat(2), rng.below(10_000)),
        "LONGKEY" => long_key(rng),
        "PAT" => pattern(rng),
        "JSON" => format!("'{}'", json(rng, 0).replace('\'', "\\'")),
        "MSGPACK" => format!("'{}'", msgpack(rng)),
        "STRUCT" => (0..1 + rng.below(4)).map(|_| pick(rng, FORMATS)).collect(),
        "FLAG" => flags(rng),
        "SIGN" => pick(rng, &["@", "=", ""]).to_string(),
        other => panic!("no literal {other}"),
    };
    out.extend_from_slice(made.as_bytes());
}

fn float(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => format!("{:e}", f64::from_bits(rng.next_u64() & !(1 << 62) | 1 << 61)),
        1 => format!("{}", (rng.below(2_000_000) as f64 - 1e6) / 1e3),
        _ => pick(rng, FLOATS).to_string(),
    }
}

fn byte(rng: &mut Rng) -> i64 {
    match rng.below(40) {
        0 => 256,
        1 => -1,
        2..10 => rng.below(256) as i64,
        _ => 32 + rng.below(95) as i64,
    }
}

fn quoted(rng: &mut Rng) -> String {
    let text = match rng.below(12) {
        0 => (0..rng.below(14)).map(|_| format!("\\{:03}", rng.below(256))).collect(),
        1 => return long_key(rng),
        2 => pick(rng, WORDS).to_string(),
        _ => pick(rng, STRINGS).to_string(),
    };
    let quote = if text.contains('\'') && !text.contains("\\'") { '"' } else { '\'' };
    format!("{quote}{text}{quote}")
}

/// More than 32 bytes, of which most are the same in every one.
fn long_key(rng: &mut Rng) -> String {
    let name = pick(rng, &["user", "session", "a"]);
    let zeros = "0".repeat(24 + rng.index(30));
    let tail = pick(rng, &["", ":profile", ":settings:of:the:day"]);
    match rng.below(3) {
        0 => format!("'{name}:{zeros}{}{tail}'", rng.below(100)),
        1 => format!("'{name}:{}{zeros}{tail}'", rng.below(100)),
        _ => format!("'{}:{name}{zeros}{tail}'", rng.below(100)),
    }
}

fn pattern(rng: &mut Rng) -> String {
    if rng.below(3) == 0 {
        return format!("'{}'", pick(rng, ODD_PATTERNS));
    }
    let mut text = String::from(if rng.below(6) == 0 { "^" } else { "" });
    // Few of them: what a pattern tries is a product.
    for _ in 0..1 + rng.below(3) {
        text += pick(rng, ATOMS);
        text += pick(rng, &["", "", "", "*", "+", "-", "?"]);
    }
    text += if rng.below(6) == 0 { "$" } else { "" };
    format!("'{text}'")
}

fn json(rng: &mut Rng, depth: usize) -> String {
    let blank = pick(rng, &["", "", "", " ", "\\n", "\\t "]);
    let text = match rng.below(if depth < 3 { 12 } else { 7 }) {
        0 if depth > 0 || rng.below(3) > 0 => pick(rng, ODD_JSON).to_string(),
        0 | 1 => pick(rng, &["true", "false", "null", "0", "-1", "[]", "{}"]).to_string(),
        2 | 3 => pick(rng, INTEGERS).to_string(),
        4 => pick(rng, FLOATS).replace(['(', ')'], ""),
        5 | 6 => format!("\"{}\"", pick(rng, WORDS)),
        7..10 => {
            let items: Vec<String> = (0..rng.below(5)).map(|_| json(rng, depth + 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => {
            let item = |rng: &mut Rng| match rng.below(4) {
                0 => format!("\"{}\":{}", long_key(rng).trim_matches('\''), json(rng, depth + 1)),
                1 => format!("\"{}\":{}", rng.below(12), json(rng, depth + 1)),
                _ => format!("\"{}\":{}", pick(rng, WORDS), json(rng, depth + 1)),
            };
            let items: Vec<String> = (0..rng.below(6)).map(|_| item(rng)).collect();
            format!("{{{}}}", items.join(","))
        }
    };
    format!("{blank}{text}{blank}")
}

/// Bytes that begin as values of every kind do.
fn msgpack(rng: &mut Rng) -> String {
    let mut bytes = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let kind = match rng.below(6) {
            0 => rng.below(128) as u8,
            1 => 0x80 | rng.below(4) as u8,
            2 => 0x90 | rng.below(4) as u8,
            3 => 0xa0 | rng.below(6) as u8,
            _ => 0xc0 | rng.below(64) as u8,
        };
        bytes.push(kind);
        bytes
            .extend((0..rng.below(9)).map(|_| if rng.below(2) == 0 { 0 } else { rng.below(256) as u8 }));
    }
    bytes.iter().map(|b| format!("\\{b:03}")).collect()
}

fn flags(rng: &mut Rng) -> String {
    let mut text: String = (0..rng.below(3)).map(|_| pick(rng, &["-", "+", " ", "#", "0"])).collect();
    if rng.below(3) == 0 {
        text += &rng.below(30).to_string();
    }
    if rng.below(3) == 0 {
        text += &format!(".{}", rng.below(20));
    }
    if rng.below(60) == 0 {
        text += pick(rng, &["-----", "123", ".123", ".", "+-+-+-+", "*", "l", "h"]);
    }
    text
}
