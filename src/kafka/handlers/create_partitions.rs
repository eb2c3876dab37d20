//! `CreatePartitions`: lets topics grow (KIP-195).

use crate::{
    actors::membership::{MembershipHandle, MetadataImage},
    kafka::{Broker, connection::Session},
    model::{NodeId, is_internal},
    wire::{
        ApiKey, ErrorCode, Str,
        api::create_partitions::{
            CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
            CreatePartitionsTopic, CreatePartitionsTopicResult,
        },
    },
};

use super::{at_once, once_each::once_each, readiness, refusals::Refused};

/// Lets each topic grow on its own.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: CreatePartitionsRequest,
    _version: i16,
) -> CreatePartitionsResponse {
    let deadline = readiness::deadline(request.timeout_ms);
    let validate_only = request.validate_only;
    let image = broker.membership.image();
    let (names, checked): (Vec<_>, Vec<_>) = once_each(request.topics, |topic| topic.name.clone())
        .into_iter()
        .map(|(topic, once)| (topic.name.clone(), check(&topic, once, broker.node_id, &image)))
        .unzip();
    let grown = at_once::each(names.iter().cloned().zip(checked.clone()), |(name, checked)| {
        grow(broker.membership.clone(), name, checked, validate_only)
    });
    let grown = grown.await;
    let mut results = Vec::with_capacity(names.len());
    for ((name, checked), outcome) in names.into_iter().zip(checked).zip(grown) {
        let outcome = outcome.unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()));
        if let (Ok(()), Ok(count), false) = (&outcome, checked, validate_only) {
            let id = broker.membership.image().topic_named(&name).map(|topic| topic.id);
            let count = usize::try_from(count).unwrap_or(0);
            if let Some(id) = id {
                // The partitions are made, whatever comes of this.
                readiness::until_led(broker, session, id, count, deadline).await;
            }
        }
        results.push(answer(broker, name, outcome));
    }
    CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
}

async fn grow(
    membership: MembershipHandle,
    name: Str,
    count: Result<i32, Refused>,
    validate_only: bool,
) -> Result<(), Refused> {
    Ok(membership.create_partitions(&name, count?, validate_only).await?)
}

fn answer(broker: &Broker, name: Str, outcome: Result<(), Refused>) -> CreatePartitionsTopicResult {
    match outcome {
        Ok(()) => CreatePartitionsTopicResult { name, ..CreatePartitionsTopicResult::default() },
        Err(refused) => {
            broker.meters.refused(ApiKey::CreatePartitions, refused.code);
            CreatePartitionsTopicResult {
                name,
                error_code: refused.code,
                error_message: Some(refused.into_text()),
            }
        }
    }
}

/// How many partitions there shall be in all; the registry checks the number itself.
fn check(
    topic: &CreatePartitionsTopic,
    once: bool,
    node: NodeId,
    image: &MetadataImage,
) -> Result<i32, Refused> {
    if !once {
        return Err(Refused::invalid_request("the topic is named more than once"));
    }
    if is_internal(&topic.name) {
        // Which partition a group belongs to depends on how many there are.
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            "an internal topic keeps its partitions".to_owned(),
        ));
    }
    if let (Some(assignments), Some(known)) = (&topic.assignments, image.topic_named(&topic.name)) {
        let added = i64::from(topic.count) - i64::from(known.partition_count());
        if added > 0 {
            check_assignments(assignments, added, node, image.brokers().len())?;
        }
    }
    Ok(topic.count)
}

/// Where there is one node, it must be told for each new partition. Of several the controller chooses: whoever wants to
/// choose makes the topic with its assignments.
fn check_assignments(
    assignments: &[CreatePartitionsAssignment],
    added: i64,
    node: NodeId,
    brokers: usize,
) -> Result<(), Refused> {
    let refused = |text: String| Err(Refused::new(ErrorCode::InvalidReplicaAssignment, text));
    if assignments.len() as i64 != added {
        return refused(format!("{added} partitions are added and {} assigned", assignments.len()));
    }
    if brokers > 1 {
        return refused(
            "where new partitions go is the cluster's to choose: leave assignments out".to_owned(),
        );
    }
    match assignments.iter().find(|assignment| assignment.broker_ids != [node]) {
        Some(_) => refused(format!("each partition has one replica, which can be on broker {node} only")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{CreatePartitionsAssignment, CreatePartitionsTopic, check, check_assignments};
    use crate::{actors::membership::MetadataImage, model::NodeId, wire::ErrorCode};

    fn topic(name: &str) -> CreatePartitionsTopic {
        CreatePartitionsTopic { name: name.into(), count: 5, ..CreatePartitionsTopic::default() }
    }

    #[test]
    fn an_internal_topic_does_not_grow() {
        let refused = check(&topic("__consumer_offsets"), true, NodeId::new(1), &MetadataImage::default());
        assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_topic_that_is_named_twice_is_refused() {
        let check = |once| check(&topic("a"), once, NodeId::new(1), &MetadataImage::default());
        assert_eq!(check(true), Ok(5));
        assert_eq!(check(false).unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn an_assignment_names_this_node_for_each_partition_that_is_added() {
        let on = |nodes: &[i32]| CreatePartitionsAssignment {
            broker_ids: nodes.iter().copied().map(NodeId::new).collect(),
        };
        let code = |assignments: &[_]| {
            check_assignments(assignments, 2, NodeId::new(1), 1).map_err(|refused| refused.code)
        };
        let refused = Err(ErrorCode::InvalidReplicaAssignment);
        assert_eq!(code(&[on(&[1]), on(&[1])]), Ok(()));
        assert_eq!(code(&[on(&[1])]), refused);
        assert_eq!(code(&[on(&[1]), on(&[2])]), refused);
        assert_eq!(code(&[on(&[1]), on(&[1, 1])]), refused);
        assert_eq!(code(&[on(&[1]), on(&[])]), refused);
        let of_many = check_assignments(&[on(&[1])], 1, NodeId::new(1), 3);
        assert_eq!(of_many.map_err(|refused| refused.code), refused);
    }
}
