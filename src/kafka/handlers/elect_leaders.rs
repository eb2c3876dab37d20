//! `ElectLeaders`: gives leaders back to the first replicas, or elects whoever is there (KIP-183, KIP-460).
//!
//! The cluster gives leaders back by itself; this is for whoever does not want to wait for that. An election of whoever is there
//! is the way out where all who had everything are gone for good: what only they had is given up.

use std::collections::{BTreeMap, BTreeSet};

use super::refusals::Refused;
use crate::{
    actors::membership::{MetadataImage, NOBODY, PartitionImage},
    kafka::{Broker, connection::Session},
    model::{PartitionId, PartitionIndex},
    wire::{
        ApiKey, ErrorCode, Str,
        api::elect_leaders::{
            ElectLeadersPartitionResult, ElectLeadersRequest, ElectLeadersResponse, ElectLeadersTopic,
            ReplicaElectionResult,
        },
    },
};

/// Partitions that one entry of the metadata elects for: each leader takes its clients with it.
const AT_ONCE: usize = 1_000;

/// Who may become leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Election {
    /// The first replica, if it is in sync.
    Preferred,
    /// Whoever is there.
    Unclean,
}

impl Election {
    fn of(election_type: i8) -> Option<Self> {
        match election_type {
            0 => Some(Self::Preferred),
            1 => Some(Self::Unclean),
            _ => None,
        }
    }

    fn is_needed(self, partition: &PartitionImage) -> bool {
        match self {
            Self::Preferred => partition.replicas.first().is_some_and(|first| *first != partition.leader),
            Self::Unclean => partition.leader == NOBODY,
        }
    }

    /// Why there is no leader of this kind after all.
    const fn in_vain(self) -> ErrorCode {
        match self {
            Self::Preferred => ErrorCode::PreferredLeaderNotAvailable,
            Self::Unclean => ErrorCode::EligibleLeadersNotAvailable,
        }
    }
}

type Outcomes = BTreeMap<(Str, PartitionIndex), Result<(), Refused>>;

/// Elects where that is needed; partitions that nobody has named are told of only then, as Kafka does.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: ElectLeadersRequest,
    _version: i16,
) -> ElectLeadersResponse {
    let Some(election) = Election::of(request.election_type) else {
        broker.meters.refused(ApiKey::ElectLeaders, ErrorCode::InvalidRequest);
        let error_code = ErrorCode::InvalidRequest;
        return ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() };
    };
    let image = broker.membership.image();
    let mut outcomes = Outcomes::new();
    let wanted = match request.topic_partitions {
        Some(named) => named_ones(&image, election, named, &mut outcomes),
        None => all_in_need(&image, election),
    };
    let mut refused = None;
    for which in wanted.values().copied().collect::<Vec<_>>().chunks(AT_ONCE) {
        let elected = match election {
            Election::Preferred => broker.membership.elect_preferred(which.to_vec()).await,
            Election::Unclean => broker.membership.elect_unclean(which.to_vec()).await,
        };
        if let Err(error) = elected {
            refused = Some(Refused::from(error));
            break;
        }
    }
    let image = broker.membership.image();
    for (name, id) in wanted {
        let has_it = image.partition(id).is_some_and(|partition| !election.is_needed(partition));
        let outcome = match &refused {
            _ if has_it => Ok(()),
            Some(refused) => Err(refused.clone()),
            None => Err(election.in_vain().into()),
        };
        outcomes.insert(name, outcome);
    }
    answer(broker, outcomes)
}

/// Those that need an election among those that were named; what there is to say of the others is said.
fn named_ones(
    image: &MetadataImage,
    election: Election,
    named: Vec<ElectLeadersTopic>,
    outcomes: &mut Outcomes,
) -> BTreeMap<(Str, PartitionIndex), PartitionId> {
    let mut wanted = BTreeMap::new();
    for ElectLeadersTopic { topic, partitions } in named {
        let known = image.topic_named(&topic);
        for index in partitions.into_iter().collect::<BTreeSet<_>>() {
            let found = known.and_then(|known| Some((known.id, known.partition(index)?)));
            let name = (topic.clone(), index);
            match found {
                None => {
                    outcomes.insert(name, Err(ErrorCode::UnknownTopicOrPartition.into()));
                }
                Some((_, partition)) if !election.is_needed(partition) => {
                    outcomes.insert(name, Err(ErrorCode::ElectionNotNeeded.into()));
                }
                Some((topic, _)) => {
                    wanted.insert(name, PartitionId { topic, index });
                }
            }
        }
    }
    wanted
}

fn all_in_need(image: &MetadataImage, election: Election) -> BTreeMap<(Str, PartitionIndex), PartitionId> {
    let in_need = image.partitions().filter(|(_, _, partition)| election.is_needed(partition));
    in_need.map(|(id, topic, _)| ((Str::from(&topic.name), id.index), id)).collect()
}

fn answer(broker: &Broker, outcomes: Outcomes) -> ElectLeadersResponse {
    let mut by_topic: BTreeMap<Str, Vec<ElectLeadersPartitionResult>> = BTreeMap::new();
    for ((topic, partition_id), outcome) in outcomes {
        let result = match outcome {
            Ok(()) => ElectLeadersPartitionResult { partition_id, ..ElectLeadersPartitionResult::default() },
            Err(refused) => {
                broker.meters.refused(ApiKey::ElectLeaders, refused.code);
                ElectLeadersPartitionResult {
                    partition_id,
                    error_code: refused.code,
                    error_message: Some(refused.into_text()),
                }
            }
        };
        by_topic.entry(topic).or_default().push(result);
    }
    let results = by_topic.into_iter();
    let replica_election_results =
        results.map(|(topic, partition_result)| ReplicaElectionResult { topic, partition_result });
    ElectLeadersResponse {
        replica_election_results: replica_election_results.collect(),
        ..ElectLeadersResponse::default()
    }
}
