//! What has to hold of a group whose coordinator assigns (KIP-848): who stands where, and who owns what.

use std::collections::{BTreeMap, BTreeSet};

use polylogue::{
    actors::group_coordinator::core::{Answer, Commit, Coordinator, PerPartition, Request},
    model::TopicId,
    wire::{
        ErrorCode, Str,
        api::{
            consumer_group_describe::{Assignment, DescribedGroup, Member as DescribedMember},
            consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
        },
    },
};

use crate::{
    checks::{FENCED, OWNER, REPLAY, ask},
    member::{Member, Phase},
    trial::{Checked, hold},
};

/// A group whose coordinator assigns; one without members and with an error, where it is of another kind.
pub(crate) fn describe_consumer(core: &mut Coordinator, group: &Str) -> DescribedGroup {
    match ask(core, Request::ConsumerDescribe { group: group.clone() }) {
        Some(Answer::ConsumerDescribe(described)) => described,
        other => panic!("{other:?}"),
    }
}

/// Who was told to own what at which epoch.
#[derive(Debug, Default)]
pub(crate) struct Owners(BTreeMap<(Str, i32, TopicId, i32), Str>);

impl Owners {
    /// A member is told this: one owner per partition and epoch.
    pub(crate) fn told(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        answer: &ConsumerGroupHeartbeatResponse,
    ) -> Checked {
        if answer.error_code != ErrorCode::None || request.member_epoch < 0 {
            return Ok(());
        }
        let (group, epoch) = (&request.group_id, answer.member_epoch);
        let name = request.instance_id.as_ref().unwrap_or(&request.member_id);
        for topic in answer.assignment.iter().flat_map(|assignment| &assignment.topic_partitions) {
            for index in &topic.partitions {
                let owner = self.0.entry((group.clone(), epoch, topic.topic_id, index.get()));
                let owner = owner.or_insert_with(|| name.clone());
                hold!(owner == name, OWNER, "{group} {epoch}: {index} is {owner}'s and {name}'s");
            }
        }
        Ok(())
    }

    /// A group that was deleted begins anew.
    pub(crate) fn forget(&mut self, group: &Str) {
        self.0.retain(|(of, ..), _| of != group);
    }
}

/// A partition has one owner at any time, and a replay knows of all members where they stand.
pub(crate) fn same_standings(live: &mut Coordinator, replayed: &mut Coordinator, group: &Str) -> Checked {
    let (live, read) = (describe_consumer(live, group), describe_consumer(replayed, group));
    let mut owned = BTreeSet::new();
    for (topic, partition) in live.members.iter().flat_map(|member| each(&member.assignment)) {
        hold!(owned.insert((topic, partition)), OWNER, "{group}: {partition} twice in the state");
    }
    hold!(standings(&live) == standings(&read), REPLAY, "{group}: {live:?} is read back as {read:?}");
    Ok(())
}

/// What members that are in the group hold of partitions, as they themselves believe, nobody else holds.
pub(crate) fn one_holder(members: &[Member], core: &mut Coordinator) -> Checked {
    let Some(group) = members.last().filter(|member| member.spec.server_side).map(|member| &member.group)
    else {
        return Ok(());
    };
    let known: BTreeSet<_> =
        describe_consumer(core, group).members.into_iter().map(|it| it.member_id).collect();
    let mut held = BTreeMap::new();
    let in_it = |member: &&Member| {
        member.group == *group && member.phase == Phase::Consuming && known.contains(&member.id)
    };
    for member in members.iter().filter(in_it) {
        for at in &member.assigned {
            let other = held.insert((member.assigned_of, *at), &member.id);
            hold!(other.is_none(), OWNER, "{group}: {} holds {at}, and {other:?} does", member.id);
        }
    }
    Ok(())
}

fn each(assignment: &Assignment) -> impl Iterator<Item = (TopicId, i32)> {
    let topics = assignment.topic_partitions.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(move |index| (topic.topic_id, index.get())))
}

type Share = BTreeSet<(TopicId, i32)>;

/// Both epochs of a group, and of each member its epoch, what it owns and what it is to own.
fn standings(group: &DescribedGroup) -> (i32, i32, BTreeMap<Str, (i32, Share, Share)>) {
    let one = |member: &DescribedMember| {
        let (owns, is_to_own) =
            (each(&member.assignment).collect(), each(&member.target_assignment).collect());
        (member.member_id.clone(), (member.member_epoch, owns, is_to_own))
    };
    (group.group_epoch, group.assignment_epoch, group.members.iter().map(one).collect())
}

/// A commit was taken: of a member at its own epoch, and of nothing that is another's.
pub(crate) fn may_commit(
    commit: &Commit,
    codes: &PerPartition<ErrorCode>,
    core: &mut Coordinator,
) -> Checked {
    let group = describe_consumer(core, &commit.group);
    if commit.generation < 0 {
        hold!(group.members.is_empty(), FENCED, "{}: by nobody, with {:?}", commit.group, group.members);
        return Ok(());
    }
    let by = group.members.iter().find(|member| member.member_id == commit.member_id);
    let is_current = by.is_some_and(|member| member.member_epoch == commit.generation);
    hold!(is_current, FENCED, "{}: {} of {}: {by:?}", commit.group, commit.member_id, commit.generation);
    let others = group.members.iter().filter(|member| member.member_id != commit.member_id);
    let of_others: Share = others.flat_map(|member| each(&member.assignment)).collect();
    for (topic, codes) in codes {
        let id = commit.topics.iter().find(|asked| asked.name == *topic).map(|asked| asked.id);
        for (index, _) in codes.iter().filter(|(_, code)| *code == ErrorCode::None) {
            let taken = id.is_some_and(|id| of_others.contains(&(id, index.get())));
            hold!(!taken, FENCED, "{}: {} commits {index}, another's", commit.group, commit.member_id);
        }
    }
    Ok(())
}
