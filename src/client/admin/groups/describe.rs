//! Groups with their members. Kafka has a request for each kind of group, so the kinds are asked for first.

use std::collections::HashMap;

use super::{GroupDescription, GroupFilter, GroupKind, GroupListing};
use crate::{
    client::{Admin, ClientError, admin::check},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse},
            describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse},
        },
    },
};

/// The groups of one question: an answer holds all members of them.
const GROUPS_AT_ONCE: usize = 100;

/// A group that was asked for, or why it is not described.
pub type Described = (String, Result<GroupDescription, ClientError>);

impl Admin {
    /// Describes groups by name, in this order.
    pub async fn describe_groups(&self, groups: &[String]) -> Result<Vec<Described>, ClientError> {
        let listed = self.list_groups(&GroupFilter::default()).await?;
        let listed: HashMap<&str, &GroupListing> =
            listed.iter().map(|group| (group.id.as_str(), group)).collect();
        let known: Vec<GroupListing> =
            groups.iter().filter_map(|id| listed.get(id.as_str()).map(|found| (*found).clone())).collect();
        let mut described: HashMap<String, _> = self.describe_listed(&known).await?.into_iter().collect();
        let one = |id: &String| {
            let refused = || Err(ClientError::refused(ApiKey::ListGroups, ErrorCode::GroupIdNotFound, None));
            (id.clone(), described.remove(id).unwrap_or_else(refused))
        };
        Ok(groups.iter().map(one).collect())
    }

    /// Describes groups that were listed, in no order.
    pub async fn describe_listed(&self, groups: &[GroupListing]) -> Result<Vec<Described>, ClientError> {
        let mut by_coordinator: HashMap<_, Vec<&GroupListing>> = HashMap::new();
        for group in groups {
            let of_consumers = group.kind == GroupKind::Consumer;
            by_coordinator.entry((group.coordinator, of_consumers)).or_default().push(group);
        }
        let mut described = Vec::with_capacity(groups.len());
        for ((_, of_consumers), groups) in by_coordinator {
            for some in groups.chunks(GROUPS_AT_ONCE) {
                let ids: Vec<&str> = some.iter().map(|group| group.id.as_str()).collect();
                let answers = if of_consumers {
                    self.describe_consumer(&ids).await?
                } else {
                    self.describe_classic(&ids).await?
                };
                described.extend(answers);
            }
        }
        Ok(described)
    }

    /// Groups that one node coordinates: whom the first belongs to is asked for all.
    async fn describe_classic(&self, ids: &[&str]) -> Result<Vec<Described>, ClientError> {
        let Some(first) = ids.first() else { return Ok(Vec::new()) };
        let node = self.coordinator(first).await?;
        let request = DescribeGroupsRequest { groups: texts(ids), include_authorized_operations: false };
        let code = |response: &DescribeGroupsResponse| {
            unsettled(response.groups.iter().map(|group| group.error_code))
        };
        let response = self.ask_coordinator(first, &request, code).await?;
        let one = |group: &crate::wire::api::describe_groups::DescribedGroup| {
            let checked = check(ApiKey::DescribeGroups, group.error_code, group.error_message.as_ref());
            let described = checked.map(|()| GroupDescription::of_classic(group, node));
            (group.group_id.as_str().to_owned(), described)
        };
        Ok(response.groups.iter().map(one).collect())
    }

    async fn describe_consumer(&self, ids: &[&str]) -> Result<Vec<Described>, ClientError> {
        let Some(first) = ids.first() else { return Ok(Vec::new()) };
        let node = self.coordinator(first).await?;
        let request =
            ConsumerGroupDescribeRequest { group_ids: texts(ids), include_authorized_operations: false };
        let code = |response: &ConsumerGroupDescribeResponse| {
            unsettled(response.groups.iter().map(|group| group.error_code))
        };
        let response = self.ask_coordinator(first, &request, code).await?;
        let one = |group: &crate::wire::api::consumer_group_describe::DescribedGroup| {
            let api = ApiKey::ConsumerGroupDescribe;
            let checked = check(api, group.error_code, group.error_message.as_ref());
            let described = checked.map(|()| GroupDescription::of_consumer(group, node));
            (group.group_id.as_str().to_owned(), described)
        };
        Ok(response.groups.iter().map(one).collect())
    }
}

fn texts(ids: &[&str]) -> Vec<Str> {
    ids.iter().map(|id| Str::from(*id)).collect()
}

/// The first code that says to ask again.
fn unsettled(mut codes: impl Iterator<Item = ErrorCode>) -> ErrorCode {
    codes.find(|code| super::coordinator::is_unsettled(*code)).unwrap_or(ErrorCode::None)
}
