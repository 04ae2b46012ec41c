//! End to end: what scripts return, raise, may change and may not; their libraries; their flags.
//! Every text here is what a client of Redis 7.2.6 sees.

mod common;

use common::Value::{Array, Int};
use common::{Conn, Server, Value};

fn eval(c: &mut Conn, script: &str) -> Value {
    c.cmd(&["EVAL", script, "1", "k", "a"])
}

/// The error without the name of the script.
fn error(c: &mut Conn, script: &str) -> String {
    let found = eval(c, script);
    let text = found.error();
    match text.split_once(" script: ") {
        Some((text, place)) => {
            format!("{text} @{}", &place["0123456789012345678901234567890123456789, on ".len()..])
        }
        None => text.to_string(),
    }
}

#[test]
fn errors_name_the_line_also_behind_tail_calls() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.cmd(&["SET", "k", "text"]);
    let not_int = "ERR value is not an integer or out of range @@user_script";
    for (script, line) in [
        ("redis.call('incr', KEYS[1])", 1),
        ("return redis.call('incr', KEYS[1])", 1),
        ("return redis.call('incr',\n  KEYS[1])", 1),
        ("local function f()\n  return redis.call('incr', KEYS[1])\nend\n\nreturn f()", 2),
        (
            "local call = redis.call\nlocal function g(...)\n\n  return call(...)\nend\n\
             return g('incr', 'k')",
            4,
        ),
        ("local function g(c, ...)\n  return c(...)\nend\nreturn g(redis.call, 'incr', 'k')", 2),
        ("if KEYS[1] then\n  for i = 1, 2 do\n    return redis.call('incr', 'k')\n  end\nend", 3),
        (
            "local r\nfor i = 1, 3 do\n  if i == 2 then r = function()\n    local j = i\n\
             return redis.call('incr', 'k') end\n  end\nend\nreturn r()",
            5,
        ),
    ] {
        assert_eq!(error(&mut c, script), format!("{not_int}:{line}."), "{script}");
    }
    assert_eq!(error(&mut c, "\nreturn error('x')"), "ERR user_script:2: x @@user_script:2.");
    assert_eq!(error(&mut c, "return redis.pcall('incr', 'k')"), &not_int[..not_int.len() - 14]);
    assert_eq!(
        error(&mut c, "return redis.nosuch()"),
        "ERR user_script:1: attempt to call field 'nosuch' (a nil value) @@user_script:1."
    );
}

#[test]
fn local_functions_recurse_without_end_by_tail_calls() {
    let srv = Server::start();
    let mut c = srv.connect();
    let deep =
        "local function f(n) if n == 0 then return 'end' end return f(n - 1) end return f(150000)";
    let field = "local M = {} function M.f(n) if n == 0 then return 'end' end return M.f(n - 1) end \
                 return M.f(150000)";
    let two = "local a, b function a(n) if n == 0 then return 'end' end return b(n - 1) end \
               function b(n) return a(n) end return a(100000)";
    for script in [deep, field, two] {
        assert_eq!(eval(&mut c, script), Value::bulk("end"), "{script}");
    }
}

#[test]
fn callbacks_inside_each_other_end_before_the_c_stack_does() {
    let srv = Server::start();
    let mut c = srv.connect();
    for script in [
        "local f f = function() return string.gsub('x', 'x', f) end return f()",
        "local function f() return ('x'):gsub('x', f) end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function() \
         return string.gsub('x', 'x', t) end return t.x",
        "local function f() return coroutine.wrap(f)() .. 'x' end return f()",
        "local function f() \
         local ok, e = coroutine.resume(coroutine.create(f)) return error(e, 0) end return f()",
        "local function f() table.sort({1, 2, 3}, f) end return coroutine.wrap(f)()",
    ] {
        let found = error(&mut c, script);
        assert!(found.contains("stack overflow"), "{script}: {found}");
    }
    // As deep as upstream lets them be.
    for open in ["string.gsub('x', 'x', f)", "coroutine.wrap(f)()", "pcall(f)", "table.sort({2, 1}, f)"]
    {
        let deep = "local n = 0 local function f() n = n + 1 if n < 150 then";
        let script = format!("{deep} {open} end end f() return n");
        assert_eq!(eval(&mut c, &script), Int(150), "{open}");
    }
}

#[test]
fn scripts_find_lua_5_1_and_no_other_dialect() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (script, want) in [
        ("local function f(...) return arg.n .. #arg end return f(1, nil, 3, nil)", "41"),
        ("local t = {1, 2, nil, 4} t[6] = 6 return tostring(#t)", "4"),
        ("local t = {1, 2, 3, nil, 5, nil} table.insert(t, 'x') return tostring(#t)", "5"),
        ("KEYS[4] = 1 KEYS[2] = nil return tostring(#KEYS)", "4"),
        ("return '\\x41'", "x41"),
        ("for i = 1, 2, 0 do return 'runs' end return 'ends'", "ends"),
        ("return tostring(2^53) .. tostring(1/0) .. _VERSION", "9.007199254741e+15infLua 5.1"),
        ("goto = 1", "Attempt to modify"),
        ("return 0b11", "malformed number near '0b11'"),
        ("local x = 1LL", "malformed number near '1LL'"),
        ("return 5 & 3", "'<eof>' expected near '&'"),
        ("goto a", "'=' expected near 'a'"),
        ("return string.format('%s', nil)", "bad argument #2 to 'format' (string expected, got nil)"),
        ("local function f() return 1 + f() end return f()", "stack overflow @@user_script:1."),
    ] {
        let found = match eval(&mut c, script) {
            Value::Error(_) => error(&mut c, script),
            other => other.text(),
        };
        assert!(found.contains(want), "{script}: {found}");
    }
    // Programs write programs.
    let long: String = (0..70_000).map(|i| format!("t[#t + 1] = 'value {i}'\n")).collect();
    assert_eq!(eval(&mut c, &format!("local t = {{}}\n{long} return #t")), Int(70_000));
    let far: String = (0..40_000).map(|i| format!("x = x + {i}\n")).collect();
    let script = format!("local x = 0 while x == 0 do\n{far} end return x");
    assert_eq!(eval(&mut c, &script), Int(799_980_000));
}

/// What scripts have stored as JSON is looked up as such.
#[test]
fn pairs_and_json_have_the_order_that_they_have_in_redis() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (script, want) in [
        (
            "local t, o = {}, {} for i = 1, 6 do t[('k'):rep(i * 16)] = i end \
             for k in pairs(t) do o[#o + 1] = #k end return table.concat(o, ' ')",
            "16 64 48 96 80 32",
        ),
        (
            "local t, o = {}, {} for i = 1, 12 do t['user:profile:settings:number:' .. i] = i end \
             for k, v in pairs(t) do o[#o + 1] = v end return table.concat(o, ' ')",
            "11 2 5 10 12 7 9 8 4 3 6 1",
        ),
        (
            // Strings whose samples are the same.
            "local t, x = {}, ('x'):rep(40) for i = 1, 8 do t[x .. i .. x] = i end \
             return (cjson.encode(t):gsub('\"x+%dx+\":', ''))",
            "{4,1,7,8,6,5,3,2}",
        ),
        (
            "local o = {} for k in pairs(bit) do o[#o + 1] = k end return table.concat(o, ' ')",
            "band rshift bor bnot bswap bxor tobit ror lshift tohex rol arshift",
        ),
        (
            "local o = {} for k in pairs(cjson) do o[#o + 1] = k end return table.concat(o, ' ')",
            "_NAME encode decode_max_depth _VERSION decode_invalid_numbers encode_keep_buffer null \
             encode_number_precision new encode_max_depth encode_invalid_numbers decode encode_sparse_array",
        ),
    ] {
        assert_eq!(eval(&mut c, script).text(), want, "{script}");
    }
}

/// Each of these ends or corrupts a server with plain Lua 5.1.5, or one whose natives trust scripts.
#[test]
fn scripts_that_mean_harm_end_with_an_error() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (script, want) in [
        // The number of values is counted across the whole range of an int.
        ("return {unpack({1, 2, 3}, -2147483648, 2147483647)}", "too many results to unpack"),
        ("return {unpack({1, 2, 3}, -2147483647, 2147483647)}", "too many results to unpack"),
        ("return {unpack({}, 1, 8000)}", "too many results to unpack"),
        // Matching goes down the C stack with each item.
        ("return string.find(('a'):rep(300000), ('a?'):rep(300000))", "pattern too complex"),
        ("return string.gsub(('a'):rep(300000), ('a*'):rep(300000), '')", "pattern too complex"),
        ("for _ in string.gmatch(('a'):rep(300000), ('a-'):rep(300000)) do end", "pattern too complex"),
        // Compiled code is not looked at before it runs.
        ("return select(2, loadstring('\\27Lua'))", "unexpected symbol near 'char(27)'"),
        (
            "local d = string.dump(function() end) return select(2, load(function() \
          local x = d d = nil return x end))",
            "unexpected symbol near 'char(27)'",
        ),
        // The name of a chunk is used to the end of it, and nothing but the parser holds it.
        (
            "local n = 0 return select(2, load(function() n = n + 1 collectgarbage() \
             return n < 50 and 'local x' .. n .. ' = ' .. n .. '\\n' or n == 50 and '?' or nil end, \
             '=a chunk of its own name' .. '\\0rest'))",
            "a chunk of its own name:50: unexpected symbol near '?'",
        ),
        // What all strings share.
        ("getmetatable('').__index = {}", "Attempt to modify a readonly table"),
        ("setmetatable(getmetatable(''), {})", "Attempt to modify a readonly table"),
        ("rawset(getmetatable(''), '__add', 1)", "Attempt to modify a readonly table"),
        ("return string.format('%999999d', 1)", "invalid format (width or precision too long)"),
        ("return string.format('%99.99f', 1e308):len()", "409"),
        ("return table.concat({}, 'x', 1, 2147483647)", "invalid value (nil) at index 1"),
        ("return bit.tohex(1, -2147483648)", "00000001"),
        ("return cjson.decode(('['):rep(100000))", "Found too many nested data structures (1001)"),
        ("return cmsgpack.unpack('\\221\\255\\255\\255\\255')", "Missing bytes in input"),
        ("return cmsgpack.unpack(('\\145'):rep(100000))", "stack overflow"),
        ("return struct.unpack('i4', 'abcdef', 2147483647)", "data string too short"),
        ("return struct.pack('i2147483647', 1)", "is larger than limit of 32"),
        ("return struct.unpack('c2147483647', 'x')", "data string too short"),
        ("return {cmsgpack.unpack(('\\1'):rep(9000))}", "too many return values at once"),
        ("return redis.sha1hex(unpack({}, 1, 7990))", "wrong number of arguments"),
        ("return redis.call(unpack({}, 1, 7990))", "arguments must be strings or integers"),
        ("local t = {} for i = 1, 7990 do t[i] = 1 end return #cmsgpack.pack(t, unpack(t))", "15983"),
    ] {
        let found = match eval(&mut c, script) {
            Value::Error(_) => error(&mut c, script),
            Int(n) => n.to_string(),
            other => other.text(),
        };
        assert!(found.contains(want), "{script}: {found}");
    }
}

/// A finalizer is a script's function that runs when the collector likes.
#[test]
fn finalizers_run_inside_scripts_only() {
    let srv = Server::start();
    let mut c = srv.connect();
    let script = "local n = 0 local p = newproxy(true) getmetatable(p).__gc = function() n = n + 1 end \
                  p = nil collectgarbage() return n";
    assert_eq!(eval(&mut c, script), Int(1));
    // It may not leave a native by an error, whose memory is then not given back.
    let script = "for i = 1, 20000 do \
                  local p = newproxy(true) getmetatable(p).__gc = function() error('own') end p = nil \
                  pcall(cjson.encode, {a = {b = {c = {tostring(i), {}, i}}}}) \
                  pcall(redis.call, 'echo', tostring(i)) end return 'done'";
    let found = eval(&mut c, script);
    assert!(found == Value::bulk("done") || found.error().contains("own"), "{found:?}");
    // Nor is there a server to call when no script runs.
    let script = "for i = 1, 100 do local p = newproxy(true) \
                  getmetatable(p).__gc = function() redis.call('incr', 'ghost') end end";
    for _ in 0..200 {
        eval(&mut c, script);
    }
    assert_eq!(c.cmd(&["SCRIPT", "FLUSH"]), Value::ok());
    let before = c.cmd(&["GET", "ghost"]);
    eval(&mut c, "collectgarbage() return 1");
    assert_eq!(c.cmd(&["GET", "ghost"]), before, "the state is gone with its finalizers");
}

#[test]
fn coroutines_are_resumed_as_lua_5_1_does() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (script, result) in [
        (
            "local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) return b + 1 end) \
             local _, x = coroutine.resume(co, 1) local _, y = coroutine.resume(co, 10) \
             return x .. ' ' .. y .. ' ' .. coroutine.status(co) .. ' ' .. \
             select(2, coroutine.resume(co))",
            "2 11 dead cannot resume dead coroutine",
        ),
        (
            "return coroutine.wrap(function() \
             return select(2, coroutine.resume(coroutine.running())) end)()",
            "cannot resume running coroutine",
        ),
        (
            "local co co = coroutine.create(function() \
             return coroutine.wrap(function() return select(2, coroutine.resume(co)) end)() end) \
             return select(2, coroutine.resume(co))",
            "cannot resume normal coroutine",
        ),
        (
            "local w = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) \
             return w() .. w() .. w() .. tostring((w()))",
            "123nil",
        ),
        (
            "local w = coroutine.wrap(function() error({err = 'own'}) end) \
             return tostring(select(2, pcall(w)))",
            "own",
        ),
    ] {
        assert_eq!(eval(&mut c, script), Value::bulk(result), "{script}");
    }
    for (script, why) in [
        ("return coroutine.resume(1)", "bad argument #1 to 'resume' (coroutine expected)"),
        ("return coroutine.wrap(1)", "bad argument #1 to 'wrap' (Lua function expected)"),
        ("return coroutine.wrap(function() error('x') end)()", "user_script:1: x"),
    ] {
        let expected = format!("ERR user_script:1: {why} @@user_script:1.");
        assert_eq!(error(&mut c, script), expected, "{script}");
    }
}

#[test]
fn what_scripts_share_cannot_be_changed() {
    let srv = Server::start();
    let mut c = srv.connect();
    for script in [
        "x = 1",
        "_G.x = 1",
        "_G = {}",
        "redis = 1",
        "redis.call = 1",
        "string.format = 1",
        "cjson.encode = 1",
        "rawset(_G, 'x', 1)",
        "setmetatable(_G, {})",
        "getmetatable(_G).__index = {}",
        // Redis 7.2.6 still lets this one through.
        "getmetatable('').__index = {}",
        "table.insert(redis, 1)",
        "local _, t = pairs(redis) t.call = 1",
    ] {
        assert!(error(&mut c, script).contains("Attempt to modify a readonly table"), "{script}");
    }
    for name in ["nosuch", "print", "loadfile", "dofile", "require", "jit", "debug", "os", "io"] {
        let why = format!("Script attempted to access nonexistent global variable '{name}'");
        assert!(error(&mut c, &format!("return {name}")).contains(&why), "{name}");
    }
    assert_eq!(eval(&mut c, "setfenv(0, {}) return 1"), Int(1));
    assert_eq!(eval(&mut c, "return type(redis.call) .. KEYS[1]"), Value::bulk("functionk"));
    assert_eq!(eval(&mut c, "return loadstring(string.dump(function() end))"), Value::Null);
    let names = "local n = 0 for k in pairs(redis) do n = n + 1 end return n";
    assert_eq!(eval(&mut c, names), Int(23));
}

#[test]
fn libraries_pack_and_unpack() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (script, want) in [
        (
            "return cjson.encode({1, 'a/\"\\n', {b = 1.5}, cjson.null, true})",
            r#"[1,"a\/\"\n",{"b":1.5},null,true]"#,
        ),
        ("return cjson.encode({})", "{}"),
        (
            "local t = cjson.decode('{\"a\":[1,{\"b\":\"\\\\ud83d\\\\ude00\"}]}') return t.a[2].b",
            "\u{1f600}",
        ),
        ("return cjson.encode({0.1, 1e100, 1/3})", "[0.1,1e+100,0.33333333333333]"),
        (
            "local t = {cmsgpack.unpack(cmsgpack.pack(1, -300, 'x', {5, {y = 0.5}}))} \
             return t[2] .. t[3] .. t[4][2].y",
            "-300x0.5",
        ),
        (
            "return table.concat({struct.unpack('>I2hc2', struct.pack('>I2hc2', 258, -2, 'xy'))}, ' ')",
            "258 -2 xy 7",
        ),
        ("return bit.tohex(65535, -2147483648)", "0000FFFF"),
        ("return redis.sha1hex('')", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("math.randomseed(0) return tostring(math.random())", "0.17082803611217"),
        ("return redis.call('echo', 1e15)", "1000000000000000"),
        ("return redis.call('echo', 0.1)", "0.1"),
    ] {
        assert_eq!(eval(&mut c, script).text(), want, "{script}");
    }
    for (script, why) in [
        ("return cjson.decode('[1,')", "Expected value but found T_END at character 4"),
        ("return cjson.encode(print_ or function() end)", "nonexistent global variable 'print_'"),
        ("return cjson.encode({[1] = 1, [50] = 1})", "Cannot serialise table: excessively sparse array"),
        ("return cmsgpack.unpack('\\217\\5a')", "Missing bytes in input."),
        ("return struct.unpack('i4', 'abc')", "bad argument #2 to 'unpack' (data string too short)"),
    ] {
        assert!(error(&mut c, script).contains(why), "{script}: {}", error(&mut c, script));
    }
}

#[test]
fn replies_of_version_3_reach_scripts_when_they_ask() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.cmd(&["HSET", "h", "f", "1"]);
    c.cmd(&["ZADD", "z", "1.5", "m"]);
    assert_eq!(eval(&mut c, "return redis.call('hgetall', 'h')"), Value::bulks(&["f", "1"]));
    assert_eq!(
        eval(&mut c, "redis.setresp(3) return redis.call('hgetall', 'h').map.f"),
        Value::bulk("1")
    );
    let score = "redis.setresp(3) return tostring(redis.call('zscore', 'z', 'm').double)";
    assert_eq!(eval(&mut c, score), Value::bulk("1.5"));
    let null = "redis.setresp(3) return redis.call('get', 'nokey') == nil";
    assert_eq!(eval(&mut c, null), Int(1));
    assert_eq!(error(&mut c, "redis.setresp(4)"), "ERR RESP version must be 2 or 3. @@user_script:1.");
}

#[test]
fn headers_and_read_only_calls_keep_scripts_from_writing() {
    let srv = Server::start();
    let (mut c, mut other) = (srv.connect(), srv.connect());
    let denied = "ERR Write commands are not allowed from read-only scripts. @@user_script:";
    assert_eq!(
        error(&mut c, "#!lua flags=no-writes\nreturn redis.call('set', 'k', 1)"),
        format!("{denied}2.")
    );
    assert_eq!(eval(&mut c, "#!lua flags=no-writes\nreturn 1"), Int(1));
    assert_eq!(error(&mut c, "#!lua flags=x\n"), "ERR Unexpected flag in script shebang: x");
    assert_eq!(c.cmd(&["EVAL_RO", "return redis.call('get', KEYS[1])", "1", "k"]), Value::Null);
    let found = c.cmd(&["EVAL_RO", "redis.call('del', KEYS[1])", "1", "k"]);
    assert!(found.error().starts_with("ERR Write commands are not allowed from read-only scripts."));
    let found = c.cmd(&["EVAL_RO", "#!lua\nreturn 1", "0"]);
    assert_eq!(found.error(), "ERR Can not execute a script with write flag using *_ro command.");
    // A script that says it does not write is not held up by a pause of writes.
    assert_eq!(other.cmd(&["CLIENT", "PAUSE", "60000", "WRITE"]), Value::ok());
    assert_eq!(eval(&mut c, "#!lua flags=no-writes\nreturn 2"), Int(2));
    c.put(&["EVAL", "return 3", "0"]);
    assert_eq!(other.cmd(&["CLIENT", "UNPAUSE"]), Value::ok());
    assert_eq!(c.read(), Int(3));
}

#[test]
fn errors_inside_are_counted_once() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.cmd(&["SET", "k", "text"]);
    c.cmd(&["CONFIG", "RESETSTAT"]);
    error(&mut c, "return redis.call('incr', 'k')");
    eval(&mut c, "redis.pcall('incr', 'k') redis.pcall('nosuch') return 1");
    error(&mut c, "error('x')");
    let stat = |c: &mut Conn, section: &str, name: &str| {
        let text = c.cmd(&["INFO", section]).text();
        let line = text.lines().find_map(|l| l.strip_prefix(name).map(str::to_owned));
        line.unwrap_or_default()
    };
    assert_eq!(stat(&mut c, "errorstats", "errorstat_ERR:"), "count=4");
    assert!(stat(&mut c, "commandstats", "cmdstat_incr:").ends_with("rejected_calls=0,failed_calls=2"));
    assert!(stat(&mut c, "commandstats", "cmdstat_eval:").ends_with("rejected_calls=0,failed_calls=2"));
    assert_eq!(stat(&mut c, "memory", "number_of_cached_scripts:"), "3");
    assert_ne!(stat(&mut c, "memory", "used_memory_vm_eval:"), "0");
    assert_eq!(c.cmd(&["SCRIPT", "FLUSH"]), Value::ok());
    assert_eq!(stat(&mut c, "memory", "number_of_cached_scripts:"), "0");
}

#[test]
fn set_repl_keeps_changes_out_of_the_append_only_file() {
    let mut srv = Server::with(&["--appendonly", "yes"]);
    let mut c = srv.connect();
    let script = "redis.call('set', 'both', 1) redis.set_repl(redis.REPL_REPLICA) \
                  redis.call('set', 'away', 1) redis.set_repl(redis.REPL_AOF) \
                  redis.call('set', 'here', 1)";
    assert_eq!(eval(&mut c, script), Value::Null);
    srv.stop();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.cmd(&["EXISTS", "both", "here"]), Int(2));
    assert_eq!(c.cmd(&["EXISTS", "away"]), Int(0));
    assert_eq!(eval(&mut c, "return {1.9, true, false, {ok = 'x\\r\\ny'}}"), {
        Array(vec![Int(1), Int(1), Value::Null, Value::Status("x  y".into())])
    });
}

#[test]
fn a_busy_script_sees_the_time_move_and_its_keys_stand() {
    let srv = Server::with(&["--busy-reply-threshold", "5"]);
    let mut c = srv.connect();
    let script = "redis.call('SET', KEYS[1], 1, 'PX', 100000) \
                  local function now() return table.concat(redis.call('TIME'), '.') end \
                  local before, turns = now(), 0 \
                  while now() == before and turns < 100000000 do turns = turns + 1 end \
                  return {tostring(now() ~= before), redis.call('PTTL', KEYS[1])}";
    assert_eq!(eval(&mut c, script), Array(vec![Value::bulk("true"), Int(100_000)]));
}

#[test]
fn the_format_of_a_verbatim_string_has_three_bytes_whatever_they_are() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.cmd(&["HELLO", "3"]).kind(), "map");
    for (format, shown) in
        [("' \\218'", b" \xda "), ("'mkdown'", b"mkd"), ("'a\\0b'", b"a  "), ("''", b"   ")]
    {
        let script = format!("return {{verbatim_string = {{format = {format}, string = 'text'}}}}");
        c.put(&["EVAL", &script, "0"]);
        let expected = [b"=8\r\n".as_slice(), shown, b":text\r\n"].concat();
        assert_eq!(c.take(expected.len()), expected, "{format}");
    }
    assert_eq!(c.cmd(&["PING"]).text(), "PONG");
}

/// Numbers that fit no int of C are its least one.
#[test]
fn what_takes_an_int_takes_the_numbers_that_are_none() {
    let srv = Server::start();
    let mut c = srv.connect();
    let repl = "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
    for n in ["0/0", "-(0/0)", "1/0", "-1/0", "2^31", "2^32", "2^32 + 1", "2^64", "256 + 3", "4", "-1"] {
        assert_eq!(
            error(&mut c, &format!("redis.set_repl({n})")),
            format!("{repl} @@user_script:1."),
            "{n}"
        );
        assert_eq!(
            error(&mut c, &format!("redis.log({n}, 'x')")),
            "ERR Invalid debug level. @@user_script:1.",
            "{n}"
        );
        let why = "ERR RESP version must be 2 or 3. @@user_script:1.";
        assert_eq!(error(&mut c, &format!("redis.setresp({n})")), why, "{n}");
    }
    for script in
        ["redis.set_repl('x')", "redis.set_repl({})", "redis.log(3.9, 'x')", "redis.log(-0.5, 'x')"]
    {
        assert_eq!(eval(&mut c, script), Value::Null, "{script}");
    }
    for seed in ["0", "2^63", "0/0", "1/0"] {
        let script = format!("math.randomseed({seed}) return tostring(math.random())");
        assert_eq!(eval(&mut c, &script).text(), "0.17082803611217", "{seed}");
    }
}

/// What errors pass on their way out is shared by all scripts: no script may put code of its own there,
/// which would run with the rights of the next one's user.
#[test]
fn the_error_handler_runs_nothing_of_an_earlier_script() {
    let srv = Server::start();
    let mut c = srv.connect();
    let own = "function(x) redis.call('set', 'taken', 1) return x end";
    let script = format!("setfenv(__redis__err__handler, {{type = {own}, tostring = {own}}}) return 1");
    assert_eq!(eval(&mut c, &script), Int(1));
    assert_eq!(error(&mut c, "error('x')"), "ERR user_script:1: x @@user_script:1.");
    assert_eq!(c.cmd(&["GET", "taken"]), Value::Null);
}

/// Faults that were found in Lua 5.1.5 since it was released, as its authors list them; the one that takes a
/// long script is below.
const FAULTS_OF_LUA: &[(&str, &str)] = &[
    // The reader of `load` is asked again behind the end.
    (
        "local n = 0 local f = load(function() n = n + 1 return n == 1 and 'return 1' or nil end) \
             return n .. ' ' .. f()",
        "2 1",
    ),
    // Patterns down the C stack, coroutines up it.
    ("return string.find(('a'):rep(300000), ('.-'):rep(300000) .. 'b')", "pattern too complex"),
    ("return string.find(('('):rep(300000), ('('):rep(300000))", "too many captures"),
    ("local function f() return coroutine.resume(coroutine.create(f)) end return {f()}", ""),
    // What `unpack` counts across the range of an int (CVE-2025-46817).
    ("return #{unpack({}, -2147483648, -2147483640)}", "0"),
    ("return {unpack({}, 0, 2147483647)}", "too many results to unpack"),
    ("return {unpack({}, -1, 2147483646)}", "too many results to unpack"),
    ("return {unpack({}, 2147483647, -2147483648)}", ""),
    // An error inside the handler of an error, and that for ever.
    ("local function h() error('x') end return tostring(select(2, xpcall(h, h)))", "error in error"),
    // As many results as fill the stack, and one before them.
    ("local function h() return xpcall(h, h) end return select('#', h())", "200"),
    (
        "local function h() return unpack({}, 1, 7000) end \
             local function g() return xpcall(h, error) end \
         return select('#', g()) .. tostring((xpcall(h, error))) .. tostring((xpcall(error, error)))",
        "7001truefalse",
    ),
    // Strings are compared past their zero bytes, to the end of each.
    (
        "local t = {} for _, p in ipairs({{'a\\0b', 'a\\0c'}, {'a\\0b', 'a'}, {'a\\0', 'a\\0\\0'}, \
             {'\\0', ''}, {'a\\0\\0z', 'a\\0\\0a'}}) do t[#t + 1] = tostring(p[1] < p[2]) end \
             return table.concat(t, ' ')",
        "true false true false false",
    ),
    // More expressions than a loop takes.
    ("for k, v in next, {5, 6}, nil, 4, 5, 6, 7 do end return 'ends'", "ends"),
    // Texts and tables at the ends of an int.
    ("return #('x'):rep(-1) .. #('x'):rep(2^31) .. #('x'):rep(2^32 + 2) .. #('x'):rep(0/0)", "0020"),
    ("return string.sub('abc', -2147483648, 2147483647) .. string.sub('abc', 2^53, -2^53)", "abc"),
    ("return {string.byte(('x'):rep(9000), 1, -1)}", "string slice too long"),
    ("return string.format('%5.200s', 'x')", "invalid format (width or precision too long)"),
    ("return #string.format('%099.99e', 1/3)", "105"),
    ("return table.concat({}, 'x', 2147483647, -2147483648) .. 'e'", "e"),
    ("return table.concat({}, 'x', -2147483648, -2147483648)", "invalid value (nil) at index"),
    ("local t = {} table.insert(t, 2147483647, 1) return tostring(t[2147483647])", "1"),
    ("return select(-2147483648, 1)", "index out of range"),
    ("local t = {} t[2147483647] = 1 t[-2147483648] = 2 return #t", "0"),
    ("return string.find('abc', 'b', 2147483647, true) or 'none'", "none"),
    ("return ('x'):find('[%')", "malformed pattern (missing ']')"),
    ("return ('x'):find('%f')", "missing '[' after '%f' in pattern"),
    ("return ('x'):find('%b')", "unbalanced pattern"),
    ("return ('x'):find('%')", "malformed pattern (ends with '%')"),
    ("return ('x'):gsub('(x', '%1')", "unfinished capture"),
    ("return ('x'):gsub('x', '%2')", "invalid capture index"),
];

#[test]
fn known_faults_of_lua_do_no_harm() {
    let srv = Server::start();
    let mut c = srv.connect();
    let params = (1..=190).map(|i| format!("p{i}")).collect::<Vec<_>>().join(", ");
    let few = format!(
        "local function f({params}, ...) local a, b, c return p1, p190, c, arg.n end \
         local function deep(n) if n == 0 then local a, b, c, d = f(7) \
         return tostring(a) .. tostring(b) .. tostring(c) .. d end local r = deep(n - 1) return r end \
         for n = 1, 150 do local r = coroutine.wrap(deep)(n) if r ~= '7nilnil0' then return r end end \
         return 'sound'"
    );
    // Many fixed parameters, few arguments: the stack was not grown for them (CVE-2014-5461).
    let all = [(few.as_str(), "sound")].into_iter().chain(FAULTS_OF_LUA.iter().copied());
    for (script, want) in all {
        let found = match eval(&mut c, script) {
            Value::Error(_) => error(&mut c, script),
            Int(n) => n.to_string(),
            Value::Bulk(_) => eval(&mut c, script).text(),
            _ => String::new(),
        };
        assert!(found.contains(want), "{script}: {found}");
    }
}

/// One of each fault of scripting in Redis itself since 2021 that the tests above do not have.
#[test]
fn known_faults_of_scripting_do_no_harm() {
    let srv = Server::start();
    let mut c = srv.connect();
    // CVE-2021-32626: values inside each other take places on the stack. More than a client reads well.
    let deep = "local t = {} for i = 1, 20000 do t = {t} end return t";
    let limit = "-ERR reached lua stack limit\r\n";
    let reply = "*1\r\n".repeat(7995) + limit;
    c.put(&["EVAL", deep, "0"]);
    assert!(c.take(reply.len()) == reply.as_bytes(), "as deep as upstream");
    let deep = "local t = {} for i = 1, 20000 do t = {map = {a = t}} end return t";
    let reply = "*2\r\n$1\r\na\r\n".repeat(2664) + "*2\r\n" + limit + limit;
    c.put(&["EVAL", deep, "0"]);
    assert!(c.take(reply.len()) == reply.as_bytes(), "as deep as upstream");
    for (script, want) in [
        ("local t = {} for i = 1, 20000 do t = {t} end return cjson.encode(t)", "Cannot serialise"),
        ("local t = {} for i = 1, 20000 do t = {t} end return #cmsgpack.pack(t)", "17"),
        ("return #cjson.decode(('['):rep(1000) .. (']'):rep(1000))", "1"),
        // CVE-2022-24736: a script that ends the function it was put into.
        ("return 1 end function x() return 2", "'<eof>' expected near 'end'"),
        ("end return 1", "'<eof>' expected near 'end'"),
        ("return 1 end redis.sha1hex = 1 do", "'<eof>' expected near 'end'"),
        // CVE-2022-24834: lengths that grow by a factor.
        ("return #cjson.encode(('\\1'):rep(3000000))", "18000002"),
        ("return #cmsgpack.pack(('x'):rep(3000000), ('y'):rep(70000))", "3070010"),
        // CVE-2024-31449: the least int has no counterpart.
        ("return bit.tohex(1, -2147483648) .. bit.tohex(1, 2147483647)", "0000000100000001"),
        ("return bit.tohex(0/0) .. bit.tohex(1, 0/0)", "00000000"),
        // CVE-2022-24735 and CVE-2025-46818: what another user's script would run.
        ("setmetatable(getmetatable('').__index, {})", "Attempt to modify a readonly table"),
        ("getmetatable(_G).__index = nil", "Attempt to modify a readonly table"),
        ("setfenv(2, {})", "invalid level"),
        ("return tostring(getfenv(2))", "invalid level"),
        ("setfenv(redis.call, {})", "cannot change environment of given object"),
        ("getfenv(redis.call).x = 1", "Attempt to modify a readonly table"),
        ("getfenv(__redis__err__handler).x = 1", "Attempt to modify a readonly table"),
        (
            "for _, v in ipairs({1, true, 1.5}) do if getmetatable(v) then return 'has one' end end \
          local f = function() end \
             return tostring(getmetatable(f)) .. tostring(getmetatable(coroutine.create(f))) .. \
          tostring(getmetatable(cjson.null)) .. tostring(getmetatable(nil))",
            "nilnilnilnil",
        ),
    ] {
        let found = match eval(&mut c, script) {
            Value::Error(_) => error(&mut c, script),
            Int(n) => n.to_string(),
            other => other.text(),
        };
        assert!(found.contains(want), "{script}: {found}");
    }
}

#[test]
fn what_random_scripts_have_found() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (script, text) in [
        ("return cjson.encode({[2147483648] = 1, 5})", "{\"1\":5,\"2147483648\":1}"),
        ("return cjson.encode({[1e21] = 'x'})", "{\"1e+21\":\"x\"}"),
        (
            "return select(2, pcall(struct.pack, 'If', 1))",
            "bad argument #3 to '?' (number expected, got nil)",
        ),
    ] {
        assert_eq!(eval(&mut c, script), Value::bulk(text), "{script}");
    }
    // What C reads of a text ends with its first NUL.
    let found = error(&mut c, "error('a\\0b')");
    assert_eq!(found, "ERR user_script:1: a @@user_script:1.");
    let found = eval(&mut c, "error({err = 'MY a\\0b', source = 'x\\0y', line = 7})");
    assert!(found.error().starts_with("MY a script: "), "{found:?}");
    let signed = "return tostring(cmsgpack.unpack('\\207\\129\\196\\240\\151\\145\\103\\129\\000'))";
    assert_eq!(eval(&mut c, signed), Value::bulk("-9.0958808136114e+18"));
    for (text, told) in [("'\\n'", ""), ("'MY a\\r\\n\\n'", "MY a"), ("'MY a\\nb\\n'", "MY a b")] {
        let reply = eval(&mut c, &format!("return {{err = {text}}}"));
        assert_eq!(reply.error(), told, "{text}");
    }
}

#[test]
fn math_random_goes_on_over_script_flush() {
    let srv = Server::start();
    let mut c = srv.connect();
    let number = |c: &mut Conn, script: &str| eval(c, script).int();
    number(&mut c, "math.randomseed(7) return 0");
    let all: Vec<i64> = (0..4).map(|_| number(&mut c, "return math.random(1000000)")).collect();
    number(&mut c, "math.randomseed(7) return 0");
    for n in all {
        assert_eq!(number(&mut c, "return math.random(1000000)"), n);
        c.cmd(&["SCRIPT", "FLUSH"]);
    }
}
