//! Consumer groups: who is in them, and how far they have come.
//!
//! Each group has a coordinator, found by name. While it is being looked for, reads its log or moves, the
//! question is asked again up to the metadata time-out; every other refusal is the caller's.

mod coordinator;
mod describe;
mod offsets;
mod types;

pub use self::{
    describe::Described,
    offsets::{CommittedOffset, FailedAttempts, OffsetToCommit, PartitionOutcome},
    types::{GroupDescription, GroupEpochs, GroupKind, GroupListing, GroupMember, OwnedPartitions},
};
use super::{Admin, check};
use crate::{
    client::ClientError,
    model::NodeId,
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse},
            list_groups::ListGroupsRequest,
        },
    },
};

/// Which groups are listed; what is empty or none lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// Those in one of these states, in Kafka's words and in any case: `Stable`, `Empty`.
    pub states: Vec<String>,
    /// Those of this kind.
    pub kind: Option<GroupKind>,
}

impl GroupFilter {
    fn request(&self) -> ListGroupsRequest {
        ListGroupsRequest {
            states_filter: self.states.iter().map(|state| Str::from(state.as_str())).collect(),
            types_filter: self.kind.iter().map(|kind| Str::from_static(kind.name())).collect(),
        }
    }

    /// Asked of us too: old brokers know no filters and answer with all.
    fn passes(&self, group: &GroupListing) -> bool {
        let in_state = |state: &String| state.eq_ignore_ascii_case(&group.state);
        (self.states.is_empty() || self.states.iter().any(in_state))
            && self.kind.is_none_or(|kind| kind == group.kind)
    }
}

impl Admin {
    /// The groups of all brokers that pass, by name.
    pub async fn list_groups(&self, filter: &GroupFilter) -> Result<Vec<GroupListing>, ClientError> {
        let known = self.client.metadata();
        let metadata = self.client.refresh(known.generation).await?;
        let mut nodes: Vec<NodeId> = metadata.brokers.keys().copied().collect();
        nodes.sort();
        let request = filter.request();
        let mut groups = Vec::new();
        for node in nodes {
            let response = self.until_settled(async || self.list_of(node, &request).await).await?;
            groups.extend(response.into_iter().filter(|group| filter.passes(group)));
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        groups.dedup_by(|a, b| a.id == b.id);
        Ok(groups)
    }

    async fn list_of(
        &self,
        node: NodeId,
        request: &ListGroupsRequest,
    ) -> Result<Vec<GroupListing>, ClientError> {
        let response = self.client.connection(node).await?.call(request).await?;
        check(ApiKey::ListGroups, response.error_code, None)?;
        Ok(response.groups.iter().map(|group| GroupListing::read(group, node)).collect())
    }

    /// Deletes a group with its offsets. It must have no members.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![Str::from(group)] };
        let code = |response: &DeleteGroupsResponse| {
            response.results.first().map_or(ErrorCode::None, |result| result.error_code)
        };
        let response = self.ask_coordinator(group, &request, code).await?;
        let result = response.results.first().ok_or(ClientError::Incomplete(ApiKey::DeleteGroups))?;
        check(ApiKey::DeleteGroups, result.error_code, None)
    }
}
