//! Buffers for large requests, used again.
//!
//! Memory that goes back to the system and is taken anew is cleared page by page, which costs a busy
//! producer's connection as much as receiving into it. So the buffers of large requests are kept, some
//! mebibytes of them, for whichever connection needs one next.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// The most memory that is kept.
const MOST_KEPT: usize = 16 << 20;
/// The largest buffer that is kept. Requests of common clients are smaller.
pub(super) const LARGEST_KEPT: usize = 2 << 20;

/// What a node keeps for its connections.
#[derive(Debug, Default)]
pub(crate) struct FramePool {
    spare: Mutex<Spare>,
}

/// The buffers that nobody uses.
#[derive(Debug, Default)]
struct Spare {
    /// The one that was used last is the last: most of it is still in the processor's cache.
    buffers: VecDeque<Vec<u8>>,
    /// The capacity of all of them.
    bytes: usize,
}

impl FramePool {
    /// An empty buffer with room for `bytes` and less than four times as much, one that was kept if there is one of that
    /// size.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Pooled {
        let mut spare = self.lock();
        let fits = |buffer: &Vec<u8>| (bytes..bytes.saturating_mul(4)).contains(&buffer.capacity());
        let kept = spare.buffers.iter().rposition(fits).and_then(|at| spare.buffers.remove(at));
        spare.bytes -= kept.as_ref().map_or(0, Vec::capacity);
        drop(spare);
        let buffer = kept.unwrap_or_else(|| Vec::with_capacity(rounded(bytes)));
        Pooled { buffer, pool: Arc::clone(self) }
    }

    /// Gives the memory back.
    pub(super) fn clear(&self) {
        let spare = mem::take(&mut *self.lock());
        // Nobody waits for the lock while the system takes its time.
        drop(spare);
    }

    fn put(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() > LARGEST_KEPT {
            return;
        }
        buffer.clear();
        let mut spare = self.lock();
        spare.bytes += buffer.capacity();
        spare.buffers.push_back(buffer);
        let too_many = spare.take_beyond(MOST_KEPT);
        drop(spare);
        drop(too_many);
    }

    fn lock(&self) -> MutexGuard<'_, Spare> {
        // Nothing under this lock can panic half-way.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spare {
    /// Those go that nobody has used for the longest time: a connection's first requests are smaller than those that it goes on
    /// with, and buffers of their size would be kept for nobody.
    fn take_beyond(&mut self, most: usize) -> Vec<Vec<u8>> {
        let mut beyond = Vec::new();
        while self.bytes > most
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.bytes -= oldest.capacity();
            beyond.push(oldest);
        }
        beyond
    }
}

/// Less than an eighth above that: the requests of a producer differ by a few bytes, and each is to fit where another was.
const fn rounded(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes / 16).next_power_of_two())
}

/// A buffer that goes back to its pool when it is dropped.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) buffer: Vec<u8>,
    pool: Arc<FramePool>,
}

impl Pooled {
    /// What it holds, shared by whoever needs a part of it.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.put(mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{FramePool, LARGEST_KEPT, MOST_KEPT};

    /// Of a megabyte, and no more than are kept.
    const MANY: usize = 15;

    #[test]
    fn a_buffer_is_used_again_once_nobody_holds_a_part_of_it() {
        let pool = Arc::new(FramePool::default());
        let mut pooled = pool.take(1000);
        pooled.buffer.extend_from_slice(&[7; 1000]);
        let place = pooled.buffer.as_ptr();
        let whole = pooled.into_bytes();
        let part = whole.slice(10..20);
        drop(whole);
        assert_ne!(pool.take(1000).buffer.as_ptr(), place, "a part is still held");
        assert_eq!(part[..], [7; 10]);
        pool.clear();
        drop(part);
        let again = pool.take(500);
        assert_eq!((again.buffer.as_ptr(), again.buffer.len()), (place, 0));
        assert!(pool.take(2000).buffer.capacity() >= 2000);
    }

    /// As a producer's requests are: the first ones small, the others of nearly the same size.
    #[test]
    fn buffers_of_a_size_that_nobody_needs_any_more_make_way() {
        let pool = Arc::new(FramePool::default());
        let small: Vec<_> = (0..MOST_KEPT / (200 << 10)).map(|_| pool.take(200 << 10)).collect();
        drop(small);
        let large: Vec<_> = (0..MANY).map(|_| pool.take(1_000_000)).collect();
        let mut places: Vec<_> = large.iter().map(|pooled| pooled.buffer.as_ptr()).collect();
        drop(large);
        let again: Vec<_> = (0..MANY).map(|number| pool.take(1_000_000 + number)).collect();
        let mut used: Vec<_> = again.iter().map(|pooled| pooled.buffer.as_ptr()).collect();
        places.sort_unstable();
        used.sort_unstable();
        assert_eq!(used, places);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = Arc::new(FramePool::default());
        let kept = || {
            let spare = pool.lock();
            assert_eq!(spare.bytes, spare.buffers.iter().map(Vec::capacity).sum::<usize>());
            assert!(spare.buffers.iter().all(|buffer| buffer.capacity() <= LARGEST_KEPT));
            spare.bytes
        };
        let held: Vec<_> = (0..2 * MOST_KEPT / LARGEST_KEPT).map(|_| pool.take(LARGEST_KEPT)).collect();
        drop(held);
        drop(pool.take(LARGEST_KEPT * 4));
        assert_eq!(kept(), MOST_KEPT);
        let held: Vec<_> = (0..500).map(|_| pool.take(70_000)).collect();
        drop(held);
        assert!((MOST_KEPT - 80_000..=MOST_KEPT).contains(&kept()), "{}", kept());
        pool.clear();
        assert_eq!(kept(), 0);
        drop(pool.take(LARGEST_KEPT));
        assert!(pool.take(1000).buffer.capacity() < LARGEST_KEPT, "a small request takes no large buffer");
    }
}
