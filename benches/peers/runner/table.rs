//! The figures of a run: medians, ratios and verdicts, as a table to read and as JSON to keep.

use std::fmt::Write as _;

use serde::Serialize;

use super::rows::Target;
use crate::latency::median;

/// One line of the table: the same figure of the node and of its yardstick, over all measured runs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) row: &'static str,
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) ours: Series,
    pub(super) theirs: Series,
    /// Ours by theirs.
    pub(super) ratio: Option<f64>,
    pub(super) target: String,
    /// Whether the target was met; nothing where there is none.
    pub(super) met: Option<bool>,
}

/// All values of one side, in the order of the runs.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Series {
    pub(super) median: Option<f64>,
    pub(super) runs: Vec<f64>,
}

impl Figure {
    pub(super) fn new(
        (row, what, unit): (&'static str, &'static str, &'static str),
        ours: Vec<f64>,
        theirs: Vec<f64>,
        target: Target,
    ) -> Self {
        let (ours, theirs) = (Series::of(ours), Series::of(theirs));
        let ratio = ours.median.zip(theirs.median).and_then(|(a, b)| (b > 0.0).then_some(a / b));
        Self {
            row,
            what,
            unit,
            ratio,
            target: target.text(),
            met: target.met(ours.median, ratio),
            ours,
            theirs,
        }
    }

    fn cells(&self) -> [String; 8] {
        let ratio = self.ratio.map_or_else(String::new, |ratio| {
            let digits = if ratio < 0.1 { 3 } else { 2 };
            format!("{ratio:.digits$}")
        });
        let met = self.met.map_or("", |met| if met { "met" } else { "NOT MET" });
        [
            self.row.to_owned(),
            self.what.to_owned(),
            self.unit.to_owned(),
            self.ours.text(),
            self.theirs.text(),
            ratio,
            self.target.clone(),
            met.to_owned(),
        ]
    }
}

impl Series {
    fn of(runs: Vec<f64>) -> Self {
        Self { median: median(&runs), runs }
    }

    fn text(&self) -> String {
        self.median.map_or_else(|| "-".to_owned(), number)
    }
}

impl Target {
    fn text(self) -> String {
        match self {
            Self::None => String::new(),
            Self::RatioAtLeast(least) => format!("ratio >= {least}"),
            Self::RatioAtMost(most) => format!("ratio <= {most}"),
            Self::RatioWithin(least, most) => format!("{least} <= ratio <= {most}"),
            Self::AtMost(most) => format!("<= {most}"),
        }
    }

    fn met(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::None => None,
            Self::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Self::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Self::RatioWithin(least, most) => ratio.map(|ratio| (least..=most).contains(&ratio)),
            Self::AtMost(most) => ours.map(|ours| ours <= most),
        }
    }
}

/// The table in Markdown, its columns aligned for a terminal too.
pub(super) fn render(figures: &[Figure], theirs: &str) -> String {
    let heads = ["row", "what", "unit", "ours", theirs, "ratio", "target", ""].map(str::to_owned);
    let rows: Vec<[String; 8]> = figures.iter().map(Figure::cells).collect();
    let width =
        |column: usize| rows.iter().chain([&heads]).map(|cells| cells[column].len()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let rule = widths.map(|width| "-".repeat(width));
    let mut text = String::new();
    for cells in [&heads, &rule].into_iter().chain(&rows) {
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
    }
    text
}

/// As many digits as a benchmark is good for.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value >= 100_000.0 => format!("{:.3} M", value / 1e6),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.4}"),
    }
}
