//! The `cmsgpack` library of scripts: MessagePack.
//!
//! ```text
//! nil c0   false c2   true c3        float32 ca   float64 cb
//! ints: 00-7f  e0-ff  cc cd ce cf (unsigned 8 16 32 64)  d0 d1 d2 d3 (signed)
//! strings: a0-bf  d9 da db           arrays: 90-9f  dc dd           maps: 80-8f  de df
//! ```
//!
//! A table whose keys are 1 to n is an array, the empty one too; others are maps. Numbers without a
//! fraction are integers; a double that a float holds is a float. Nesting below 16 tables becomes nil.

use super::ffi::{Cursor, Library, LuaType, Raise, Stack};
use super::sandbox::LibraryItem;

pub const LIBRARY: Library = &[
    ("pack", LibraryItem::Native(pack)),
    ("unpack", LibraryItem::Native(unpack)),
    ("unpack_one", LibraryItem::Native(unpack_one)),
    ("unpack_limit", LibraryItem::Native(unpack_limit)),
    ("_NAME", LibraryItem::Text("cmsgpack")),
    ("_VERSION", LibraryItem::Text("lua-cmsgpack 0.4.0")),
    ("_COPYRIGHT", LibraryItem::Text("Copyright (C) 2012, Salvatore Sanfilippo")),
    ("_DESCRIPTION", LibraryItem::Text("MessagePack C implementation for Lua")),
];

const DEEPEST: usize = 16;

// ---- packing -----------------------------------------------------------------------------------

fn pack(s: &mut Stack) -> Result<i32, Raise> {
    let n = s.top();
    if n == 0 {
        return Err(Raise::Argument(0, b"MessagePack pack needs input.".to_vec()));
    }
    let mut out = Vec::new();
    for at in 1..=n {
        s.push_value(at);
        put(s, &mut out, 0)?;
    }
    s.push_bytes(&out);
    Ok(1)
}

/// Packs the value on top and pops it.
fn put(s: &mut Stack, out: &mut Vec<u8>, depth: usize) -> Result<(), Raise> {
    match s.kind(-1) {
        LuaType::String => {
            let text = s.bytes(-1);
            head(out, text.len(), (0xa0, 32), &[0xd9, 0xda, 0xdb]);
            out.extend_from_slice(text);
        }
        LuaType::Bool => out.push(if s.boolean(-1) { 0xc3 } else { 0xc2 }),
        LuaType::Number => put_number(out, s.number(-1).unwrap_or(0.0)),
        LuaType::Table if depth < DEEPEST => put_table(s, out, depth)?,
        _ => out.push(0xc0),
    }
    s.pop(1);
    Ok(())
}

/// A length: in the first byte below `short.1`, else behind one of the marks for 8 (where there is
/// one), 16 and 32 bits.
fn head(out: &mut Vec<u8>, n: usize, short: (u8, usize), marks: &[u8]) {
    let [eight @ .., sixteen, thirty_two] = marks else { unreachable!("at least two marks") };
    if n < short.1 {
        out.push(short.0 | n as u8);
    } else if let (true, [mark]) = (n <= 0xff, eight) {
        out.extend_from_slice(&[*mark, n as u8]);
    } else if n <= 0xffff {
        out.push(*sixteen);
        out.extend_from_slice(&(n as u16).to_be_bytes());
    } else {
        out.push(*thirty_two);
        out.extend_from_slice(&(n as u32).to_be_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, n: f64) {
    let whole = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&n);
    if whole && n as i64 as f64 == n {
        return put_integer(out, n as i64);
    }
    let short = n as f32;
    if f64::from(short) == n {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

fn put_integer(out: &mut Vec<u8>, n: i64) {
    let bytes = n.to_be_bytes();
    let (mark, size) = match n {
        -32..=0x7f => return out.push(bytes[7]),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -128..=-33 => (0xd0, 1),
        -32_768..=-129 => (0xd1, 2),
        -2_147_483_648..=-32_769 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(mark);
    out.extend_from_slice(&bytes[8 - size..]);
}

/// Number of elements when the keys of the table on top are 1 to n; with all keys otherwise.
fn shape(s: &mut Stack) -> (bool, usize) {
    let (mut count, mut max, mut array) = (0usize, 0.0f64, true);
    let mut cursor = Cursor::default();
    while s.each(-1, &mut cursor) {
        s.pop(1);
        count += 1;
        match s.number(-1).filter(|_| s.kind(-1) == LuaType::Number) {
            Some(n) if n > 0.0 && n <= f64::from(i32::MAX) && n.fract() == 0.0 => max = max.max(n),
            _ => array = false,
        }
        s.pop(1);
    }
    (array && max == count as f64, count)
}

fn put_table(s: &mut Stack, out: &mut Vec<u8>, depth: usize) -> Result<(), Raise> {
    if !s.room(4) {
        return Err(Raise::text("stack overflow (in function mp_encode_lua_table_as_map)"));
    }
    let (array, n) = shape(s);
    if array {
        head(out, n, (0x90, 16), &[0xdc, 0xdd]);
        for i in 1..=n {
            s.raw_get_i(-1, i32::try_from(i).unwrap_or(i32::MAX));
            put(s, out, depth + 1)?;
        }
        return Ok(());
    }
    head(out, n, (0x80, 16), &[0xde, 0xdf]);
    let mut cursor = Cursor::default();
    while s.each(-1, &mut cursor) {
        s.push_value(-2);
        put(s, out, depth + 1)?;
        put(s, out, depth + 1)?;
        s.pop(1);
    }
    Ok(())
}

// ---- unpacking ---------------------------------------------------------------------------------

enum Bad {
    Short,
    Format,
    Deep,
    /// A map has a key that no table takes.
    Key(&'static str),
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8], Bad> {
        let (a, b) = self.0.split_at_checked(n).ok_or(Bad::Short)?;
        self.0 = b;
        Ok(a)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, Bad> {
        Ok(self.take(bytes)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn signed(&mut self, bytes: usize) -> Result<f64, Bad> {
        let shift = 64 - 8 * bytes as u32;
        Ok(((self.number(bytes)? << shift) as i64 >> shift) as f64)
    }

    fn size(&mut self, bytes: usize) -> Result<usize, Bad> {
        Ok(usize::try_from(self.number(bytes)?).unwrap_or(usize::MAX))
    }

    /// Pushes the next value; on an error some of it may be on the stack.
    fn value(&mut self, s: &mut Stack) -> Result<(), Bad> {
        if !s.room(4) {
            return Err(Bad::Deep);
        }
        let mark = self.number(1)? as u8;
        match mark {
            0x00..=0x7f => s.push_number(f64::from(mark)),
            0xe0..=0xff => s.push_number(f64::from(mark as i8)),
            0x80..=0x8f => self.map(s, usize::from(mark & 0xf))?,
            0x90..=0x9f => self.array(s, usize::from(mark & 0xf))?,
            0xa0..=0xbf => self.string(s, usize::from(mark & 0x1f))?,
            0xc0 => s.push_nil(),
            0xc2 => s.push_bool(false),
            0xc3 => s.push_bool(true),
            0xca => {
                let bits = self.number(4)? as u32;
                s.push_number(f64::from(f32::from_bits(bits)));
            }
            0xcb => {
                let bits = self.number(8)?;
                s.push_number(f64::from_bits(bits));
            }
            0xcc..=0xcf => {
                // By way of a lua_Integer, which has a sign.
                let n = self.number(1 << (mark - 0xcc))?;
                s.push_number(n as i64 as f64);
            }
            0xd0..=0xd3 => {
                let n = self.signed(1 << (mark - 0xd0))?;
                s.push_number(n);
            }
            0xd9..=0xdb => {
                let n = self.size(1 << (mark - 0xd9))?;
                self.string(s, n)?;
            }
            0xdc | 0xdd => {
                let n = self.size(2 << (mark - 0xdc))?;
                self.array(s, n)?;
            }
            0xde | 0xdf => {
                let n = self.size(2 << (mark - 0xde))?;
                self.map(s, n)?;
            }
            _ => return Err(Bad::Format),
        }
        Ok(())
    }

    fn string(&mut self, s: &mut Stack, n: usize) -> Result<(), Bad> {
        s.push_bytes(self.take(n)?);
        Ok(())
    }

    fn array(&mut self, s: &mut Stack, n: usize) -> Result<(), Bad> {
        s.new_table();
        for i in 1..=n {
            self.value(s)?;
            s.raw_set_i(-2, i32::try_from(i).unwrap_or(i32::MAX));
        }
        Ok(())
    }

    fn map(&mut self, s: &mut Stack, n: usize) -> Result<(), Bad> {
        s.new_table();
        for _ in 0..n {
            self.value(s)?;
            match s.kind(-1) {
                LuaType::Nil => return Err(Bad::Key("table index is nil")),
                LuaType::Number if s.number(-1).is_some_and(f64::is_nan) => {
                    return Err(Bad::Key("table index is NaN"));
                }
                _ => {}
            }
            self.value(s)?;
            s.raw_set(-3);
        }
        Ok(())
    }
}

/// An optional integer argument.
fn optional(s: &Stack, at: i32) -> Result<i64, Raise> {
    if matches!(s.kind(at), LuaType::None | LuaType::Nil) { Ok(0) } else { s.check_integer(at) }
}

/// Unpacks at most `limit` values from byte `offset` on; both 0 for all. Otherwise where the rest begins
/// comes first, -1 for no rest.
fn unpack_some(s: &mut Stack, limit: i64, offset: i64) -> Result<i32, Raise> {
    let data = s.check_bytes(1)?;
    s.set_top(1);
    let all = limit == 0 && offset == 0;
    if offset < 0 || limit < 0 {
        return Err(Raise::text(format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32,
            data.len() as i32
        )));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|n| data.get(n..)) else {
        return Err(Raise::text(format!(
            "Start offset {} greater than input length {}.",
            offset as i32,
            data.len() as i32
        )));
    };
    let limit = if all { i64::from(i32::MAX) } else { limit };
    let (mut r, mut n) = (Reader(rest), 0);
    while !r.0.is_empty() && i64::from(n) < limit {
        match r.value(s) {
            Ok(()) => n += 1,
            Err(Bad::Short) => return Err(Raise::text("Missing bytes in input.")),
            Err(Bad::Format) => return Err(Raise::text("Bad data format in input.")),
            Err(Bad::Key(why)) => return Err(Raise::Bare(why.into())),
            Err(Bad::Deep) => {
                return Err(Raise::text(
                    "stack overflow (too many return values at once; use unpack_one or unpack_limit \
                     instead.)",
                ));
            }
        }
    }
    if !all {
        let left = r.0.len();
        s.push_number(if left == 0 { -1.0 } else { (data.len() - left) as f64 });
        s.insert(2);
        n += 1;
    }
    Ok(n)
}

fn unpack(s: &mut Stack) -> Result<i32, Raise> {
    unpack_some(s, 0, 0)
}

fn unpack_one(s: &mut Stack) -> Result<i32, Raise> {
    let offset = optional(s, 2)?;
    unpack_some(s, 1, offset)
}

fn unpack_limit(s: &mut Stack) -> Result<i32, Raise> {
    let limit = s.check_integer(2)?;
    let offset = optional(s, 3)?;
    unpack_some(s, limit, offset)
}
