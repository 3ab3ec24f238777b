//! What was measured, as Markdown for people and JSON for programs.

use serde_json::{Value, json};

use super::sample::{Sample, Spread, ratio, spread};

/// What a figure must not be above, or below.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Reported, not judged.
    None,
}

impl Target {
    fn verdict(self, figure: f64) -> &'static str {
        let met = match self {
            Self::AtLeast(bound) => bound <= figure,
            Self::AtMost(bound) => figure <= bound,
            Self::None => return "",
        };
        if met { "ok" } else { "MISSED" }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {}", number(bound)),
            Self::AtMost(bound) => format!("<= {}", number(bound)),
            Self::None => String::new(),
        }
    }
}

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    cost: String,
    other: String,
    json: Vec<Value>,
    missed: usize,
}

impl Report {
    /// One way under one load; `yardstick` is the forwarder's part of the same blocks.
    pub(super) fn cost(
        &mut self,
        load: &str,
        way: &str,
        samples: &[Sample],
        yardstick: &[Sample],
        targets: (Target, Target),
    ) {
        let figures = [
            ("requests_s", spread(samples, |s| s.rate)),
            ("p50_us", spread(samples, |s| s.p50)),
            ("p99_us", spread(samples, |s| s.p99)),
            ("p999_us", spread(samples, |s| s.p999)),
            ("cpu_us", spread(samples, |s| s.cpu)),
        ];
        self.cost.push_str(&format!("| {load} | {way} |"));
        for (name, figure) in figures {
            self.cost.push_str(&format!(" {} |", number(figure.median)));
            self.record(&format!("{load}, {way}: {name}"), figure, Target::None);
        }
        let judged = [
            ("CPU ratio", ratio(samples, yardstick, |s| s.cpu), targets.0),
            ("p50 ratio", ratio(samples, yardstick, |s| s.p50), targets.1),
        ];
        for (name, figure, target) in judged {
            self.cost
                .push_str(&format!(" {} |", judgement(figure, target)));
            self.record(&format!("{load}, {way}: {name}"), figure, target);
        }
        self.cost.push('\n');
    }

    /// A figure of another kind.
    pub(super) fn row(&mut self, what: &str, unit: &str, figure: Spread, target: Target) {
        eprintln!("  {what}: {} {unit}", number(figure.median));
        self.other.push_str(&format!(
            "| {what} | {} {unit} | {} to {} | {} | {} |\n",
            number(figure.median),
            number(figure.low),
            number(figure.high),
            target.text(),
            target.verdict(figure.median)
        ));
        self.record(what, figure, target);
    }

    /// A line that explains rather than measures.
    pub(super) fn note(&mut self, what: &str, text: &str) {
        self.other.push_str(&format!("| {what} | {text} | | | |\n"));
    }

    fn record(&mut self, what: &str, figure: Spread, target: Target) {
        let verdict = target.verdict(figure.median);
        self.missed += usize::from(verdict == "MISSED");
        self.json.push(json!({
            "what": what,
            "median": figure.median,
            "low": figure.low,
            "high": figure.high,
            "target": target.text(),
            "verdict": verdict,
        }));
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.cost.is_empty() {
            text.push_str(
                "| load | through | requests/s | p50 us | p99 us | p999 us | CPU us/request | \
                 CPU / forwarder (range) | p50 / forwarder (range) |\n\
                 |---|---|---|---|---|---|---|---|---|\n",
            );
            text.push_str(&self.cost);
            text.push('\n');
        }
        if !self.other.is_empty() {
            text.push_str("| figure | median | range | target | |\n|---|---|---|---|---|\n");
            text.push_str(&self.other);
            text.push('\n');
        }
        text.push_str(&format!("Targets missed: {}\n", self.missed));
        text
    }

    pub(super) fn json(&self) -> String {
        json!({ "missed": self.missed, "figures": self.json }).to_string()
    }
}

fn judgement(figure: Spread, target: Target) -> String {
    let Spread { median, low, high } = figure;
    let plain = format!("{median:.2} ({low:.2}-{high:.2})");
    match target {
        Target::AtLeast(_) | Target::AtMost(_) => {
            format!("{plain} {} {}", target.text(), target.verdict(median))
        }
        Target::None => plain,
    }
}

/// As many digits as mean something.
fn number(figure: f64) -> String {
    if 1000.0 <= figure.abs() {
        format!("{figure:.0}")
    } else if 10.0 <= figure.abs() {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}
