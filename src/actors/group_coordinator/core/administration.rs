//! Groups as an administrator sees them.

use super::{
    Coordinator, Effect,
    group::{Group, Protocol},
    request::ListFilter,
};
use crate::wire::{
    ErrorCode, Str,
    api::{consumer_group_describe, describe_groups::DescribedGroup, list_groups::ListedGroup},
};

/// The type of groups whose members assign among themselves.
const CLASSIC: &str = "classic";
/// The type of groups whose partitions the coordinator assigns.
const CONSUMER: &str = "consumer";
/// The state of a group that is not there.
const DEAD: &str = "Dead";

impl Coordinator {
    pub(super) fn describe(&self, id: Str, version: i16) -> DescribedGroup {
        if let Some(Group { protocol: Protocol::Classic(classic), .. }) = self.groups.get(&id) {
            return classic.describe();
        }
        let dead =
            DescribedGroup { group_id: id, group_state: Str::from_static(DEAD), ..DescribedGroup::default() };
        if version < 6 {
            return dead;
        }
        let error_message =
            Some(Str::from(format!("there is no group {} of the classic protocol", dead.group_id)));
        DescribedGroup { error_code: ErrorCode::GroupIdNotFound, error_message, ..dead }
    }

    pub(super) fn describe_consumer(&self, id: Str) -> consumer_group_describe::DescribedGroup {
        if let Some(Group { protocol: Protocol::Consumer(consumer), .. }) = self.groups.get(&id) {
            return consumer.describe(&self.image);
        }
        consumer_group_describe::DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound,
            error_message: Some(Str::from(format!("there is no group {id} that the coordinator assigns"))),
            group_id: id,
            ..consumer_group_describe::DescribedGroup::default()
        }
    }

    pub(super) fn list(&self, filter: &ListFilter) -> Vec<ListedGroup> {
        let wanted = |among: &[Str], name: &str| {
            among.is_empty() || among.iter().any(|one| one.eq_ignore_ascii_case(name))
        };
        let groups = self.groups.values();
        groups
            .filter(|group| wanted(&filter.states, group.state()) && wanted(&filter.types, kind(group)))
            .map(|group| ListedGroup {
                group_id: group.id.clone(),
                protocol_type: group.protocol_type(),
                group_state: Str::from_static(group.state()),
                group_type: Str::from_static(kind(group)),
            })
            .collect()
    }

    pub(super) fn delete(&mut self, id: &Str, effects: &mut Vec<Effect>) -> ErrorCode {
        match self.groups.get(id) {
            None => return ErrorCode::GroupIdNotFound,
            Some(group) if !group.is_empty() => return ErrorCode::NonEmptyGroup,
            Some(_) => {}
        }
        let Some(mut group) = self.groups.remove(id) else { return ErrorCode::GroupIdNotFound };
        if let Some(check) = group.check {
            self.checks.remove(&(check, id.clone()));
        }
        group.offsets.forget(id, |_, _, _| true, |stored| effects.push(Effect::Write(stored)));
        group.attempts.forget(id, |_, _, _| true, effects);
        effects.extend(group.tombstones().into_iter().map(Effect::Write));
        ErrorCode::None
    }
}

const fn kind(group: &Group) -> &'static str {
    match group.protocol {
        Protocol::Classic(_) => CLASSIC,
        Protocol::Consumer(_) => CONSUMER,
    }
}
