use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::time::timeout;

use super::{
    PATIENCE,
    broker::{FakeBroker, Reply, all_versions},
    config,
};
use crate::{
    client::{Client, ClientConfig, ClientError, Connection, ConnectionError},
    wire::{
        ApiKey, ErrorCode,
        api::{
            api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse},
            metadata::{MetadataRequest, MetadataResponse},
        },
    },
};

fn versions(ranges: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
    let range = |&(api, min_version, max_version): &(ApiKey, i16, i16)| ApiVersion {
        api_key: api.code(),
        min_version,
        max_version,
    };
    ApiVersionsResponse { api_keys: ranges.iter().map(range).collect(), ..ApiVersionsResponse::default() }
}

#[tokio::test]
async fn the_highest_version_that_both_sides_have_is_used() {
    let broker = FakeBroker::start_raw(|call| {
        if call.api() == ApiKey::ApiVersions {
            let ranges = [(ApiKey::Metadata, 4, 8), (ApiKey::Fetch, 90, 95), (ApiKey::Produce, 0, 99)];
            return call.answer(&versions(&ranges));
        }
        assert_eq!(call.header.api_version, 8);
        call.answer(&MetadataResponse::default())
    })
    .await;
    let connection = Connection::open(&broker.address(), &config(&broker)).await.unwrap();
    assert_eq!(connection.version(ApiKey::Produce, i16::MAX).unwrap(), 13);
    assert_eq!(connection.version(ApiKey::Produce, 12).unwrap(), 12);
    let none = connection.version(ApiKey::Fetch, i16::MAX);
    assert!(matches!(none, Err(ConnectionError::NoCommonVersion { .. })));
    let none = connection.version(ApiKey::CreateTopics, i16::MAX);
    assert!(matches!(none, Err(ConnectionError::NoCommonVersion { .. })));
    connection.call(&MetadataRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_does_not_know_our_first_request_is_asked_in_its_own_version() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen_by_broker = std::sync::Arc::clone(&seen);
    let broker = FakeBroker::start_raw(move |call| {
        seen_by_broker.lock().unwrap().push(call.header.api_version);
        let mut answer = versions(&[(ApiKey::ApiVersions, 0, 2), (ApiKey::Metadata, 0, 5)]);
        if call.header.api_version > 2 {
            answer.error_code = ErrorCode::UnsupportedVersion;
            return Reply::to(call.header.correlation_id, 0, &answer);
        }
        let _: ApiVersionsRequest = call.decode();
        call.answer(&answer)
    })
    .await;
    let connection = Connection::open(&broker.address(), &config(&broker)).await.unwrap();
    assert_eq!(connection.version(ApiKey::Metadata, i16::MAX).unwrap(), 5);
    assert_eq!(*seen.lock().unwrap(), [4, 2]);
}

#[tokio::test]
async fn many_requests_are_on_their_way_at_once_and_each_gets_its_own_answer() {
    let broker = FakeBroker::start(|call| {
        let throttle_time_ms = call.header.correlation_id;
        call.answer(&MetadataResponse { throttle_time_ms, ..MetadataResponse::default() })
    })
    .await;
    let connection = Connection::open(&broker.address(), &config(&broker)).await.unwrap();
    let mut pending = Vec::new();
    for _ in 0..50 {
        pending.push(connection.start_now(&MetadataRequest::default(), i16::MAX).unwrap());
    }
    // The exchange of versions was request 0.
    for (expected, pending) in (1..).zip(pending) {
        assert_eq!(pending.answer().await.unwrap().throttle_time_ms, expected);
    }
}

#[tokio::test]
async fn requests_beyond_the_bound_wait_for_answers() {
    let broker = FakeBroker::start(|_| Reply::Silence).await;
    let config = ClientConfig { max_in_flight: 2, ..config(&broker) };
    let connection = Connection::open(&broker.address(), &config).await.unwrap();
    let request = MetadataRequest::default();
    let _first = connection.start_now(&request, i16::MAX).unwrap();
    let _second = connection.start_now(&request, i16::MAX).unwrap();
    assert_eq!(connection.room(), 0);
    let third = connection.start_now(&request, i16::MAX);
    assert!(matches!(third, Err(ConnectionError::Busy { .. })));
}

#[tokio::test]
async fn an_answer_out_of_order_ends_the_connection_and_every_request_on_it() {
    let broker = FakeBroker::start(|call| {
        Reply::to(call.header.correlation_id + 1, call.header.api_version, &MetadataResponse::default())
    })
    .await;
    let connection = Connection::open(&broker.address(), &config(&broker)).await.unwrap();
    let first = connection.start_now(&MetadataRequest::default(), i16::MAX).unwrap();
    let second = connection.start_now(&MetadataRequest::default(), i16::MAX);
    let error = first.answer().await.unwrap_err();
    assert!(matches!(error, ConnectionError::OutOfOrder { expected: 1, answered: 2, .. }), "{error}");
    assert!(error.outcome_is_unknown());
    if let Ok(second) = second {
        second.answer().await.unwrap_err();
    }
    assert!(connection.is_closed());
    let later = connection.call(&MetadataRequest::default()).await.unwrap_err();
    assert!(matches!(later, ConnectionError::NotSent { .. }) && !later.outcome_is_unknown());
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_ends_the_connection() {
    let broker = FakeBroker::start(|_| Reply::Silence).await;
    let config = ClientConfig { request_timeout: Duration::from_millis(50), ..config(&broker) };
    let connection = Connection::open(&broker.address(), &config).await.unwrap();
    let error = timeout(PATIENCE, connection.call(&MetadataRequest::default())).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectionError::RequestTimedOut { .. }), "{error}");
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_listener_that_never_speaks_is_given_up_in_time() {
    let broker = FakeBroker::start_raw(|_| Reply::Silence).await;
    let config = ClientConfig { connect_timeout: Duration::from_millis(50), ..config(&broker) };
    let opened = timeout(PATIENCE, Connection::open(&broker.address(), &config)).await.unwrap();
    assert!(matches!(opened, Err(ConnectionError::ConnectTimedOut { .. })));
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    let broker = FakeBroker::start_raw(|call| {
        let whole = call.answer(&all_versions());
        if let Reply::Frame(bytes) = whole { Reply::Trickle(bytes) } else { whole }
    })
    .await;
    let connection = Connection::open(&broker.address(), &config(&broker)).await.unwrap();
    let newest = *ApiKey::Fetch.served().end();
    assert_eq!(connection.version(ApiKey::Fetch, i16::MAX).unwrap(), newest);
}

#[tokio::test]
async fn a_size_above_the_limit_ends_the_connection_before_its_bytes_come() {
    let broker = FakeBroker::start(|call| {
        let mut out = BytesMut::new();
        out.put_i32(i32::MAX);
        out.put_i32(call.header.correlation_id);
        Reply::Frame(out.freeze())
    })
    .await;
    let connection = Connection::open(&broker.address(), &config(&broker)).await.unwrap();
    let error = connection.call(&MetadataRequest::default()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Frame { .. }), "{error}");
}

#[tokio::test]
async fn a_client_reconnects_after_its_connection_broke() {
    let broker = FakeBroker::start(|call| {
        if call.connection == 0 { Reply::Close } else { call.answer(&MetadataResponse::default()) }
    })
    .await;
    let client = Client::new(config(&broker));
    client.refresh(0).await.unwrap();
    assert_eq!(client.metadata().generation, 1);
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_that_names_it() {
    let address = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap().to_string()
    };
    let client = Client::new(ClientConfig::new(&address));
    let error = client.refresh(0).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}
