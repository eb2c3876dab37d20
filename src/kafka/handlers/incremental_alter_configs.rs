//! `IncrementalAlterConfigs`: changes single topic configs (KIP-339).
//!
//! A node reads its own settings when it starts, so a broker's configs are refused here, and said why.

use crate::{
    actors::membership::MembershipHandle,
    config::topic::{AlterOp, ConfigChange},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            describe_configs::resource,
            incremental_alter_configs::{
                AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
                IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
            },
        },
    },
};

use super::{at_once, once_each::once_each, refusals::Refused};

/// Changes each resource on its own, all of its changes or none.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: IncrementalAlterConfigsRequest,
    _version: i16,
) -> IncrementalAlterConfigsResponse {
    let validate_only = request.validate_only;
    let (keys, prepared): (Vec<_>, Vec<_>) =
        once_each(request.resources, |resource| (resource.resource_type, resource.resource_name.clone()))
            .into_iter()
            .map(|(resource, once)| {
                ((resource.resource_type, resource.resource_name.clone()), prepare(resource, once))
            })
            .unzip();
    let outcomes =
        at_once::each(prepared, |prepared| alter(broker.membership.clone(), prepared, validate_only));
    let outcomes = outcomes.await;
    let responses = keys.into_iter().zip(outcomes).map(|((resource_type, resource_name), outcome)| {
        let outcome = outcome.unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()));
        answer(broker, resource_type, resource_name, outcome)
    });
    IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    }
}

/// Changes of one topic.
#[derive(Debug)]
struct Prepared {
    topic: Str,
    changes: Vec<ConfigChange>,
}

async fn alter(
    membership: MembershipHandle,
    prepared: Result<Prepared, Refused>,
    validate_only: bool,
) -> Result<(), Refused> {
    let Prepared { topic, changes } = prepared?;
    Ok(membership.alter_topic_configs(&topic, &changes, validate_only).await?)
}

fn prepare(resource: AlterConfigsResource, once: bool) -> Result<Prepared, Refused> {
    if !once {
        return Err(Refused::invalid_request("the resource is named more than once"));
    }
    match resource.resource_type {
        resource::TOPIC if resource.resource_name.as_bytes().is_empty() => Err(Refused::invalid_request(
            "a topic has a name; defaults for all topics are set in a node's file",
        )),
        resource::TOPIC => {
            let changes = resource.configs.into_iter().map(change).collect::<Result<_, _>>()?;
            Ok(Prepared { topic: resource.resource_name, changes })
        }
        resource::BROKER => Err(Refused::invalid_request(
            "a node's settings are read when it starts and cannot be changed here",
        )),
        resource::BROKER_LOGGER => {
            Err(Refused::invalid_request("log levels cannot be changed while a node runs"))
        }
        other => Err(Refused::invalid_request(format!("configs of resource type {other} are not served"))),
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

fn answer(
    broker: &Broker,
    resource_type: i8,
    resource_name: Str,
    outcome: Result<(), Refused>,
) -> AlterConfigsResourceResponse {
    match outcome {
        Ok(()) => AlterConfigsResourceResponse {
            resource_type,
            resource_name,
            ..AlterConfigsResourceResponse::default()
        },
        Err(refused) => {
            broker.meters.refused(ApiKey::IncrementalAlterConfigs, refused.code);
            AlterConfigsResourceResponse {
                error_code: refused.code,
                error_message: Some(refused.into_text()),
                resource_type,
                resource_name,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::prepare;
    use crate::{
        config::topic::AlterOp,
        wire::{
            ErrorCode,
            api::{
                describe_configs::resource,
                incremental_alter_configs::{AlterConfigsResource, AlterableConfig, operation},
            },
        },
    };

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
        let prepared = prepare(of(resource::TOPIC, "a", &all), true).unwrap();
        let ops: Vec<_> = prepared.changes.iter().map(|change| change.op).collect();
        assert_eq!(ops, [AlterOp::Set, AlterOp::Delete, AlterOp::Append, AlterOp::Subtract]);
        let refused = prepare(of(resource::TOPIC, "a", &[4]), true).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn only_a_topic_with_a_name_can_be_changed_and_the_others_are_told_why() {
        let nobody =
            [(resource::TOPIC, ""), (resource::BROKER, "1"), (resource::BROKER_LOGGER, "1"), (99, "x")];
        for (kind, name) in nobody {
            let refused = prepare(of(kind, name, &[operation::SET]), true).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidRequest);
            assert!(!refused.text.is_empty());
        }
    }

    #[test]
    fn a_resource_that_is_named_twice_is_refused() {
        assert_eq!(
            prepare(of(resource::TOPIC, "1", &[]), false).unwrap_err().code,
            ErrorCode::InvalidRequest
        );
    }
}
