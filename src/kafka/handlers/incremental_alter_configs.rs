//! `IncrementalAlterConfigs`: changes single configs of topics, groups and brokers, and log levels (KIP-339, KIP-412).

use crate::{
    actors::membership::{ConfigOwner, MembershipHandle},
    config::topic::{AlterOp, ConfigChange},
    kafka::{Broker, connection::Session},
    model::NodeId,
    telemetry::{LevelChange, LogLevels},
    wire::{
        ApiKey,
        api::incremental_alter_configs::{
            AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
            IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
        },
    },
};

use super::{
    at_once,
    config_owner::{self, Owner, Told},
    once_each::once_each,
    refusals::Refused,
};

/// Changes each resource on its own, all of its changes or none.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: IncrementalAlterConfigsRequest,
    _version: i16,
) -> IncrementalAlterConfigsResponse {
    let validate_only = request.validate_only;
    let key = |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let (named, prepared): (Vec<_>, Vec<_>) = once_each(request.resources, key)
        .into_iter()
        .map(|(resource, once)| (key(&resource), prepare(broker.node_id, resource, once)))
        .unzip();
    let outcomes = at_once::each(prepared, |prepared| {
        alter(broker.membership.clone(), broker.levels.clone(), prepared, validate_only)
    });
    let told = config_owner::tell(broker, ApiKey::IncrementalAlterConfigs, named, outcomes.await);
    IncrementalAlterConfigsResponse {
        responses: told.map(answer).collect(),
        ..IncrementalAlterConfigsResponse::default()
    }
}

/// Changes of one resource.
#[derive(Debug)]
enum Prepared {
    Configs(ConfigOwner, Vec<ConfigChange>),
    Levels(Vec<LevelChange>),
    /// None, of something that has no configs.
    Nothing,
}

async fn alter(
    membership: MembershipHandle,
    levels: LogLevels,
    prepared: Result<Prepared, Refused>,
    validate_only: bool,
) -> Result<(), Refused> {
    match prepared? {
        Prepared::Configs(owner, changes) => {
            Ok(membership.alter_configs(&owner, &changes, validate_only).await?)
        }
        Prepared::Levels(changes) => {
            levels.change(&changes, validate_only)?;
            if !validate_only {
                tracing::info!(?changes, "log levels were changed");
            }
            Ok(())
        }
        Prepared::Nothing => Ok(()),
    }
}

fn prepare(us: NodeId, resource: AlterConfigsResource, once: bool) -> Result<Prepared, Refused> {
    if !once {
        return Err(Refused::invalid_request("the resource is named more than once"));
    }
    let owner = Owner::of(us, resource.resource_type, &resource.resource_name)?;
    let changes: Vec<_> = resource.configs.into_iter().map(change).collect::<Result<_, _>>()?;
    match owner {
        Owner::Registry(owner) => Ok(Prepared::Configs(owner, changes)),
        Owner::Loggers => changes.into_iter().map(level).collect::<Result<_, _>>().map(Prepared::Levels),
        Owner::Keyless(what) => match changes.first() {
            Some(change) => Err(config_owner::unknown_key(what, &change.key)),
            None => Ok(Prepared::Nothing),
        },
    }
}

fn change(config: AlterableConfig) -> Result<ConfigChange, Refused> {
    let key = config.name.as_str().to_owned();
    let Some(op) = AlterOp::from_code(config.config_operation) else {
        let text = format!("config {key:?}: there is no operation {}", config.config_operation);
        return Err(Refused::invalid_request(text));
    };
    Ok(ConfigChange { key, op, value: config.value.map(|value| value.as_str().to_owned()) })
}

/// A level is no list.
fn level(change: ConfigChange) -> Result<LevelChange, Refused> {
    let ConfigChange { key: logger, op, value } = change;
    match (op, value) {
        (AlterOp::Set, Some(level)) => Ok(LevelChange { logger, level: Some(level) }),
        (AlterOp::Set, None) => Err(Refused::invalid_request(format!("logger {logger:?} is given no level"))),
        (AlterOp::Delete, _) => Ok(LevelChange { logger, level: None }),
        (AlterOp::Append | AlterOp::Subtract, _) => {
            Err(Refused::invalid_request(format!("the level of logger {logger:?} can be set and deleted")))
        }
    }
}

fn answer(told: Told) -> AlterConfigsResourceResponse {
    let Told { resource_type, resource_name, error_code, error_message } = told;
    AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
}

#[cfg(test)]
mod tests {
    use super::{Prepared, prepare};
    use crate::{
        config::topic::AlterOp,
        model::NodeId,
        wire::{
            ErrorCode,
            api::{
                describe_configs::resource,
                incremental_alter_configs::{AlterConfigsResource, AlterableConfig, operation},
            },
        },
    };

    const US: NodeId = NodeId::new(1);

    fn of(resource_type: i8, name: &str, operations: &[i8]) -> AlterConfigsResource {
        let config = |operation: &i8| AlterableConfig {
            name: "cleanup.policy".into(),
            config_operation: *operation,
            value: Some("delete".into()),
        };
        AlterConfigsResource {
            resource_type,
            resource_name: name.into(),
            configs: operations.iter().map(config).collect(),
        }
    }

    #[test]
    fn each_operation_of_the_protocol_becomes_a_change_and_another_is_refused() {
        let all = [operation::SET, operation::DELETE, operation::APPEND, operation::SUBTRACT];
        let Prepared::Configs(_, changes) = prepare(US, of(resource::TOPIC, "a", &all), true).unwrap() else {
            panic!("changes of a topic")
        };
        let ops: Vec<_> = changes.iter().map(|change| change.op).collect();
        assert_eq!(ops, [AlterOp::Set, AlterOp::Delete, AlterOp::Append, AlterOp::Subtract]);
        let refused = prepare(US, of(resource::TOPIC, "a", &[4]), true).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_level_can_be_set_and_deleted_and_nothing_else() {
        let levels = |operation| prepare(US, of(resource::BROKER_LOGGER, "1", &[operation]), true);
        assert!(matches!(levels(operation::SET), Ok(Prepared::Levels(changes)) if changes.len() == 1));
        assert!(
            matches!(levels(operation::DELETE), Ok(Prepared::Levels(changes)) if changes[0].level.is_none())
        );
        for other in [operation::APPEND, operation::SUBTRACT] {
            assert_eq!(levels(other).unwrap_err().code, ErrorCode::InvalidRequest);
        }
    }

    #[test]
    fn a_key_of_what_has_no_configs_is_named_and_refused_with_40() {
        let refused = prepare(US, of(resource::CLIENT_METRICS, "g", &[operation::SET]), true).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidConfig);
        assert!(refused.text.contains("cleanup.policy"), "{}", refused.text);
        assert!(matches!(prepare(US, of(resource::CLIENT_METRICS, "g", &[]), true), Ok(Prepared::Nothing)));
    }

    #[test]
    fn a_resource_that_is_named_twice_is_refused() {
        let refused = prepare(US, of(resource::TOPIC, "1", &[]), false).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
}
