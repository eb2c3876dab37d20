//! Whether a group goes on after a kill, partition by partition.

use super::Now;

/// What was promised beyond the session time-out, in microseconds.
const BEYOND_SESSION_US: u64 = 5_000_000;

/// A kill after which nothing new was consumed so far.
#[derive(Clone, Debug)]
struct Due {
    /// Who was killed, and the line that says so.
    killed: String,
    line: u32,
    /// Since when there was something to consume; `None`: there is nothing.
    since_us: Option<u64>,
}

/// It took too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) String);

#[derive(Debug, Default)]
pub(super) struct Progress {
    due: Option<Due>,
    /// Records that were sent and are known to be in the log or may be, less those that were consumed.
    owed: i64,
    /// How many kills were followed by progress before the next one.
    pub(super) checked: u64,
    /// The longest that it took in time.
    pub(super) slowest_us: u64,
}

impl Progress {
    pub(super) fn sent(&mut self, now: Now) {
        self.owed += 1;
        if let Some(due) = &mut self.due {
            due.since_us.get_or_insert(now.at_us);
        }
    }

    /// What was sent need not be there.
    pub(super) fn not_there(&mut self) {
        self.owed -= 1;
    }

    /// From here on it has its full time again: whoever was to take over may be who was killed.
    pub(super) fn killed(&mut self, who: &str, session_us: u64, now: Now) -> Result<(), TooLong> {
        let before = self.due.take();
        let since_us = (self.owed > 0).then_some(now.at_us);
        self.due = Some(Due { killed: who.to_owned(), line: now.line, since_us });
        before.map_or(Ok(()), |due| in_time(&due, session_us, now).map(drop))
    }

    /// A record was consumed that was not consumed before.
    pub(super) fn made(&mut self, session_us: u64, now: Now) -> Result<(), TooLong> {
        self.owed -= 1;
        let Some(due) = self.due.take() else { return Ok(()) };
        let took = in_time(&due, session_us, now)?;
        self.checked += 1;
        self.slowest_us = self.slowest_us.max(took);
        Ok(())
    }

    /// The history ends.
    pub(super) fn ended(&self, session_us: u64, now: Now) -> Result<(), TooLong> {
        self.due.as_ref().map_or(Ok(()), |due| in_time(due, session_us, now).map(drop))
    }
}

fn in_time(due: &Due, session_us: u64, now: Now) -> Result<u64, TooLong> {
    let took = due.since_us.map_or(0, |since_us| now.at_us.saturating_sub(since_us));
    if took <= session_us + BEYOND_SESSION_US {
        return Ok(took);
    }
    Err(TooLong(format!(
        "{} was killed (line {}) and nothing new was consumed for {} ms (line {})",
        due.killed,
        due.line,
        took / 1000,
        now.line
    )))
}
