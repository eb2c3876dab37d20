//! How many files a node may have open: raised as far as it goes, and told of where it may not be enough.
//!
//! Each replica keeps some files open for as long as it is there, and each connection its socket. Most systems allow a
//! process 1,024 unless it asks for more.

use crate::{
    actors::membership::MetadataImage,
    model::NodeId,
    sys::{open_files_limit, raise_open_files_limit},
};

/// Files that a replica keeps open: its lock, its checkpoint and its active segment.
const OF_A_REPLICA: u64 = 3;
/// What is left for connections, sealed segments that are read and everything else.
const SPARE: u64 = 512;

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

/// Says so where this node's replicas need more files than it may open.
pub(super) fn check(image: &MetadataImage, node: NodeId) {
    let keeps = image.partitions().filter(|(_, _, partition)| partition.replicas.contains(&node)).count();
    if let Some(limit) = open_files_limit()
        && let Some(needed) = too_few(limit, keeps as u64)
    {
        tracing::warn!(
            "this node keeps {keeps} partitions, for which it needs {needed} open files, and may open {limit}: \
             raise the hard limit (`ulimit -Hn`, `LimitNOFILE=`), or partitions will not open"
        );
    }
}

/// How many files would be needed, where the limit is below that.
fn too_few(limit: u64, replicas: u64) -> Option<u64> {
    let needed = replicas.saturating_mul(OF_A_REPLICA).saturating_add(SPARE);
    (limit < needed).then_some(needed)
}

#[cfg(test)]
mod tests {
    use super::too_few;

    #[test]
    fn a_limit_that_is_too_low_for_the_replicas_is_told_with_what_they_need() {
        assert_eq!(too_few(1_024, 100), None);
        assert_eq!(too_few(1_024, 2_000), Some(6_512));
        assert_eq!(too_few(u64::MAX, u64::MAX), None, "more replicas than can be");
    }
}
