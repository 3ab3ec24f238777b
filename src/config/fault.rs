//! What is wrong with a configuration: where, which key, and a plain sentence.

use std::fmt;

/// One fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The file that it is in; empty for the command line.
    pub file: String,
    /// Where it stands in the file, when it stands somewhere.
    pub place: Option<Place>,
    /// The dotted key, or the option of the command line; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The character in the line.
    pub column: u64,
}

/// All faults of one configuration, in the order of the file; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Faults(Vec<Fault>);

impl Fault {
    /// A fault of the file as a whole.
    pub(super) const fn of_file(place: Option<Place>, text: String) -> Self {
        Self {
            file: String::new(),
            place,
            key: String::new(),
            text,
        }
    }
}

impl Faults {
    /// These faults of this file, sorted by place.
    pub(super) fn new(file: &str, mut faults: Vec<Fault>) -> Self {
        for fault in &mut faults {
            file.clone_into(&mut fault.file);
        }
        faults.sort_by_key(|fault| fault.place);
        Self(faults)
    }

    /// The faults, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.place) {
            ("", _) => {}
            (file, Some(place)) => write!(f, "{file}:{}:{}: ", place.line, place.column)?,
            (file, None) => write!(f, "{file}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            write!(f, "{gap}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// `; did you mean "..."?` when one of the known words is close, else nothing.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if WORD_MAX < word.len() {
        return String::new();
    }
    known
        .into_iter()
        .map(|candidate| {
            (
                distance(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .min()
        .filter(|(edits, candidate)| *edits <= 2.min(candidate.len() / 2))
        .map(|(_, candidate)| format!("; did you mean \"{candidate}\"?"))
        .unwrap_or_default()
}

/// A longer word is no slip of the finger, and comparing it costs its square.
const WORD_MAX: usize = 40;

/// How many letters must be added, dropped, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, &a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in to.iter().enumerate() {
            let cost = rows[i][j] + usize::from(a != b);
            let mut best = cost.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if 0 < i && 0 < j && a == to[j - 1] && from[i - 1] == b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let known = ["journal", "order", "ack"];
        assert_eq!(
            did_you_mean("journall", known),
            "; did you mean \"journal\"?"
        );
        assert_eq!(did_you_mean("oredr", known), "; did you mean \"order\"?");
        assert_eq!(did_you_mean("acks", known), "; did you mean \"ack\"?");
        assert_eq!(did_you_mean("password", known), "");
        assert_eq!(did_you_mean(&"x".repeat(50), known), "");
    }
}
