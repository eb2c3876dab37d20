use super::*;

type Pairs = Vec<Vec<usize>>;

/// By member, the partitions that it could read, by number.
fn pairs(group: &GroupSpec) -> Pairs {
    let wanted = wanted(group).into_iter().collect::<Vec<_>>();
    let of_member = group.members.values().map(|member| {
        let readable = wanted.iter().enumerate().filter(|(_, (topic, _))| member.topics.contains(topic));
        readable.map(|(number, _)| number).collect()
    });
    of_member.collect()
}

/// The size of a maximum matching, by the textbook: one partition at a time, no classes.
fn maximum(pairs: &Pairs) -> usize {
    fn find(pairs: &Pairs, member: usize, owner: &mut [Option<usize>], seen: &mut [bool]) -> bool {
        pairs[member].iter().any(|partition| {
            let is_new = !std::mem::replace(&mut seen[*partition], true);
            let room = is_new && owner[*partition].is_none_or(|other| find(pairs, other, owner, seen));
            if room {
                owner[*partition] = Some(member);
            }
            room
        })
    }
    let partitions = pairs.iter().flatten().max().map_or(0, |most| most + 1);
    let mut owner = vec![None; partitions];
    (0..pairs.len()).filter(|member| find(pairs, *member, &mut owner, &mut vec![false; partitions])).count()
}

#[test]
fn a_member_has_one_partition_at_most_and_as_many_as_can_be_have_an_owner() {
    each_group(Assignor::Exclusive, |group| {
        let assignment = Assignor::Exclusive.assign(group);
        let owned = assert_sound(group, &assignment);
        assert!(assignment.values().all(|partitions| load(partitions) <= 1));
        assert_eq!(owned.len(), maximum(&pairs(group)));
    });
}

/// What members own, with no partition claimed twice and no member with two.
fn disjoint(group: &GroupSpec) -> bool {
    let owned = group.members.values().flat_map(|member| &member.owned);
    let owned = owned.flat_map(|(topic, owned)| owned.iter().map(|index| (*topic, *index)));
    let owned = owned.collect::<Vec<_>>();
    let distinct = owned.iter().collect::<BTreeSet<_>>();
    distinct.len() == owned.len() && group.members.values().all(|member| load(&member.owned) <= 1)
}

#[test]
fn an_owner_goes_on_and_so_does_its_partition() {
    let mut owners = 0;
    each_group(Assignor::Exclusive, |group| {
        if !disjoint(group) {
            return;
        }
        let wanted = wanted(group);
        let assignment = Assignor::Exclusive.assign(group);
        let owned = assert_sound(group, &assignment);
        let alike = group.members.values().map(|member| &member.topics).collect::<BTreeSet<_>>().len() == 1;
        for (id, member) in &group.members {
            let Some((topic, indexes)) = member.owned.iter().find(|(_, owned)| !owned.is_empty()) else {
                continue;
            };
            let partition = (*topic, *indexes.first().unwrap());
            if member.topics.contains(topic) && wanted.contains(&partition) {
                assert_eq!(load(&assignment[id]), 1, "{id} owned one");
                assert!(owned.contains(&partition), "{partition:?} had an owner");
                assert!(!alike || assignment[id] == member.owned, "nothing has to move");
                owners += 1;
            }
        }
    });
    assert!(owners > 1_000, "only {owners} owners in all groups");
}

#[test]
fn one_that_stands_by_takes_over_when_an_owner_goes() {
    let members = ["a", "b", "c", "d"].map(|id| (id, &[1][..]));
    let group = group_of(&[(1, 3)], &members);
    let first = Assignor::Exclusive.assign(&group);
    assert_eq!(first.values().map(load).collect::<Vec<_>>(), [1, 1, 1, 0]);

    let mut group = with_owned(group, &first);
    let gone = group.members.remove(&Str::from("b")).unwrap();
    let second = Assignor::Exclusive.assign(&group);
    assert_eq!(second[&Str::from("d")], gone.owned);
    assert_eq!(kept(&group, &second), 2);
}

#[test]
fn an_owner_moves_over_to_let_in_one_that_has_no_choice() {
    let mut group = group_of(&[(1, 1), (2, 1), (3, 1)], &[("a", &[1, 2]), ("b", &[2, 3])]);
    for (id, number) in [("a", 1), ("b", 2)] {
        group.members.get_mut(&Str::from(id)).unwrap().owned = [(topic(number), indexes([0]))].into();
    }
    group.members.insert("c".into(), member(&[1]));
    let assignment = Assignor::Exclusive.assign(&group);
    let topics = assignment.values().flat_map(|owned| owned.keys().copied()).collect::<Vec<_>>();
    assert_eq!(topics, [topic(2), topic(3), topic(1)]);
    assert!(unowned(&group, &assignment).is_empty());
}

#[test]
fn what_has_no_owner_is_counted_for_topics_that_somebody_reads() {
    let group = group_of(&[(1, 3), (2, 1), (3, 9)], &[("a", &[1, 2]), ("b", &[1, 2])]);
    let assignment = Assignor::Exclusive.assign(&group);
    assert_eq!(load(&unowned(&group, &assignment)), 2);
    assert_eq!(
        unowned(&group, &Assignment::new()),
        [(topic(1), indexes(0..3)), (topic(2), indexes([0]))].into()
    );
}

#[test]
fn ten_thousand_that_stand_by_are_passed_over_once() {
    // One search that fails tells that the others will: without it this would be 10^8 steps.
    let ids = (0..20_000).map(|n| format!("member-{n:05}")).collect::<Vec<_>>();
    let members = ids.iter().map(|id| (id.as_str(), &[1][..])).collect::<Vec<_>>();
    let group = group_of(&[(1, 10_000)], &members);
    let assignment = Assignor::Exclusive.assign(&group);
    assert_eq!(assignment.values().map(load).sum::<usize>(), 10_000);
    assert!(assignment.values().skip(10_000).all(Partitions::is_empty), "the first in order are seated");
}
