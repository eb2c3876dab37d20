//! `ApiVersions`: what this node speaks, for clients of every age (KIP-35, KIP-511).
//!
//! No feature is finalised: a finalised one that is not built would switch clients over to it.

use crate::{
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    },
};

/// Lists the APIs with their versions.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: ApiVersionsRequest,
    version: i16,
) -> ApiVersionsResponse {
    let response = answer(&request, version);
    if !response.error_code.is_none() {
        broker.meters.refused(ApiKey::ApiVersions, response.error_code);
    }
    response
}

/// The answer to a version that this node does not know: all keys, so that the client can choose.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse::of_this_node(ErrorCode::UnsupportedVersion)
}

fn answer(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    if version >= 3 && !named {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest, ..Default::default() };
    }
    ApiVersionsResponse::of_this_node(ErrorCode::None)
}

/// Kafka's pattern `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_name(text: &str) -> bool {
    let ends = |end: Option<char>| end.is_some_and(|c| c.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    ends(text.chars().next()) && ends(text.chars().next_back()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::{answer, unsupported};
    use crate::wire::{
        ApiKey,
        api::api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    };

    fn from(name: &str, software_version: &str, version: i16) -> ApiVersionsResponse {
        let request = ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: software_version.into(),
        };
        answer(&request, version)
    }

    #[test]
    fn every_client_is_told_the_apis_and_no_feature() {
        for (version, name) in [(0, ""), (2, ""), (3, "librdkafka"), (4, "apache-kafka-java")] {
            let answer = from(name, if name.is_empty() { "" } else { "2.11.0-dev.1" }, version);
            assert!(answer.error_code.is_none());
            assert!(answer.api_keys.iter().any(|api| api.api_key == ApiKey::Produce.code()));
            assert!(answer.finalized_features.is_empty() && answer.supported_features.is_empty());
        }
    }

    #[test]
    fn a_client_that_names_itself_with_other_characters_is_refused_from_version_3_on() {
        for name in ["", "-a", "a-", "a b", "a\n", "ä"] {
            assert_eq!(from(name, "1", 3).error_code.code(), 42, "{name:?}");
            assert_eq!(from("a", name, 4).error_code.code(), 42, "{name:?}");
            assert_eq!(from(name, name, 2).error_code.code(), 0, "{name:?}");
        }
    }

    #[test]
    fn an_unknown_version_is_answered_with_all_keys_and_the_error() {
        let answer = unsupported();
        assert_eq!(answer.error_code.code(), 35);
        assert_eq!(answer.api_keys, from("a", "1", 4).api_keys);
    }
}
