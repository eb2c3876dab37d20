use std::time::Duration;

/// How a client connects and how long it waits.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where to begin, `host:port` each; any one that answers is enough.
    pub bootstrap: Vec<String>,
    /// The name that the client gives itself, as brokers log it.
    pub client_id: String,
    /// How long making a connection may take, the exchange of versions included.
    pub connect_timeout: Duration,
    /// How long an answer may take before its connection is given up.
    pub request_timeout: Duration,
    /// How long finding a topic, a leader or a reachable broker may take in all.
    pub metadata_timeout: Duration,
    /// The age at which what is known of topics and leaders is asked for anew.
    pub metadata_max_age: Duration,
    /// The first wait before something is tried again; it doubles with each failure, with jitter.
    pub retry_backoff: Duration,
    /// The longest wait before something is tried again.
    pub retry_backoff_max: Duration,
    /// Requests that may wait for their answers on one connection.
    pub max_in_flight: usize,
    /// The largest answer that is taken, in bytes.
    pub max_frame_bytes: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap: vec!["127.0.0.1:9092".to_owned()],
            client_id: "polylogue".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            metadata_timeout: Duration::from_mins(1),
            metadata_max_age: Duration::from_mins(5),
            retry_backoff: Duration::from_millis(50),
            retry_backoff_max: Duration::from_secs(1),
            max_in_flight: 64,
            max_frame_bytes: 256 << 20,
        }
    }
}

impl ClientConfig {
    /// The defaults, with these addresses to begin with: `host:port`, parted by commas.
    pub fn new(bootstrap: &str) -> Self {
        let addresses = bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty());
        Self { bootstrap: addresses.map(str::to_owned).collect(), ..Self::default() }
    }

    /// How long to wait after so many failures in a row, 1 or more: half of it is by chance, so that
    /// clients that failed together do not come back together.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        let doubled = self.retry_backoff.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.retry_backoff_max).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ClientConfig;

    #[test]
    fn a_backoff_grows_to_its_limit_and_is_never_below_half() {
        let config = ClientConfig::default();
        for failures in 1..100 {
            let wait = config.backoff(failures);
            let full = Duration::from_millis(50 << (failures - 1).min(8)).min(config.retry_backoff_max);
            assert!(wait >= full / 2 && wait <= full, "{failures}: {wait:?}");
        }
    }

    #[test]
    fn bootstrap_addresses_are_parted_by_commas() {
        assert_eq!(ClientConfig::new(" a:1, b:2,,").bootstrap, ["a:1", "b:2"]);
    }
}
