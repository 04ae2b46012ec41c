//! Places on Earth as 52-bit numbers, and which ranges of such numbers a search has to look at.
//!
//! ```text
//!   longitude, latitude ── halve the span 26 times ──► 26 + 26 bits ── interleave ──► score
//!      bit 51 ..  lon lat lon lat ... lon lat  .. bit 0
//!
//!   NW  N  NE      a cell of `steps` halvings is a prefix of 2 * steps bits, so its members are one range
//!    W  *  E       of scores; a search takes the cell of its centre, of a size that makes the nine cells
//!   SW  S  SE      cover the shape, and leaves out those neighbours that the shape cannot reach
//! ```
//!
//! Latitudes end at the square of the Mercator projection. A place on the eastern or northern edge lies
//! just beyond the last cell: its number has a 53rd bit or a 54th, which decoding brings back to the edge.
//!
//! Distances and bounds are shown to clients with digits enough to see the last bit, so the order of the
//! floating-point operations in this file is fixed: the formulas may be moved, never rearranged.

use std::f64::consts::PI;

/// Halvings of a score; each gives two bits.
pub const STEPS: u32 = 26;

/// Radius of the sphere that distances are measured on (quadratic mean for WGS-84).
const EARTH_METERS: f64 = 6372797.560856;
/// Half of the equator in the projection: searches at least so wide take the biggest cells.
const MERCATOR_MAX: f64 = 20037726.37;
const RADIANS: f64 = PI / 180.0;

/// The letters of a textual geohash.
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// In degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub lon: f64,
    pub lat: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    min: f64,
    max: f64,
}

const LON: Span = Span { min: -180.0, max: 180.0 };
const LAT: Span = Span { min: -85.05112878, max: 85.05112878 };
/// Latitudes of textual geohashes.
const ALL_LAT: Span = Span { min: -90.0, max: 90.0 };

impl Span {
    fn contains(self, x: f64) -> bool {
        x >= self.min && x <= self.max
    }

    /// Which of 2^steps parts `x` lies in; the upper end lies beyond the last.
    fn part(self, x: f64, steps: u32) -> u32 {
        let share = (x - self.min) / (self.max - self.min);
        (share * (1u64 << steps) as f64) as u32
    }

    fn of_part(self, part: u32, steps: u32) -> Span {
        let (parts, size) = ((1u64 << steps) as f64, self.max - self.min);
        let end = |n: u32| self.min + (f64::from(n) / parts) * size;
        Span { min: end(part), max: end(part.wrapping_add(1)) }
    }

    fn middle(self, within: Span) -> f64 {
        ((self.min + self.max) / 2.0).min(within.max).max(within.min)
    }
}

impl Point {
    pub fn is_valid(self) -> bool {
        LON.contains(self.lon) && LAT.contains(self.lat)
    }

    /// The number that stands for this place.
    pub fn score(self) -> u64 {
        Cell::of(self, STEPS).bits
    }

    /// The middle of the smallest cell. Scores that stand for no place give some place too.
    pub fn of_score(score: f64) -> Point {
        let area = Cell { bits: truncate(score), steps: STEPS }.area();
        Point { lon: area.lon.middle(LON), lat: area.lat.middle(LAT) }
    }

    /// The textual geohash. It has room for 55 bits of which 52 are known: the last letter is always
    /// the first of the alphabet.
    pub fn text(self) -> [u8; 11] {
        let bits = interleave(ALL_LAT.part(self.lat, STEPS), LON.part(self.lon, STEPS));
        std::array::from_fn(|i| match i {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (47 - 5 * i) & 31) as usize],
        })
    }

    /// Meters along the surface (haversine).
    pub fn distance(self, other: Point) -> f64 {
        Origin::new(self).distance(other)
    }
}

/// The bits of `lat` at even places, those of `lon` at odd ones.
fn interleave(lat: u32, lon: u32) -> u64 {
    spread(lat) | spread(lon) << 1
}

const EVEN: u64 = 0x5555_5555_5555_5555;
const ODD: u64 = !EVEN;
/// What is left in place when ever smaller groups of bits move apart.
const GROUPS: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, EVEN),
];

fn spread(x: u32) -> u64 {
    GROUPS.iter().fold(u64::from(x), |x, (shift, mask)| (x | x << shift) & mask)
}

/// The bits at even places; the inverse of `spread`.
fn squash(x: u64) -> u32 {
    let closer = |x: u64, (shift, mask): &(u32, u64)| (x | x >> shift) & mask;
    let x =
        GROUPS.iter().rev().skip(1).fold(x & EVEN, |x, (shift, mask)| closer(x, &(shift / 2, *mask)));
    closer(x, &(16, 0xffff_ffff)) as u32
}

/// A double as an unsigned number the way x86-64 compilers of C convert it: negative ones wrap around,
/// and what has no 64-bit value becomes whatever the instruction leaves.
fn truncate(x: f64) -> u64 {
    const TOP: f64 = (1u64 << 63) as f64;
    if x >= TOP { truncate_signed(x - TOP) as u64 ^ 1 << 63 } else { truncate_signed(x) as u64 }
}

/// A score as the integer that WITHHASH shows: out of range is the least of all.
pub fn truncate_signed(x: f64) -> i64 {
    const TOP: f64 = (1u64 << 63) as f64;
    if (-TOP..TOP).contains(&x) { x as i64 } else { i64::MIN }
}

/// All places whose numbers begin with the same `2 * steps` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    bits: u64,
    steps: u32,
}

struct Area {
    lon: Span,
    lat: Span,
}

impl Cell {
    fn of(p: Point, steps: u32) -> Cell {
        debug_assert!(p.is_valid() && (1..=STEPS).contains(&steps));
        Cell { bits: interleave(LAT.part(p.lat, steps), LON.part(p.lon, steps)), steps }
    }

    fn area(self) -> Area {
        Area {
            lon: LON.of_part(squash(self.bits >> 1), self.steps),
            lat: LAT.of_part(squash(self.bits), self.steps),
        }
    }

    /// The neighbour so many cells to the east and to the north (-1 to 1), around the globe if need be.
    fn beside(self, east: i8, north: i8) -> Cell {
        let unused = 64 - 2 * self.steps;
        let step = |bits: u64, by: i8, own: u64, other: u64| {
            // With the other direction's bits all set, a carry runs through them.
            let gaps = other >> unused;
            let part = match by {
                0 => return bits,
                1.. => (bits & own).wrapping_add(gaps + 1),
                _ => (bits & own | gaps).wrapping_sub(gaps + 1),
            };
            part & own >> unused | bits & other
        };
        let bits = step(self.bits, east, ODD, EVEN);
        Cell { bits: step(bits, north, EVEN, ODD), steps: self.steps }
    }

    /// The scores of its places: from the first on, below the second.
    pub fn scores(self) -> (f64, f64) {
        let align = |bits: u64| (bits << (2 * (STEPS - self.steps))) as f64;
        (align(self.bits), align(self.bits + 1))
    }
}

/// Where distances are measured from, with what does not depend on the other end.
#[derive(Clone, Copy, Debug)]
struct Origin {
    lon: f64,
    lat: f64,
    cos: f64,
}

impl Origin {
    fn new(p: Point) -> Origin {
        let lat = p.lat * RADIANS;
        Origin { lon: p.lon * RADIANS, lat, cos: lat.cos() }
    }

    /// Meters along a meridian.
    fn north(&self, lat: f64) -> f64 {
        EARTH_METERS * (lat * RADIANS - self.lat).abs()
    }

    fn distance(&self, to: Point) -> f64 {
        let v = ((to.lon * RADIANS - self.lon) / 2.0).sin();
        if v == 0.0 {
            return self.north(to.lat);
        }
        let lat = to.lat * RADIANS;
        let u = ((lat - self.lat) / 2.0).sin();
        let a = u * u + self.cos * lat.cos() * v * v;
        2.0 * EARTH_METERS * a.sqrt().asin()
    }
}

/// What lies around the centre of a search; lengths in the unit of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Circle { radius: f64 },
    Rectangle { width: f64, height: f64 },
}

/// A shape around a place.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    centre: Point,
    shape: Shape,
    /// Meters in the unit of the lengths.
    unit: f64,
    origin: Origin,
}

/// Directions of the cells of a search, in the order in which they are searched: it is that of unsorted
/// results.
const AROUND: [(i8, i8); 9] =
    [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

impl Search {
    pub fn new(centre: Point, shape: Shape, unit: f64) -> Search {
        Search { centre, shape, unit, origin: Origin::new(centre) }
    }

    /// Meters from the centre, if the place lies within the shape.
    pub fn reach(&self, p: Point) -> Option<f64> {
        // Nothing is nearer than its latitude is; that is far cheaper to know. The slack covers all
        // that rounding could do to the exact formula.
        let north = self.origin.north(p.lat);
        match self.shape {
            Shape::Circle { radius } => {
                let radius = radius * self.unit;
                if north > radius * (1.0 + 1e-9) + 1e-3 {
                    return None;
                }
                let d = self.origin.distance(p);
                // Rounding can make the far side of the globe no number: that is within any radius.
                if d > radius { None } else { Some(d) }
            }
            Shape::Rectangle { width, height } => {
                if north > height * self.unit / 2.0 {
                    return None;
                }
                let abeam = Point { lon: self.centre.lon, lat: p.lat };
                if p.distance(abeam) > width * self.unit / 2.0 {
                    return None;
                }
                Some(self.origin.distance(p))
            }
        }
    }

    /// The cells that hold all places within the shape, each once, in the order to be searched.
    pub fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut steps = self.steps();
        let mut middle = Cell::of(self.centre, steps);
        if steps > 1 && too_small(middle, &bounds) {
            steps -= 1;
            middle = Cell::of(self.centre, steps);
        }
        let area = middle.area();
        let needless = |(east, north): (i8, i8)| {
            area.lat.min < bounds.lat.min && north < 0
                || area.lat.max > bounds.lat.max && north > 0
                || area.lon.min < bounds.lon.min && east < 0
                || area.lon.max > bounds.lon.max && east > 0
        };
        let mut cells = Vec::with_capacity(AROUND.len());
        for direction in AROUND {
            if steps >= 2 && needless(direction) {
                continue;
            }
            let cell = middle.beside(direction.0, direction.1);
            // Of the biggest cells there are so few that opposite neighbours are the same.
            if cells.len() < 2 || cells.last() != Some(&cell) {
                cells.push(cell);
            }
        }
        cells
    }

    /// The least rectangle of degrees around the shape, as if meridians were parallel to its sides.
    fn bounds(&self) -> Area {
        let (width, height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Rectangle { width, height } => (width / 2.0, height / 2.0),
        };
        let (width, height) = (self.unit * width, self.unit * height);
        let Point { lon, lat } = self.centre;
        let north = height / EARTH_METERS / RADIANS;
        // Degrees of longitude are the narrower the nearer to a pole: the side there counts.
        let side = if lat < 0.0 { lat - north } else { lat + north };
        let east = width / EARTH_METERS / (side * RADIANS).cos() / RADIANS;
        Area {
            lon: Span { min: lon - east, max: lon + east },
            lat: Span { min: lat - north, max: lat + north },
        }
    }

    /// How often to halve, so that cells are about as big as the shape.
    fn steps(&self) -> u32 {
        let radius = self.unit
            * match self.shape {
                Shape::Circle { radius } => radius,
                Shape::Rectangle { width, height } => {
                    let (w, h) = (width / 2.0, height / 2.0);
                    (w * w + h * h).sqrt()
                }
            };
        if radius == 0.0 {
            return STEPS;
        }
        let (mut steps, mut radius) = (-1, radius);
        while radius < MERCATOR_MAX {
            radius *= 2.0;
            steps += 1;
        }
        // The projection stretches what lies near the poles.
        let lat = self.centre.lat.abs();
        steps -= i32::from(lat > 66.0) + i32::from(lat > 80.0);
        steps.clamp(1, STEPS as i32) as u32
    }
}

/// Does the shape reach beyond the neighbours of its cell?
fn too_small(cell: Cell, bounds: &Area) -> bool {
    let area = |east, north| cell.beside(east, north).area();
    area(0, 1).lat.max < bounds.lat.max
        || area(0, -1).lat.min > bounds.lat.min
        || area(1, 0).lon.max < bounds.lon.max
        || area(-1, 0).lon.min > bounds.lon.min
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    const PALERMO: Point = Point { lon: 13.361389, lat: 38.115556 };
    const CATANIA: Point = Point { lon: 15.087269, lat: 37.502669 };

    fn place(rng: &mut Rng) -> Point {
        match rng.below(12) {
            // Edges, and places just beside each other.
            0 => Point {
                lon: [-180.0, 0.0, 180.0][rng.index(3)],
                lat: [LAT.min, 0.0, LAT.max][rng.index(3)],
            },
            1 => Point { lon: rng.next_f64() / 100.0, lat: rng.next_f64() / 100.0 },
            _ => Point {
                lon: -180.0 + 360.0 * rng.next_f64(),
                lat: LAT.min + (LAT.max - LAT.min) * rng.next_f64(),
            },
        }
    }

    #[test]
    fn bits_of_both_directions_alternate() {
        let mut rng = Rng::seeded(3);
        for _ in 0..2000 {
            let (lat, lon) = (rng.next_u32(), rng.next_u32());
            let bits = interleave(lat, lon);
            let naive = (0..32).fold(0u64, |x, i| {
                x | u64::from(lat >> i & 1) << (2 * i) | u64::from(lon >> i & 1) << (2 * i + 1)
            });
            assert_eq!(bits, naive);
            assert_eq!((squash(bits), squash(bits >> 1)), (lat, lon));
        }
    }

    #[test]
    fn known_places() {
        assert_eq!((PALERMO.score(), CATANIA.score()), (3479099956230698, 3479447370796909));
        let back = Point::of_score(PALERMO.score() as f64);
        assert_eq!(back, Point { lon: 13.361389338970184, lat: 38.1155563954963 });
        assert_eq!(&back.text(), b"sqc8b49rny0");
        assert_eq!(&Point::of_score(CATANIA.score() as f64).text(), b"sqdtr74hyu0");
        let meters = back.distance(Point::of_score(CATANIA.score() as f64));
        assert_eq!(format!("{meters:.4}"), "166274.1516");
    }

    #[test]
    fn every_place_comes_back_within_its_cell() {
        let mut rng = Rng::seeded(4);
        for _ in 0..5000 {
            let p = place(&mut rng);
            let back = Point::of_score(p.score() as f64);
            assert!(back.is_valid());
            assert!(
                (back.lon - p.lon).abs() < 1e-5 && (back.lat - p.lat).abs() < 1e-5,
                "{p:?} {back:?}"
            );
            assert!(p.distance(back) < 0.7, "{p:?} {back:?}");
        }
        // Scores that no place has.
        for odd in [-1.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 1.8e19, 0.5] {
            assert!(Point::of_score(odd).is_valid(), "{odd}");
        }
    }

    #[test]
    fn numbers_are_cut_as_c_does() {
        for (x, signed, unsigned) in [
            (1.9, 1, 1),
            (-1.9, -1, u64::MAX),
            (1.5e19, i64::MIN, 15_000_000_000_000_000_000),
            (1e30, i64::MIN, 0),
            (f64::INFINITY, i64::MIN, 0),
            (f64::NEG_INFINITY, i64::MIN, 1 << 63),
        ] {
            assert_eq!((truncate_signed(x), truncate(x)), (signed, unsigned), "{x}");
        }
    }

    #[test]
    fn distances_agree_with_the_formula_as_it_is_taught() {
        let naive = |a: Point, b: Point| {
            let h = |x: f64| (1.0 - x.cos()) / 2.0;
            let (p, q) = (a.lat.to_radians(), b.lat.to_radians());
            let a = h(q - p) + p.cos() * q.cos() * h((b.lon - a.lon).to_radians());
            2.0 * EARTH_METERS * a.sqrt().asin()
        };
        let mut rng = Rng::seeded(5);
        for _ in 0..3000 {
            let (a, b) = (place(&mut rng), place(&mut rng));
            let (ours, theirs) = (a.distance(b), naive(a, b));
            if theirs.is_finite() && theirs > 1000.0 {
                assert!((ours - theirs).abs() < theirs * 1e-6, "{a:?} {b:?}: {ours} {theirs}");
            }
        }
    }

    #[test]
    fn neighbours_lie_where_they_should() {
        let mut rng = Rng::seeded(6);
        for _ in 0..2000 {
            let steps = 6 + rng.below(20) as u32;
            let p = Point { lon: -170.0 + 340.0 * rng.next_f64(), lat: -60.0 + 120.0 * rng.next_f64() };
            let cell = Cell::of(p, steps);
            let here = cell.area();
            let (wide, high) = (here.lon.max - here.lon.min, here.lat.max - here.lat.min);
            for direction in AROUND {
                let there = cell.beside(direction.0, direction.1).area();
                let (east, north) = (f64::from(direction.0), f64::from(direction.1));
                assert!((there.lon.min - here.lon.min - east * wide).abs() < 1e-9);
                assert!((there.lat.min - here.lat.min - north * high).abs() < 1e-9);
            }
        }
        // Around the globe.
        let edge = Cell::of(Point { lon: 179.9, lat: 0.0 }, 5);
        assert_eq!(edge.beside(1, 0).area().lon.min, -180.0);
    }

    /// Away from the poles and the date line the cells of a search hold every place within its shape,
    /// each in one of them only.
    #[test]
    fn cells_cover_the_shape() {
        let mut rng = Rng::seeded(7);
        for _ in 0..300 {
            let centre =
                Point { lon: -90.0 + 180.0 * rng.next_f64(), lat: -50.0 + 100.0 * rng.next_f64() };
            let size = 10f64.powf(1.0 + 5.0 * rng.next_f64());
            let shape = match rng.below(2) {
                0 => Shape::Circle { radius: size },
                _ => Shape::Rectangle { width: size, height: size * (0.2 + rng.next_f64()) },
            };
            let search = Search::new(centre, shape, 1.0);
            let cells = search.cells();
            assert!((1..=9).contains(&cells.len()));
            for _ in 0..200 {
                let off = |rng: &mut Rng| (rng.next_f64() - 0.5) * size / 30_000.0;
                let p = Point { lon: centre.lon + off(&mut rng), lat: centre.lat + off(&mut rng) };
                let score = p.score() as f64;
                let holders = cells.iter().filter(|c| (c.scores().0..c.scores().1).contains(&score));
                let n = holders.count();
                assert!(n <= 1);
                // Sides of rectangles are bent, so only circles are covered for sure.
                if let (Shape::Circle { radius }, Some(d)) = (shape, search.reach(p)) {
                    assert!(d <= radius && n == 1, "{centre:?} {shape:?} {p:?}");
                }
            }
        }
    }

    #[test]
    fn the_cheap_test_of_latitudes_changes_nothing() {
        let mut rng = Rng::seeded(8);
        let mut inside = 0;
        for _ in 0..20_000 {
            let (a, b) = (place(&mut rng), place(&mut rng));
            let d = a.distance(b);
            // Radii around the distance itself.
            let radius = d * [0.5, 1.0 - 1e-15, 1.0, 1.0 + 1e-15, 2.0][rng.index(5)];
            let reached = Search::new(a, Shape::Circle { radius }, 1.0).reach(b);
            assert_eq!(reached.is_some(), d <= radius, "{a:?} {b:?} {radius}");
            inside += usize::from(reached.is_some());
        }
        assert!(inside > 1000);
    }
}
