//! What became of a record, told once for its whole batch.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::ProduceError;
use crate::model::{Offset, PartitionIndex, TimestampMs};

/// Where a record is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The partition that it went to.
    pub partition: PartitionIndex,
    /// Its offset; none with `acks=0`, and where a log knows a batch but not its offsets any more.
    pub offset: Option<Offset>,
    /// When the log took it, if the topic stamps that time.
    pub log_append_time: Option<TimestampMs>,
}

pub(super) type BatchResult = Result<Written, ProduceError>;

/// One batch's result, shared by the deliveries of all its records.
#[derive(Debug, Default)]
pub(super) struct Outcome(Mutex<OutcomeState>);

#[derive(Debug, Default)]
struct OutcomeState {
    /// Of the batch's first record.
    result: Option<BatchResult>,
    wakers: Vec<Waker>,
}

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, OutcomeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one duty to tell an outcome; given up without, it tells that the producer was closed.
#[derive(Debug, Default)]
pub(super) struct Promise(Arc<Outcome>);

impl Promise {
    pub(super) fn delivery(&self, position: i32) -> Delivery {
        Delivery { outcome: Arc::clone(&self.0), position, waker: None }
    }

    pub(super) fn tell(&self, result: BatchResult) {
        let wakers = {
            let mut state = self.0.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.tell(Err(ProduceError::Closed));
    }
}

/// A future of what becomes of one record. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "a record whose delivery nobody looks at may be lost without a word"]
pub struct Delivery {
    outcome: Arc<Outcome>,
    /// The record's place in its batch.
    position: i32,
    /// The place of our waker among the outcome's.
    waker: Option<usize>,
}

impl Delivery {
    /// The result, if it is there.
    pub fn result(&self) -> Option<Result<Written, ProduceError>> {
        self.outcome.lock().result.clone().map(|result| self.of_record(result))
    }

    fn of_record(&self, result: BatchResult) -> BatchResult {
        let position = i64::from(self.position);
        result.map(|first| Written { offset: first.offset.map(|base| base.plus(position)), ..first })
    }
}

impl Future for Delivery {
    type Output = Result<Written, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Arc::clone(&self.outcome);
        let mut state = outcome.lock();
        if let Some(result) = state.result.clone() {
            return Poll::Ready(self.of_record(result));
        }
        let known = self.waker.and_then(|at| state.wakers.get_mut(at));
        if let Some(waker) = known {
            waker.clone_from(context.waker());
        } else {
            self.waker = Some(state.wakers.len());
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::{Promise, Written};
    use crate::{
        client::producer::ProduceError,
        model::{Offset, PartitionIndex},
    };

    const WRITTEN: Written =
        Written { partition: PartitionIndex::new(3), offset: Some(Offset::new(10)), log_append_time: None };

    #[tokio::test]
    async fn each_record_learns_its_own_offset_whether_it_waits_before_or_after() {
        let promise = Promise::default();
        let (first, third) = (promise.delivery(0), promise.delivery(2));
        let waiting = tokio::spawn(third);
        tokio::task::yield_now().await;
        assert!(first.result().is_none());
        promise.tell(Ok(WRITTEN));
        assert_eq!(first.await.unwrap().offset, Some(Offset::new(10)));
        assert_eq!(waiting.await.unwrap().unwrap().offset, Some(Offset::new(12)));
    }

    #[tokio::test]
    async fn a_promise_that_is_given_up_is_told_as_closed() {
        let promise = Promise::default();
        let delivery = promise.delivery(0);
        drop(promise);
        assert!(matches!(delivery.await, Err(ProduceError::Closed)));
    }
}
