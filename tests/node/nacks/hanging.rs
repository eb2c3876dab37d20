//! Members whose application does not come back for the next record.

use std::time::Duration;

use polylogue::{
    client::{GroupConfig, GroupError},
    local_cluster::LocalNode,
};

use super::{Member, given_up, letters, metric, start};
use crate::support::{WITHIN, eventually};

/// How long it may stay away.
const LIMIT: Duration = Duration::from_secs(1);

fn join(node: &LocalNode, instance: Option<&str>) -> Member {
    let instance = instance.map(str::to_owned);
    Member::join_as(node, GroupConfig { max_poll_interval: LIMIT, instance, ..GroupConfig::new("g") })
}

fn until_counted(node: &LocalNode, attempts: u64) {
    eventually("the hanging member is a failed delivery", WITHIN, || {
        (metric(node, "polylogue_delivery_attempts_total") == attempts).then_some(())
    });
}

#[test]
fn s21_a_member_that_hangs_loses_its_partition_to_another_and_has_no_say_about_its_record() {
    let node = start("3", 1);
    let mut hangs = join(&node, None);
    hangs.consume(0, 4);
    let record = hangs.next(4);
    // It would wait for as long as the other one heartbeats.
    let mut next = Member::join(&node);
    let taken_over = next.next(4);
    assert_eq!(taken_over.attempts, 1, "that it hung is a failed delivery");
    assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 1);
    let nacked = hangs.nack(&record).map(|_| ());
    for refused in [hangs.consumer.ack(&record), nacked] {
        assert!(matches!(refused, Err(GroupError::PollTimedOut { limit: LIMIT, .. })), "{refused:?}");
    }
    assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 1);
    next.consumer.ack(&taken_over).unwrap();
    next.consume(5, 10);
    // It is a member again once it polls, and may have all of it when the other one goes.
    assert!(hangs.next_within(LIMIT / 4).is_none());
    let outdated = hangs.consumer.ack(&record).unwrap_err();
    assert!(matches!(outdated, GroupError::Outdated { .. }), "{outdated}");
    next.close();
    eventually("it has the partition again", WITHIN, || {
        assert!(hangs.next_within(LIMIT / 4).is_none(), "all is done");
        (!hangs.consumer.assigned().is_empty()).then_some(())
    });
    hangs.close();
    assert!(letters(&node).is_empty());
}

#[test]
fn a_record_that_its_member_hangs_on_each_time_is_a_dead_letter_and_the_member_goes_on_behind_it() {
    for instance in [None, Some("i")] {
        let node = start("3", 1);
        let mut member = join(&node, instance);
        member.consume(0, 4);
        for attempts in 1..3 {
            let record = member.next(4);
            assert_eq!(record.attempts, attempts - 1);
            until_counted(&node, u64::from(attempts));
        }
        // And one more, which it says itself.
        let record = member.next(4);
        assert_eq!(record.attempts, 2);
        assert_eq!(member.nack(&record).unwrap(), given_up(3));
        assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 3);
        member.consume(5, 10);
        let letters = letters(&node);
        assert_eq!((letters.len(), letters[0].1["attempts"].as_str()), (1, "3"));
        member.close();
    }
}
