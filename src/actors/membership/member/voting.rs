//! Carries out what is due about the members of the quorum, on whichever node leads it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{
    founder::{member, raft_node},
    hello::Asks,
};
use crate::{
    actors::{
        cluster_link::{
            ClusterLink,
            liveness::{LeaseTable, Life},
        },
        membership::{
            formation::Member,
            quorum::{Members, Quorum, QuorumError},
            registry::RegistryHandle,
            voters::{Change, MemberState, QuorumState, VotersRules, due},
        },
    },
    clock::Clock,
    model::RaftId,
};

/// How often to look although nothing was told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The same where there is nobody else: who comes says so.
const LOOK_EVERY_ALONE: Duration = Duration::from_secs(5);

/// What it stands on.
#[derive(Clone)]
pub(super) struct VotingArgs {
    pub(super) registry: RegistryHandle,
    pub(super) link: ClusterLink,
    pub(super) leases: watch::Receiver<Arc<LeaseTable>>,
    pub(super) asks: Arc<Asks>,
    pub(super) rules: VotersRules,
    pub(super) clock: Arc<dyn Clock>,
}

/// Runs for as long as the node does.
pub(super) async fn run(args: VotingArgs) {
    let began = args.clock.monotonic();
    let (mut leadership, members) = (args.registry.leadership(), args.registry.watch_members());
    loop {
        let quorum = args.registry.quorum().filter(|quorum| quorum.leadership().borrow().is_self);
        let changed = match quorum {
            Some(quorum) => look(&args, &quorum, began).await,
            None => false,
        };
        if !changed {
            let is_alone = members.borrow().nodes.len() <= 1;
            tokio::select! {
                () = args.asks.news.notified() => {}
                Ok(()) = leadership.changed() => {}
                () = sleep(if is_alone { LOOK_EVERY_ALONE } else { LOOK_EVERY }) => {}
            }
        }
    }
}

/// Whether something was changed: then more may be due at once.
async fn look(args: &VotingArgs, quorum: &Quorum, began: Duration) -> bool {
    let members = quorum.members();
    let asks = args.asks.all();
    for ask in &asks {
        if members.nodes.get(&ask.raft_id) == Some(&raft_node(ask)) {
            args.asks.forget(ask.raft_id);
        }
    }
    let moved = moved(args, quorum, &members).map(Change::Move);
    let state = state_of(args, quorum, &members, began);
    let Some(change) = moved.or_else(|| due(&state, &asks, &args.rules)) else { return false };
    match carry_out(quorum, &members, &change).await {
        Ok(()) => {
            tracing::info!(?change, "the metadata quorum's membership was changed");
            true
        }
        Err(error) => {
            tracing::warn!(?change, %error, "the metadata quorum's membership was not changed");
            false
        }
    }
}

/// This member, if the log says that it is reached elsewhere: its port is another one since its last start.
fn moved(args: &VotingArgs, quorum: &Quorum, members: &Members) -> Option<Member> {
    let (me, raft_id) = (args.link.me(), quorum.id());
    let us = Member { node: me.node, raft_id, address: me.address.clone() };
    let known = members.nodes.get(&raft_id)?;
    (members.voters.len() == 1 && *known != raft_node(&us)).then_some(us)
}

fn state_of(args: &VotingArgs, quorum: &Quorum, members: &Members, began: Duration) -> QuorumState {
    let mut sets = members.voters.iter().cloned();
    let known: BTreeMap<RaftId, MemberState> = members
        .nodes
        .iter()
        .filter_map(|(id, node)| {
            let found = member(*id, node)?;
            let state = MemberState {
                node: found.node,
                address: found.address,
                is_caught_up: members.is_caught_up(*id),
                unreached_for: unreached_for(args, *id, node.node, began),
            };
            Some((*id, state))
        })
        .collect();
    QuorumState {
        us: quorum.id(),
        voters: sets.next().unwrap_or_default(),
        joint: sets.next(),
        members: known,
    }
}

/// A node is reached while it holds a lease here and speaks for the data folder that is meant.
fn unreached_for(args: &VotingArgs, id: RaftId, node: crate::model::NodeId, began: Duration) -> Duration {
    let now = args.clock.monotonic();
    let connected = args.link.connected();
    let speaks_for_it = connected.borrow().get(&node).is_some_and(|peer| peer.raft_id == id);
    let leases = args.leases.borrow();
    match leases.nodes.get(&node).map(|lease| lease.life) {
        Some(Life::Alive { .. }) if speaks_for_it => Duration::ZERO,
        Some(Life::Alive { since } | Life::Dead { since, .. }) => now.saturating_sub(since),
        None => now.saturating_sub(began),
    }
}

async fn carry_out(quorum: &Quorum, members: &Members, change: &Change) -> Result<(), QuorumError> {
    match change {
        Change::AddLearner(who) => quorum.add_learner(who.raft_id, raft_node(who)).await,
        Change::Move(who) => quorum.readdress(who.raft_id, raft_node(who)).await,
        Change::SetVoters { voters, keep, why: _ } => {
            let leave: Vec<_> =
                members.voters.iter().flatten().filter(|id| !voters.contains(id)).copied().collect();
            quorum.change_voters(voters.clone()).await?;
            if *keep {
                for id in leave {
                    if let Some(node) = members.nodes.get(&id) {
                        quorum.add_learner(id, node.clone()).await?;
                    }
                }
            }
            Ok(())
        }
        Change::Forget(id) => quorum.remove_learner(*id).await,
    }
}
