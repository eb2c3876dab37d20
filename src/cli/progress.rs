//! One line on standard error that follows what is done, where a person can see it.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use crate::clock::{Clock, SystemClock};

/// How often the line is drawn anew.
const EVERY: Duration = Duration::from_millis(200);
/// How often a line is written where standard error is a file.
const EVERY_IN_A_FILE: Duration = Duration::from_secs(5);

/// Records and bytes so far.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    unit: &'static str,
    of: Option<u64>,
    clock: SystemClock,
    drawn_at: Option<Duration>,
    shown: Shown,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Where progress is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// One line, drawn over itself.
    OnATerminal,
    /// Now and then a line.
    InAFile,
    Nowhere,
}

impl Progress {
    /// Shown on a terminal only.
    pub(super) fn new(what: &'static str) -> Self {
        let shown = if io::stderr().is_terminal() { Shown::OnATerminal } else { Shown::Nowhere };
        Self {
            what,
            unit: "records",
            of: None,
            clock: SystemClock::new(),
            drawn_at: None,
            shown,
            records: 0,
            bytes: 0,
        }
    }

    /// Counts batches; shown on a terminal only.
    pub(super) fn batches(what: &'static str) -> Self {
        Self { unit: "batches", ..Self::new(what) }
    }

    /// Towards a known number of records; to a file it is written now and then.
    pub(super) fn towards(what: &'static str, of: u64) -> Self {
        let progress = Self::new(what);
        let shown = if progress.shown == Shown::Nowhere { Shown::InAFile } else { progress.shown };
        Self { of: Some(of), shown, ..progress }
    }

    /// Counts a record.
    #[inline]
    pub(super) fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
        if self.records.is_multiple_of(1024) {
            self.tick();
        }
    }

    /// Draws the line if it is time.
    pub(super) fn tick(&mut self) {
        let now = self.clock.monotonic();
        let every = match self.shown {
            Shown::OnATerminal => EVERY,
            Shown::InAFile => EVERY_IN_A_FILE,
            Shown::Nowhere => return,
        };
        if now >= self.drawn_at.unwrap_or_default() + every {
            self.drawn_at = Some(now);
            self.draw();
        }
    }

    fn draw(&self) {
        let line = self.line();
        let mut err = io::stderr();
        // Progress that cannot be shown is not worth failing for.
        let _ = match self.shown {
            Shown::OnATerminal => write!(err, "\r\x1b[K{line}").and_then(|()| err.flush()),
            Shown::InAFile => writeln!(err, "{line}"),
            Shown::Nowhere => Ok(()),
        };
    }

    fn line(&self) -> String {
        let share = self.of.map(|of| format!(" of {}", count(of))).unwrap_or_default();
        let (records, bytes) = (count(self.records), size(self.bytes));
        let (what, unit, elapsed) = (self.what, self.unit, self.elapsed());
        format!(
            "{what}: {records}{share} {unit}, {bytes}, {}",
            rates(unit, self.records, self.bytes, elapsed)
        )
    }

    /// Since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Draws the line for the last time.
    pub(super) fn finish(&self) {
        match self.shown {
            Shown::OnATerminal => {
                self.draw();
                eprintln!();
            }
            Shown::InAFile => self.draw(),
            Shown::Nowhere => {}
        }
    }
}

/// Records (or batches) and bytes per second.
pub(super) fn rates(unit: &str, records: u64, bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-6);
    let (records, bytes) = (records as f64 / seconds, bytes as f64 / seconds);
    format!("{} {unit}/s, {}/s", count(records as u64), size(bytes as u64))
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that suits them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    let unit = UNITS.get(unit).unwrap_or(&"B");
    if bytes < 1000 { format!("{bytes} B") } else { format!("{amount:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::{count, size};

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 1000, 1_500_000, 999_999_999].map(size), ["999 B", "1.0 KB", "1.5 MB", "1.0 GB"]);
    }
}
