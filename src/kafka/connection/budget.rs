//! The bytes that all connections of a node may hold of requests that arrive and answers that are read.
//!
//! Half-arrived large requests could hold all of the budget and wait for each other. So one of those that
//! wait may always go beyond it, until its own memory is free again: memory is bounded by the budget and one
//! largest request.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::actors::partition::InFlight;

/// What all connections of a node share.
#[derive(Clone, Debug)]
pub struct Budget {
    pub(super) bytes: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(bytes)), overdraft: Arc::new(Semaphore::new(1)) }
    }
}

/// What one request holds of the budget; given back by dropping it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Holds at least `bytes`, waiting for them or for being the one that needs not. Loses nothing when it is
    /// dropped half-way.
    pub(super) async fn raise_to(&mut self, bytes: usize, budget: &Budget) {
        let held = self.bytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(bytes.saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 || self.overdraft.is_some() {
            return;
        }
        // Neither is ever closed; were it, there would be nothing to wait for.
        tokio::select! {
            biased;
            more = Arc::clone(&budget.bytes).acquire_many_owned(missing) => self.add(more.ok()),
            overdraft = Arc::clone(&budget.overdraft).acquire_owned() => self.overdraft = overdraft.ok(),
        }
    }

    /// For all that are made of the request to hold; nothing where it needed nothing.
    pub(crate) fn shared(self) -> Option<InFlight> {
        let holds = self.bytes.is_some() || self.overdraft.is_some();
        holds.then(|| -> InFlight { Arc::new(self) })
    }

    fn add(&mut self, more: Option<OwnedSemaphorePermit>) {
        match (&mut self.bytes, more) {
            (Some(held), Some(more)) => held.merge(more),
            (held, more) => *held = more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Held};

    #[tokio::test(start_paused = true)]
    async fn half_arrived_requests_that_hold_all_of_the_budget_finish_one_after_the_other() {
        let budget = Budget::new(1000);
        let mut first: Vec<Held> = Vec::new();
        for _ in 0..4 {
            let mut held = Held::default();
            held.raise_to(250, &budget).await;
            first.push(held);
        }
        // Each needs as much again, and nothing is left.
        let finishing = first.into_iter().map(|mut held| {
            let budget = budget.clone();
            tokio::spawn(async move { held.raise_to(500, &budget).await })
        });
        for finished in finishing.collect::<Vec<_>>() {
            tokio::time::timeout(std::time::Duration::from_secs(1), finished).await.unwrap().unwrap();
        }
        assert_eq!(budget.bytes.available_permits(), 1000);
        assert_eq!(budget.overdraft.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_goes_beyond_the_budget() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (Held::default(), Held::default());
        one.raise_to(100, &budget).await;
        one.raise_to(1000, &budget).await;
        let waiting = two.raise_to(100, &budget);
        let time = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(time, waiting).await.is_err());
        two.raise_to(10, &budget).await;
        drop(one);
        two.raise_to(100, &budget).await;
    }
}
