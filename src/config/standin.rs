pub mod quote {
    pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let blank = |b: u8| matches!(b, b' ' | b'\t'..=b'\r');
        let mut out = Vec::new();
        let mut p = 0;
        loop {
            while p < line.len() && blank(line[p]) {
                p += 1;
            }
            if p >= line.len() {
                return Some(out);
            }
            let mut cur = Vec::new();
            let mut q = 0u8;
            loop {
                let c = line.get(p).copied();
                let n = line.get(p + 1).copied();
                match (q, c) {
                    (b'"', Some(b'\\')) if n.is_some() => {
                        let n = n.expect("some");
                        let hex = line.get(p + 2..p + 4).and_then(|h| std::str::from_utf8(h).ok());
                        let hex = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
                        match (n, hex) {
                            (b'x', Some(v)) => {
                                cur.push(v);
                                p += 3;
                            }
                            _ => {
                                p += 1;
                                cur.push(match n {
                                    b'n' => b'\n',
                                    b'r' => b'\r',
                                    b't' => b'\t',
                                    b'b' => 8,
                                    b'a' => 7,
                                    o => o,
                                });
                            }
                        }
                    }
                    (b'\'', Some(b'\\')) if n == Some(b'\'') => {
                        p += 1;
                        cur.push(b'\'');
                    }
                    (b'"', Some(b'"')) | (b'\'', Some(b'\'')) => {
                        if n.is_some_and(|n| !blank(n)) {
                            return None;
                        }
                        p += 1;
                        break;
                    }
                    (b'"' | b'\'', None) => return None,
                    (0, None) => break,
                    (0, Some(b)) if blank(b) => break,
                    (0, Some(b @ (b'"' | b'\''))) => q = b,
                    (_, Some(b)) => cur.push(b),
                    (_, None) => return None,
                }
                p += 1;
            }
            out.push(cur);
        }
    }
    pub fn repr(out: &mut Vec<u8>, text: &[u8]) {
        out.push(b'"');
        for &b in text {
            match b {
                b'\\' | b'"' => out.extend([b'\\', b]),
                b'\n' => out.extend(b"\\n"),
                b'\r' => out.extend(b"\\r"),
                b'\t' => out.extend(b"\\t"),
                7 => out.extend(b"\\a"),
                8 => out.extend(b"\\b"),
                0x20..=0x7e => out.push(b),
                b => out.extend(format!("\\x{b:02x}").bytes()),
            }
        }
        out.push(b'"');
    }
}
pub mod glob {
    pub fn matches_nocase(p: &[u8], s: &[u8]) -> bool {
        match p.split_first() {
            None => s.is_empty(),
            Some((b'*', rest)) => (0..=s.len()).any(|i| matches_nocase(rest, &s[i..])),
            Some((b'?', rest)) => !s.is_empty() && matches_nocase(rest, &s[1..]),
            Some((c, rest)) => {
                s.first().is_some_and(|b| b.eq_ignore_ascii_case(c)) && matches_nocase(rest, &s[1..])
            }
        }
    }
}
