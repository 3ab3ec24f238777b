//! How people read the answers.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Replay, Status};
use crate::control::letters::Page;

/// Width of an error in a list; `dlq show` has all of it.
const ERROR_WIDTH: usize = 80;

pub(super) fn status(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let ready = if status.ready { "ready" } else { "NOT READY" };
    writeln!(
        out,
        "helix-proxy {} {}: {ready}, up {}, {}, reads prefer {}",
        plain(&status.version),
        plain(&status.instance),
        age(status.uptime_seconds),
        count(status.clients.connections, "client"),
        plain(&status.reads.preferred),
    )?;
    let mut clusters: Vec<_> = status.clusters.iter().collect();
    clusters.sort_by(|one, other| one.1.side.cmp(&other.1.side));
    let mut rows = vec![row(&[
        "CLUSTER",
        "SIDE",
        "STATE",
        "CONNECTED",
        "RELEASE",
        "BEHIND",
        "OWED",
        "OLDEST",
    ])];
    for (name, cluster) in clusters {
        let owed = status.replay.owed.named(&cluster.side).unwrap_or_default();
        let oldest = status.replay.oldest_seconds.named(&cluster.side).flatten();
        rows.push(row(&[
            name,
            &cluster.side,
            cluster.state.label(),
            yes(cluster.connected),
            cluster.release_version.as_deref().unwrap_or("-"),
            yes(cluster.behind),
            &owed.to_string(),
            &oldest.map_or_else(|| "-".to_owned(), age),
        ]));
    }
    write_rows(&rows, out)?;
    queue(&status.replay, out)
}

pub(super) fn replay(replay: &Replay, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![row(&["SIDE", "OWED", "OLDEST"])];
    for side in ["A", "B"] {
        let owed = replay.owed.named(side).unwrap_or_default();
        let oldest = replay.oldest_seconds.named(side).flatten();
        let oldest = oldest.map_or_else(|| "-".to_owned(), age);
        rows.push(row(&[side, &owed.to_string(), &oldest]));
    }
    write_rows(&rows, out)?;
    queue(replay, out)
}

fn queue(replay: &Replay, out: &mut dyn Write) -> io::Result<()> {
    if replay.queue == "none" {
        return writeln!(out, "no replay queue: a single cluster");
    }
    let accepts = if replay.accepts {
        "takes"
    } else {
        "DOES NOT TAKE"
    };
    writeln!(
        out,
        "replay queue ({}): {}, {}, {accepts} records",
        plain(&replay.queue),
        size(replay.bytes),
        count(replay.dead_letters, "dead letter"),
    )
}

pub(super) fn letters(page: &Page, out: &mut dyn Write) -> io::Result<()> {
    if page.letters.is_empty() {
        return writeln!(out, "no dead letters");
    }
    let mut rows = vec![row(&[
        "NUMBER",
        "SIDE",
        "REASON",
        "PARKED AT",
        "BYTES",
        "ERROR",
    ])];
    for letter in &page.letters {
        rows.push(row(&[
            &letter.summary.number.to_string(),
            &letter.summary.side,
            &letter.summary.reason,
            &letter.parked_at,
            &letter.summary.size.to_string(),
            &shortened(&letter.summary.error),
        ]));
    }
    write_rows(&rows, out)?;
    match page.next {
        Some(next) => writeln!(out, "more: dlq list --after {next}"),
        None => Ok(()),
    }
}

/// One line a field, so that fields of a newer proxy are shown as well.
pub(super) fn letter(letter: &Map<String, Value>, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = Vec::new();
    put_lines(letter, "", &mut lines);
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in lines {
        writeln!(out, "{:width$}  {value}", plain(&name))?;
    }
    Ok(())
}

fn put_lines(fields: &Map<String, Value>, within: &str, lines: &mut Vec<(String, String)>) {
    for (name, value) in fields {
        let name = format!("{within}{name}");
        match value {
            Value::Array(items) if items.iter().all(Value::is_object) => {
                for item in items.iter().filter_map(Value::as_object) {
                    put_lines(item, &format!("{name}."), lines);
                }
            }
            Value::Object(inner) => put_lines(inner, &format!("{name}."), lines),
            Value::String(text) => lines.push((name, plain(text))),
            Value::Null => lines.push((name, "-".to_owned())),
            Value::Array(_) | Value::Bool(_) | Value::Number(_) => {
                lines.push((name, value.to_string()));
            }
        }
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// Text from elsewhere without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= ERROR_WIDTH {
        return text.to_owned();
    }
    let head = text.chars().take(ERROR_WIDTH - 3);
    head.chain("...".chars()).collect()
}

const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

fn age(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), "B");
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1_024, larger);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _larger => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| plain(cell)).collect()
}

/// Columns as wide as their widest cell.
fn write_rows(rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_fits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (8 << 30, "8.0 GiB"),
            (3 << 40, "3.0 TiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn a_long_error_is_cut_at_a_character() {
        let long = "ü".repeat(200);
        assert_eq!(shortened(&long).chars().count(), ERROR_WIDTH);
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn a_terminal_is_never_told_what_to_do() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
