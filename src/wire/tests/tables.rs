//! The tables of APIs and of error codes, against the oracle's.

use kafka_protocol::{ResponseError, messages::ApiKey as TheirKey};

use crate::wire::{ApiKey, ErrorCode, api::api_versions::ApiVersionsResponse};

#[test]
fn every_api_has_the_oracles_number_and_flexible_versions() {
    for api in ApiKey::ALL {
        let theirs = TheirKey::try_from(api.code()).unwrap();
        assert_eq!(format!("{api:?}"), format!("{theirs:?}"));
        for version in api.served() {
            assert_eq!(api.is_flexible(version), theirs.request_header_version(version) >= 2);
        }
        assert_eq!(ApiKey::from_code(api.code()), Some(*api));
    }
    assert_eq!(ApiKey::from_code(-1), None);
    assert_eq!(ApiKey::from_code(9_999), None);
}

#[test]
fn what_is_advertised_is_served_but_for_the_versions_of_produce_listed_for_librdkafka() {
    for api in ApiKey::ALL {
        let Some((min, max)) = api.versions() else { continue };
        assert_eq!(max, *api.served().end(), "{api:?}");
        let lowest = if *api == ApiKey::Produce { 0 } else { *api.served().start() };
        assert_eq!(min, lowest, "{api:?}");
    }
    assert!(!ApiKey::Produce.serves(2));
}

#[test]
fn a_node_tells_of_no_api_without_a_handler() {
    let told = ApiVersionsResponse::of_this_node(ErrorCode::None);
    let mut keys: Vec<i16> = told.api_keys.iter().map(|api| api.api_key).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 33, 35, 37, 42, 43, 44,
            47, 60, 61, 68, 69, 74, 75
        ]
    );
}

#[test]
fn every_error_code_has_the_oracles_number_name_and_retriability() {
    for ours in ErrorCode::ALL.iter().copied().filter(|code| !code.is_none()) {
        let theirs = ResponseError::try_from_code(ours.code()).unwrap();
        let name = format!("{theirs:?}").replace("InvalidTopicException", "InvalidTopic");
        assert_eq!(format!("{ours:?}"), name);
        assert_eq!(ours.is_retriable(), theirs.is_retriable(), "{ours:?}");
        assert_eq!(ErrorCode::from_code(ours.code()), ours);
    }
}

#[test]
fn no_error_code_of_the_oracle_is_missing() {
    for code in -1..=i16::MAX {
        let known = !matches!(ResponseError::try_from_code(code), Some(ResponseError::Unknown(_)));
        let ours = ErrorCode::from_code(code);
        assert_eq!(ours.code() == code, known, "{code}");
        assert!(known || ours == ErrorCode::UnknownServerError);
    }
}

#[test]
fn no_text_of_an_error_ends_with_a_full_stop_or_begins_in_capitals() {
    for code in ErrorCode::ALL {
        let text = code.message();
        assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
        assert!(text.starts_with("SASL") || text.starts_with(char::is_lowercase), "{text}");
    }
}
