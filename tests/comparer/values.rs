//! Every value that the comparer puts into a command.
//!
//! Values are chosen by type and name of the argument, as COMMAND DOCS gives them (`of`). Half of each list
//! is ordinary, so that commands do something; the other half is at the edge of what is allowed, or beyond.
//!
//! Two things are kept out on purpose: times that would run out during a run (a key would expire on one side
//! a moment earlier than on the other), and sizes that would make a server allocate gigabytes.

use super::tree::{Arg, Type};
use oxidis::algo::rng::Rng;
use oxidis::persist::rdb::save::functions_payload;

type Bytes = &'static [u8];

/// The types of the pool's keys, with the command group that works on them.
pub const POOL: &[(&str, &[Bytes])] = &[
    ("string", &[b"s:1", b"s:2", b"s:3", b"s:4", b"s:5", b"s:6", b"s:int", b"s:bits", b""]),
    ("list", &[b"l:1", b"l:2", b"l:3", b"l:4", b"l:{tag}"]),
    ("set", &[b"t:1", b"t:2", b"t:3", b"t:4", b"t:5"]),
    ("hash", &[b"h:1", b"h:2", b"h:3", b"h:4", b"h\r\n\0\xff:5"]),
    ("sorted-set", &[b"z:1", b"z:2", b"z:3", b"z:4", b"z:5"]),
    ("geo", &[b"g:1", b"g:2"]),
    ("stream", &[b"x:1", b"x:2", b"x:3"]),
    ("hyperloglog", &[b"p:1", b"p:2"]),
];

/// The databases that are used.
pub const DATABASES: &[Bytes] = &[b"0", b"1", b"9", b"15"];

/// Keys that nothing makes on purpose.
pub const OTHER_KEYS: &[Bytes] = &[b"new:1", b"new:2", b"new:3", b"w_1", b"w_a", b"__none__"];

pub const TEXTS: &[Bytes] = &[
    b"",
    b"a",
    b"foo",
    b"foobar",
    b"hello world",
    b"12",
    b"-5",
    b"007",
    b"1.5",
    b"3e2",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"\x00\x01\xff\xfe",
    b"line\r\nend",
    b"'quoted' \"twice\"",
    b"0123456789012345678901234567890123456789abcd",
    b"0123456789012345678901234567890123456789abcde",
    &[b'x'; 65],
    &[b'y'; 700],
    "\u{fc}ml\u{e4}ut".as_bytes(),
];

/// Past the sizes from which a request or a reply is handled in another way; seldom.
pub const BIG_TEXTS: &[Bytes] = &[&[b'k'; 16_384], &[b'K'; 17_000], &[b'm'; 32_768], &[b'M'; 70_000]];

/// Members, fields and elements: few, so that commands meet them again; short integers among them.
pub const MEMBERS: &[Bytes] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"f1",
    b"f2",
    b"f3",
    b"1",
    b"2",
    b"3",
    b"100",
    b"-7",
    b"3.5",
    b"70000",
    b"5000000000",
    b"",
    b"nosuch",
    b"Palermo",
    b"Catania",
    &[b'm'; 80],
];

pub const INTEGERS: &[Bytes] = &[
    b"0",
    b"1",
    b"-1",
    b"10",
    b"-100",
    b"255",
    b"256",
    b"65536",
    b"2147483647",
    b"-2147483648",
    b"4294967296",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"01",
    b"+1",
    b" 1",
    b"1 ",
    b"-0",
    b"1.0",
    b"1e2",
    b"0x10",
    b"",
    b"abc",
];

/// How many: no big negative numbers, with which random picks repeat without end.
const COUNTS: &[Bytes] = &[
    b"0",
    b"1",
    b"2",
    b"3",
    b"5",
    b"10",
    b"100",
    b"-1",
    b"-2",
    b"-7",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"abc",
    b"",
];
/// Offsets of bytes or bits within small strings, and some that are refused.
const OFFSETS: &[Bytes] = &[
    b"0",
    b"1",
    b"5",
    b"7",
    b"8",
    b"63",
    b"64",
    b"100",
    b"1000",
    b"#0",
    b"#1",
    b"#3",
    b"-1",
    b"4294967296",
    b"8388607",
    b"8388608",
    b"9223372036854775807",
    b"x",
];
const BITS: &[Bytes] = &[b"0", b"1", b"0", b"1", b"0", b"1", b"2", b"-1", b"x"];
const DBS: &[Bytes] = &[b"0", b"0", b"1", b"9", b"15", b"16", b"-1", b"x"];
const CURSORS: &[Bytes] = &[b"0", b"0", b"0", b"0", b"17", b"-1", b"18446744073709551616", b"x"];

const SECONDS: &[Bytes] = &[
    b"100000",
    b"1000000",
    b"0",
    b"-1",
    b"-100000",
    b"9223372036854775",
    b"9223372036854776",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"x",
];
const MILLISECONDS: &[Bytes] =
    &[b"100000000", b"1000000000", b"0", b"-1", b"9223372036854775807", b"-9223372036854775808", b"1.5"];
const UNIX_SECONDS: &[Bytes] =
    &[b"99999999999", b"33177117420", b"1", b"0", b"-1", b"9223372036854775807", b"x"];
const UNIX_MILLISECONDS: &[Bytes] =
    &[b"99999999999999", b"33177117420000", b"1", b"0", b"-1", b"9223372036854775807", b"x"];
const TTLS: &[Bytes] = &[b"0", b"0", b"100000000", b"-1", b"x"];
/// Milliseconds and seconds of a wait: hardly any.
const SHORT_MILLISECONDS: &[Bytes] = &[b"1", b"2", b"-1", b"x"];
const SHORT_SECONDS: &[Bytes] = &[b"0.001", b"0.002", b"-1", b"x", b"nan"];
const IDLE: &[Bytes] = &[b"0", b"0", b"99999999", b"-1", b"x"];

const DOUBLES: &[Bytes] = &[
    b"0",
    b"1",
    b"-1",
    b"1.5",
    b"-2.25",
    b"3e2",
    b"0.1",
    b"1e-7",
    b"1e17",
    b"-0",
    b"17976931348623157e292",
    b"1e400",
    b"5e-324",
    b"inf",
    b"+inf",
    b"-inf",
    b"infinity",
    b"nan",
    b" 1",
    b"1 ",
    b"0x10",
    b"1.",
    b".5",
    b"",
    b"abc",
    b"3.14159265358979323846",
    b"9007199254740993",
];
const LONGITUDES: &[Bytes] = &[b"13.361389", b"15.087269", b"0", b"-122.4", b"180", b"-181", b"x"];
const LATITUDES: &[Bytes] = &[b"38.115556", b"37.502669", b"0", b"-45.5", b"85.05", b"86", b"x"];
const DISTANCES: &[Bytes] = &[b"100", b"200", b"5000", b"0", b"30000", b"1.5", b"-1", b"x"];

const SCORE_BOUNDS: &[Bytes] = &[
    b"-inf", b"+inf", b"0", b"(0", b"1", b"(1", b"2", b"5", b"(5", b"-1", b"(-inf", b"(+inf", b"1.5",
    b"nan", b"(", b"x",
];
const LEX_BOUNDS: &[Bytes] = &[b"-", b"+", b"[a", b"(a", b"[c", b"(d", b"[", b"(", b"a", b"", b"[\xff"];
const STREAM_IDS: &[Bytes] = &[
    b"0",
    b"1",
    b"0-0",
    b"0-1",
    b"1-1",
    b"1-2",
    b"2-1",
    b"3",
    b"5-5",
    b"(1-1",
    b"(2",
    b"-",
    b"+",
    b"$",
    b">",
    b"7-*",
    b"18446744073709551615-18446744073709551615",
    b"(18446744073709551615-18446744073709551615",
    b"1-x",
    b"x",
    b"",
];
/// For XADD, which takes them in order only.
const NEW_STREAM_IDS: &[Bytes] =
    &[b"9-1", b"9-2", b"10-*", b"10-1", b"11", b"12-*", b"0-0", b"1-1", b"x-1"];

const GROUPS: &[Bytes] = &[b"g1", b"g1", b"g2", b"nogroup"];
const CONSUMERS: &[Bytes] = &[b"c1", b"c1", b"c2", b"new"];
const FIELD_TYPES: &[Bytes] =
    &[b"u8", b"i8", b"u1", b"i5", b"u63", b"i64", b"i16", b"u64", b"i0", b"U8", b"x", b""];
const PATTERNS: &[Bytes] = &[
    b"*", b"s:*", b"?:1", b"[st]:*", b"h*:?", b"f[1-2]", b"[^a]*", b"\\*", b"*\\", b"[", b"", b"a",
    b"**a**",
];
const SORT_PATTERNS: &[Bytes] = &[b"w_*", b"h:*->f1", b"#", b"nosort", b"*", b"s:*", b"h:*->", b"x"];
const TYPES: &[Bytes] = &[b"string", b"list", b"set", b"zset", b"hash", b"stream", b"String", b"none"];
const SCRIPTS: &[Bytes] = &[
    b"return 1",
    b"return {KEYS, ARGV}",
    b"return redis.call('TYPE', KEYS[1])",
    b"return redis.call('GET', KEYS[1])",
    b"return redis.pcall('INCR', KEYS[1])",
    b"return {1, 2.9, 'x', false, {true}}",
    b"return redis.call('SET', KEYS[1], ARGV[1])",
    b"return nosuch",
    b"nosuch = 1",
    b"return nosuch()",
    b"return KEYS.x.y",
    b"return redis.nosuch()",
    b"redis.log(1) return 1",
    b"return tonumber(ARGV[1]) + 1",
    b"this is no Lua",
    b"error('oh no')",
    b"return redis.error_reply('MY error')",
];
/// Scripts that run the command in their arguments.
pub const CALLERS: &[Bytes] = &[
    b"return redis.call(unpack(ARGV))",
    b"local r = redis.call(unpack(ARGV)) return r",
    b"\n  return\n redis.call(unpack(ARGV))\n",
    b"local function f()\n return redis.call(unpack(ARGV))\n end\nreturn f()",
    b"return redis.pcall(unpack(ARGV))",
    b"redis.setresp(3) return redis.call(unpack(ARGV))",
    b"redis.setresp(3) return redis.pcall(unpack(ARGV))",
    b"local r = redis.pcall(unpack(ARGV)) return type(r)",
    b"local r = redis.pcall(unpack(ARGV)) redis.call('INCR', 's:int') return r",
    b"return {redis.pcall(unpack(ARGV)), redis.pcall(unpack(ARGV))}",
    b"return {pcall(redis.call, unpack(ARGV))}",
];
const DIGESTS: &[Bytes] =
    &[b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"ffffffffffffffffffffffffffffffffffffffff", b"x"];
/// Functions that run the command in their arguments, by what they make of replies.
pub const CALLER: Bytes = b"caller";
pub const CALLER_IN_RESP3: Bytes = b"caller3";
/// Flags of functions, and what is none.
const FUNCTION_FLAGS: &[&str] = &[
    "no-writes",
    "no-writes",
    "allow-oom",
    "allow-stale",
    "no-cluster",
    "Allow-Cross-Slot-Keys",
    "raw",
];
/// Some of many more, see `library`.
pub const LIBRARIES: &[Bytes] = &[
    b"#!lua name=lib\nredis.register_function('f', function(k, a) return {k, a} end)",
    b"#!lua name=lib2\nredis.register_function{function_name='g', callback=function() return 7 end, \
      flags={'no-writes'}}",
    b"#!lua name=bad\nreturn 1",
    b"redis.register_function('f', function() end)",
    b"#!python name=lib\nx",
];
const FUNCTIONS: &[Bytes] = &[b"f", b"f", b"F2", b"g", b"G2", b"h", b"caller", b"nosuch"];
const LIBRARY_NAMES: &[Bytes] = &[b"lib", b"lib2", b"lib3", b"nosuch", b"l*", b"*"];
/// Of values; see also `libraries`.
pub const PAYLOADS: &[Bytes] =
    &[b"", b"x", b"\x00\x03abc\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"\xc0\x0c\x0b\x00"];
const NAMES: &[Bytes] = &[b"default", b"nosuch", b"me", b"with space", b""];

/// What may stand anywhere, in place of what belongs there. No small numbers, which could be times.
pub const ODD: &[Bytes] = &[
    b"",
    b"0",
    b"-1",
    b"x",
    b"*",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"nan",
    b"GET",
    b"LIMIT",
    b"COUNT",
    b"s:1",
    b"l:1",
    b"z:1",
    b"\x00",
    &[b'q'; 300],
];

/// The code of a function with flags by chance.
pub fn function(name: &str, body: &[u8], rng: &mut Rng) -> Vec<u8> {
    if rng.below(3) == 0 {
        let begin = format!("redis.register_function('{name}', function(KEYS, ARGV) ");
        return [begin.as_bytes(), body, b"\nend)\n"].concat();
    }
    let mut flags = String::new();
    for _ in 0..rng.below(3) {
        flags += &format!("'{}', ", pick(rng, &FUNCTION_FLAGS[..FUNCTION_FLAGS.len() - 1]));
    }
    if rng.below(20) == 0 {
        flags += "'raw'";
    }
    let about = ["", "description = 'what it does', ", "no_such_argument = 1, "];
    let about = about[usize::try_from(rng.below(24)).unwrap_or(0).saturating_sub(21)];
    let begin = format!(
        "redis.register_function{{function_name = '{name}', {about}flags = {{{flags}}}, callback = \
         function(KEYS, ARGV) "
    );
    [begin.as_bytes(), body, b"\nend}\n"].concat()
}

/// The code of a library. Two share one function at most, so that only one can be told to be there.
pub fn library(rng: &mut Rng) -> Vec<u8> {
    let (name, functions) =
        pick(rng, &[("lib", ["f", "f2"]), ("lib2", ["g", "g2"]), ("lib3", ["f", "h"])]);
    let mut code = format!("#!lua name={name}\n").into_bytes();
    let which = 1 + rng.below(3);
    for (i, f) in functions.iter().enumerate().filter(|(i, _)| which >> i & 1 == 1) {
        let name = if i == 1 && rng.below(4) == 0 { f.to_uppercase() } else { f.to_string() };
        let body = pick(rng, SCRIPTS);
        code.extend_from_slice(&function(&name, body, rng));
    }
    code
}

/// A payload for FUNCTION RESTORE.
pub fn libraries(rng: &mut Rng) -> Vec<u8> {
    let codes: Vec<Vec<u8>> = (0..1 + rng.below(2)).map(|_| library(rng)).collect();
    let codes: Vec<&[u8]> = codes.iter().map(|c| &c[..]).collect();
    let mut payload = functions_payload(&codes, rng.below(2) == 0).expect("memory takes all");
    if rng.below(8) == 0 {
        let at = rng.index(payload.len());
        payload[at] ^= 4;
    }
    payload
}

/// A list of values for an argument that is no key.
pub fn of(group: &str, command: &str, arg: &Arg) -> &'static [Bytes] {
    let token = arg.token.as_deref().unwrap_or("");
    match arg.kind {
        Type::Pattern if matches!(token, "BY" | "GET") => SORT_PATTERNS,
        Type::Pattern => PATTERNS,
        Type::UnixTime if arg.name.contains("milli") => UNIX_MILLISECONDS,
        Type::UnixTime => UNIX_SECONDS,
        Type::Double => double(&arg.name),
        Type::Integer => integer(command, &arg.name, token),
        _ if group == "stream" => stream_text(command, &arg.name),
        _ => text(group, command, &arg.name),
    }
}

fn double(name: &str) -> &'static [Bytes] {
    match name {
        "timeout" => SHORT_SECONDS,
        "longitude" => LONGITUDES,
        "latitude" => LATITUDES,
        "radius" | "width" | "height" => DISTANCES,
        _ => DOUBLES,
    }
}

fn integer(command: &str, name: &str, token: &str) -> &'static [Bytes] {
    match name {
        _ if token == "BLOCK" || token == "TIMEOUT" => SHORT_MILLISECONDS,
        "timeout" => SHORT_MILLISECONDS,
        "count" | "limit" | "num-matches" | "len" | "numkeys" => COUNTS,
        "seconds" => SECONDS,
        "milliseconds" => MILLISECONDS,
        "offset" => OFFSETS,
        "bit" => BITS,
        "value" if command == "setbit" => BITS,
        "db" | "destination-db" | "index1" | "index2" => DBS,
        "index" if command == "select" => DBS,
        "cursor" => CURSORS,
        "ttl" => TTLS,
        "ms" | "min-idle-time" => IDLE,
        "numreplicas" | "numlocal" => &[b"0", b"0", b"-1", b"x"],
        _ => INTEGERS,
    }
}

fn stream_text(command: &str, name: &str) -> &'static [Bytes] {
    match name {
        "group" => GROUPS,
        "consumer" => CONSUMERS,
        "min-idle-time" => IDLE,
        "id" if command == "xadd" => NEW_STREAM_IDS,
        "field" => MEMBERS,
        "value" => TEXTS,
        _ => STREAM_IDS,
    }
}

fn text(group: &str, command: &str, name: &str) -> &'static [Bytes] {
    match name {
        "member" | "member1" | "member2" | "field" | "element" | "pivot" => MEMBERS,
        "value" if group == "hash" => MEMBERS,
        "min" | "max" if command.contains("lex") => LEX_BOUNDS,
        "min" | "max" | "start" | "stop" | "end" => SCORE_BOUNDS,
        "encoding" => FIELD_TYPES,
        "type" => TYPES,
        "script" => SCRIPTS,
        "sha1" => DIGESTS,
        "function" => FUNCTIONS,
        "function-code" => LIBRARIES,
        "library-name" | "library-name-pattern" => LIBRARY_NAMES,
        "serialized-value" => PAYLOADS,
        "username" | "name" | "connection-name" => NAMES,
        _ => TEXTS,
    }
}

pub fn pick<T: Copy>(rng: &mut Rng, list: &[T]) -> T {
    list[rng.index(list.len())]
}

/// A small integer, or one of the odd ones.
pub fn any_integer(rng: &mut Rng) -> Vec<u8> {
    if rng.below(3) == 0 {
        return pick(rng, INTEGERS).to_vec();
    }
    (rng.below(16) as i64 - 4).to_string().into_bytes()
}

pub fn any_key(rng: &mut Rng) -> Bytes {
    let (_, keys) = POOL[rng.index(POOL.len())];
    pick(rng, keys)
}

/// The command that makes keys of this group.
pub fn maker(group: &str) -> &'static str {
    match group {
        "string" => "set",
        "list" => "rpush",
        "set" => "sadd",
        "hash" => "hset",
        "sorted-set" => "zadd",
        "geo" => "geoadd",
        "hyperloglog" => "pfadd",
        _ => "xadd",
    }
}

/// The options that a seed runs with beside those of the command line: directive and value.
pub fn profile(seed: u64) -> &'static [[&'static str; 2]] {
    match seed % 4 {
        0 => &[
            ["maxmemory-policy", "allkeys-lfu"],
            ["lazyfree-lazy-server-del", "yes"],
            ["lazyfree-lazy-expire", "yes"],
            ["lazyfree-lazy-user-del", "yes"],
            ["lazyfree-lazy-user-flush", "yes"],
            ["list-max-listpack-size", "5"],
            ["list-compress-depth", "1"],
        ],
        1 => &[
            ["maxmemory-policy", "noeviction"],
            ["lazyfree-lazy-server-del", "no"],
            ["lazyfree-lazy-expire", "no"],
            ["lazyfree-lazy-user-del", "no"],
            ["lazyfree-lazy-user-flush", "no"],
            ["list-max-listpack-size", "5"],
            ["list-compress-depth", "0"],
        ],
        2 => &[["list-max-listpack-size", "2"], ["list-compress-depth", "2"]],
        _ => &[["list-max-listpack-size", "-5"], ["lazyfree-lazy-expire", "yes"]],
    }
}

/// A change that clients must notice that watch the key or wait for it.
pub fn write(key: &[u8], rng: &mut Rng) -> Vec<Vec<u8>> {
    const SWAPS: &str = "redis.call('SELECT', 1) redis.call('RPUSH', KEYS[1], 'x') \
        redis.call('SELECT', 0) return redis.call('SWAPDB', 0, 1)";
    const IN_VAIN: &str = "redis.call('RPUSH', KEYS[1], 'a') return redis.call('DEL', KEYS[1])";
    const BOTH: &str = "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'a', 'b') \
        return redis.call('LPUSH', KEYS[1], 'c')";
    let line: &[&[u8]] = match rng.below(16) {
        0..3 => &[b"RPUSH", key, b"a", b"b", b"c"],
        3 => &[b"LPUSH", key, b"1"],
        4..6 => &[b"ZADD", key, b"1", b"a", b"2", b"b", b"3", b"c"],
        6 => &[b"XADD", key, b"100-1", b"a", b"b"],
        7 => &[b"SET", key, b"x"],
        8 => &[b"DEL", key],
        9 => &[b"RENAME", b"l:1", key],
        10 => &[b"COPY", b"z:1", key, b"REPLACE"],
        11 => &[b"LMOVE", b"l:2", key, b"LEFT", b"RIGHT"],
        12 => &[b"EVAL", SWAPS.as_bytes(), b"1", key],
        13 => &[b"EVAL", IN_VAIN.as_bytes(), b"1", key],
        14 => &[b"EVAL", BOTH.as_bytes(), b"1", key],
        _ => &[b"ZUNIONSTORE", key, b"2", b"z:1", b"z:2"],
    };
    line.iter().map(|w| w.to_vec()).collect()
}

/// What no command is called.
pub const UNKNOWN: &[&[Bytes]] = &[
    &[b"NOSUCH"],
    &[b"nosuch", b"a", b"", b"with space", b"\x00\x01", &[b'q'; 300]],
    &[b""],
    &[&[b'N'; 200], b"x"],
    &[b"ge\x00t", b"a"],
    &[b"OBJECT"],
    &[b"OBJECT", b"nosuch", b"s:1"],
    &[b"config", b"NoSuch"],
    &[b"CLIENT", &[b'q'; 300]],
    &[b"script", b"a\r\nb"],
    &[b"GET|SET", b"a"],
    &[b"config|get", b"a"],
];

/// Bytes that are no request, or hardly one; some make the server hang up.
pub const RAW: &[Bytes] = &[
    b"PING\r\n",
    b"  PING  \n",
    b"\r\n\n",
    b"ECHO \"a b\" c\r\n",
    b"ECHO \"a\\x41\\n\\\"\"\r\n",
    b"ECHO 'it\\'s'\r\n",
    b"ECHO \"open\r\n",
    b"ECHO 'open\r\n",
    b"ECHO \"a\"b\r\n",
    b"ECHO \x00\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"*1\r\n:4\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$\r\n\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*1\r\n$1048577\r\n",
    b"*1\r\n$536870913\r\n",
    b"*x\r\n",
    b"*\r\n",
    b"*1x\r\n",
    b"* 1\r\n",
    b"*2147483648\r\n",
    b"*1048577\r\n",
    b"*2\r\n$4\r\nECHO\r\n*1\r\n",
    b"$4\r\nPING\r\n",
    b"+OK\r\n",
    b"\x00\r\n",
    b"CLIENT REPLY OFF\r\nPING\r\nnosuch\r\nCLIENT REPLY ON\r\n",
    b"CLIENT REPLY SKIP\r\nPING\r\nPING\r\n",
    b"CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\n",
    b"CLIENT REPLY SKIP\r\nMULTI\r\nPING\r\nEXEC\r\n",
    b"CLIENT REPLY x\r\nCLIENT REPLY\r\n",
    b"QUIT\r\nPING\r\n",
    b"QUIT now\r\n",
    b"RESET\r\n",
    b"MULTI\r\nRESET\r\nEXEC\r\n",
    b"MULTI\r\nSUBSCRIBE a\r\nPING\r\nEXEC\r\nPING\r\nGET a\r\n",
    b"MULTI\r\nGET\r\nEXEC\r\n",
    b"MULTI\r\nnosuch\r\nPING\r\nEXEC\r\n",
    b"MULTI\r\nQUIT\r\nEXEC\r\n",
    b"SUBSCRIBE a b\r\nUNSUBSCRIBE b\r\nQUIT\r\n",
    b"SUBSCRIBE a\r\nRESET\r\nGET a\r\n",
    b"HELLO 4\r\nHELLO x\r\nHELLO 3 nosuch\r\nHELLO 3 AUTH a\r\nHELLO 3 SETNAME 'a b'\r\n",
    b"POST / HTTP/1.1\r\n",
    b"GET host:\r\n",
];

const CHANNELS: &[Bytes] = &[b"news", b"n2", b"", b"\x00\xff", b"with space"];
const CHANNEL_PATTERNS: &[Bytes] = &[b"n*", b"*", b"[x", b""];

/// What a client sends that listens to channels.
pub fn listener(rng: &mut Rng) -> Vec<Vec<u8>> {
    let name: &[u8] = match rng.below(14) {
        0..3 => b"SUBSCRIBE",
        3..5 => b"PSUBSCRIBE",
        5 => b"SSUBSCRIBE",
        6 => b"UNSUBSCRIBE",
        7 => b"PUNSUBSCRIBE",
        8 => b"SUNSUBSCRIBE",
        other => {
            let line: &[&[u8]] = match other {
                9 => &[b"HELLO", b"3"],
                10 => &[b"HELLO", b"2"],
                11 => &[b"RESET"],
                12 => &[b"GET", b"s:1"],
                _ => &[b"PING"],
            };
            return line.iter().map(|w| w.to_vec()).collect();
        }
    };
    let names = if name[0] == b'P' { CHANNEL_PATTERNS } else { CHANNELS };
    let least = if name.contains(&b'U') && name.windows(2).any(|w| w == b"UN") { 0 } else { 1 };
    let mut words = vec![name.to_vec()];
    (0..least + rng.below(3)).for_each(|_| words.push(pick(rng, names).to_vec()));
    words
}

pub fn message(rng: &mut Rng) -> Vec<Vec<u8>> {
    let name: &[u8] = if rng.below(4) == 0 { b"SPUBLISH" } else { b"PUBLISH" };
    vec![name.to_vec(), pick(rng, CHANNELS).to_vec(), pick(rng, TEXTS).to_vec()]
}

/// The commands that make a key of the pool, of a size that varies with the draw.
pub fn make(group: &str, key: &[u8], rng: &mut Rng) -> Vec<Vec<Vec<u8>>> {
    let command = |name: &str| vec![name.as_bytes().to_vec(), key.to_vec()];
    let many = match rng.below(30) {
        0 => 300,
        1..10 => 40,
        _ => 1 + rng.index(6),
    };
    let draw = |rng: &mut Rng| match rng.below(4) {
        0 => rng.below(500).to_string().into_bytes(),
        _ => pick(rng, MEMBERS).to_vec(),
    };
    let mut c = match group {
        "string" => command("SET"),
        "list" => command("RPUSH"),
        "set" => command("SADD"),
        "hash" => command("HSET"),
        "sorted-set" => command("ZADD"),
        "geo" => command("GEOADD"),
        "hyperloglog" => command("PFADD"),
        _ => return make_stream(key, rng),
    };
    match group {
        "string" if key.ends_with(b"int") => c.push(rng.below(20_000).to_string().into_bytes()),
        "string" => c.push(pick(rng, TEXTS).to_vec()),
        "set" if key.ends_with(b"1") => (0..many).for_each(|i| c.push((i * 7).to_string().into_bytes())),
        "hash" => (0..many).for_each(|_| c.extend([draw(rng), draw(rng)])),
        "sorted-set" => (0..many).for_each(|_| {
            let score = rng.below(12) as i64 - 3;
            c.extend([score.to_string().into_bytes(), draw(rng)]);
        }),
        "geo" => {
            for (place, lon, lat) in [
                ("Palermo", "13.361389", "38.115556"),
                ("Catania", "15.087269", "37.502669"),
                ("a", "1", "1"),
            ] {
                c.extend([lon, lat, place].map(|w| w.as_bytes().to_vec()));
            }
        }
        _ => (0..many).for_each(|_| c.push(draw(rng))),
    }
    vec![c]
}

fn make_stream(key: &[u8], rng: &mut Rng) -> Vec<Vec<Vec<u8>>> {
    let words = |line: &[&[u8]]| line.iter().map(|w| w.to_vec()).collect::<Vec<_>>();
    let mut all = Vec::new();
    for i in 1..=1 + rng.below(12) {
        let id = format!("{}-{}", i / 3 + 1, i);
        all.push(words(&[b"XADD", key, id.as_bytes(), pick(rng, MEMBERS), pick(rng, MEMBERS)]));
    }
    all.push(words(&[b"XGROUP", b"CREATE", key, b"g1", b"0"]));
    if rng.below(2) == 0 {
        all.push(words(&[b"XREADGROUP", b"GROUP", b"g1", b"c1", b"COUNT", b"3", b"STREAMS", key, b">"]));
    }
    all
}
