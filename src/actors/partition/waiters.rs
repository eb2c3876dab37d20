//! Fetches that wait for more.
//!
//! A fetch may wait on many partitions at once and a partition may be waited for by many fetches, so
//! a fetch brings one [`Waiter`] and signs it in with each partition. Signing out is by dropping the
//! guard. An append with nobody waiting costs one load.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use super::append::HeldAnswer;

/// What one fetch waits on.
#[derive(Clone, Debug, Default)]
pub struct Waiter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    notify: Notify,
    turn: Mutex<Turn>,
}

/// Whether a producer's answer may be left to this waiter, and the one that was.
#[derive(Debug, Default)]
struct Turn {
    takes_answers: bool,
    answer: Option<HeldAnswer>,
}

impl Waiter {
    /// Waits until it is woken; at once, if it has been since the last wait.
    pub async fn notified(&self) {
        self.0.notify.notified().await;
    }

    /// The same, and may be given a producer's answer: whoever calls this drops it soon, and at the latest before it waits for
    /// something else. Nothing is lost when the wait is dropped half-way.
    pub async fn woken(&self) -> Option<HeldAnswer> {
        self.turn().takes_answers = true;
        let waits = TakesAnswers(self);
        self.notified().await;
        waits.end()
    }

    /// Wakes it, with `answer` if it takes such. It is sent at once otherwise.
    fn wake_before(&self, answer: Option<HeldAnswer>) {
        let left = {
            let mut turn = self.turn();
            if turn.takes_answers && turn.answer.is_none() {
                mem::replace(&mut turn.answer, answer)
            } else {
                answer
            }
        };
        // Whoever is woken last runs first on this worker: the consumer, who has the longer way.
        drop(left);
        self.0.notify.notify_one();
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait during which answers are taken.
struct TakesAnswers<'a>(&'a Waiter);

impl TakesAnswers<'_> {
    fn end(&self) -> Option<HeldAnswer> {
        let mut turn = self.0.turn();
        turn.takes_answers = false;
        turn.answer.take()
    }
}

impl Drop for TakesAnswers<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Those who wait for one partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    count: AtomicUsize,
    list: Mutex<Vec<Waiter>>,
}

impl Waiters {
    /// Signs `waiter` in until the guard is dropped. Look at the partition again afterwards: what
    /// happened before is not told.
    pub(super) fn sign_in(self: &Arc<Self>, waiter: &Waiter) -> SignedIn {
        let mut list = self.lock();
        list.push(waiter.clone());
        self.count.store(list.len(), Ordering::SeqCst);
        drop(list);
        SignedIn { waiters: Arc::clone(self), waiter: waiter.clone() }
    }

    /// Wakes all that are signed in; one that is not waiting at this moment keeps the wake.
    /// `answer` is sent when the one who runs first has been served, if that one takes it; at once otherwise.
    pub(super) fn wake_before(&self, answer: Option<HeldAnswer>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        if let Some((last, others)) = self.lock().split_last() {
            for waiter in others {
                waiter.wake_before(None);
            }
            last.wake_before(answer);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a waiter signed in.
#[derive(Debug)]
pub struct SignedIn {
    waiters: Arc<Waiters>,
    waiter: Waiter,
}

impl Drop for SignedIn {
    fn drop(&mut self) {
        let mut list = self.waiters.lock();
        if let Some(at) = list.iter().position(|other| other.is_same(&self.waiter)) {
            list.swap_remove(at);
        }
        self.waiters.count.store(list.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        sync::Arc,
        task::{Context, Poll, Waker},
    };

    use tokio::sync::oneshot;

    use super::{HeldAnswer, SignedIn, Waiter, Waiters};
    use crate::{
        actors::partition::{AppendReply, Appended, append::Ticket},
        model::{Offset, TimestampMs},
    };

    const APPENDED: Appended = Appended {
        base_offset: Offset::new(7),
        log_append_time: TimestampMs::NONE,
        log_start_offset: Offset::new(0),
    };

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn answer() -> (Option<HeldAnswer>, oneshot::Receiver<AppendReply>) {
        let (reply, answer) = oneshot::channel();
        (Some(HeldAnswer::new(Ticket { reply, appended: APPENDED })), answer)
    }

    fn signed_in(waiters: &Arc<Waiters>) -> (Waiter, SignedIn) {
        let waiter = Waiter::default();
        let signed_in = waiters.sign_in(&waiter);
        (waiter, signed_in)
    }

    #[tokio::test]
    async fn a_wake_between_signing_in_and_waiting_is_not_lost() {
        let waiters = Arc::new(Waiters::default());
        let (waiter, _signed_in) = signed_in(&waiters);
        waiters.wake_before(None);
        waiter.notified().await;
        waiters.wake_before(None);
        assert!(waiter.woken().await.is_none());
    }

    #[test]
    fn signing_out_removes_only_oneself() {
        let waiters = Arc::new(Waiters::default());
        let ((_, first), (two, _second)) = (signed_in(&waiters), signed_in(&waiters));
        drop(first);
        assert_eq!(waiters.lock().len(), 1);
        assert!(waiters.lock()[0].is_same(&two));
    }

    #[test]
    fn who_waits_for_nothing_else_has_the_producer_answered_when_it_likes() {
        let waiters = Arc::new(Waiters::default());
        let ((first, _one), (second, _two)) = (signed_in(&waiters), signed_in(&waiters));
        let (mut first, mut second) = (pin!(first.woken()), pin!(second.woken()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        let (held, mut answer) = answer();
        waiters.wake_before(held);
        assert!(answer.try_recv().is_err());
        let (Poll::Ready(None), Poll::Ready(Some(held))) = (poll(first), poll(second)) else {
            panic!("both are woken, and the one that runs first has the answer")
        };
        assert!(answer.try_recv().is_err(), "the consumer has yet to be served");
        drop(held);
        assert_eq!(answer.try_recv(), Ok(Ok(APPENDED)));
    }

    #[test]
    fn where_nobody_waits_for_nothing_else_the_producer_is_answered_at_once() {
        let waiters = Arc::new(Waiters::default());
        let (held, mut unheard) = answer();
        waiters.wake_before(held);
        assert_eq!(unheard.try_recv(), Ok(Ok(APPENDED)), "nobody is there");

        let (waiter, _signed_in) = signed_in(&waiters);
        let (held, mut busy) = answer();
        waiters.wake_before(held);
        assert_eq!(busy.try_recv(), Ok(Ok(APPENDED)), "the consumer does something else");
        assert!(poll(pin!(waiter.woken())).is_ready(), "it is told all the same");

        let mut notified = pin!(waiter.notified());
        assert!(poll(notified.as_mut()).is_pending());
        let (held, mut not_taken) = answer();
        waiters.wake_before(held);
        assert_eq!(not_taken.try_recv(), Ok(Ok(APPENDED)), "this one takes no answers");
        assert!(poll(notified).is_ready());
    }

    #[test]
    fn a_wait_that_is_given_up_and_a_second_answer_keep_no_producer_waiting() {
        let waiters = Arc::new(Waiters::default());
        let (waiter, _signed_in) = signed_in(&waiters);
        let mut woken = Box::pin(waiter.woken());
        assert!(poll(woken.as_mut()).is_pending());
        let ((held, mut first), (more, mut second)) = (answer(), answer());
        waiters.wake_before(held);
        waiters.wake_before(more);
        assert!(first.try_recv().is_err());
        assert_eq!(second.try_recv(), Ok(Ok(APPENDED)));
        drop(woken);
        assert_eq!(first.try_recv(), Ok(Ok(APPENDED)));
    }
}
