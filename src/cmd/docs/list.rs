//! Lists, and waiting for their elements.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("list", since, summary, complexity)
}

const WHEREFROM: Arg =
    Arg::oneof("wherefrom", &[Arg::word("left", "LEFT"), Arg::word("right", "RIGHT")]);

const WHERETO: Arg = Arg::oneof("whereto", &[Arg::word("left", "LEFT"), Arg::word("right", "RIGHT")]);

const WHERE: Arg = Arg::oneof("where", &[Arg::word("left", "LEFT"), Arg::word("right", "RIGHT")]);

pub static BLMOVE: Docs = doc(
    "6.2.0",
    "Moves an element from an end of one list to an end of another, waiting while the source is \
     empty.",
    "O(1)",
)
.args(&[Arg::key("source", 0), Arg::key("destination", 1), WHEREFROM, WHERETO, Arg::double("timeout")]);

pub static BLMPOP: Docs = doc(
    "7.0.0",
    "Takes elements off the first list that has any, waiting while all are empty.",
    "O(N+M): N keys given, M elements returned.",
)
.args(&[
    Arg::double("timeout"),
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    WHERE,
    Arg::integer("count").token("COUNT").optional(),
]);

pub static BLPOP: Docs = doc(
    "2.0.0",
    "Takes the head of the first list that has one, waiting while all are empty.",
    "O(N) in the keys given.",
)
.history(&[("6.0.0", "Fractions of a second are accepted for `timeout`.")])
.args(&[Arg::key("key", 0).multiple(), Arg::double("timeout")]);

pub static BRPOP: Docs = doc(
    "2.0.0",
    "Takes the tail of the first list that has one, waiting while all are empty.",
    "O(N) in the keys given.",
)
.history(&[("6.0.0", "Fractions of a second are accepted for `timeout`.")])
.args(&[Arg::key("key", 0).multiple(), Arg::double("timeout")]);

pub static BRPOPLPUSH: Docs = doc(
    "2.2.0",
    "Moves the tail of one list to the head of another, waiting while the source is empty.",
    "O(1)",
)
.deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")
.history(&[("6.0.0", "Fractions of a second are accepted for `timeout`.")])
.args(&[Arg::key("source", 0), Arg::key("destination", 1), Arg::double("timeout")]);

pub static LINDEX: Docs = doc(
    "1.0.0",
    "Reads the element of a list at an index.",
    "O(N) in the elements between the nearer end and the index; O(1) for the first and the last.",
)
.args(&[Arg::key("key", 0), Arg::integer("index")]);

pub static LINSERT: Docs = doc(
    "2.2.0",
    "Puts an element next to the first one that equals a given value, on either side.",
    "O(N) in the elements passed on the way to the pivot: O(1) near the head, O(N) near the tail.",
)
.args(&[
    Arg::key("key", 0),
    Arg::oneof("where", &[Arg::word("before", "BEFORE"), Arg::word("after", "AFTER")]),
    Arg::string("pivot"),
    Arg::string("element"),
]);

pub static LLEN: Docs =
    doc("1.0.0", "Counts the elements of a list.", "O(1)").args(&[Arg::key("key", 0)]);

pub static LMOVE: Docs =
    doc("6.2.0", "Moves an element from an end of one list to an end of another.", "O(1)").args(&[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        WHEREFROM,
        WHERETO,
    ]);

pub static LMPOP: Docs = doc(
    "7.0.0",
    "Takes elements off the first list that has any.",
    "O(N+M): N keys given, M elements returned.",
)
.args(&[
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    WHERE,
    Arg::integer("count").token("COUNT").optional(),
]);

pub static LPOP: Docs =
    doc("1.0.0", "Takes elements off the head of a list.", "O(N) in the elements returned.")
        .history(&[("6.2.0", "New optional argument: `count`.")])
        .args(&[Arg::key("key", 0), Arg::integer("count").optional().since("6.2.0")]);

pub static LPOS: Docs = doc(
    "6.0.6",
    "Tells where an element occurs in a list.",
    "O(N) on average for a list of N elements; less for matches near the end where the search \
     starts, or with MAXLEN.",
)
.args(&[
    Arg::key("key", 0),
    Arg::string("element"),
    Arg::integer("rank").token("RANK").optional(),
    Arg::integer("num-matches").token("COUNT").optional(),
    Arg::integer("len").token("MAXLEN").optional(),
]);

pub static LPUSH: Docs = doc(
    "1.0.0",
    "Puts elements at the head of a list, which is made where there was no key.",
    "O(1) for each element, so O(N) for N of them.",
)
.history(&[("2.4.0", "More than one `element` is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("element").multiple()]);

pub static LPUSHX: Docs = doc(
    "2.2.0",
    "Puts elements at the head of a list, provided it exists.",
    "O(1) for each element, so O(N) for N of them.",
)
.history(&[("4.0.0", "More than one `element` is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("element").multiple()]);

pub static LRANGE: Docs = doc(
    "1.0.0",
    "Reads a range of a list.",
    "O(S+N): S elements skipped from the head (from the nearer end in long lists), N returned.",
)
.args(&[Arg::key("key", 0), Arg::integer("start"), Arg::integer("stop")]);

pub static LREM: Docs = doc(
    "1.0.0",
    "Removes elements equal to the given one from a list.",
    "O(N+M): N elements in the list, M removed.",
)
.args(&[Arg::key("key", 0), Arg::integer("count"), Arg::string("element")]);

pub static LSET: Docs = doc(
    "1.0.0",
    "Replaces the element of a list at an index.",
    "O(N) in the length of the list; O(1) at either end.",
)
.args(&[Arg::key("key", 0), Arg::integer("index"), Arg::string("element")]);

pub static LTRIM: Docs = doc("1.0.0", "Keeps only a range of a list.", "O(N) in the elements removed.")
    .args(&[Arg::key("key", 0), Arg::integer("start"), Arg::integer("stop")]);

pub static RPOP: Docs =
    doc("1.0.0", "Takes elements off the tail of a list.", "O(N) in the elements returned.")
        .history(&[("6.2.0", "New optional argument: `count`.")])
        .args(&[Arg::key("key", 0), Arg::integer("count").optional().since("6.2.0")]);

pub static RPOPLPUSH: Docs = doc("1.2.0", "Moves the tail of one list to the head of another.", "O(1)")
    .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")
    .args(&[Arg::key("source", 0), Arg::key("destination", 1)]);

pub static RPUSH: Docs = doc(
    "1.0.0",
    "Puts elements at the tail of a list, which is made where there was no key.",
    "O(1) for each element, so O(N) for N of them.",
)
.history(&[("2.4.0", "More than one `element` is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("element").multiple()]);

pub static RPUSHX: Docs = doc(
    "2.2.0",
    "Puts elements at the tail of a list, provided it exists.",
    "O(1) for each element, so O(N) for N of them.",
)
.history(&[("4.0.0", "More than one `element` is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("element").multiple()]);
