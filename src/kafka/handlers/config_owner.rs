//! Who a request's configs belong to, for the requests that change them.
//!
//! Each resource is changed on its own, all of its changes or none; one that a request names twice is
//! refused, as in Kafka. There is nothing to configure of a client's metrics here, so each of their keys is one
//! that is not known.

use crate::{
    actors::membership::ConfigOwner,
    kafka::Broker,
    model::NodeId,
    wire::{ApiKey, ErrorCode, Str, api::describe_configs::resource},
};

use super::refusals::Refused;

/// What has configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The registry keeps them.
    Registry(ConfigOwner),
    /// The log lines of this process.
    Loggers,
    /// Something that Kafka has configs for and this node none, by what it is called.
    Keyless(&'static str),
}

impl Owner {
    /// What a resource is, if a request may name it.
    pub(super) fn of(us: NodeId, resource_type: i8, name: &str) -> Result<Self, Refused> {
        let refused = |text: String| Err(Refused::invalid_request(text));
        match resource_type {
            resource::TOPIC if name.is_empty() => {
                refused("a topic has a name; defaults for all topics are configs of brokers".to_owned())
            }
            resource::TOPIC => Ok(Self::Registry(ConfigOwner::Topic(name.to_owned()))),
            resource::BROKER if name.is_empty() => Ok(Self::Registry(ConfigOwner::AllBrokers)),
            resource::BROKER if name.parse() == Ok(us.get()) => Ok(Self::Registry(ConfigOwner::Broker(us))),
            resource::BROKER_LOGGER if name.parse() == Ok(us.get()) => Ok(Self::Loggers),
            resource::BROKER | resource::BROKER_LOGGER => {
                refused(format!("this is broker {us}, not {name:?}"))
            }
            resource::GROUP | resource::CLIENT_METRICS if name.is_empty() => {
                refused("the resource has no name".to_owned())
            }
            resource::GROUP => Ok(Self::Registry(ConfigOwner::Group(name.to_owned()))),
            resource::CLIENT_METRICS => Ok(Self::Keyless("client metrics")),
            other => refused(format!("unknown resource type {other}")),
        }
    }
}

/// A key of something that has none.
pub(super) fn unknown_key(what: &str, key: &str) -> Refused {
    Refused::new(ErrorCode::InvalidConfig, format!("unknown {what} config {key:?}"))
}

/// A resource as a request names it: its type and its name.
pub(super) type Named = (i8, Str);

/// What an answer says of one resource, whichever request it answers.
pub(super) struct Told {
    pub(super) resource_type: i8,
    pub(super) resource_name: Str,
    pub(super) error_code: ErrorCode,
    pub(super) error_message: Option<Str>,
}

/// What became of each resource.
pub(super) fn tell(
    broker: &Broker,
    api: ApiKey,
    named: Vec<Named>,
    outcomes: Vec<Option<Result<(), Refused>>>,
) -> impl Iterator<Item = Told> {
    named.into_iter().zip(outcomes).map(move |((resource_type, resource_name), outcome)| {
        let outcome = outcome.unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()));
        let (error_code, error_message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err(refused) => {
                broker.meters.refused(api, refused.code);
                (refused.code, Some(refused.into_text()))
            }
        };
        Told { resource_type, resource_name, error_code, error_message }
    })
}

#[cfg(test)]
mod tests {
    use super::{ConfigOwner, Owner};
    use crate::{
        model::NodeId,
        wire::{ErrorCode, api::describe_configs::resource},
    };

    fn of(resource_type: i8, name: &str) -> Result<Owner, ErrorCode> {
        Owner::of(NodeId::new(3), resource_type, name).map_err(|refused| {
            assert!(!refused.text.is_empty());
            refused.code
        })
    }

    #[test]
    fn each_resource_that_kafka_has_is_one_here_and_another_is_refused() {
        let registry = |owner| Ok(Owner::Registry(owner));
        assert_eq!(of(resource::TOPIC, "a"), registry(ConfigOwner::Topic("a".to_owned())));
        assert_eq!(of(resource::BROKER, ""), registry(ConfigOwner::AllBrokers));
        assert_eq!(of(resource::BROKER, "3"), registry(ConfigOwner::Broker(NodeId::new(3))));
        assert_eq!(of(resource::BROKER_LOGGER, "3"), Ok(Owner::Loggers));
        assert_eq!(of(resource::GROUP, "g"), registry(ConfigOwner::Group("g".to_owned())));
        assert_eq!(of(resource::CLIENT_METRICS, "m"), Ok(Owner::Keyless("client metrics")));
        for unknown in [0, 1, 3, 99, -1] {
            assert_eq!(of(unknown, "x"), Err(ErrorCode::InvalidRequest));
        }
    }

    #[test]
    fn a_name_that_is_missing_or_another_brokers_is_refused() {
        for kind in [resource::TOPIC, resource::BROKER_LOGGER, resource::GROUP, resource::CLIENT_METRICS] {
            assert_eq!(of(kind, ""), Err(ErrorCode::InvalidRequest));
        }
        for kind in [resource::BROKER, resource::BROKER_LOGGER] {
            assert_eq!(
                (of(kind, "4"), of(kind, "x")),
                (Err(ErrorCode::InvalidRequest), Err(ErrorCode::InvalidRequest))
            );
        }
    }
}
