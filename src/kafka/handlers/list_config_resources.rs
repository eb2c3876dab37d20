//! `ListConfigResources`: topics, this broker, and groups that have configs of their own (KIP-1142).
//!
//! Kafka's own tool asks for it before it describes a group's configs. Version 0 asks for clients' metrics, of which
//! there are none.

use crate::{
    actors::membership::MetadataImage,
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            describe_configs::resource,
            list_config_resources::{
                ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
            },
        },
    },
};

const ALL: [i8; 5] =
    [resource::TOPIC, resource::BROKER, resource::BROKER_LOGGER, resource::CLIENT_METRICS, resource::GROUP];

/// Lists them type by type.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    let mut types = if version == 0 { vec![resource::CLIENT_METRICS] } else { request.resource_types };
    if types.is_empty() {
        types = ALL.to_vec();
    }
    types.sort_unstable();
    types.dedup();
    if types.iter().any(|kind| !ALL.contains(kind)) {
        let error_code = ErrorCode::UnsupportedVersion;
        broker.meters.refused(ApiKey::ListConfigResources, error_code);
        return ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() };
    }
    let image = broker.membership.image();
    let named = |kind: i8| {
        let named = move |resource_name| ConfigResource { resource_name, resource_type: kind };
        names(&image, kind).into_iter().map(named)
    };
    let config_resources = types.into_iter().flat_map(named).collect();
    ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }
}

fn names(image: &MetadataImage, kind: i8) -> Vec<Str> {
    match kind {
        resource::TOPIC => image.topics_by_name().map(|topic| Str::from(&topic.name)).collect(),
        resource::BROKER | resource::BROKER_LOGGER => {
            image.brokers().keys().map(|node| Str::from(node.to_string())).collect()
        }
        resource::GROUP => image.group_configs().keys().map(|group| Str::from(group.as_str())).collect(),
        _ => Vec::new(),
    }
}
