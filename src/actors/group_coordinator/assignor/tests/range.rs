use super::*;

#[test]
fn each_subscriber_has_a_contiguous_range_in_its_place() {
    each_group(Assignor::Range, |group| {
        let assignment = Assignor::Range.assign(group);
        for (topic, partitions) in &group.topics {
            let mut members =
                group.members.iter().filter(|(_, member)| member.topics.contains(topic)).collect::<Vec<_>>();
            members
                .sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id.clone(), *id));
            let (mut next, count) = (0, i32::try_from(members.len()).unwrap());
            for (place, (id, _)) in members.iter().enumerate() {
                let more = i32::try_from(place).unwrap() < partitions % count;
                let end = next + partitions / count + i32::from(more);
                let range = assignment[*id].get(topic).cloned().unwrap_or_default();
                assert_eq!(range, indexes(next..end), "{id} of {topic}");
                next = end;
            }
        }
    });
}

#[test]
fn topics_of_the_same_subscribers_and_size_line_up() {
    each_group(Assignor::Range, |group| {
        let assignment = Assignor::Range.assign(group);
        let readers = |topic: &TopicId| {
            let readers = group.members.iter().filter(|(_, member)| member.topics.contains(topic));
            readers.map(|(id, _)| id).collect::<Vec<_>>()
        };
        for (one, partitions) in &group.topics {
            for (other, _) in group.topics.iter().filter(|(_, count)| *count == partitions) {
                if readers(one) == readers(other) {
                    assert!(assignment.values().all(|owned| owned.get(one) == owned.get(other)));
                }
            }
        }
    });
}

#[test]
fn a_static_member_has_its_ranges_again_under_another_member_id() {
    let mut group = group_of(&[(1, 7), (2, 7)], &[("m", &[1, 2]), ("n", &[1, 2]), ("o", &[1, 2])]);
    for (id, instance_id) in [("m", "one"), ("n", "two"), ("o", "three")] {
        group.members.get_mut(&Str::from(id)).unwrap().instance_id = Some(instance_id.into());
    }
    let before = Assignor::Range.assign(&group);
    let restarted = group.members.remove(&Str::from("n")).unwrap();
    group.members.insert("a".into(), restarted);
    let mut after = Assignor::Range.assign(&group);
    let again = after.remove(&Str::from("a")).unwrap();
    assert_eq!(again, before[&Str::from("n")]);
    assert!(after.iter().all(|(id, owned)| before[id] == *owned));
}
