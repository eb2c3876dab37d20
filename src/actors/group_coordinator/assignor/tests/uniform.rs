use super::*;

/// Whether there are members and all subscribe to the same topics.
fn is_alike(group: &GroupSpec) -> bool {
    group.members.values().map(|member| &member.topics).collect::<BTreeSet<_>>().len() == 1
}

#[test]
fn members_with_equal_subscriptions_differ_by_one_at_most() {
    let mut groups = 0;
    each_group(Assignor::Uniform, |group| {
        if is_alike(group) {
            let assignment = Assignor::Uniform.assign(group);
            let loads = assignment.values().map(load).collect::<Vec<_>>();
            assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
            groups += 1;
        }
    });
    assert!(groups > GROUPS / 4, "{groups} groups were alike");
}

#[test]
fn no_member_could_take_a_partition_from_one_that_has_two_more() {
    each_group(Assignor::Uniform, |group| {
        let assignment = Assignor::Uniform.assign(group);
        for (giver, given) in &assignment {
            for topic in given.keys() {
                for (taker, _) in group.members.iter().filter(|(_, member)| member.topics.contains(topic)) {
                    let (more, less) = (load(given), load(&assignment[taker]));
                    assert!(more <= less + 1, "{giver} has {more}, {taker} has {less}, of {topic} too");
                }
            }
        }
    });
}

/// The partitions that each member may keep: it subscribes to them, they exist, and no member before it,
/// static ones first, claims them too.
fn claims(group: &GroupSpec) -> Vec<usize> {
    let mut members = group.members.iter().collect::<Vec<_>>();
    members.sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id.clone(), *id));
    let wanted = wanted(group);
    let mut taken = BTreeSet::new();
    let claims = members.into_iter().map(|(_, member)| {
        let owned = member.owned.iter().filter(|(topic, _)| member.topics.contains(topic));
        let owned = owned.flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)));
        owned.filter(|partition| wanted.contains(partition) && taken.insert(*partition)).count()
    });
    claims.collect()
}

#[test]
fn with_equal_subscriptions_no_partition_moves_that_balance_would_leave() {
    each_group(Assignor::Uniform, |group| {
        if is_alike(group) {
            let (total, members) = (wanted(group).len(), group.members.len());
            let (each, more) = (total / members, total % members);
            let claims = claims(group);
            // Everyone may keep up to `each`, and `more` of those that have more one more.
            let up_to_each: usize = claims.iter().map(|claim| each.min(*claim)).sum();
            let one_more = claims.iter().filter(|claim| **claim > each).count();
            // A partition that two claimed may stay with the one that lost it: that is no move less.
            let kept = kept(group, &Assignor::Uniform.assign(group));
            assert!(kept >= up_to_each + more.min(one_more), "{kept} kept of {claims:?}");
        }
    });
}

#[test]
fn a_member_that_leaves_moves_only_what_it_had() {
    let ids = ["a", "b", "c", "d", "e", "f", "g"];
    let members = ids.map(|id| (id, &[1, 2, 3][..]));
    let group = group_of(&[(1, 11), (2, 5), (3, 14)], &members);
    let mut group = with_owned(group.clone(), &Assignor::Uniform.assign(&group));
    for leaver in ids {
        let member = group.members.remove(&Str::from(leaver)).unwrap();
        let stay: usize = group.members.values().map(|member| load(&member.owned)).sum();
        assert_eq!(stay + load(&member.owned), 30);
        if !group.members.is_empty() {
            let assignment = Assignor::Uniform.assign(&group);
            assert_eq!(kept(&group, &assignment), stay);
            group = with_owned(group, &assignment);
        }
    }
}

#[test]
fn a_member_that_joins_takes_its_share_and_nothing_else_moves() {
    let mut group = group_of(&[(1, 11), (2, 5), (3, 14)], &[]);
    for (place, id) in ["d", "b", "f", "a", "g", "c", "e"].into_iter().enumerate() {
        group.members.insert(id.into(), member(&[1, 2, 3]));
        let assignment = Assignor::Uniform.assign(&group);
        let share = 30 / (place + 1);
        assert_eq!(load(&assignment[&Str::from(id)]), share, "of the last to come");
        assert_eq!(kept(&group, &assignment), if place == 0 { 0 } else { 30 - share });
        group = with_owned(group, &assignment);
    }
}

#[test]
fn one_that_has_everything_gives_to_whoever_can_take() {
    // `all` could read everything, the others only one topic each.
    let members: [(&str, &[u8]); 3] = [("all", &[1, 2, 3]), ("one", &[1]), ("two", &[2])];
    let mut group = group_of(&[(1, 4), (2, 4), (3, 4)], &members);
    let everything = (1..=3).map(|number| (topic(number), indexes(0..4)));
    group.members.get_mut(&Str::from("all")).unwrap().owned = everything.collect();
    let assignment = Assignor::Uniform.assign(&group);
    let loads = assignment.values().map(load).collect::<Vec<_>>();
    assert_eq!(loads, [4, 4, 4]);
    assert_eq!(assignment[&Str::from("all")][&topic(3)], indexes(0..4));
}

#[test]
fn ten_thousand_partitions_are_shared_by_a_thousand_members_and_one_more_takes_its_share() {
    let mut group = group_of(&(0..100).map(|number| (number, 100)).collect::<Vec<_>>(), &[]);
    let topics = (0..100).collect::<Vec<_>>();
    group.members = (0..1_000).map(|n| (format!("member-{n}").into(), member(&topics))).collect();
    let assignment = Assignor::Uniform.assign(&group);
    assert!(assignment.values().all(|owned| load(owned) == 10));

    let mut group = with_owned(group, &assignment);
    group.members.insert("one more".into(), member(&topics));
    let assignment = Assignor::Uniform.assign(&group);
    assert_eq!(load(&assignment[&Str::from("one more")]), 9);
    assert_eq!(kept(&group, &assignment), 10_000 - 9);
}
