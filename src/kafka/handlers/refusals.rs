//! One table from the registry's refusals to Kafka's error codes, without a wildcard.

use crate::{
    actors::membership::{MembershipError, Refusal},
    config::{broker::BrokerConfigError, group::GroupConfigError, topic::TopicConfigError},
    telemetry::LevelError,
    wire::{ErrorCode, Str},
};

/// Why a part of a request was not carried out, for the client's code and for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}

impl Refused {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The request contradicts itself.
    pub(crate) fn invalid_request(text: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, text)
    }

    /// The text as an answer carries it.
    pub(crate) fn into_text(self) -> Str {
        self.text.into()
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

impl From<MembershipError> for Refused {
    fn from(error: MembershipError) -> Self {
        Self::new(of_membership(&error), error.to_string())
    }
}

impl From<TopicConfigError> for Refused {
    fn from(error: TopicConfigError) -> Self {
        Self::new(of_topic_config(&error), error.to_string())
    }
}

impl From<LevelError> for Refused {
    fn from(error: LevelError) -> Self {
        Self::new(of_level(&error), error.to_string())
    }
}

/// What an administrator is told about a change of the metadata that was not made.
pub(crate) fn of_membership(error: &MembershipError) -> ErrorCode {
    match error {
        MembershipError::Refused(refusal) => of_refusal(refusal),
        MembershipError::StorageFull => ErrorCode::KafkaStorageError,
        // Whether it was carried out or not, asking again is right: the answer then says which.
        MembershipError::NotTaken | MembershipError::OutcomeUnknown => ErrorCode::RequestTimedOut,
    }
}

fn of_refusal(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::TooManyPartitions { .. } | Refusal::TooManyReplicas { .. } | Refusal::TooManyGroups => {
            ErrorCode::PolicyViolation
        }
        Refusal::InvalidName(_) => ErrorCode::InvalidTopic,
        Refusal::TopicExists(_) => ErrorCode::TopicAlreadyExists,
        Refusal::UnknownTopic(_) | Refusal::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        Refusal::UnknownTopicId(_) => ErrorCode::UnknownTopicId,
        Refusal::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        Refusal::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        Refusal::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
        Refusal::InvalidConfig(error) => of_topic_config(error),
        Refusal::InvalidBrokerConfig(error) => of_broker_config(error),
        Refusal::InvalidGroupConfig(error) => of_group_config(error),
        Refusal::InvalidRequest(_) => ErrorCode::InvalidRequest,
        Refusal::NotReplica { .. } | Refusal::NotLeader { .. } => ErrorCode::NotLeaderOrFollower,
        Refusal::NotRegistered(_) => ErrorCode::BrokerIdNotRegistered,
        Refusal::StaleBrokerEpoch { .. } => ErrorCode::StaleBrokerEpoch,
        Refusal::DuplicateBroker(_) => ErrorCode::DuplicateBrokerRegistration,
        Refusal::FeatureLevel { .. } => ErrorCode::UnsupportedVersion,
        Refusal::OtherLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        Refusal::OtherPartitionEpoch { .. } => ErrorCode::InvalidUpdateVersion,
        Refusal::Ineligible(_) => ErrorCode::IneligibleReplica,
        Refusal::EpochsUsedUp(_) => ErrorCode::KafkaStorageError,
    }
}

fn of_broker_config(error: &BrokerConfigError) -> ErrorCode {
    match error {
        BrokerConfigError::UnknownKey { .. } | BrokerConfigError::ReadOnly { .. } => ErrorCode::InvalidConfig,
        BrokerConfigError::Value(error) => of_topic_config(error),
    }
}

fn of_group_config(error: &GroupConfigError) -> ErrorCode {
    match error {
        GroupConfigError::UnknownKey { .. }
        | GroupConfigError::Unserved { .. }
        | GroupConfigError::Bound { .. } => ErrorCode::InvalidConfig,
        GroupConfigError::Value(error) => of_topic_config(error),
    }
}

fn of_level(error: &LevelError) -> ErrorCode {
    match error {
        LevelError::NoLogger(_) | LevelError::NoLevel { .. } => ErrorCode::InvalidConfig,
        LevelError::RootStays | LevelError::Twice(_) => ErrorCode::InvalidRequest,
    }
}

/// A request that is wrong in its form is told so, as in Kafka; a key or a value that is wrong is 40.
fn of_topic_config(error: &TopicConfigError) -> ErrorCode {
    match error {
        TopicConfigError::NoValue { .. } | TopicConfigError::Twice { .. } => ErrorCode::InvalidRequest,
        TopicConfigError::UnknownKey { .. }
        | TopicConfigError::Invalid { .. }
        | TopicConfigError::Unsupported { .. }
        | TopicConfigError::NotAList { .. } => ErrorCode::InvalidConfig,
    }
}

#[cfg(test)]
mod tests {
    use super::{Refused, of_membership};
    use crate::{
        actors::membership::{MembershipError, Refusal},
        config::topic::TopicConfigError,
        model::{TopicId, TopicName},
        wire::ErrorCode,
    };

    fn code(refusal: Refusal) -> i16 {
        of_membership(&MembershipError::Refused(refusal)).code()
    }

    #[test]
    fn refusals_of_topics_have_the_numbers_that_kafka_gives_them() {
        assert_eq!(code(TopicName::new("a b").unwrap_err().into()), 17);
        assert_eq!(code(Refusal::TopicExists(TopicName::new("a").unwrap())), 36);
        assert_eq!(code(Refusal::UnknownTopic("a".to_owned())), 3);
        assert_eq!(code(Refusal::UnknownTopicId(TopicId::random())), 100);
        assert_eq!(code(Refusal::InvalidPartitions { asked: 0, min: 1 }), 37);
        assert_eq!(code(Refusal::InvalidReplicationFactor { asked: 3, brokers: 1 }), 38);
        assert_eq!(code(Refusal::InvalidAssignment("")), 39);
        assert_eq!(code(Refusal::InvalidRequest("")), 42);
    }

    #[test]
    fn an_unknown_config_is_40_and_a_malformed_change_42() {
        assert_eq!(code(TopicConfigError::UnknownKey { key: "x".to_owned() }.into()), 40);
        assert_eq!(code(TopicConfigError::NotAList { key: "retention.ms" }.into()), 40);
        assert_eq!(code(TopicConfigError::NoValue { key: "x".to_owned() }.into()), 42);
        assert_eq!(code(TopicConfigError::Twice { key: "x".to_owned() }.into()), 42);
    }

    #[test]
    fn what_is_not_known_to_be_done_may_be_tried_again() {
        for error in
            [MembershipError::NotTaken, MembershipError::OutcomeUnknown, MembershipError::StorageFull]
        {
            assert!(Refused::from(error).code.is_retriable());
        }
        assert!(!ErrorCode::TopicAlreadyExists.is_retriable());
    }
}
