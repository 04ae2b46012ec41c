//! End to end: libraries of functions (loading, calling, saving, replicating, ending) and the script
//! debugger. Every text here is what a client of Redis 7.2.6 sees.

mod common;

use common::Value::{Array, Int, Null, Status};
use common::{Conn, Server, Value, wait_until};
use std::io::{Read, Write};
use std::net::Shutdown;

/// The code of a library with one function.
fn library(name: &str, function: &str, body: &str) -> String {
    format!("#!lua name={name}\nredis.register_function('{function}', function(KEYS, ARGV) {body} end)")
}

fn load(c: &mut Conn, code: &str) -> Value {
    c.cmd(&["FUNCTION", "LOAD", code])
}

fn replace(c: &mut Conn, code: &str) -> Value {
    c.cmd(&["FUNCTION", "LOAD", "REPLACE", code])
}

/// A function with flags, in a library of its name.
fn flagged(c: &mut Conn, name: &str, flags: &str, body: &str) {
    let code = format!(
        "#!lua name={name}\nredis.register_function{{function_name='{name}', flags={{{flags}}},
         callback=function(KEYS, ARGV) {body} end}}"
    );
    assert_eq!(replace(c, &code), Value::bulk(name));
}

/// Names of the libraries, each with its functions, in one certain order.
fn names(c: &mut Conn) -> Vec<String> {
    let found = c.cmd(&["FUNCTION", "LIST"]);
    let field = |v: &Value, at: usize| v.items()[at].clone();
    let shown = |l: &Value| {
        let functions: Vec<String> = field(l, 5).items().iter().map(|f| field(f, 1).text()).collect();
        format!("{}: {}", field(l, 1).text(), functions.join(" "))
    };
    let mut all: Vec<String> = found.items().iter().map(shown).collect();
    all.sort();
    all
}

#[test]
fn a_library_is_loaded_listed_called_and_deleted() {
    let srv = Server::start();
    let mut c = srv.connect();
    let code = "#!LUA name=lib
        local n = 0
        redis.register_function('f', function(KEYS, ARGV) n = n + 1 return {n, KEYS[1], ARGV[1]} end)
        redis.register_function{function_name='G', description='says', flags={'no-writes', 'ALLOW-oom'},
            callback=function() return 'hello' end}";
    assert_eq!(load(&mut c, code), Value::bulk("lib"));
    let call = c.cmd(&["FCALL", "F", "1", "k", "a"]);
    assert_eq!(call, Array(vec![Int(1), Value::bulk("k"), Value::bulk("a")]));
    assert_eq!(c.cmd(&["FCALL", "f", "0"]).items()[0], Int(2), "a library keeps its own values");
    assert_eq!(c.cmd(&["FCALL_RO", "g", "0"]), Value::bulk("hello"));
    let found = c.cmd(&["FUNCTION", "LIST", "LIBRARYNAME", "L*", "WITHCODE"]);
    let l = found.items()[0].items();
    assert_eq!((&l[1], &l[3], &l[7]), (&Value::bulk("lib"), &Value::bulk("LUA"), &Value::bulk(code)));
    let bulk = Value::bulk;
    let f =
        Array(vec![bulk("name"), bulk("f"), bulk("description"), Null, bulk("flags"), Array(vec![])]);
    let flags = Array(vec![Status("no-writes".into()), Status("allow-oom".into())]);
    let g = vec![bulk("name"), bulk("G"), bulk("description"), bulk("says"), bulk("flags"), flags];
    assert_eq!(l[5].items().len(), 2);
    assert!(l[5].items().contains(&f) && l[5].items().contains(&Array(g)), "{:?}", l[5]);
    assert_eq!(c.cmd(&["FUNCTION", "LIST", "LIBRARYNAME", "x*"]), Array(vec![]));
    assert_eq!((c.figure("number_of_functions"), c.figure("number_of_libraries")), (2, 1));
    for field in ["used_memory_functions", "used_memory_vm_functions"] {
        assert!(c.figure(field) > 0, "{field}");
    }
    assert_eq!(c.cmd(&["FUNCTION", "DELETE", "LIB"]).error(), "ERR Library not found");
    assert_eq!(c.cmd(&["FUNCTION", "DELETE", "lib"]), Value::ok());
    assert_eq!(c.cmd(&["FCALL", "f", "0"]).error(), "ERR Function not found");
    assert_eq!(names(&mut c), [""; 0]);
}

#[test]
fn what_cannot_be_loaded_changes_nothing() {
    let srv = Server::start();
    let mut c = srv.connect();
    load(&mut c, &library("lib", "f", "return 1"));
    load(&mut c, &library("other", "g", "return 2"));
    for (code, why) in [
        ("return 1", "Missing library metadata"),
        ("#!lua name=lib", "Invalid library metadata"),
        ("#!lua\n", "Library name was not given"),
        (
            "#!lua name=a-b\n",
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
             character long",
        ),
        ("#!js name=lib\n", "Engine 'js' not found"),
        (
            "#!lua name=lib\nbad code",
            "Error compiling function: user_function:2: '=' expected near 'code'",
        ),
        ("#!lua name=lib\nreturn 1", "No functions registered"),
        ("#!lua name=lib\nredis.register_function('G', function() end)", "Function G already exists"),
        (
            "#!lua name=lib\nredis.call('ping')",
            "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global \
             variable 'call'",
        ),
        (
            "#!lua name=lib\nx = 1",
            "Error registering functions: ERR user_function:2: Attempt to modify a readonly table",
        ),
        ("#!lua name=lib\nwhile true do end", "Error registering functions: ERR FUNCTION LOAD timeout"),
    ] {
        assert_eq!(replace(&mut c, code).error(), format!("ERR {why}"), "{code}");
        assert_eq!(names(&mut c), ["lib: f", "other: g"], "{code}");
    }
    let again = load(&mut c, &library("lib", "f", "return 3"));
    assert_eq!(again.error(), "ERR Library 'lib' already exists");
    assert_eq!(c.cmd(&["FCALL", "f", "0"]), Int(1));
    assert_eq!(c.cmd(&["FCALL", "f", "x"]).error(), "ERR Bad number of keys provided");
    let more = c.cmd(&["FCALL", "f", "1"]);
    assert_eq!(more.error(), "ERR Number of keys can't be greater than number of args");
    assert_eq!(c.cmd(&["FCALL", "f", "-1"]).error(), "ERR Number of keys can't be negative");
}

#[test]
fn libraries_and_scripts_cannot_touch_each_other() {
    let srv = Server::start();
    let mut c = srv.connect();
    load(
        &mut c,
        "#!lua name=lib
        local lib = redis
        redis.register_function('a', function() lib.math = math end)
        redis.register_function('b', function() x = 1 end)
        redis.register_function('c', function() redis.call = nil end)
        redis.register_function('d', function() lib.register_function('x', function() end) end)
        redis.register_function('e', function() return redis.register_function end)
        redis.register_function('f', function() return nosuch end)
        redis.register_function('g', function() getmetatable(getfenv()).__index = nil end)
        redis.register_function('h', function() rawset(_G, 'x', 1) end)
        redis.register_function('i', function() return redis.breakpoint end)
        redis.register_function('j', function() string.rep = nil end)",
    );
    let place = |name: &str, line: u32| format!(" script: {name}, on @user_function:{line}.");
    // Redis leaves `g` open from the first load on.
    for (name, line) in [("a", 3), ("b", 4), ("c", 5), ("g", 9), ("j", 12)] {
        let why = format!("ERR user_function:{line}: Attempt to modify a readonly table");
        assert_eq!(c.cmd(&["FCALL", name, "0"]).error(), why + &place(name, line));
    }
    assert!(c.cmd(&["FCALL", "h", "0"]).error().contains("Attempt to modify a readonly table"));
    let late = "ERR redis.register_function can only be called on FUNCTION LOAD command";
    assert_eq!(c.cmd(&["FCALL", "d", "0"]).error(), late.to_owned() + &place("d", 6));
    assert_eq!((c.cmd(&["FCALL", "e", "0"]), c.cmd(&["FCALL", "i", "0"])), (Null, Null));
    let missing = "ERR user_function:8: Script attempted to access nonexistent global variable 'nosuch'";
    assert_eq!(c.cmd(&["FCALL", "f", "0"]).error(), missing.to_owned() + &place("f", 8));
}

#[test]
fn flags_say_what_a_function_may_do() {
    let srv = Server::start();
    let mut c = srv.connect();
    let set = "return redis.call('set', 'x', 1)";
    flagged(&mut c, "plain", "", set);
    flagged(&mut c, "reads", "'no-writes'", "return redis.call('get', 'x')");
    flagged(&mut c, "lies", "'no-writes'", set);
    flagged(&mut c, "oom", "'allow-oom'", set);
    let ro = c.cmd(&["FCALL_RO", "plain", "1", "x"]);
    assert_eq!(ro.error(), "ERR Can not execute a script with write flag using *_ro command.");
    let why = "ERR Write commands are not allowed from read-only scripts.";
    assert!(c.cmd(&["FCALL", "lies", "1", "x"]).error().starts_with(why));
    assert_eq!(c.cmd(&["FCALL_RO", "reads", "1", "x"]), Null);
    c.cmd(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(c.cmd(&["FCALL", "plain", "1", "x"]).error().starts_with("OOM command not allowed"));
    assert_eq!(c.cmd(&["FCALL", "reads", "1", "x"]), Null);
    assert_eq!(c.cmd(&["FCALL", "oom", "1", "x"]), Value::ok());
    let code = library("more", "more", "return 1");
    assert!(load(&mut c, &code).error().starts_with("OOM command not allowed"));
    c.cmd(&["CONFIG", "SET", "maxmemory", "0"]);
    // A pause of writes holds up what may write, and nothing else.
    c.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]);
    assert_eq!(c.cmd(&["FCALL", "reads", "1", "x"]), Value::bulk("1"));
    let mut held = srv.connect();
    held.put(&["FCALL", "plain", "1", "x"]);
    wait_until("the call to be held up", || c.figure("blocked_clients") == 1);
    c.cmd(&["CLIENT", "UNPAUSE"]);
    assert_eq!(held.read(), Value::ok());
}

#[test]
fn libraries_are_dumped_and_restored_whole_or_not_at_all() {
    let srv = Server::start();
    let mut c = srv.connect();
    load(&mut c, &library("lib1", "f", "return 'old f'"));
    load(&mut c, &library("lib2", "g", "return 'old g'"));
    let Value::Bulk(payload) = c.cmd(&["FUNCTION", "DUMP"]) else { panic!("a payload") };
    let restore = |c: &mut Conn, policy: &[u8]| {
        let words: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", &payload, policy];
        c.cmd(if policy.is_empty() { &words[..3] } else { &words })
    };
    assert_eq!(restore(&mut c, b"").error(), "ERR Library lib1 already exists");
    assert_eq!(
        restore(&mut c, b"x").error(),
        "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."
    );
    let mut broken = payload.clone();
    broken[3] ^= 1;
    let wrong = c.cmd(&[&b"FUNCTION"[..], b"RESTORE", &broken]);
    assert_eq!(wrong.error(), "ERR DUMP payload version or checksum are wrong");
    // Another library has taken a function's name.
    assert_eq!(c.cmd(&["FUNCTION", "FLUSH"]), Value::ok());
    load(&mut c, &library("lib1", "h", "return 'new h'"));
    load(&mut c, &library("lib3", "G", "return 'new g'"));
    assert_eq!(restore(&mut c, b"REPLACE").error(), "ERR Function g already exists");
    assert_eq!(names(&mut c), ["lib1: h", "lib3: G"]);
    assert_eq!(c.cmd(&["FCALL", "g", "0"]), Value::bulk("new g"));
    assert_eq!(c.cmd(&["FUNCTION", "DELETE", "lib3"]), Value::ok());
    assert_eq!(restore(&mut c, b"replace"), Value::ok());
    assert_eq!(names(&mut c), ["lib1: f", "lib2: g"]);
    replace(&mut c, &library("lib4", "i", "return 1"));
    assert_eq!(restore(&mut c, b"flush"), Value::ok());
    assert_eq!(names(&mut c), ["lib1: f", "lib2: g"]);
    assert_eq!(c.cmd(&["FCALL", "f", "0"]), Value::bulk("old f"));
}

#[test]
fn libraries_outlive_flushes_reloads_and_restarts() {
    let mut srv = Server::with(&["--enable-debug-command", "yes", "--appendonly", "yes"]);
    let mut c = srv.connect();
    let code = library("lib", "f", "return redis.call('incr', 'n')");
    load(&mut c, &code);
    assert_eq!(c.cmd(&["FCALL", "f", "1", "n"]), Int(1));
    let log = srv.aof();
    assert!(
        log.contains("FUNCTION\r\n$4\r\nLOAD\r\n") && log.contains("incr") && !log.contains("FCALL")
    );
    c.cmd(&["FLUSHALL"]);
    for line in ["DEBUG RELOAD", "DEBUG LOADAOF", "FLUSHDB"] {
        assert_eq!(c.cmd(&line.split(' ').collect::<Vec<_>>()), Value::ok(), "{line}");
        assert_eq!(names(&mut c), ["lib: f"], "{line}");
    }
    // A snapshot that has what is there already is refused, unless it may replace.
    let twice = c.cmd(&["DEBUG", "RELOAD", "NOFLUSH"]);
    assert_eq!(twice.error(), "ERR Error trying to load the RDB dump, check server logs.");
    assert!(srv.log().contains("Failed loading library, Library 'lib' already exists"));
    assert_eq!(c.cmd(&["DEBUG", "RELOAD", "NOFLUSH", "MERGE"]), Value::ok());
    for preamble in ["no", "yes"] {
        c.cmd(&["CONFIG", "SET", "aof-use-rdb-preamble", preamble]);
        assert!(matches!(c.cmd(&["BGREWRITEAOF"]), Status(_)));
        wait_until("the rewrite", || {
            c.figure("aof_rewrite_in_progress") == 0 && c.figure("aof_rewrite_scheduled") == 0
        });
        srv.kill();
        srv.restart();
        c = srv.connect();
        assert_eq!(names(&mut c), ["lib: f"], "rewritten with preamble {preamble}");
    }
    assert_eq!(c.cmd(&["FUNCTION", "FLUSH", "ASYNC"]), Value::ok());
    assert_eq!(c.cmd(&["DEBUG", "LOADAOF"]), Value::ok());
    assert_eq!(names(&mut c), [""; 0], "the flush is in the log");
}

#[test]
fn a_snapshot_with_functions_alone_is_sent_on_demand() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.cmd(&["SET", "secret_key", "v"]);
    load(&mut c, &library("lib", "f", "return 1"));
    for (filter, functions) in [("functions", true), ("", false)] {
        let mut r = srv.connect();
        let said = r.cmd(&["REPLCONF", "capa", "eof", "rdb-only", "1", "rdb-filter-only", filter]);
        assert_eq!(said, Value::ok());
        r.put(&["SYNC"]);
        let mut all = Vec::new();
        r.stream().read_to_end(&mut all).expect("closed behind the snapshot");
        let has = |text: &[u8]| all.windows(text.len()).any(|w| w == text);
        assert_eq!((has(b"name=lib"), has(b"secret_key")), (functions, false), "{filter:?}");
    }
}

#[test]
fn a_busy_function_is_ended_by_its_own_command() {
    let srv = Server::with(&["--busy-reply-threshold", "10"]);
    let mut c = srv.connect();
    load(&mut c, &library("lib", "loop", "while true do end"));
    load(&mut c, &library("writes", "writes", "redis.call('set', 'x', 1) while true do end"));
    let none = "NOTBUSY No scripts in execution right now.";
    assert_eq!(c.cmd(&["FUNCTION", "KILL"]).error(), none);
    let mut busy = srv.connect();
    busy.put(&["FCALL", "loop", "1", "k", "arg"]);
    let why = "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
    wait_until("the function to be busy", || matches!(c.cmd(&["PING"]), Value::Error(e) if e == why));
    assert_eq!(c.cmd(&["SCRIPT", "KILL"]).error(), why);
    let stats = c.cmd(&["FUNCTION", "STATS"]);
    let running = stats.items()[1].items();
    assert_eq!(running[1], Value::bulk("loop"));
    let words = ["FCALL", "loop", "1", "k", "arg"].map(Value::bulk);
    assert_eq!(running[3], Array(words.to_vec()));
    assert_eq!(c.cmd(&["FUNCTION", "KILL"]), Value::ok());
    let end = busy.read();
    assert!(end.error().starts_with("ERR Script killed by user"));
    // EVAL is not its business.
    busy.put(&["EVAL", "while true do end", "0"]);
    let why = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
    wait_until("the script to be busy", || matches!(c.cmd(&["PING"]), Value::Error(e) if e == why));
    assert_eq!(c.cmd(&["FUNCTION", "KILL"]).error(), why);
    assert_eq!(c.cmd(&["FUNCTION", "STATS"]).error(), why);
    assert_eq!(c.cmd(&["SCRIPT", "KILL"]), Value::ok());
    assert!(busy.read().error().starts_with("ERR Script killed by user"));
    // One that has written goes on.
    busy.put(&["FCALL", "writes", "1", "x"]);
    wait_until("the function to be busy", || matches!(c.cmd(&["PING"]), Value::Error(_)));
    assert!(c.cmd(&["FUNCTION", "KILL"]).error().starts_with("UNKILLABLE"));
    c.put(&["SHUTDOWN", "NOSAVE"]);
}

#[test]
fn functions_are_shown_to_monitors_and_name_their_keys() {
    let srv = Server::start();
    let mut c = srv.connect();
    load(&mut c, &library("lib", "f", "return redis.call('get', KEYS[1])"));
    let keys = c.cmd(&["COMMAND", "GETKEYS", "FCALL", "f", "2", "a", "b", "c"]);
    assert_eq!(keys, Array(vec![Value::bulk("a"), Value::bulk("b")]));
    let mut m = srv.connect();
    m.cmd(&["MONITOR"]);
    c.cmd(&["FCALL", "f", "1", "k"]);
    let mut line = || m.read().text();
    assert!(line().ends_with("\"FCALL\" \"f\" \"1\" \"k\""));
    assert!(line().ends_with(" lua] \"get\" \"k\""));
}

// ---- the debugger ------------------------------------------------------------------------------

/// The lines of the next reply.
fn lines(c: &mut Conn) -> Vec<String> {
    c.read().items().iter().map(|l| l.text()).collect()
}

fn order(c: &mut Conn, line: &str) -> Vec<String> {
    c.put(&line.split(' ').collect::<Vec<_>>());
    lines(c)
}

const DEBUGGED: &str = "local t = {1, 'two', {x = true}}
local n = 5.5
redis.debug(n, t)
local v = redis.call('incr', KEYS[1])
redis.breakpoint()
local function f(a)
  local b = a
  return b
end
f(v)
return v";

#[test]
fn a_script_is_debugged_on_the_socket_of_its_client() {
    for mode in ["sync", "yes"] {
        let srv = Server::start();
        let mut other = srv.connect();
        let mut c = srv.connect();
        assert_eq!(c.cmd(&["SCRIPT", "DEBUG", mode]), Value::ok());
        let sha = c.cmd(&["EVALSHA", &"0".repeat(40), "0"]);
        assert_eq!(sha.error(), "ERR Please use EVAL instead of EVALSHA for debugging");
        c.put(&["EVAL", DEBUGGED, "1", "k", "a"]);
        let first = "-> 1   local t = {1, 'two', {x = true}}";
        assert_eq!(lines(&mut c), ["* Stopped at 1, stop reason = step over", first]);
        assert_eq!(order(&mut c, "s")[0], "* Stopped at 2, stop reason = step over");
        assert_eq!(order(&mut c, "p t"), ["<value> {1; \"two\"; {[\"x\"]=true}}"]);
        assert_eq!(order(&mut c, "p KEYS"), ["<value> {\"k\"}"]);
        assert_eq!(order(&mut c, "p nosuch"), ["No such variable."]);
        assert_eq!(order(&mut c, "b 7")[1], "  #7     local b = a");
        assert_eq!(order(&mut c, "n")[0], "* Stopped at 3, stop reason = step over");
        assert_eq!(order(&mut c, "p"), ["<value> t = {1; \"two\"; {[\"x\"]=true}}", "<value> n = 5.5"]);
        assert_eq!(order(&mut c, "s")[0], "<debug> line 3: 5.5, {1; \"two\"; {[\"x\"]=true}}");
        assert_eq!(order(&mut c, "s")[..2], ["<redis> incr k", "<reply> 1"]);
        let stopped = order(&mut c, "c");
        assert_eq!(stopped[0], "* Stopped at 9, stop reason = redis.breakpoint() called");
        assert_eq!(order(&mut c, "c")[0], "* Stopped at 7, stop reason = break point");
        let calls = ["In f:", "->#7     local b = a", "From top level:", "   10  f(v)"];
        assert_eq!(order(&mut c, "t"), calls);
        assert_eq!(order(&mut c, "e 1 + 1"), ["<retval> 2"]);
        assert_eq!(order(&mut c, "e x ="), ["<error> ldb_eval:1: unexpected symbol near '<eof>'"]);
        assert_eq!(order(&mut c, "r set k 7"), ["<redis> set k 7", "<reply> \"+OK\""]);
        let unknown = "<error> Unknown Redis command called from script";
        assert_eq!(order(&mut c, "r nosuch"), ["<redis> nosuch", unknown]);
        assert!(order(&mut c, "what")[0].starts_with("<error> Unknown Redis Lua debugger command"));
        assert_eq!(order(&mut c, "c"), ["<endsession>"]);
        assert_eq!(c.read(), Int(1));
        assert!(c.at_end(), "the end of the session is that of the connection");
        // What a process of its own has changed is lost.
        let kept = if mode == "sync" { Value::bulk("7") } else { Null };
        assert_eq!(other.cmd(&["GET", "k"]), kept, "{mode}");
    }
}

#[test]
fn a_session_ends_with_its_script_however_that_ends() {
    let srv = Server::start();
    let mut other = srv.connect();
    let begin = |script: &str| {
        let mut c = srv.connect();
        assert_eq!(c.cmd(&["SCRIPT", "DEBUG", "SYNC"]), Value::ok());
        c.put(&["EVAL", script, "1", "k"]);
        c
    };
    let mut c = begin("redis.call('set', 'k', 1)\nreturn 1");
    lines(&mut c);
    assert_eq!(order(&mut c, "abort"), ["<endsession>"]);
    let why = "ERR script aborted for user request script: ";
    assert!(c.read().error().starts_with(why));
    let mut c = begin("return 1");
    lines(&mut c);
    c.stream().write_all(b"nonsense").expect("sent");
    assert_eq!(lines(&mut c), ["<endsession>"]);
    assert!(c.read().error().starts_with("ERR protocol error script: "));
    let mut c = begin("not lua");
    assert_eq!(lines(&mut c), ["<endsession>"]);
    assert!(c.read().error().starts_with("ERR Error compiling script (new function): user_script:1:"));
    // A client that goes lets the script run to its end.
    let mut c = begin("redis.call('incr', 'k')\nredis.call('incr', 'k')");
    lines(&mut c);
    c.stream().shutdown(Shutdown::Both).expect("open until now");
    assert_eq!(other.cmd(&["GET", "k"]), Value::bulk("2"));
    let bad = other.cmd(&["SCRIPT", "DEBUG", "maybe"]);
    assert_eq!(bad.error(), "ERR Use SCRIPT DEBUG YES/SYNC/NO");
}
