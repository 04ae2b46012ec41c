//! Places: sorted sets whose scores are geohashes.
//!
//! ```text
//! GEOADD ─► ZADD (that is also what goes to replicas)       GEOPOS GEODIST GEOHASH: scores back to places
//! GEOSEARCH, GEORADIUS ─► words ─► Query ─► cells of the search ─► ranges of scores ─► Hits
//!                                             Hits ── sorted, cut ──► reply, or a sorted set
//! ```
//!
//! Six commands search. They share one grammar of words in any order, which also takes what makes no
//! sense together and complains only afterwards; `Form` says which words belong to which. A missing key
//! does not end the parsing: the words decide whether nothing is replied or stored.
//!
//! What is found without an order comes cell by cell, in the order of the scores within each.

use super::numbers::integer;
use super::zset::{add_all, reply_member};
use crate::algo::geohash::{Point, Search, Shape, truncate_signed};
use crate::algo::longdouble::LongDouble;
use crate::algo::num::{parse_f64, push_fixed};
use crate::algo::partial_sort::sort_part;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::listpack::Element;
use crate::ds::skiplist::{ScoreRange, order};
use crate::keyspace::{class, store::New};
use crate::object::value::Variant;
use crate::object::zset::{Rules, Zset};
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};

const RADIUS: Command = Command {
    flags: WRITE | DENYOOM,
    acl: cat::GEO,
    getkeys: Some(keys::georadius),
    used_keys: Some(keys::georadius_used),
    ..ROW
};
const READS: Command =
    Command { flags: READONLY, acl: cat::GEO, keys: &[KeySpec::one(key::RO | key::ACCESS, 1)], ..ROW };
const STORED: u32 = key::OW | key::UPDATE;

pub static ROWS: &[Command] = &[
    Command {
        name: "geoadd",
        arity: -5,
        flags: WRITE | DENYOOM,
        acl: cat::GEO,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        run: geoadd,
        docs: &docs::GEOADD,
        ..ROW
    },
    Command { name: "geodist", arity: -4, run: geodist, docs: &docs::GEODIST, ..READS },
    Command { name: "geohash", arity: -2, run: geohash, docs: &docs::GEOHASH, ..READS },
    Command { name: "geopos", arity: -2, run: geopos, docs: &docs::GEOPOS, ..READS },
    Command {
        name: "georadius",
        arity: -6,
        keys: &[
            KeySpec::one(key::RO | key::ACCESS, 1),
            KeySpec::keyword(STORED, "STORE", 6, 0, 1),
            KeySpec::keyword(STORED, "STOREDIST", 6, 0, 1),
        ],
        run: georadius,
        docs: &docs::GEORADIUS,
        ..RADIUS
    },
    Command {
        name: "georadiusbymember",
        arity: -5,
        keys: &[
            KeySpec::one(key::RO | key::ACCESS, 1),
            KeySpec::keyword(STORED, "STORE", 5, 0, 1),
            KeySpec::keyword(STORED, "STOREDIST", 5, 0, 1),
        ],
        run: georadiusbymember,
        docs: &docs::GEORADIUSBYMEMBER,
        ..RADIUS
    },
    Command {
        name: "georadiusbymember_ro",
        arity: -5,
        run: georadiusbymember_ro,
        docs: &docs::GEORADIUSBYMEMBER_RO,
        ..READS
    },
    Command { name: "georadius_ro", arity: -6, run: georadius_ro, docs: &docs::GEORADIUS_RO, ..READS },
    Command { name: "geosearch", arity: -7, run: geosearch, docs: &docs::GEOSEARCH, ..READS },
    Command {
        name: "geosearchstore",
        arity: -8,
        flags: WRITE | DENYOOM,
        acl: cat::GEO,
        keys: &[KeySpec::one(STORED, 1), KeySpec::one(key::RO | key::ACCESS, 2)],
        run: geosearchstore,
        docs: &docs::GEOSEARCHSTORE,
        ..ROW
    },
];

// ---- adding, and asking for members -------------------------------------------------------------

fn double(arg: &[u8]) -> Result<f64, CmdError> {
    parse_f64(arg).ok_or(CmdError::NotFloat)
}

fn place(lon: &[u8], lat: &[u8]) -> Result<Point, CmdError> {
    let p = Point { lon: double(lon)?, lat: double(lat)? };
    if !p.is_valid() {
        let text = format!("ERR invalid longitude,latitude pair {:.6},{:.6}", p.lon, p.lat);
        return Err(CmdError::text(text));
    }
    Ok(p)
}

fn geoadd(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (mut rules, mut changed) = (Rules::default(), false);
    let words = ctx.args.from(2);
    let options = words
        .iter()
        .take_while(|word| {
            let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
            rules.nx |= is(b"nx");
            rules.xx |= is(b"xx");
            changed |= is(b"ch");
            is(b"nx") || is(b"xx") || is(b"ch")
        })
        .count();
    let (options, members) = words.split_at(options);
    if members.is_empty() || !members.len().is_multiple_of(3) || (rules.nx && rules.xx) {
        return Err(CmdError::Syntax);
    }
    let mut pairs = Vec::with_capacity(members.len() / 3);
    for m in members.chunks_exact(3) {
        pairs.push((place(m[0], m[1])?.score(), m[2]));
    }
    let scored = pairs.iter().map(|(bits, m)| (*bits as f64, *m));
    let tally = add_all(ctx, rules, scored, members[2].len())?;
    ctx.out.int((tally.added + if changed { tally.updated } else { 0 }) as i64);
    if ctx.srv.ks.policy.ops {
        propagate_as_zadd(ctx, options, &pairs);
    }
    Ok(Flow::Done)
}

fn propagate_as_zadd(ctx: &mut Ctx<'_>, options: &[&[u8]], pairs: &[(u64, &[u8])]) {
    let scores: Vec<String> = pairs.iter().map(|(bits, _)| bits.to_string()).collect();
    let mut words: Vec<&[u8]> = vec![b"zadd", ctx.args[1]];
    words.extend(options);
    for (score, (_, member)) in scores.iter().zip(pairs) {
        words.extend([score.as_bytes(), member]);
    }
    ctx.instead(&words);
}

/// Places of members; None for all of them when the key is missing.
fn each_place(
    ctx: &mut Ctx<'_>,
    mut show: impl FnMut(&mut Reply, Option<Point>),
) -> Result<Flow, CmdError> {
    let found = ctx.read(1);
    let z = match &found {
        Some(f) => Some(ctx.srv.ks.value::<Zset>(f)?),
        None => None,
    };
    let members = ctx.args.from(2);
    ctx.out.array(members.len());
    for member in members {
        show(ctx.out, z.as_ref().and_then(|z| z.score(member)).map(Point::of_score));
    }
    Ok(Flow::Done)
}

fn geopos(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    each_place(ctx, |out, p| match p {
        Some(p) => reply_place(out, p),
        None => out.null_array(),
    })
}

fn geohash(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    each_place(ctx, |out, p| match p {
        Some(p) => out.bulk(&p.text()),
        None => out.null(),
    })
}

fn geodist(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let unit = match ctx.args.from(4) {
        [] => 1.0,
        [word] => unit(word)?,
        _ => return Err(CmdError::Syntax),
    };
    let Some(f) = ctx.read(1) else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let z = ctx.srv.ks.value::<Zset>(&f)?;
    match (z.score(ctx.args[2]), z.score(ctx.args[3])) {
        (Some(a), Some(b)) => {
            reply_distance(ctx.out, Point::of_score(a).distance(Point::of_score(b)) / unit);
        }
        _ => ctx.out.null(),
    }
    Ok(Flow::Done)
}

fn reply_place(out: &mut Reply, p: Point) {
    out.array(2);
    for degrees in [p.lon, p.lat] {
        let mut text = Vec::with_capacity(24);
        LongDouble::from_f64(degrees).push_human(&mut text);
        out.double_text(&text);
    }
}

/// Never more than a tenth of a millimeter, not even in miles.
fn reply_distance(out: &mut Reply, distance: f64) {
    let mut text = Vec::with_capacity(24);
    push_fixed(&mut text, distance, 4);
    out.bulk(&text);
}

/// Meters in a unit.
fn unit(word: &[u8]) -> Result<f64, CmdError> {
    const UNKNOWN: CmdError = CmdError::Msg(&"ERR unsupported unit provided. please use M, KM, FT, MI");
    let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
    match () {
        () if is(b"m") => Ok(1.0),
        () if is(b"km") => Ok(1000.0),
        () if is(b"ft") => Ok(0.3048),
        () if is(b"mi") => Ok(1609.34),
        () => Err(UNKNOWN),
    }
}

// ---- the words of a search ----------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Radius,
    RadiusByMember,
    Search,
    SearchStore,
}

impl Form {
    fn searches(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Centre {
    Member,
    Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Ascending,
    Descending,
}

#[derive(Default, Debug)]
struct Query<'a> {
    centre: Option<(Centre, Point)>,
    /// With the meters in its unit.
    shape: Option<(Shape, f64)>,
    with_dist: bool,
    with_hash: bool,
    with_place: bool,
    sort: Option<Sort>,
    /// 0 for all.
    count: usize,
    any: bool,
    store: Option<&'a [u8]>,
    store_distances: bool,
}

/// The words of a circle: a number and a unit.
fn circle(radius: &[u8], unit_word: &[u8]) -> Result<(Shape, f64), CmdError> {
    const NUMERIC: CmdError = CmdError::Msg(&"ERR need numeric radius");
    const NEGATIVE: CmdError = CmdError::Msg(&"ERR radius cannot be negative");
    let radius = parse_f64(radius).ok_or(NUMERIC)?;
    if radius < 0.0 {
        return Err(NEGATIVE);
    }
    Ok((Shape::Circle { radius }, unit(unit_word)?))
}

fn rectangle(width: &[u8], height: &[u8], unit_word: &[u8]) -> Result<(Shape, f64), CmdError> {
    const WIDTH: CmdError = CmdError::Msg(&"ERR need numeric width");
    const HEIGHT: CmdError = CmdError::Msg(&"ERR need numeric height");
    const NEGATIVE: CmdError = CmdError::Msg(&"ERR height or width cannot be negative");
    let width = parse_f64(width).ok_or(WIDTH)?;
    let height = parse_f64(height).ok_or(HEIGHT)?;
    if width < 0.0 || height < 0.0 {
        return Err(NEGATIVE);
    }
    Ok((Shape::Rectangle { width, height }, unit(unit_word)?))
}

/// Where a member of the set lies; some place when there is no set to ask.
fn member_place(z: Option<&Zset>, member: &[u8]) -> Result<Point, CmdError> {
    const UNKNOWN: CmdError = CmdError::Msg(&"ERR could not decode requested zset member");
    match z {
        Some(z) => z.score(member).map(Point::of_score).ok_or(UNKNOWN),
        None => Ok(Point::default()),
    }
}

impl<'a> Query<'a> {
    /// `z` is the set to be searched, if there is one.
    fn parse(
        form: Form,
        args: &'a [&'a [u8]],
        z: Option<&Zset>,
        may_store: bool,
    ) -> Result<Self, CmdError> {
        let mut q = Query::default();
        let words = match form {
            Form::Radius => {
                q.centre = Some((Centre::Given, place(args[2], args[3])?));
                q.shape = Some(circle(args[4], args[5])?);
                &args[6..]
            }
            Form::RadiusByMember => {
                // Without a set these words are not looked at.
                if z.is_some() {
                    q.centre = Some((Centre::Member, member_place(z, args[2])?));
                    q.shape = Some(circle(args[3], args[4])?);
                }
                &args[5..]
            }
            Form::Search => &args[2..],
            Form::SearchStore => {
                q.store = Some(args[1]);
                &args[3..]
            }
        };
        let mut rest = words;
        while let [word, after @ ..] = rest {
            let used = match q.plain(word) {
                true => 0,
                false if form.searches() => q.of_search(word, after, form, z)?,
                false => q.of_radius(word, after, may_store)?,
            };
            rest = &after[used..];
        }
        Ok(q)
    }

    /// A word that stands alone.
    fn plain(&mut self, word: &[u8]) -> bool {
        let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
        match () {
            () if is(b"withdist") => self.with_dist = true,
            () if is(b"withhash") => self.with_hash = true,
            () if is(b"withcoord") => self.with_place = true,
            () if is(b"any") => self.any = true,
            () if is(b"asc") => self.sort = Some(Sort::Ascending),
            () if is(b"desc") => self.sort = Some(Sort::Descending),
            () => return false,
        }
        true
    }

    /// COUNT with its number.
    fn count(&mut self, n: &[u8]) -> Result<usize, CmdError> {
        const TOO_FEW: CmdError = CmdError::Msg(&"ERR COUNT must be > 0");
        self.count = usize::try_from(integer(n)?).ok().filter(|n| *n > 0).ok_or(TOO_FEW)?;
        Ok(1)
    }

    /// Another word of GEORADIUS and its kin; returns how many values it took.
    fn of_radius(
        &mut self,
        word: &[u8],
        after: &[&'a [u8]],
        may_store: bool,
    ) -> Result<usize, CmdError> {
        let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
        match after {
            [n, ..] if is(b"count") => self.count(n),
            [k, ..] if may_store && (is(b"store") || is(b"storedist")) => {
                self.store = Some(*k);
                self.store_distances = is(b"storedist");
                Ok(1)
            }
            _ => Err(CmdError::Syntax),
        }
    }

    /// Another word of GEOSEARCH and GEOSEARCHSTORE; returns how many values it took.
    fn of_search(
        &mut self,
        word: &[u8],
        after: &[&[u8]],
        form: Form,
        z: Option<&Zset>,
    ) -> Result<usize, CmdError> {
        let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
        let centre = self.centre.map(|(c, _)| c);
        let (circular, boxed) = match self.shape {
            Some((Shape::Circle { .. }, _)) => (true, false),
            Some((Shape::Rectangle { .. }, _)) => (false, true),
            None => (false, false),
        };
        match after {
            [n, ..] if is(b"count") => self.count(n),
            _ if form == Form::SearchStore && is(b"storedist") => {
                self.store_distances = true;
                Ok(0)
            }
            [m, ..] if is(b"frommember") && centre != Some(Centre::Given) => {
                self.centre = Some((Centre::Member, member_place(z, m)?));
                Ok(1)
            }
            [lon, lat, ..] if is(b"fromlonlat") && centre != Some(Centre::Member) => {
                self.centre = Some((Centre::Given, place(lon, lat)?));
                Ok(2)
            }
            [r, u, ..] if is(b"byradius") && !boxed => {
                self.shape = Some(circle(r, u)?);
                Ok(2)
            }
            [w, h, u, ..] if is(b"bybox") && !circular => {
                self.shape = Some(rectangle(w, h, u)?);
                Ok(3)
            }
            _ => Err(CmdError::Syntax),
        }
    }

    /// What the words of a command mean together; `name` is how the client wrote it.
    fn check(&self, form: Form, name: &[u8]) -> Result<(), CmdError> {
        const ANY: CmdError = CmdError::Msg(&"ERR the ANY argument requires COUNT argument");
        if self.store.is_some() && (self.with_dist || self.with_hash || self.with_place) {
            let what = match form {
                Form::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(CmdError::text(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let one_of = |words: &str| {
            let name = String::from_utf8_lossy(name);
            Err(CmdError::text(format!("ERR exactly one of {words} can be specified for {name}")))
        };
        if form.searches() {
            if self.centre.is_none() {
                return one_of("FROMMEMBER or FROMLONLAT");
            }
            if self.shape.is_none() {
                return one_of("BYRADIUS and BYBOX");
            }
        }
        if self.any && self.count == 0 { Err(ANY) } else { Ok(()) }
    }
}

// ---- searching ----------------------------------------------------------------------------------

/// A member within the shape.
#[derive(Clone, Copy)]
struct Hit<'z> {
    member: Element<'z>,
    score: f64,
    place: Point,
    /// In the unit of the search.
    distance: f64,
}

impl Query<'_> {
    fn hits<'z>(&self, z: &'z Zset) -> Vec<Hit<'z>> {
        let (_, centre) = self.centre.expect("a search that was checked has a centre");
        let (shape, unit) = self.shape.expect("a search that was checked has a shape");
        let search = Search::new(centre, shape, unit);
        let enough = if self.any { self.count } else { usize::MAX };
        let mut hits = Vec::new();
        for cell in search.cells() {
            let (min, max) = cell.scores();
            let ranks = z.score_ranks(&ScoreRange { min, max, min_open: false, max_open: true });
            z.walk_while(ranks, |member, score| {
                let place = Point::of_score(score);
                if let Some(distance) = search.reach(place) {
                    hits.push(Hit { member, score, place, distance });
                }
                hits.len() < enough
            });
            if hits.len() >= enough {
                break;
            }
        }
        self.sort_and_cut(&mut hits);
        // Converted after sorting: rounded to another unit, distances that differ could be equal.
        hits.iter_mut().for_each(|h| h.distance /= unit);
        hits
    }

    fn sort_and_cut(&self, hits: &mut Vec<Hit<'_>>) {
        let wanted = if self.count == 0 { hits.len() } else { self.count.min(hits.len()) };
        // The nearest ones are meant, unless any will do.
        let nearest = (self.count > 0 && !self.any).then_some(Sort::Ascending);
        let nearer = |a: &Hit<'_>, b: &Hit<'_>| a.distance.total_cmp(&b.distance);
        let compare = |sort: Sort| {
            move |a: &Hit<'_>, b: &Hit<'_>| match sort {
                Sort::Ascending => nearer(a, b),
                Sort::Descending => nearer(b, a),
            }
        };
        match self.sort.or(nearest) {
            Some(sort) if wanted == hits.len() => hits.sort_by(compare(sort)),
            Some(sort) => sort_part(hits, 0..wanted, compare(sort)),
            None => {}
        }
        hits.truncate(wanted);
    }

    fn reply(&self, out: &mut Reply, hits: &[Hit<'_>]) {
        let fields = [self.with_dist, self.with_hash, self.with_place].iter().filter(|w| **w).count();
        out.array(hits.len());
        for h in hits {
            if fields > 0 {
                out.array(fields + 1);
            }
            reply_member(out, h.member);
            if self.with_dist {
                reply_distance(out, h.distance);
            }
            if self.with_hash {
                out.int(truncate_signed(h.score));
            }
            if self.with_place {
                reply_place(out, h.place);
            }
            if out.over {
                break;
            }
        }
    }

    /// The hits as a sorted set's members, in its order.
    fn scored(&self, hits: &[Hit<'_>]) -> Vec<(f64, Vec<u8>)> {
        let score = |h: &Hit<'_>| if self.store_distances { h.distance } else { h.score };
        let mut all: Vec<_> = hits.iter().map(|h| (score(h), h.member.to_vec())).collect();
        all.sort_unstable_by(|a, b| order((a.0, &a.1), (b.0, &b.1)));
        all
    }
}

fn georadius(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    search(ctx, Form::Radius, true)
}

fn georadiusbymember(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    search(ctx, Form::RadiusByMember, true)
}

fn georadius_ro(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    search(ctx, Form::Radius, false)
}

fn georadiusbymember_ro(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    search(ctx, Form::RadiusByMember, false)
}

fn geosearch(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    search(ctx, Form::Search, false)
}

fn geosearchstore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    search(ctx, Form::SearchStore, true)
}

fn search(ctx: &mut Ctx<'_>, form: Form, may_store: bool) -> Result<Flow, CmdError> {
    let found = ctx.read(if form == Form::SearchStore { 2 } else { 1 });
    let z = match &found {
        Some(f) => Some(ctx.srv.ks.value::<Zset>(f)?),
        None => None,
    };
    let args = ctx.args.slice();
    let query = Query::parse(form, args, z.as_deref(), may_store)?;
    query.check(form, args[0])?;
    let hits = z.as_deref().map_or(Vec::new(), |z| query.hits(z));
    let Some(to) = query.store else {
        query.reply(ctx.out, &hits);
        return Ok(Flow::Done);
    };
    let scored = query.scored(&hits);
    let event = if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" };
    store(ctx, Key::new(to), &scored, event);
    Ok(Flow::Done)
}

/// Stores members under a key in place of its value; without members the key is only removed.
fn store(ctx: &mut Ctx<'_>, key: Key<'_>, members: &[(f64, Vec<u8>)], event: &'static str) {
    let ks = &mut ctx.srv.ks;
    let result = (!members.is_empty()).then(|| {
        let z = Zset::from_sorted(members, &ks.policy.limits.zset);
        (New::Value(z.wrap()), members.len() as u64)
    });
    ks.replace(ctx.db, key, result, class::ZSET, event);
    ctx.out.int(members.len() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    fn parsed(form: Form, line: &str) -> Result<String, String> {
        let args = words(line);
        let read = |store| {
            let q = Query::parse(form, &args, None, store)?;
            q.check(form, args[0])?;
            Ok(format!("{:?} {:?} {} {}", q.sort, q.count, q.store.is_some(), q.store_distances))
        };
        read(!line.contains("_ro")).map_err(|e: CmdError| e.as_str()[4..].to_string())
    }

    #[test]
    fn words_come_in_any_order_where_they_belong() {
        let ok = parsed(Form::Search, "geosearch k ANY BYBOX 1 2 km desc count 3 FromLonLat 1 2");
        assert_eq!(ok.as_deref(), Ok("Some(Descending) 3 false false"));
        let ok = parsed(Form::Radius, "georadius k 1 2 3 m store a storedist b store c");
        assert_eq!(ok.as_deref(), Ok("None 0 true false"));
        let ok = parsed(Form::SearchStore, "geosearchstore d k frommember m byradius 1 m storedist");
        assert_eq!(ok.as_deref(), Ok("None 0 true true"));
        for (form, line) in [
            (Form::Radius, "georadius_ro k 1 2 3 m store a"),
            (Form::Radius, "georadius k 1 2 3 m store"),
            (Form::Radius, "georadius k 1 2 3 m frommember a"),
            (Form::Search, "geosearch k frommember a fromlonlat 1 2 byradius 1 m"),
            (Form::Search, "geosearch k frommember a byradius 1 m bybox 1 1 m"),
            (Form::Search, "geosearch k frommember a byradius 1 m storedist"),
            (Form::Search, "geosearch k frommember a bybox 1 m"),
            (Form::Search, "geosearch k frommember a byradius 1 m count"),
        ] {
            assert_eq!(parsed(form, line), Err("syntax error".into()), "{line}");
        }
    }

    #[test]
    fn what_words_mean_together_is_told() {
        let told = |form, line: &str| parsed(form, line).expect_err(line);
        assert!(
            told(Form::Search, "GeoSearch k byradius 1 m")
                .ends_with("FROMLONLAT can be specified for GeoSearch")
        );
        assert!(told(Form::Search, "geosearch k frommember a").contains("BYRADIUS and BYBOX"));
        assert!(
            told(Form::Search, "geosearch k frommember a byradius 1 m any").contains("ANY argument")
        );
        assert!(
            told(Form::Radius, "georadius k 1 2 3 m withdist store a").starts_with("STORE option in")
        );
        assert_eq!(told(Form::Radius, "georadius k 1 2 3 m count 0"), "COUNT must be > 0");
        assert_eq!(
            told(Form::Radius, "georadius k 181 2 3 m"),
            "invalid longitude,latitude pair 181.000000,2.000000"
        );
        assert_eq!(told(Form::Radius, "georadius k 1 2 -3 m"), "radius cannot be negative");
    }
}
