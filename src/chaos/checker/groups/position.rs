//! The committed position of one group in one partition, as a register that goes forward only.
//!
//! A position that is told, and a commit that is acknowledged, show how far the register was. One that is asked
//! for afterwards must not be behind that, unless a commit that was under way meanwhile can have put it back:
//! what a member asked for and never heard of may take effect late, until its generation is over.

use std::collections::HashMap;

use super::Now;
use crate::{chaos::history::Commit, model::Offset};

/// In the place of a generation: the coordinator itself moves the position past a record that is a dead letter.
const BY_COORDINATOR: i32 = i32::MAX;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    Acknowledged,
    Refused,
    Unknown,
}

/// A commit, by the lines of the history.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) generation: i32,
    pub(super) offset: Offset,
    pub(super) asked_at: u32,
    /// From here on it can have no further effect.
    ended_at: Option<u32>,
    fate: Fate,
    known: Known,
}

/// How much had been shown when something was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    count: usize,
    furthest: Option<Offset>,
}

/// Something that shows how far the position was.
#[derive(Clone, Copy, Debug)]
struct Shown {
    offset: Offset,
    /// It was so at some time from here
    from: u32,
    /// until here.
    until: u32,
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Question {
    asked_at: u32,
    known: Known,
}

/// The position has come this far, which is further than ever, by a commit that was asked for at that line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised {
    pub(super) until: Offset,
    pub(super) asked_at: u32,
}

/// Why a position cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It went back.
    Back(String),
    /// Nobody has put it there.
    FromNowhere(String),
    /// The history makes no sense.
    Unsound(String),
}

#[derive(Debug, Default)]
pub(super) struct Position {
    commits: Vec<Attempt>,
    by_offset: HashMap<Offset, Vec<usize>>,
    /// Commits that may still take effect.
    open: Vec<usize>,
    shown: Vec<Shown>,
    /// What was shown before has been put back, for a reason or against the rules, which is said once.
    valid_from: usize,
    /// The furthest of what is valid.
    furthest: Option<Offset>,
    questions: HashMap<String, Question>,
    pub(super) raised: Vec<Raised>,
    pub(super) last_acknowledged_at: u32,
    /// When the last question was asked that was answered.
    pub(super) last_read_at: u32,
    /// How often it went back in a way that a commit under way explains.
    pub(super) put_back: u64,
}

impl Position {
    pub(super) fn commit_asked(&mut self, commit: &Commit, now: Now) {
        let number = self.commits.len();
        self.commits.push(Attempt {
            generation: commit.by.generation,
            offset: commit.offset,
            asked_at: now.line,
            ended_at: None,
            fate: Fate::Open,
            known: self.known(),
        });
        self.by_offset.entry(commit.offset).or_default().push(number);
        self.open.push(number);
    }

    /// The coordinator may move the position there by itself, until it has been there or further.
    pub(super) fn may_move_to(&mut self, offset: Offset, now: Now) {
        let number = self.commits.len();
        self.commits.push(Attempt {
            generation: BY_COORDINATOR,
            offset,
            asked_at: now.line,
            ended_at: None,
            fate: Fate::Unknown,
            known: self.known(),
        });
        self.by_offset.entry(offset).or_default().push(number);
        self.open.push(number);
    }

    /// Takes the outcome of a commit; `None` where none like it waits for one.
    pub(super) fn commit_ended(&mut self, commit: &Commit, fate: Fate, now: Now) -> Option<Attempt> {
        let waits = |number: &usize| {
            let asked = &self.commits[*number];
            asked.fate == Fate::Open && asked.generation == commit.by.generation
        };
        let number = *self.by_offset.get(&commit.offset)?.iter().find(|number| waits(number))?;
        let asked = &mut self.commits[number];
        asked.fate = fate;
        if fate != Fate::Unknown {
            asked.ended_at = Some(now.line);
            self.open.retain(|open| *open != number);
        }
        Some(asked.clone())
    }

    /// A commit was acknowledged: the position was there, and had not been further before it was asked for.
    pub(super) fn acknowledged(&mut self, asked: &Attempt, now: Now) -> Result<(), Wrong> {
        self.last_acknowledged_at = now.line;
        let further = self.furthest_beyond(asked.offset, asked.known);
        if further.is_some() {
            self.start_over();
        }
        self.show(asked.offset, asked.asked_at, asked.asked_at, now);
        let Some(further) = further else { return Ok(()) };
        Err(Wrong::Back(format!(
            "{} was committed (lines {} to {}) after {} had been reached (line {})",
            asked.offset, asked.asked_at, now.line, further.offset, further.until
        )))
    }

    /// How many commits have no outcome: whoever asked did not live to hear of it.
    pub(super) fn unanswered(&self) -> u64 {
        self.commits.iter().filter(|asked| asked.fate == Fate::Open).count() as u64
    }

    /// What no longer can take effect: commits of a generation before this one, which has begun.
    pub(super) fn generation_began(&mut self, generation: i32, now: Now) {
        self.end_where(now, |asked| asked.generation < generation);
    }

    /// What no longer can take effect: commits that had left before the only node was killed, which is back.
    pub(super) fn killed_before(&mut self, killed_at: u32, now: Now) {
        self.end_where(now, |asked| asked.asked_at < killed_at && asked.generation != BY_COORDINATOR);
    }

    fn end_where(&mut self, now: Now, over: impl Fn(&Attempt) -> bool) {
        let commits = &mut self.commits;
        self.open.retain(|number| {
            let asked = &mut commits[*number];
            let ends = over(asked);
            if ends {
                asked.ended_at = Some(now.line);
            }
            !ends
        });
    }

    pub(super) fn asked(&mut self, reader: &str, now: Now) {
        // One that is there already was given up by its reader.
        let question = Question { asked_at: now.line, known: self.known() };
        self.questions.insert(reader.to_owned(), question);
    }

    pub(super) fn told(&mut self, reader: &str, offset: Option<Offset>, now: Now) -> Result<(), Wrong> {
        let Some(question) = self.questions.remove(reader) else {
            return Err(Wrong::Unsound(format!("{reader} is told a position that it did not ask for")));
        };
        self.last_read_at = question.asked_at;
        let Some(offset) = offset else { return self.told_nothing(question, now) };
        let by: Vec<&Attempt> = self.not_refused(offset).collect();
        // Where a member has committed it, the coordinator need not have moved it there, and for a dead letter it does not
        // matter.
        let by_whom = |asked: &&Attempt| (asked.generation == BY_COORDINATOR, asked.asked_at);
        let Some((_, first_asked_at)) = by.iter().map(by_whom).min() else {
            let text = format!("{offset} is told to {reader} (line {}), nobody has committed that", now.line);
            return Err(Wrong::FromNowhere(text));
        };
        // The last time at which one of them can have put it there: one without an end can do so still.
        let last_possible =
            by.iter().map(|asked| asked.ended_at.unwrap_or(u32::MAX)).max().unwrap_or_default();
        let further = self.furthest_beyond(offset, question.known);
        let explained = self.shown_beyond(offset, question.known).all(|shown| shown.from < last_possible);
        if further.is_some() {
            self.start_over();
            self.put_back += u64::from(explained);
        }
        self.show(offset, question.asked_at, first_asked_at, now);
        let Some(further) = further.filter(|_| !explained) else { return Ok(()) };
        Err(Wrong::Back(format!(
            "{offset} is told to {reader} (lines {} to {}) after {} had been reached (line {})",
            question.asked_at, now.line, further.offset, further.until
        )))
    }

    /// The commits that can have put the position there.
    fn not_refused(&self, offset: Offset) -> impl Iterator<Item = &Attempt> {
        let numbers = self.by_offset.get(&offset).into_iter().flatten();
        numbers.map(|number| &self.commits[*number]).filter(|asked| asked.fate != Fate::Refused)
    }

    fn told_nothing(&mut self, question: Question, now: Now) -> Result<(), Wrong> {
        let Some(furthest) = self.furthest_beyond(Offset::new(-1), question.known) else { return Ok(()) };
        self.start_over();
        Err(Wrong::Back(format!(
            "nothing is committed (lines {} to {}) after {} had been reached (line {})",
            question.asked_at, now.line, furthest.offset, furthest.until
        )))
    }

    fn known(&self) -> Known {
        Known { count: self.shown.len(), furthest: self.furthest }
    }

    fn shown_beyond(&self, offset: Offset, known: Known) -> impl Iterator<Item = &Shown> {
        // Nearly always there is none, and no need to look.
        let some = known.furthest.is_some_and(|furthest| furthest > offset);
        let shown = self.shown.get(self.valid_from..known.count).filter(|_| some).unwrap_or_default();
        shown.iter().filter(move |shown| shown.offset > offset)
    }

    fn furthest_beyond(&self, offset: Offset, known: Known) -> Option<Shown> {
        self.shown_beyond(offset, known).max_by_key(|shown| shown.offset).copied()
    }

    fn show(&mut self, offset: Offset, from: u32, asked_at: u32, now: Now) {
        self.end_where(now, |asked| asked.generation == BY_COORDINATOR && asked.offset <= offset);
        self.shown.push(Shown { offset, from, until: now.line });
        self.furthest = self.furthest.max(Some(offset));
        if self.raised.last().is_none_or(|raised| raised.until < offset) {
            self.raised.push(Raised { until: offset, asked_at });
        }
    }

    fn start_over(&mut self) {
        self.valid_from = self.shown.len();
        self.furthest = None;
    }
}
