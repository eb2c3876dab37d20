//! What one run of the driver found, as it is printed and as the runner reads it.

use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// One run. Fields that a load has no figure for are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Messages that were acknowledged or read.
    pub(crate) messages: u64,
    /// Messages that were refused or lost.
    pub(crate) failed: u64,
    /// Why the first of them failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
    /// From the first message sent (or the consumer's start) to the last acknowledged or read.
    pub(crate) seconds: f64,
    pub(crate) messages_per_second: f64,
    /// Bytes of values only.
    pub(crate) megabytes_per_second: f64,
    /// The rate from the first message that was read on, without connecting and finding the offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) messages_per_second_once_flowing: Option<f64>,
    /// Processor time of the driver itself.
    pub(crate) client_cpu_seconds: f64,
    /// Processor time of the broker during the load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broker_cpu_seconds_per_million: Option<f64>,
    /// From a message's sending to its acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acknowledged: Option<Latency>,
    /// From a message's sending to its arrival at the consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_to_end: Option<Latency>,
    /// The version of librdkafka.
    pub(crate) librdkafka: String,
}

impl Report {
    /// The rates that `messages` of `bytes` in all come to over `seconds`.
    pub(crate) fn of_rate(messages: u64, bytes: u64, seconds: f64) -> Self {
        Self {
            messages,
            seconds,
            messages_per_second: messages as f64 / seconds,
            megabytes_per_second: bytes as f64 / 1e6 / seconds,
            librdkafka: super::librdkafka::version(),
            ..Self::default()
        }
    }

    /// Adds what the load cost the broker. None at all means that the process that was watched is not
    /// the one that served, and is no figure.
    pub(crate) fn with_broker_cpu(mut self, seconds: Option<f64>) -> Self {
        let seconds = seconds.filter(|seconds| *seconds > 0.0);
        self.broker_cpu_seconds = seconds;
        self.broker_cpu_seconds_per_million = seconds.map(|seconds| seconds * 1e6 / self.messages as f64);
        self
    }
}
