//! Many small waits at once, in bounded number.
//!
//! An administrator's request may name thousands of topics or partitions, and each of them waits for
//! the disk. Asked side by side they share its syncs (group commit); asked all at once they would be
//! as many tasks as a request has entries.

use tokio::task::JoinHandle;

/// How many run side by side.
const SIDE_BY_SIDE: usize = 64;

/// What `start` makes of each item, in their order; `None` where it ended in a panic.
pub(crate) async fn each<T, R, F>(
    items: impl IntoIterator<Item = T>,
    start: impl Fn(T) -> F,
) -> Vec<Option<R>>
where
    F: Future<Output = R> + Send + 'static,
    R: Send + 'static,
{
    let mut items = items.into_iter();
    let mut results = Vec::new();
    loop {
        let running: Vec<JoinHandle<R>> =
            items.by_ref().take(SIDE_BY_SIDE).map(|item| tokio::spawn(start(item))).collect();
        if running.is_empty() {
            return results;
        }
        for task in running {
            results.push(task.await.ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::{SIDE_BY_SIDE, each};

    #[tokio::test]
    async fn results_come_in_order_and_never_more_than_the_bound_run_at_once() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let results = each(0..3 * SIDE_BY_SIDE, |n| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                n
            }
        });
        assert_eq!(results.await, (0..3 * SIDE_BY_SIDE).map(Some).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), SIDE_BY_SIDE);
    }
}
