//! Compiles Lua 5.1.5, the language of scripts, from the sources that the crate `lua-src` carries.
//!
//! ```text
//! lua-src: lua-5.1.5/*.c ─► EDITS ─► OUT_DIR/lua/*.c ─► liblua.a     (`mlua-sys` declares its functions)
//! ```
//!
//! Lua is taken as it is but for the edits below: what scripts of Redis see of its interpreter (tables
//! that cannot be changed, the order of `pairs`), and what in 5.1.5 is not safe with scripts that mean
//! harm. Each edit names its place by a piece of the source; the build ends when it is not there as often
//! as the edit says, so a new version of the crate cannot drop one in silence.
//!
//! What an interpreter shares with the server is a `lua_Host`, which the user data of its allocator
//! points to (`Kept` in `scripting/ffi`).

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Files of the core and of the libraries that scripts get. No package, io or os; lundump stays for the
/// header that `string.dump` writes.
const SOURCES: &[&str] = &[
    "lapi", "lauxlib", "lbaselib", "lcode", "ldblib", "ldebug", "ldo", "ldump", "lfunc", "lgc", "llex",
    "lmathlib", "lmem", "lobject", "lopcodes", "lparser", "lstate", "lstring", "lstrlib", "ltable",
    "ltablib", "ltm", "lundump", "lvm", "lzio",
];

struct Edit {
    file: &'static str,
    /// How often `from` stands in the file.
    times: usize,
    from: &'static str,
    to: &'static str,
}

const EDITS: &[Edit] = &[
    // ---- what the host shares, and read-only tables -------------------------------------------------
    Edit {
        file: "lua.h",
        times: 1,
        from: "#define LUA_TNONE\t\t(-1)",
        to: "/* what the owner of a state shares with it, as the user data of the allocator */
typedef struct lua_Host {
  int native;  /* a function of the host runs: no finalizer may */
  const char *stack_end;  /* the C stack may be used down to here */
  size_t longest_token;  /* bytes that a token of a source may have */
} lua_Host;

LUA_API void (lua_setreadonly) (lua_State *L, int idx, int on);
LUA_API int (lua_getreadonly) (lua_State *L, int idx);
LUA_API int (lua_each) (lua_State *L, int idx, int *at);

#define LUA_TNONE\t\t(-1)",
    },
    Edit {
        file: "lobject.h",
        times: 1,
        from: "  lu_byte lsizenode;",
        to: "  lu_byte readonly;  /* refuses every change */\n  lu_byte lsizenode;",
    },
    Edit {
        file: "ltable.c",
        times: 1,
        from: "  t->flags = cast_byte(~0);\n",
        to: "  t->flags = cast_byte(~0);\n  t->readonly = 0;\n",
    },
    // Every store but those of the parser, whose tables no script sees, goes through one of these two.
    Edit {
        file: "ltable.c",
        times: 1,
        from: "TValue *luaH_set (lua_State *L, Table *t, const TValue *key) {
  const TValue *p = luaH_get(t, key);
",
        to: "static void checkwritable (lua_State *L, const Table *t) {
  if (t->readonly) luaG_runerror(L, \"Attempt to modify a readonly table\");
}


TValue *luaH_set (lua_State *L, Table *t, const TValue *key) {
  const TValue *p;
  checkwritable(L, t);
  p = luaH_get(t, key);
",
    },
    Edit {
        file: "ltable.c",
        times: 1,
        from: "TValue *luaH_setnum (lua_State *L, Table *t, int key) {
  const TValue *p = luaH_getnum(t, key);
",
        to: "TValue *luaH_setnum (lua_State *L, Table *t, int key) {
  const TValue *p;
  checkwritable(L, t);
  p = luaH_getnum(t, key);
",
    },
    Edit {
        file: "lapi.c",
        times: 1,
        from: "      hvalue(obj)->metatable = mt;\n",
        to: "      if (hvalue(obj)->readonly)
        luaG_runerror(L, \"Attempt to modify a readonly table\");
      hvalue(obj)->metatable = mt;\n",
    },
    Edit {
        file: "lapi.c",
        times: 1,
        from: "LUA_API const char *lua_setupvalue (",
        to: "LUA_API void lua_setreadonly (lua_State *L, int idx, int on) {
  StkId o = index2adr(L, idx);
  api_check(L, ttistable(o));
  hvalue(o)->readonly = cast_byte(on != 0);
}


LUA_API int lua_getreadonly (lua_State *L, int idx) {
  StkId o = index2adr(L, idx);
  return ttistable(o) && hvalue(o)->readonly;
}


/* pushes the next pair at or behind `at', in the order of lua_next, and moves that on; 0 at the end */
LUA_API int lua_each (lua_State *L, int idx, int *at) {
  const Table *t = hvalue(index2adr(L, idx));
  int i = *at;
  for (; i < t->sizearray; i++) {
    if (!ttisnil(&t->array[i])) {
      setnvalue(L->top, cast_num(i+1));
      setobj2s(L, L->top+1, &t->array[i]);
      goto found;
    }
  }
  for (; i - t->sizearray < sizenode(t); i++) {
    Node *n = gnode(t, i - t->sizearray);
    if (!ttisnil(gval(n))) {
      setobj2s(L, L->top, key2tval(n));
      setobj2s(L, L->top+1, gval(n));
      goto found;
    }
  }
  *at = i;
  return 0;
 found:
  *at = i + 1;
  api_incr_top(L);
  api_incr_top(L);
  return 1;
}


LUA_API const char *lua_setupvalue (",
    },
    // ---- long strings are hashed whole: one order of `pairs` with Redis, no collisions made on purpose
    Edit { file: "lstring.c", times: 1, from: "size_t step = (l>>5)+1;", to: "size_t step = 1;" },
    // ---- chunks are text: the loader of compiled code trusts its input -------------------------------
    Edit {
        file: "ldo.c",
        times: 1,
        from: "  int c = luaZ_lookahead(p->z);\n",
        to: "  luaZ_lookahead(p->z);\n",
    },
    Edit {
        file: "ldo.c",
        times: 1,
        from: "((c == LUA_SIGNATURE[0]) ? luaU_undump : luaY_parser)(L, p->z,",
        to: "luaY_parser(L, p->z,",
    },
    // ---- the name of a chunk stays on the stack while the parser uses it (CVE-2025-49844) -------------
    Edit {
        file: "lparser.c",
        times: 1,
        from: "  luaX_setinput(L, &lexstate, z, luaS_new(L, name));\n",
        to: "  TString *source = luaS_new(L, name);
  setsvalue2s(L, L->top, source);
  incr_top(L);
  luaX_setinput(L, &lexstate, z, source);\n",
    },
    Edit {
        file: "lparser.c",
        times: 1,
        from: "  lua_assert(lexstate.fs == NULL);\n  return funcstate.f;\n",
        to: "  lua_assert(lexstate.fs == NULL);\n  L->top--;  /* the name */\n  return funcstate.f;\n",
    },
    // ---- no token of 2^31 bytes: an int counts the `=` of a long bracket (CVE-2025-46819) -------------
    Edit {
        file: "llex.c",
        times: 1,
        from: "if (b->buffsize >= MAX_SIZET/2)",
        to: "if (b->buffsize > cast(lua_Host *, G(ls->L)->ud)->longest_token/2)",
    },
    // ---- two strings that the locale takes for one may be of two lengths up to their zero bytes -------
    Edit {
        file: "lvm.c",
        times: 1,
        from: "      size_t len = strlen(l);  /* index of first `\\0' in both strings */
      if (len == lr)  /* r is finished? */
        return (len == ll) ? 0 : 1;
      else if (len == ll)  /* l is finished? */
",
        to: "      size_t len = strlen(l), rlen = strlen(r);
      if (rlen == lr)  /* r is finished? */
        return (len == ll) ? 0 : 1;
      else if (len == ll)  /* l is finished? */
",
    },
    Edit {
        file: "lvm.c",
        times: 1,
        from: "      len++;
      l += len; ll -= len; r += len; lr -= len;
",
        to: "      len++; rlen++;
      l += len; ll -= len; r += rlen; lr -= rlen;
",
    },
    // ---- patterns end before the C stack does ---------------------------------------------------------
    Edit {
        file: "lstrlib.c",
        times: 1,
        from: "  lua_State *L;\n  int level;  /* total number of captures (finished or unfinished) */\n",
        to: "  lua_State *L;
  const char *stack_end;
  int level;  /* total number of captures (finished or unfinished) */\n",
    },
    Edit {
        file: "lstrlib.c",
        times: 3,
        from: "  ms.L = L;\n",
        to: "  ms.L = L;\n  ms.stack_end = stackend(L);\n",
    },
    Edit {
        file: "lstrlib.c",
        times: 1,
        from: "static int check_capture (MatchState *ms, int l) {\n",
        to: "static const char *stackend (lua_State *L) {
  void *host;
  lua_getallocf(L, &host);
  return ((const lua_Host *)host)->stack_end;
}


static int check_capture (MatchState *ms, int l) {\n",
    },
    Edit {
        file: "lstrlib.c",
        times: 1,
        from: "static const char *match (MatchState *ms, const char *s, const char *p) {\n",
        to: "static const char *match (MatchState *ms, const char *s, const char *p) {
  char here;
  if (&here < ms->stack_end) luaL_error(ms->L, \"pattern too complex\");\n",
    },
    // ---- `xpcall` has room for its first result, however many follow ----------------------------------
    Edit {
        file: "lbaselib.c",
        times: 1,
        from: "  lua_insert(L, 1);  /* put error function under function to be called */
  status = lua_pcall(L, 0, LUA_MULTRET, 1);
  lua_pushboolean(L, (status == 0));
  lua_replace(L, 1);
",
        to: "  lua_insert(L, 1);  /* put error function under function to be called */
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  status = lua_pcall(L, 0, LUA_MULTRET, 2);
  lua_remove(L, 2);
  if (status != 0) {
    lua_pushboolean(L, 0);
    lua_replace(L, 1);
  }
",
    },
    // ---- finalizers (`newproxy`) run where scripts run: not inside a function of the host, which they
    //      would leave by an error; not between scripts; not while the state is closed -------------------
    Edit {
        file: "lgc.c",
        times: 1,
        from: "      if (g->tmudata) {\n        GCTM(L);\n",
        to: "      if (g->tmudata && !cast(lua_Host *, g->ud)->native) {\n        GCTM(L);\n",
    },
    Edit {
        file: "lgc.c",
        times: 1,
        from: "  tm = fasttm(L, udata->uv.metatable, TM_GC);\n  if (tm != NULL) {\n",
        to: "  tm = fasttm(L, udata->uv.metatable, TM_GC);
  if (tm != NULL && !cast(lua_Host *, g->ud)->native) {\n",
    },
];

/// The sources of the crate. It does not say where they are, but the place of a panic in it does, and it
/// panics for a target that it does not know. `LUA_SRC_DIR` is for builds that rewrite such places.
fn sources() -> PathBuf {
    println!("cargo:rerun-if-env-changed=LUA_SRC_DIR");
    if let Some(dir) = env::var_os("LUA_SRC_DIR") {
        return dir.into();
    }
    static PLACE: std::sync::Mutex<Option<PathBuf>> = std::sync::Mutex::new(None);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| PathBuf::from(l.file()));
        *PLACE.lock().expect("only this hook locks it") = place;
    }));
    let out = out_dir().join("unused");
    let built = std::panic::catch_unwind(|| {
        lua_src::Build::new().target("none").out_dir(out).build(lua_src::Lua51);
    });
    std::panic::set_hook(before);
    assert!(built.is_err(), "lua-src builds for a target that does not exist");
    let place = PLACE.lock().expect("nothing panics under it").take();
    let root = place.as_deref().and_then(Path::parent).and_then(Path::parent);
    root.expect("the panic says its place").join("lua-5.1.5")
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"))
}

fn edited(name: &str, mut text: String) -> String {
    for edit in EDITS.iter().filter(|e| e.file == name) {
        let found = text.matches(edit.from).count();
        assert!(
            found == edit.times,
            "Lua has changed: {name} has {found} places for the edit of {:?}, not {}",
            edit.from,
            edit.times
        );
        text = text.replace(edit.from, edit.to);
    }
    text
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let (from, to) = (sources(), out_dir().join("lua"));
    fs::create_dir_all(&to).expect("OUT_DIR can be written");
    let listed = fs::read_dir(&from).unwrap_or_else(|e| {
        panic!("{}: {e}. LUA_SRC_DIR may name the folder lua-5.1.5 of the crate lua-src", from.display())
    });
    for file in listed {
        let file = file.expect("a folder of sources").path();
        let name = file.file_name().and_then(|n| n.to_str()).expect("a plain name");
        let text = String::from_utf8_lossy(&fs::read(&file).expect("a source file")).into_owned();
        fs::write(to.join(name), edited(name, text)).expect("OUT_DIR can be written");
    }
    for edit in EDITS {
        assert!(to.join(edit.file).exists(), "Lua has no {} any more", edit.file);
    }
    let mut build = cc::Build::new();
    build.include(&to).warnings(false).opt_level(2);
    // Integers wrap where C leaves it open (`unpack` counts across the whole range of an int).
    build.flag("-fwrapv").flag("-fno-common");
    if cfg!(debug_assertions) {
        // Calls of the API are checked: indices, and room on the stack for what is pushed.
        build.define("LUA_USE_APICHECK", None);
    }
    build.files(SOURCES.iter().map(|name| to.join(name).with_extension("c")));
    build.compile("lua51");
}
