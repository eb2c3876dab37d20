//! The client against brokers that do what a test tells them.

mod broker;
mod connection;
mod consumer;
mod group_member;
mod groups;
mod producer;
mod world;

use std::time::Duration;

use self::broker::FakeBroker;
use super::ClientConfig;
use crate::model::TopicName;

/// Ten times and more what anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(broker: &FakeBroker) -> ClientConfig {
    ClientConfig {
        retry_backoff: Duration::from_millis(2),
        retry_backoff_max: Duration::from_millis(20),
        ..ClientConfig::new(&broker.address())
    }
}

fn topic() -> TopicName {
    TopicName::new("events").unwrap()
}
