//! Whom to turn to instead, in the answers of `Produce` and `Fetch` (KIP-951).
//!
//! A client that is refused because another node leads would have to ask for metadata, wait its turn and try again; a
//! refusal that names the leader and where it is saves all of that. Fields that say nothing are not sent: they are
//! tags, and a tag at its default is left out.

use crate::{
    actors::partition::PartitionHandle,
    kafka::{Broker, cluster_view::ClusterView, connection::Session},
    wire::{
        ErrorCode,
        api::produce::{LeaderIdAndEpoch, NodeEndpoint},
    },
};

/// The first version of `Produce` whose answers carry hints.
pub(super) const SINCE_PRODUCE: i16 = 10;
/// The first version of `Fetch` whose answers carry hints.
pub(super) const SINCE_FETCH: i16 = 16;

/// What one answer hints at.
#[derive(Debug)]
pub(super) struct Hints {
    wanted: bool,
    /// Looked up with the first refusal, for all of them.
    view: Option<ClusterView>,
    given: Vec<LeaderIdAndEpoch>,
}

impl Hints {
    /// None at all, where the client could not read them.
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, view: None, given: Vec::new() }
    }

    /// The leader to turn to after this refusal; nobody, where it is not a matter of who leads, or where nobody does.
    pub(super) fn for_refusal(
        &mut self,
        broker: &Broker,
        session: &Session,
        partition: Option<&PartitionHandle>,
        refusal: ErrorCode,
    ) -> LeaderIdAndEpoch {
        let of_leader = matches!(refusal, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        let Some(partition) = partition.filter(|_| self.wanted && of_leader) else {
            return LeaderIdAndEpoch::default();
        };
        let view = self.view.get_or_insert_with(|| ClusterView::of(broker, session));
        let hint = view.hint(partition);
        if hint != LeaderIdAndEpoch::default() {
            self.given.push(hint.clone());
        }
        hint
    }

    /// Where those leaders are.
    pub(super) fn endpoints(&self) -> Vec<NodeEndpoint> {
        self.view.as_ref().map(|view| view.endpoints(&self.given)).unwrap_or_default()
    }
}
