//! LATENCY GRAPH: samples as columns of characters, their ages below, read downwards.
//!
//! ```text
//! command - high 500 ms, low 300 ms (all time high 500 ms)
//! --------------------------------------------------------------------------------
//!   #        rows: `_o#` are thirds of a row, `|` is a full one
//!  o|
//!  ||
//! _||
//!            an empty line
//! 321        ages: seconds, minutes, hours, days
//! sss
//! ```

use super::Series;

/// Samples side by side.
const COLUMNS: usize = 80;
const ROWS: u64 = 4;
const THIRDS: &[u8; 3] = b"_o#";

struct Column {
    /// In thirds of a row, above the lowest sample.
    height: u64,
    label: String,
}

pub fn of_series(name: &str, series: &Series, now: i64) -> String {
    let latencies = || series.samples.iter().map(|s| s.latency);
    let (low, high) = (latencies().min().unwrap_or(0), latencies().max().unwrap_or(0));
    let top = ROWS * THIRDS.len() as u64;
    let span = (high - low).max(1);
    let columns: Vec<Column> = series
        .samples
        .iter()
        .map(|s| Column {
            height: ((s.latency - low) * top / span).min(top - 1),
            label: age(now - s.time),
        })
        .collect();
    let head = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", series.max);
    let parts: Vec<String> = columns.chunks(COLUMNS).map(draw).collect();
    format!("{head}{}\n{}", "-".repeat(COLUMNS), parts.join("\n"))
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn draw(columns: &[Column]) -> String {
    let mut out = String::new();
    for row in (0..ROWS).rev() {
        let floor = row * THIRDS.len() as u64;
        out.extend(columns.iter().map(|c| match c.height.checked_sub(floor) {
            None => ' ',
            Some(above) => THIRDS.get(above as usize).map_or('|', |b| char::from(*b)),
        }));
        out.push('\n');
    }
    out.push_str(&" ".repeat(columns.len()));
    out.push('\n');
    let longest = columns.iter().map(|c| c.label.len()).max().unwrap_or(0);
    for i in 0..longest {
        out.extend(columns.iter().map(|c| c.label.as_bytes().get(i).map_or(' ', |b| char::from(*b))));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Sample;

    #[test]
    fn columns_rise_with_their_samples() {
        let samples = [(10, 300), (95, 400), (99, 500)].map(|(time, latency)| Sample { time, latency });
        let text = of_series("command", &Series { samples: samples.into(), max: 600 }, 100);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 500 ms, low 300 ms (all time high 600 ms)");
        assert_eq!(lines[1], "-".repeat(80));
        assert_eq!(lines[2..], ["  #", " _|", " ||", "_||", "   ", "151", "mss"]);
    }

    #[test]
    fn equal_samples_and_long_series_are_fine() {
        let samples: Vec<Sample> = (0..100).map(|time| Sample { time, latency: 7 }).collect();
        let text = of_series("fork", &Series { samples: samples.into(), max: 7 }, 200_000);
        assert_eq!(text.lines().filter(|l| l.chars().all(|c| c == '_') && !l.is_empty()).count(), 2);
        assert!(text.contains("2") && text.contains("d"));
    }
}
