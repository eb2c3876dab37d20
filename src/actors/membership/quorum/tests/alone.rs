//! One member alone: what it keeps, how fast it starts, and what it does when its disk does not.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::{Proposed, Quorum, QuorumError, Refused},
    args, control, get, has, leads,
    net::Net,
    only, raft_node, set, soon,
};
use crate::{
    model::RaftId,
    storage::fs::{
        Fs,
        faulty::{AfterFailedSync, Fault, data_disk},
        real::RealFs,
    },
};

async fn start(fs: Arc<dyn Fs>, dir: &Path) -> Quorum {
    Quorum::start(args(fs, dir.to_path_buf(), Net::new(1).wire().0)).await.unwrap()
}

/// A member that leads, and its controller's epoch.
async fn formed(fs: Arc<dyn Fs>, dir: &Path) -> (Quorum, u64) {
    let quorum = start(fs, dir).await;
    assert!(quorum.is_blank());
    quorum.initialize(only(&quorum)).await.unwrap();
    leads(&quorum).await;
    let epoch = control(&quorum).await.unwrap();
    (quorum, epoch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_goes_on_after_a_restart_with_its_id_its_log_and_a_higher_term() {
    let dir = tempfile::tempdir().unwrap();
    let (quorum, epoch) = formed(RealFs::shared(), dir.path()).await;
    for value in 0..20 {
        let proposed = quorum.propose(set(epoch, "group", value)).await.unwrap();
        assert!(matches!(proposed, Proposed::Applied { .. }));
        assert_eq!(get(&quorum.image(), "group"), Some(value), "the image has what was answered");
    }
    let (id, term) = (quorum.id(), quorum.leadership().borrow().term);
    soon("stopping", quorum.stop()).await;

    let quorum = start(RealFs::shared(), dir.path()).await;
    leads(&quorum).await;
    assert!(!quorum.is_blank());
    assert_eq!((quorum.id(), get(&quorum.image(), "group")), (id, Some(19)));
    assert!(quorum.leadership().borrow().term > term, "a start is not leadership");
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_voter_leads_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (quorum, _) = formed(RealFs::shared(), dir.path()).await;
    quorum.stop().await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let quorum = start(RealFs::shared(), dir.path()).await;
        leads(&quorum).await;
        fastest = fastest.min(began.elapsed());
        quorum.stop().await;
    }
    println!("start to leader: {fastest:?}");
    // An election by time-out takes 200 ms and more; a busy machine should not fail this.
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s19_records_of_an_earlier_controller_are_stale() {
    let dir = tempfile::tempdir().unwrap();
    let (quorum, earlier) = formed(RealFs::shared(), dir.path()).await;
    let later = control(&quorum).await.unwrap();
    assert!(later > earlier);
    assert_eq!(quorum.propose(set(earlier, "group", 1)).await, Ok(Proposed::Stale));
    assert_eq!(get(&quorum.image(), "group"), None);
    quorum.propose(set(later, "group", 2)).await.unwrap();
    assert_eq!(get(&quorum.image(), "group"), Some(2));
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_that_does_not_fit_changes_nothing_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (quorum, epoch) = formed(RealFs::shared(), dir.path()).await;
    let mut proposal = set(epoch, "group", 1);
    let again = uuid::Uuid::from_u128(8);
    if let super::Proposal::Records { records, .. } = &mut proposal {
        records.push(super::MetadataRecord::ClusterCreated { cluster_id: again, feature_level: 1 });
    }
    assert!(matches!(quorum.propose(proposal).await, Err(QuorumError::Broken(_))));
    assert_eq!(get(&quorum.image(), "group"), None, "all or none");
    quorum.propose(set(epoch, "group", 2)).await.unwrap();
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s18_a_quorum_of_an_even_number_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let quorum = start(RealFs::shared(), dir.path()).await;
    let mut two = only(&quorum);
    two.insert(RaftId::new(9), raft_node(2));
    assert_eq!(quorum.initialize(two).await, Err(QuorumError::Refused(Refused::Even(2))));
    let stranger = [(RaftId::new(9), raft_node(2))].into();
    assert_eq!(quorum.initialize(stranger).await, Err(QuorumError::Refused(Refused::NotAmongThem)));
    quorum.initialize(only(&quorum)).await.unwrap();
    let again = quorum.initialize(only(&quorum)).await;
    assert_eq!(again, Err(QuorumError::Refused(Refused::Initialised)));
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_kills_and_power_cuts() {
    for seed in 0..6 {
        let disk = data_disk(seed);
        let (mut quorum, mut epoch) = formed(disk.mount(), Path::new("/data")).await;
        for value in 0..3 {
            quorum.propose(set(epoch, "group", value)).await.unwrap();
            if seed % 2 == 0 {
                disk.power_cut();
            } else {
                disk.kill();
            }
            // What may have been written and was never answered may be there or not.
            let _nobody_knows = quorum.propose(set(epoch, "other", value)).await;
            quorum.stop().await;
            quorum = start(disk.mount(), Path::new("/data")).await;
            leads(&quorum).await;
            assert_eq!(get(&quorum.image(), "group"), Some(value), "seed {seed}");
            epoch = control(&quorum).await.unwrap();
        }
        quorum.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s13_a_failed_sync_ends_the_member_and_the_next_start_goes_on() {
    let disk = data_disk(1);
    let (quorum, epoch) = formed(disk.mount(), Path::new("/data")).await;
    quorum.propose(set(epoch, "group", 1)).await.unwrap();
    disk.inject("/data/quorum/quorum.log", Fault::SyncFails(AfterFailedSync::Dropped));
    assert_eq!(quorum.propose(set(epoch, "group", 2)).await, Err(QuorumError::Unknown));
    soon("failing", quorum.wait_failed()).await;
    assert!(matches!(quorum.propose(set(epoch, "group", 3)).await, Err(QuorumError::Ended(_))));
    quorum.stop().await;
    let quorum = start(disk.mount(), Path::new("/data")).await;
    leads(&quorum).await;
    let found = get(&quorum.image(), "group");
    assert!(matches!(found, Some(1 | 2)), "{found:?}");
    let epoch = control(&quorum).await.unwrap();
    quorum.propose(set(epoch, "group", 4)).await.unwrap();
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_proposals_and_heals_by_itself() {
    let disk = data_disk(1);
    let (quorum, epoch) = formed(disk.mount(), Path::new("/data")).await;
    quorum.propose(set(epoch, "group", 1)).await.unwrap();
    disk.set_free_bytes(1 << 20);
    // The one that finds out is still written: there is a reserve.
    quorum.propose(set(epoch, "group", 2)).await.unwrap();
    assert_eq!(quorum.propose(set(epoch, "group", 3)).await, Err(QuorumError::StorageFull));
    assert_eq!(quorum.propose(set(epoch, "group", 3)).await, Err(QuorumError::StorageFull));
    disk.set_capacity(None);
    quorum.propose(set(epoch, "group", 4)).await.unwrap();
    has(&quorum, "group", 4).await;
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_to_the_last_byte_ends_the_member_until_there_is_space() {
    let disk = data_disk(1);
    let (quorum, epoch) = formed(disk.mount(), Path::new("/data")).await;
    disk.set_free_bytes(1);
    assert_eq!(quorum.propose(set(epoch, "group", 1)).await, Err(QuorumError::Unknown));
    soon("failing", quorum.wait_failed()).await;
    quorum.stop().await;
    disk.set_capacity(None);
    let quorum = start(disk.mount(), Path::new("/data")).await;
    leads(&quorum).await;
    let epoch = control(&quorum).await.unwrap();
    quorum.propose(set(epoch, "group", 2)).await.unwrap();
    quorum.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_takes_the_place_of_the_log_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let start = || async {
        let args = args(RealFs::shared(), dir.path().to_path_buf(), Net::new(1).wire().0);
        Quorum::start_with(args, 40).await.unwrap()
    };
    let quorum = start().await;
    quorum.initialize(only(&quorum)).await.unwrap();
    leads(&quorum).await;
    let epoch = control(&quorum).await.unwrap();
    for value in 0..100 {
        quorum.propose(set(epoch, "group", value)).await.unwrap();
    }
    let mut metrics = quorum.inner.raft.metrics();
    let purged = metrics.wait_for(|metrics| metrics.purged.is_some_and(|purged| purged.index > 20));
    soon("purging", purged).await.unwrap();
    quorum.stop().await;
    assert!(dir.path().join("quorum/quorum.snapshot").exists());
    let quorum = start().await;
    leads(&quorum).await;
    assert_eq!(get(&quorum.image(), "group"), Some(99));
    assert_eq!(
        quorum.propose(set(epoch, "group", 100)).await.unwrap(),
        Proposed::Applied { index: quorum.members().last_index.unwrap() }
    );
    quorum.stop().await;
}
