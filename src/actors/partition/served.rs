//! Which records of a partition were lately part of a fetch's answer, and whose.
//!
//! A group's coordinator asks this when an owner is lost: a record that nobody was given has not failed (S22). A
//! fetch names neither group nor member, so clients are told apart by their id and host. Only partitions with a
//! limit of attempts pay for it; what does not fit is forgotten, and what is forgotten counts as not served.
//! `docs/adr/0013-what-was-served-is-remembered-by-client.md` says why it is done so.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::model::Offset;

/// Stretches that are remembered of a partition.
const STRETCHES: usize = 64;
/// Answers that follow each other within this time are one stretch.
const ONE_STRETCH: Duration = Duration::from_secs(1);

/// A client, as far as a fetch tells who it is.
///
/// Nodes that were built by different compilers may not agree on it; to each other they have served nothing, then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey(u64);

impl ClientKey {
    /// The client that calls itself `id` and comes from `host`.
    pub fn new(id: &str, host: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (id, host).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What is to be known of a partition. Times are monotonic, of the node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedQuery {
    /// To whom.
    pub client: ClientKey,
    /// Not before this.
    pub since: Duration,
    /// Not after this, where that matters.
    pub until: Option<Duration>,
}

/// What one client was given in a row.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    client: ClientKey,
    first: Offset,
    /// The offset after the last.
    next: Offset,
    /// When the first answer of it went out, and the last one.
    began: Duration,
    ended: Duration,
}

/// The stretches of a partition.
#[derive(Debug, Default)]
pub struct Served {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// The oldest first.
    stretches: Vec<Stretch>,
    /// When the latest began of those that are forgotten.
    forgotten: Option<Duration>,
}

impl Served {
    /// The client has been given the records from `first` up to, and without, `next`.
    pub fn record(&self, client: ClientKey, first: Offset, next: Offset, now: Duration) {
        if next > first {
            self.recent().record(Stretch { client, first, next, began: now, ended: now });
        }
    }

    /// Whether the record at `offset` was served so.
    pub fn has(&self, query: &ServedQuery, offset: Offset) -> bool {
        let recent = self.recent();
        recent.of(query).any(|stretch| stretch.first <= offset && offset < stretch.next)
    }

    /// Where the client began; `None` as well where that is forgotten.
    pub fn first(&self, query: &ServedQuery) -> Option<Offset> {
        let recent = self.recent();
        // Of a stretch that began earlier it is not known what of it came later.
        let across = |stretch: &Stretch| {
            stretch.client == query.client && stretch.began < query.since && query.since <= stretch.ended
        };
        if recent.forgotten.is_some_and(|began| began >= query.since) || recent.stretches.iter().any(across) {
            return None;
        }
        recent.of(query).next().map(|stretch| stretch.first)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn of<'a>(&'a self, query: &'a ServedQuery) -> impl Iterator<Item = &'a Stretch> {
        self.stretches.iter().filter(|stretch| {
            stretch.client == query.client
                && stretch.began >= query.since
                && query.until.is_none_or(|until| stretch.ended <= until)
        })
    }

    fn record(&mut self, new: Stretch) {
        let latest = self.stretches.iter_mut().rev().find(|stretch| stretch.client == new.client);
        if let Some(latest) = latest
            && latest.next == new.first
            && new.ended.saturating_sub(latest.began) <= ONE_STRETCH
        {
            (latest.next, latest.ended) = (new.next, new.ended);
            return;
        }
        if self.stretches.len() >= STRETCHES {
            self.make_room();
        }
        self.stretches.push(new);
    }

    /// The oldest becomes one with what its client was given next, which loses nothing but when exactly; where
    /// the client has gone back meanwhile, it is forgotten.
    fn make_room(&mut self) {
        let oldest = self.stretches.remove(0);
        let follows = self.stretches.iter_mut().find(|stretch| stretch.client == oldest.client);
        match follows {
            Some(next) if next.first == oldest.next => {
                (next.first, next.began) = (oldest.first, oldest.began);
            }
            Some(_) | None => self.forgotten = self.forgotten.max(Some(oldest.began)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ClientKey, STRETCHES, Served, ServedQuery};
    use crate::model::Offset;

    fn client(name: &str) -> ClientKey {
        ClientKey::new(name, "/127.0.0.1")
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn since(name: &str, secs: u64) -> ServedQuery {
        ServedQuery { client: client(name), since: at(secs), until: None }
    }

    fn serve(served: &Served, name: &str, records: std::ops::Range<i64>, secs: u64) {
        served.record(client(name), Offset::new(records.start), Offset::new(records.end), at(secs));
    }

    #[test]
    fn a_record_counts_as_served_to_whom_it_was_served_and_since_when() {
        let served = Served::default();
        serve(&served, "a", 10..20, 5);
        serve(&served, "b", 20..20, 6);
        assert!(served.has(&since("a", 5), Offset::new(10)) && served.has(&since("a", 1), Offset::new(19)));
        assert!(!served.has(&since("a", 6), Offset::new(10)), "before the time asked for");
        assert!(!served.has(&since("a", 1), Offset::new(9)) && !served.has(&since("a", 1), Offset::new(20)));
        assert!(!served.has(&since("b", 1), Offset::new(10)), "to another");
        assert!(!served.has(&since("b", 1), Offset::new(20)), "an empty answer has no record");
        assert_eq!(served.first(&since("b", 1)), None);
        assert_ne!(ClientKey::new("a", "/1.1.1.1"), client("a"));
    }

    #[test]
    fn where_a_client_began_is_known_by_its_assignment() {
        let served = Served::default();
        serve(&served, "a", 0..10, 1);
        serve(&served, "a", 10..20, 5);
        serve(&served, "a", 3..8, 9);
        assert_eq!(served.first(&since("a", 0)), Some(Offset::new(0)));
        assert_eq!(served.first(&since("a", 2)), Some(Offset::new(10)));
        assert_eq!(served.first(&since("a", 6)), Some(Offset::new(3)));
        assert_eq!(served.first(&since("a", 10)), None);
    }

    #[test]
    fn a_record_can_be_asked_for_that_was_served_long_ago() {
        let served = Served::default();
        serve(&served, "a", 0..10, 1);
        serve(&served, "a", 10..20, 7);
        let until = |secs| ServedQuery { until: Some(at(secs)), ..since("a", 0) };
        assert!(served.has(&until(1), Offset::new(9)) && !served.has(&until(1), Offset::new(10)));
        assert!(served.has(&until(7), Offset::new(10)));
    }

    #[test]
    fn a_client_that_moves_on_steadily_is_remembered_from_its_beginning() {
        let served = Served::default();
        for second in 0..10 * STRETCHES as i64 {
            serve(&served, "a", second..second + 1, 2 * second.unsigned_abs());
        }
        assert_eq!(served.first(&since("a", 0)), Some(Offset::new(0)));
        assert!(served.has(&since("a", 0), Offset::new(3)));
        assert_eq!(served.recent().stretches.len(), STRETCHES);
    }

    #[test]
    fn what_is_forgotten_counts_as_not_served_and_no_other_record_is_named_in_its_place() {
        let served = Served::default();
        serve(&served, "a", 0..10, 1);
        serve(&served, "a", 50..60, 2);
        for other in 0..STRETCHES as i64 - 1 {
            serve(&served, &format!("other {other}"), other..other + 1, 3);
        }
        assert!(!served.has(&since("a", 0), Offset::new(0)));
        assert!(served.has(&since("a", 0), Offset::new(50)));
        assert_eq!(served.first(&since("a", 0)), None, "it began somewhere else");
        assert_eq!(served.first(&since("a", 2)), Some(Offset::new(50)));
    }

    #[test]
    fn an_answer_that_joins_an_earlier_one_is_no_older_than_that() {
        let served = Served::default();
        served.record(client("a"), Offset::new(0), Offset::new(5), at(1));
        served.record(client("a"), Offset::new(5), Offset::new(9), Duration::from_millis(1500));
        // Served at 1.5 s, and known only as not before 1 s: in doubt it does not count.
        assert!(!served.has(&since("a", 1).later(200), Offset::new(6)));
        served.record(client("a"), Offset::new(9), Offset::new(12), Duration::from_secs(4));
        assert_eq!(served.first(&since("a", 1).later(200)), None, "5 or 9");
        assert!(served.has(&since("a", 1), Offset::new(6)));
    }

    impl ServedQuery {
        fn later(self, ms: u64) -> Self {
            Self { since: self.since + Duration::from_millis(ms), ..self }
        }
    }
}
