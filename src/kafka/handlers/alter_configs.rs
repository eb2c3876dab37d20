//! `AlterConfigs`: replaces all configs of a resource; what is not named goes back to its default.
//!
//! Log levels cannot be given as a whole, as in Kafka: whoever changes one would silence the others.

use std::collections::BTreeMap;

use crate::{
    actors::membership::{ConfigOwner, MembershipHandle},
    kafka::{Broker, connection::Session},
    model::NodeId,
    wire::{
        ApiKey,
        api::alter_configs::{
            AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
            AlterableConfig,
        },
    },
};

use super::{
    at_once,
    config_owner::{self, Owner, Told},
    once_each::once_each,
    refusals::Refused,
};

/// Replaces each resource's configs on its own.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: AlterConfigsRequest,
    _version: i16,
) -> AlterConfigsResponse {
    let validate_only = request.validate_only;
    let key = |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let (named, prepared): (Vec<_>, Vec<_>) = once_each(request.resources, key)
        .into_iter()
        .map(|(resource, once)| (key(&resource), prepare(broker.node_id, resource, once)))
        .unzip();
    let outcomes =
        at_once::each(prepared, |prepared| replace(broker.membership.clone(), prepared, validate_only));
    let told = config_owner::tell(broker, ApiKey::AlterConfigs, named, outcomes.await);
    AlterConfigsResponse { responses: told.map(answer).collect(), ..AlterConfigsResponse::default() }
}

/// All configs that somebody shall have; nobody, where there are none to be had.
type Prepared = Option<(ConfigOwner, BTreeMap<String, String>)>;

async fn replace(
    membership: MembershipHandle,
    prepared: Result<Prepared, Refused>,
    validate_only: bool,
) -> Result<(), Refused> {
    match prepared? {
        Some((owner, configs)) => Ok(membership.replace_configs(&owner, &configs, validate_only).await?),
        None => Ok(()),
    }
}

fn prepare(us: NodeId, resource: AlterConfigsResource, once: bool) -> Result<Prepared, Refused> {
    if !once {
        return Err(Refused::invalid_request("the resource is named more than once"));
    }
    let owner = Owner::of(us, resource.resource_type, &resource.resource_name)?;
    let configs = values(resource.configs)?;
    match owner {
        Owner::Registry(owner) => Ok(Some((owner, configs))),
        Owner::Loggers => {
            Err(Refused::invalid_request("log levels are changed one by one, by IncrementalAlterConfigs"))
        }
        Owner::Keyless(what) => match configs.keys().next() {
            Some(key) => Err(config_owner::unknown_key(what, key)),
            None => Ok(None),
        },
    }
}

/// Each key once, each with a value.
fn values(configs: Vec<AlterableConfig>) -> Result<BTreeMap<String, String>, Refused> {
    let mut values = BTreeMap::new();
    for config in configs {
        let key = config.name.as_str().to_owned();
        let Some(value) = config.value else {
            return Err(Refused::invalid_request(format!("config {key:?} is given no value")));
        };
        if values.insert(key.clone(), value.as_str().to_owned()).is_some() {
            return Err(Refused::invalid_request(format!("config {key:?} is given twice")));
        }
    }
    Ok(values)
}

fn answer(told: Told) -> AlterConfigsResourceResponse {
    let Told { resource_type, resource_name, error_code, error_message } = told;
    AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
}

#[cfg(test)]
mod tests {
    use super::{AlterConfigsResource, AlterableConfig, NodeId, prepare};
    use crate::{
        actors::membership::ConfigOwner,
        wire::{ErrorCode, api::describe_configs::resource},
    };

    fn of(resource_type: i8, name: &str, configs: &[(&str, Option<&str>)]) -> AlterConfigsResource {
        let config = |(key, value): &(&str, Option<&str>)| AlterableConfig {
            name: (*key).into(),
            value: value.map(Into::into),
        };
        AlterConfigsResource {
            resource_type,
            resource_name: name.into(),
            configs: configs.iter().map(config).collect(),
        }
    }

    fn code(resource: AlterConfigsResource) -> Result<Option<ConfigOwner>, i16> {
        let prepared = prepare(NodeId::new(1), resource, true);
        prepared.map(|prepared| prepared.map(|(owner, _)| owner)).map_err(|refused| refused.code.code())
    }

    #[test]
    fn a_key_without_a_value_or_given_twice_is_refused() {
        let topic = |configs: &[_]| code(of(resource::TOPIC, "a", configs));
        assert_eq!(topic(&[("flush.ms", Some("1"))]), Ok(Some(ConfigOwner::Topic("a".to_owned()))));
        assert_eq!(topic(&[("flush.ms", None)]), Err(42));
        assert_eq!(topic(&[("flush.ms", Some("1")), ("flush.ms", Some("2"))]), Err(42));
    }

    #[test]
    fn log_levels_cannot_be_replaced_and_what_has_no_configs_takes_none() {
        assert_eq!(code(of(resource::BROKER_LOGGER, "1", &[])), Err(42));
        assert_eq!(code(of(resource::CLIENT_METRICS, "m", &[("a.key", Some("1"))])), Err(40));
        assert_eq!(code(of(resource::CLIENT_METRICS, "m", &[])), Ok(None));
    }

    #[test]
    fn a_resource_that_is_named_twice_is_refused() {
        let refused = prepare(NodeId::new(1), of(resource::TOPIC, "a", &[]), false).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }
}
