//! How many files a node may have open: raised as far as it goes, shared out, and told of where it is not enough.
//!
//! Each replica keeps some files open for as long as it is there, and each connection its socket. Most systems allow a
//! process 1,024 unless it asks for more. Whatever takes most of them must leave some: to clients beside replicas, and to the
//! admin port and to other nodes beside both.

use crate::{
    actors::membership::MetadataImage,
    model::NodeId,
    storage::fs::sparing::Share,
    sys::{open_files_limit, raise_open_files_limit},
};

/// Files that a replica keeps open: its lock, its checkpoint and its active segment.
const OF_A_REPLICA: u64 = 3;
/// What is left for connections, sealed segments that are read and everything else; of a low limit half of it.
const SPARE: u64 = 512;
/// What is left for the admin port, for other nodes and for the metadata; of a low limit an eighth of it.
const LAST: u64 = 64;

/// Raises the limit to the highest that this process may give itself. Without success the node runs with what it has.
pub(super) fn raise() {
    match raise_open_files_limit() {
        Ok((before, now)) if before != now => {
            tracing::debug!(?before, ?now, "limit of open files raised");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("limit of open files could not be raised: {error}"),
    }
}

/// The files that this process may have open, shared out.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFiles {
    limit: u64,
}

impl OpenFiles {
    /// As the limit is now.
    pub(super) fn now() -> Self {
        Self { limit: open_files_limit().unwrap_or(u64::MAX) }
    }

    fn spare(self) -> u64 {
        SPARE.min(self.limit / 2)
    }

    fn of_replicas(self) -> u64 {
        self.limit - self.spare()
    }

    /// With so many in use no client is let in, and no file of a log is opened.
    pub(super) fn without_the_last(self) -> u64 {
        self.limit - LAST.min(self.limit / 8)
    }

    /// What the files of logs may take.
    pub(super) fn of_logs(self) -> Share {
        // As many replicas as there are files for are opened, whatever else is open already: half of what is spare is for that.
        let to_begin = self.limit - self.spare() / 2;
        Share { to_begin, to_go_on: self.without_the_last(), locks_max: self.enough_for(), limit: self.limit }
    }

    /// The most replicas that this node may keep.
    pub(super) fn replicas_max(self) -> usize {
        usize::try_from(self.enough_for()).unwrap_or(usize::MAX)
    }

    /// So many replicas there are files for.
    fn enough_for(self) -> u64 {
        self.of_replicas() / OF_A_REPLICA
    }

    /// Says so where this node's replicas need more files than it may open.
    pub(super) fn shortage(self, image: &MetadataImage, node: NodeId) -> Option<String> {
        let keeps = image.partitions().filter(|(_, _, partition)| partition.replicas.contains(&node)).count();
        let (limit, needed) = (self.limit, self.too_few_for(keeps as u64)?);
        Some(format!(
            "this node keeps {keeps} partitions, for which it needs {needed} open files, and may open {limit}: \
             raise the hard limit (`ulimit -Hn`, `LimitNOFILE=`), or partitions will not open"
        ))
    }

    /// How many files would be needed, where the limit is below that.
    fn too_few_for(self, replicas: u64) -> Option<u64> {
        let files = replicas.saturating_mul(OF_A_REPLICA);
        (self.of_replicas() < files).then_some(files.saturating_add(SPARE))
    }
}

#[cfg(test)]
mod tests {
    use super::OpenFiles;

    #[test]
    fn a_limit_that_is_too_low_for_the_replicas_is_told_with_what_they_need() {
        let low = OpenFiles { limit: 1_024 };
        assert_eq!(low.too_few_for(100), None);
        assert_eq!(low.too_few_for(2_000), Some(6_512));
        assert_eq!(OpenFiles { limit: u64::MAX }.too_few_for(2_000_000), None);
    }

    #[test]
    fn as_many_replicas_are_taken_as_there_are_files_for_and_some_are_left_to_others() {
        for limit in [64, 256, 1_024, 4_096, 1 << 20, u64::MAX] {
            let files = OpenFiles { limit };
            let most = files.replicas_max() as u64;
            assert_eq!(files.too_few_for(most), None, "{limit}");
            assert!(files.too_few_for(most + 1).is_some(), "{limit}");
            let share = files.of_logs();
            assert!(files.of_replicas() < share.to_begin, "{limit}: {share:?}");
            assert!(share.to_begin <= share.to_go_on && share.to_go_on < limit, "{limit}: {share:?}");
            assert_eq!(share.locks_max, most, "{limit}: all that may be placed here can be opened");
        }
        let low = OpenFiles { limit: 1_024 };
        assert_eq!((low.replicas_max(), low.without_the_last()), (170, 960));
    }
}
