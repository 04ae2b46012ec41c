//! Strings as arrays of bits.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("bitmap", since, summary, complexity)
}

const UNIT: Arg =
    Arg::oneof("unit", &[Arg::word("byte", "BYTE"), Arg::word("bit", "BIT")]).optional().since("7.0.0");

pub static BITCOUNT: Docs =
    doc("2.6.0", "Counts the bits that are 1 in a string or a part of it.", "O(N)")
        .history(&[("7.0.0", "Ranges may be given in bits as well as bytes (`BYTE|BIT`).")])
        .args(&[
            Arg::key("key", 0),
            Arg::block("range", &[Arg::integer("start"), Arg::integer("end"), UNIT]).optional(),
        ]);

pub static BITFIELD: Docs = doc(
    "3.2.0",
    "Reads and changes integers of any width at any bit offset of a string.",
    "O(1) for each operation given.",
)
.args(&[
    Arg::key("key", 0),
    Arg::oneof(
        "operation",
        &[
            Arg::block("get-block", &[Arg::string("encoding"), Arg::integer("offset")]).token("GET"),
            Arg::block(
                "write",
                &[
                    Arg::oneof(
                        "overflow-block",
                        &[Arg::word("wrap", "WRAP"), Arg::word("sat", "SAT"), Arg::word("fail", "FAIL")],
                    )
                    .token("OVERFLOW")
                    .optional(),
                    Arg::oneof(
                        "write-operation",
                        &[
                            Arg::block(
                                "set-block",
                                &[
                                    Arg::string("encoding"),
                                    Arg::integer("offset"),
                                    Arg::integer("value"),
                                ],
                            )
                            .token("SET"),
                            Arg::block(
                                "incrby-block",
                                &[
                                    Arg::string("encoding"),
                                    Arg::integer("offset"),
                                    Arg::integer("increment"),
                                ],
                            )
                            .token("INCRBY"),
                        ],
                    ),
                ],
            ),
        ],
    )
    .optional()
    .multiple(),
]);

pub static BITFIELD_RO: Docs = doc(
    "6.0.0",
    "Reads integers of any width at any bit offset of a string.",
    "O(1) for each operation given.",
)
.args(&[
    Arg::key("key", 0),
    Arg::block("get-block", &[Arg::string("encoding"), Arg::integer("offset")])
        .token("GET")
        .optional()
        .multiple_token(),
]);

pub static BITOP: Docs =
    doc("2.6.0", "Combines strings bit by bit and keeps the outcome in a key.", "O(N)").args(&[
        Arg::oneof(
            "operation",
            &[
                Arg::word("and", "AND"),
                Arg::word("or", "OR"),
                Arg::word("xor", "XOR"),
                Arg::word("not", "NOT"),
            ],
        ),
        Arg::key("destkey", 0),
        Arg::key("key", 1).multiple(),
    ]);

pub static BITPOS: Docs =
    doc("2.8.7", "Tells where the first bit of the given value stands in a string.", "O(N)")
        .history(&[("7.0.0", "Ranges may be given in bits as well as bytes (`BYTE|BIT`).")])
        .args(&[
            Arg::key("key", 0),
            Arg::integer("bit"),
            Arg::block(
                "range",
                &[
                    Arg::integer("start"),
                    Arg::block("end-unit-block", &[Arg::integer("end"), UNIT]).optional(),
                ],
            )
            .optional(),
        ]);

pub static GETBIT: Docs = doc("2.2.0", "Reads the bit of a string at an offset.", "O(1)")
    .args(&[Arg::key("key", 0), Arg::integer("offset")]);

pub static SETBIT: Docs = doc(
    "2.2.0",
    "Writes the bit of a string at an offset, making the string longer where needed.",
    "O(1)",
)
.args(&[Arg::key("key", 0), Arg::integer("offset"), Arg::integer("value")]);
