//! Which runtime serves a connection: the one for all, or the one for those who move much.

use std::{io, panic::resume_unwind};

use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};

use super::{Connection, End, Patience, REST_AFTER};
use crate::actors::partition::MUCH;

/// Who has moved nothing large for so long moves little.
const LITTLE_AFTER: Duration = Duration::from_secs(1);

/// Where a connection is served, and why.
#[derive(Debug, Default)]
pub(super) struct Place {
    is_bulk: bool,
    /// When it last moved much.
    moved_much: Option<Instant>,
}

impl Place {
    /// So many bytes were received as one request, or sent as one answer.
    pub(super) fn note_moved(&mut self, bytes: usize, now: Instant) {
        if bytes > MUCH {
            self.moved_much = Some(now);
        }
    }

    /// Whether it moves much these days.
    pub(super) fn moves_much(&self, now: Instant) -> bool {
        self.moved_much.is_some_and(|then| now.duration_since(then) < LITTLE_AFTER)
    }

    /// Whether the other runtime is the right one now.
    fn is_wrong(&self, now: Instant, is_to_make_way: impl FnOnce() -> bool) -> bool {
        self.is_bulk != (self.moves_much(now) && is_to_make_way())
    }
}

impl Connection {
    /// Whether the other runtime is the right one now. Those who move little and are where such belong are told at
    /// once.
    pub(super) fn is_misplaced(&self) -> bool {
        if self.place.moved_much.is_none() {
            return false;
        }
        let now = Instant::now();
        self.place.is_wrong(now, || self.broker.bulk.is_to_make_way(now))
    }

    /// Serves it, here and there, until it ends. This task stays with its listener: dropping it ends the connection
    /// wherever it is served.
    pub(super) async fn run_where_it_belongs(mut self) -> End {
        loop {
            if let Err(end) = self.run().await {
                return end;
            }
            self.broker.metrics.bulk_moves.inc();
            let workers = self.broker.bulk.workers().clone();
            let mut elsewhere = JoinSet::new();
            elsewhere.spawn_on(self.visit(), &workers);
            self = match elsewhere.join_next().await {
                Some(Ok(Ok(back))) => match back.settled(false) {
                    Ok(here) => here,
                    Err(error) => return error.into(),
                },
                Some(Ok(Err(end))) => return end,
                Some(Err(ended)) if ended.is_panic() => resume_unwind(ended.into_panic()),
                Some(Err(_)) | None => return End::Shutdown,
            };
        }
    }

    /// Its time with the workers for those who move much.
    async fn visit(self) -> Result<Self, End> {
        let mut there = self.settled(true)?;
        there.run().await?;
        Ok(there)
    }

    /// The same connection, its socket and timers watched by the runtime that this is called on.
    fn settled(self, is_bulk: bool) -> io::Result<Self> {
        let mut here = Self { stream: TcpStream::from_std(self.stream.into_std()?)?, ..self };
        here.timer = Box::pin(sleep_until(here.active + REST_AFTER));
        here.session.patience = Patience::new();
        here.session.is_light = !is_bulk;
        here.place.is_bulk = is_bulk;
        Ok(here)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant, advance};

    use super::{LITTLE_AFTER, MUCH, Place};

    #[tokio::test(start_paused = true)]
    async fn who_moves_much_belongs_elsewhere_while_others_would_wait() {
        let mut place = Place::default();
        let is_wrong = |place: &Place, others_wait| place.is_wrong(Instant::now(), || others_wait);
        place.note_moved(MUCH, Instant::now());
        assert!(!is_wrong(&place, true), "that was little");
        place.note_moved(MUCH + 1, Instant::now());
        assert!(is_wrong(&place, true));
        assert!(!is_wrong(&place, false), "nobody waits");
        place.is_bulk = true;
        assert!(!is_wrong(&place, true));
        assert!(is_wrong(&place, false), "nobody waits any more");
        place.note_moved(1, Instant::now());
        advance(LITTLE_AFTER.saturating_sub(Duration::from_millis(1))).await;
        assert!(!is_wrong(&place, true), "it may go on");
        advance(Duration::from_millis(1)).await;
        assert!(is_wrong(&place, true), "it moves little now");
        place.is_bulk = false;
        assert!(!is_wrong(&place, true));
    }
}
