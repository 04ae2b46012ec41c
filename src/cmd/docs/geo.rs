//! Geospatial indexes, which are sorted sets underneath.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("geo", since, summary, complexity)
}

const UNIT: Arg = Arg::oneof(
    "unit",
    &[Arg::word("m", "M"), Arg::word("km", "KM"), Arg::word("ft", "FT"), Arg::word("mi", "MI")],
);

const COUNT_ANY_SINCE: Arg = Arg::block(
    "count-block",
    &[Arg::integer("count").token("COUNT"), Arg::word("any", "ANY").optional().since("6.2.0")],
)
.optional();

const ORDER: Arg = Arg::oneof("order", &[Arg::word("asc", "ASC"), Arg::word("desc", "DESC")]).optional();

const STORE: Arg = Arg::oneof(
    "store",
    &[
        Arg::key("storekey", 1).token("STORE").shown("key"),
        Arg::key("storedistkey", 2).token("STOREDIST").shown("key"),
    ],
)
.optional();

const COUNT_ANY: Arg = Arg::block(
    "count-block",
    &[Arg::integer("count").token("COUNT"), Arg::word("any", "ANY").optional()],
)
.optional();

const FROM: Arg = Arg::oneof(
    "from",
    &[
        Arg::string("member").token("FROMMEMBER"),
        Arg::block("fromlonlat", &[Arg::double("longitude"), Arg::double("latitude")])
            .token("FROMLONLAT"),
    ],
);

const BY: Arg = Arg::oneof(
    "by",
    &[
        Arg::block("circle", &[Arg::double("radius").token("BYRADIUS"), UNIT]),
        Arg::block("box", &[Arg::double("width").token("BYBOX"), Arg::double("height"), UNIT]),
    ],
);

pub static GEOADD: Docs = doc(
    "3.2.0",
    "Places members at coordinates in a geospatial index.",
    "O(log(N)) for each member, N being those in the index.",
)
.history(&[("6.2.0", "New options: `CH`, `NX`, `XX`.")])
.args(&[
    Arg::key("key", 0),
    Arg::oneof("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")]).optional().since("6.2.0"),
    Arg::word("change", "CH").optional().since("6.2.0"),
    Arg::block("data", &[Arg::double("longitude"), Arg::double("latitude"), Arg::string("member")])
        .multiple(),
]);

pub static GEODIST: Docs = doc("3.2.0", "Measures how far two members are apart.", "O(1)").args(&[
    Arg::key("key", 0),
    Arg::string("member1"),
    Arg::string("member2"),
    UNIT.optional(),
]);

pub static GEOHASH: Docs = doc(
    "3.2.0",
    "Gives the positions of members as geohash strings.",
    "O(1) for each member asked for.",
)
.args(&[Arg::key("key", 0), Arg::string("member").optional().multiple()]);

pub static GEOPOS: Docs =
    doc("3.2.0", "Gives the positions of members as coordinates.", "O(1) for each member asked for.")
        .args(&[Arg::key("key", 0), Arg::string("member").optional().multiple()]);

pub static GEORADIUS: Docs = doc(
    "3.2.0",
    "Finds the members within a distance of a point, and may keep them in a key.",
    "O(N+log(M)): N members in the box around the circle, M in the index.",
)
.deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")
.history(&[
    ("6.2.0", "`COUNT` can be followed by `ANY`."),
    ("7.0.0", "The case of unit names no longer matters."),
])
.args(&[
    Arg::key("key", 0),
    Arg::double("longitude"),
    Arg::double("latitude"),
    Arg::double("radius"),
    UNIT,
    Arg::word("withcoord", "WITHCOORD").optional(),
    Arg::word("withdist", "WITHDIST").optional(),
    Arg::word("withhash", "WITHHASH").optional(),
    COUNT_ANY_SINCE,
    ORDER,
    STORE,
]);

pub static GEORADIUSBYMEMBER: Docs = doc(
    "3.2.0",
    "Finds the members within a distance of another member, and may keep them in a key.",
    "O(N+log(M)): N members in the box around the circle, M in the index.",
)
.deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments")
.history(&[("7.0.0", "The case of unit names no longer matters.")])
.args(&[
    Arg::key("key", 0),
    Arg::string("member"),
    Arg::double("radius"),
    UNIT,
    Arg::word("withcoord", "WITHCOORD").optional(),
    Arg::word("withdist", "WITHDIST").optional(),
    Arg::word("withhash", "WITHHASH").optional(),
    COUNT_ANY,
    ORDER,
    STORE,
]);

pub static GEORADIUSBYMEMBER_RO: Docs = doc(
    "3.2.10",
    "Finds the members within a distance of another member.",
    "O(N+log(M)): N members in the box around the circle, M in the index.",
)
.deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")
.args(&[
    Arg::key("key", 0),
    Arg::string("member"),
    Arg::double("radius"),
    UNIT,
    Arg::word("withcoord", "WITHCOORD").optional(),
    Arg::word("withdist", "WITHDIST").optional(),
    Arg::word("withhash", "WITHHASH").optional(),
    COUNT_ANY,
    ORDER,
]);

pub static GEORADIUS_RO: Docs = doc(
    "3.2.10",
    "Finds the members within a distance of a point.",
    "O(N+log(M)): N members in the box around the circle, M in the index.",
)
.deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")
.history(&[("6.2.0", "`COUNT` can be followed by `ANY`.")])
.args(&[
    Arg::key("key", 0),
    Arg::double("longitude"),
    Arg::double("latitude"),
    Arg::double("radius"),
    UNIT,
    Arg::word("withcoord", "WITHCOORD").optional(),
    Arg::word("withdist", "WITHDIST").optional(),
    Arg::word("withhash", "WITHHASH").optional(),
    COUNT_ANY_SINCE,
    ORDER,
]);

pub static GEOSEARCH: Docs = doc(
    "6.2.0",
    "Finds the members within a circle or a rectangle.",
    "O(N+log(M)): N members in the grid cells that cover the shape, M inside the shape itself.",
)
.history(&[("7.0.0", "The case of unit names no longer matters.")])
.args(&[
    Arg::key("key", 0),
    FROM,
    BY,
    ORDER,
    COUNT_ANY,
    Arg::word("withcoord", "WITHCOORD").optional(),
    Arg::word("withdist", "WITHDIST").optional(),
    Arg::word("withhash", "WITHHASH").optional(),
]);

pub static GEOSEARCHSTORE: Docs = doc(
    "6.2.0",
    "Keeps the members within a circle or a rectangle in a key.",
    "O(N+log(M)): N members in the grid cells that cover the shape, M inside the shape itself.",
)
.history(&[("7.0.0", "The case of unit names no longer matters.")])
.args(&[
    Arg::key("destination", 0),
    Arg::key("source", 1),
    FROM,
    BY,
    ORDER,
    COUNT_ANY,
    Arg::word("storedist", "STOREDIST").optional(),
]);
