//! What a node counts, in one table.
//!
//! Every metric is a line of one macro call below: field, type, name and help come from the same
//! place, so that the documentation can be checked against [`TABLE`]. A field is a handle that others
//! bump; on a hot path that is one atomic addition. A metric with labels gives out such handles by
//! [`By::of`], which takes a lock and is called once, not per message. The text format is
//! `OpenMetrics` 1.0, by the crate `prometheus-client`.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{family::Family, gauge::ConstGauge, histogram::exponential_buckets},
    registry::{Metric, Registry},
};

use crate::model::TimestampMs;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A counter of seconds.
pub type SecondsCounter = Counter<f64, AtomicU64>;

/// One metric for each set of label values.
#[derive(Clone, Debug)]
pub struct By<M, const N: usize> {
    keys: [&'static str; N],
    family: Family<[Label; N], M>,
}

/// One counter for each set of label values.
pub type CounterBy<const N: usize> = By<Counter, N>;

/// One gauge for each set of label values.
pub type GaugeBy<const N: usize> = By<Gauge, N>;

type Label = (&'static str, Cow<'static, str>);

impl<M: Clone + Default, const N: usize> By<M, N> {
    fn new(keys: [&'static str; N]) -> Self {
        Self { keys, family: Family::default() }
    }

    /// The metric for these label values, in the order of the keys. Keep it; finding it again takes a
    /// lock.
    pub fn of<V: Into<Cow<'static, str>>>(&self, values: [V; N]) -> M {
        self.family.get_or_create_owned(&self.labels(values))
    }

    /// Takes the metric for these label values out, for instance with a deleted topic. Handles that
    /// were given out still count, for nobody.
    pub fn forget<V: Into<Cow<'static, str>>>(&self, values: [V; N]) {
        self.family.remove(&self.labels(values));
    }

    fn labels<V: Into<Cow<'static, str>>>(&self, values: [V; N]) -> [Label; N] {
        let mut keys = self.keys.iter();
        values.map(|value| (keys.next().copied().unwrap_or_default(), value.into()))
    }
}

/// What kind of figure a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution: `_bucket`, `_sum` and `_count`.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// One line of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// The name as it is scraped.
    pub name: &'static str,
    /// The kind of figure.
    pub kind: Kind,
    /// What it says, and its labels.
    pub help: &'static str,
}

macro_rules! metrics {
    ($( $field:ident: $type:ty = $make:expr, $kind:ident $name:literal, $help:literal; )*) => {
        /// Every metric, but for those of the process itself ([`PROCESS_TABLE`]).
        pub const TABLE: &[MetricInfo] =
            &[$( MetricInfo { name: $name, kind: Kind::$kind, help: $help } ),*];

        /// The metrics of one node. Shared by an `Arc`.
        pub struct Metrics {
            registry: Registry,
            $( #[doc = $help] pub $field: $type, )*
        }

        impl Metrics {
            fn unregistered(registry: Registry) -> Self {
                Self { registry, $( $field: $make, )* }
            }

            /// The name of each metric of [`TABLE`] with its labels, in order.
            pub fn labels(&self) -> Vec<(&'static str, &[&'static str])> {
                vec![$( ($name, self.$field.keys()) ),*]
            }

            fn register_all(&mut self) {
                $( register(&mut self.registry, $name, $help, Registered::registered(&self.$field)); )*
            }
        }
    };
}

metrics! {
    connections: GaugeBy<1> = By::new(["listener"]), Gauge "polylogue_connections",
        "Connections open now, by listener";
    connections_accepted: CounterBy<1> = By::new(["listener"]),
        Counter "polylogue_connections_accepted_total",
        "Connections accepted, by listener";
    connections_refused: CounterBy<2> = By::new(["listener", "reason"]),
        Counter "polylogue_connections_refused_total",
        "Connections closed at once because a bound was reached, by listener and by reason";
    connections_dropped: CounterBy<2> = By::new(["listener", "reason"]),
        Counter "polylogue_connections_dropped_total",
        "Connections closed by the node while in use, by listener and by reason";
    accept_errors: CounterBy<1> = By::new(["listener"]), Counter "polylogue_accept_errors_total",
        "Failed attempts to accept a connection, by listener";
    requests: CounterBy<2> = By::new(["api", "error"]), Counter "polylogue_requests_total",
        "Requests answered, by api and by error";
    request_bytes: Counter = Counter::default(), Counter "polylogue_request_bytes_total",
        "Bytes of requests received";
    response_bytes: Counter = Counter::default(), Counter "polylogue_response_bytes_total",
        "Bytes of responses sent";
    topic_bytes_in: CounterBy<1> = By::new(["topic"]), Counter "polylogue_topic_bytes_in_total",
        "Bytes of record batches appended, by topic";
    topic_bytes_out: CounterBy<1> = By::new(["topic"]), Counter "polylogue_topic_bytes_out_total",
        "Bytes of record batches fetched, by topic";
    appended_batches: Counter = Counter::default(), Counter "polylogue_appended_batches_total",
        "Record batches appended";
    bulk_appends: Counter = Counter::default(), Counter "polylogue_bulk_appends_total",
        "Appends left to the threads for large ones, because small requests came meanwhile";
    bulk_moves: Counter = Counter::default(), Counter "polylogue_bulk_moves_total",
        "Connections given to the workers for those that move much, because small requests came meanwhile";
    duplicate_batches: Counter = Counter::default(), Counter "polylogue_duplicate_batches_total",
        "Record batches of idempotent producers found to be there already";
    flushes: Counter = Counter::default(), Counter "polylogue_flushes_total",
        "Flushes of a log to disk";
    flush_seconds: Histogram = Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
        Histogram "polylogue_flush_seconds",
        "Time that a flush of a log to disk takes";
    corrupt_batches: Counter = Counter::default(), Counter "polylogue_corrupt_batches_total",
        "Record batches found corrupt, and not served";
    repaired_batches: Counter = Counter::default(), Counter "polylogue_repaired_batches_total",
        "Record batches put in the place of corrupt ones, from other replicas";
    disk_full_refusals: Counter = Counter::default(), Counter "polylogue_disk_full_refusals_total",
        "Appends refused because the disk is full";
    poisoned_logs: Counter = Counter::default(), Counter "polylogue_poisoned_logs_total",
        "Logs that took no more writes after a failed flush, until they were recovered";
    recoveries: Counter = Counter::default(), Counter "polylogue_recoveries_total",
        "Logs recovered after an unclean end";
    recovery_seconds: SecondsCounter = Counter::default(), Counter "polylogue_recovery_seconds_total",
        "Time spent on recovering logs";
    recovery_bytes: Counter = Counter::default(), Counter "polylogue_recovery_bytes_total",
        "Bytes read to recover logs";
    unclean_elections: Counter = Counter::default(), Counter "polylogue_unclean_elections_total",
        "Leaders elected here, as the controller, that may lack what was acknowledged";
    recovered_leaders: Counter = Counter::default(), Counter "polylogue_recovered_leaders_total",
        "Leaders elected here, as the controller, that have most of what all replicas may have lost the end of";
    compacted_bytes: Counter = Counter::default(), Counter "polylogue_compacted_bytes_total",
        "Bytes of segments that compaction has let go";
    scrubbed_bytes: Counter = Counter::default(), Counter "polylogue_scrubbed_bytes_total",
        "Bytes checked in the background";
    groups: Gauge = Gauge::default(), Gauge "polylogue_groups",
        "Consumer groups that are coordinated here";
    group_members: Gauge = Gauge::default(), Gauge "polylogue_group_members",
        "Members of these groups";
    group_partitions_unowned: Gauge = Gauge::default(), Gauge "polylogue_group_partitions_without_owner",
        "Partitions that members of a group subscribe to and no member owns";
    group_rebalances: Counter = Counter::default(), Counter "polylogue_group_rebalances_total",
        "Rebalances that have begun";
    group_members_lost: Counter = Counter::default(), Counter "polylogue_group_members_lost_total",
        "Members given up because they said nothing in time";
    offset_commits: Counter = Counter::default(), Counter "polylogue_offset_commits_total",
        "Offsets of partitions that were committed";
    offsets_expired: Counter = Counter::default(), Counter "polylogue_offsets_expired_total",
        "Committed offsets forgotten because their group was empty for too long";
    group_lag: GaugeBy<3> = By::new(["group", "topic", "partition"]), Gauge "polylogue_group_lag",
        "Records between a group's committed offset and the high watermark";
    group_lag_left_out: Gauge = Gauge::default(), Gauge "polylogue_group_lag_left_out",
        "Committed offsets whose lag is not among these metrics because a bound was reached";
    delivery_attempts: Counter = Counter::default(), Counter "polylogue_delivery_attempts_total",
        "Failed deliveries of records that are counted: consumers lost over one, and nacks";
    dead_letters: Counter = Counter::default(), Counter "polylogue_dead_letters_total",
        "Records that have become dead letters";
    dead_letter_failures: Counter = Counter::default(), Counter "polylogue_dead_letter_failures_total",
        "Failed tries to make a dead letter of a record; its group waits meanwhile";
    dead_letters_stopped: Gauge = Gauge::default(), Gauge "polylogue_dead_letters_stopped",
        "Partitions in which so many records in a row have failed that their group has no more dead letters";
    actor_restarts: CounterBy<1> = By::new(["kind"]), Counter "polylogue_actor_restarts_total",
        "Actors started again, by kind";
}

/// The metrics of the process, found out at each scrape.
pub const PROCESS_TABLE: &[MetricInfo] = &[
    MetricInfo {
        name: "polylogue_process_resident_memory_bytes",
        kind: Kind::Gauge,
        help: "Resident memory of the process",
    },
    MetricInfo {
        name: "polylogue_process_start_time_seconds",
        kind: Kind::Gauge,
        help: "Start of the process, in seconds since the Unix epoch",
    },
    MetricInfo { name: "polylogue_build_info", kind: Kind::Gauge, help: "Always 1; the version is a label" },
];

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All at zero; `started` is the wall time at which the process started.
    pub fn new(started: TimestampMs) -> Arc<Self> {
        let mut metrics = Self::unregistered(Registry::default());
        metrics.register_all();
        metrics.registry.register_collector(Box::new(ProcessCollector { started }));
        Arc::new(metrics)
    }

    /// All metrics in the `OpenMetrics` text format ([`CONTENT_TYPE`]).
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(16 * 1024);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Enters a metric under the name it is given in the table; the encoder adds a counter's suffix.
fn register(registry: &mut Registry, name: &'static str, help: &'static str, metric: impl Metric) {
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric);
}

/// What of a field goes into the registry.
trait Registered {
    type Metric: Metric;
    fn registered(&self) -> Self::Metric;

    /// Its labels.
    fn keys(&self) -> &[&'static str] {
        &[]
    }
}

macro_rules! registered_as_it_is {
    ($($type:ty),*) => {
        $(impl Registered for $type {
            type Metric = Self;
            fn registered(&self) -> Self {
                self.clone()
            }
        })*
    };
}

registered_as_it_is!(Counter, SecondsCounter, Gauge, Histogram);

impl<M, const N: usize> Registered for By<M, N>
where
    M: Clone,
    Family<[Label; N], M>: Metric,
{
    type Metric = Family<[Label; N], M>;
    fn registered(&self) -> Self::Metric {
        self.family.clone()
    }

    fn keys(&self) -> &[&'static str] {
        &self.keys
    }
}

#[derive(Debug)]
struct ProcessCollector {
    started: TimestampMs,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let [resident, start, build] = PROCESS_TABLE else { return Err(fmt::Error) };
        let mut gauge = |info: &MetricInfo, value: f64| {
            let gauge = ConstGauge::new(value);
            let encoder = encoder.encode_descriptor(
                info.name,
                &format!("{}.", info.help),
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(encoder)
        };
        // Absent where the system does not tell, rather than wrong.
        if let Some(bytes) = resident_bytes() {
            gauge(resident, bytes as f64)?;
        }
        gauge(start, self.started.get() as f64 / 1000.0)?;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        let one = ConstGauge::new(1_u64);
        let help = format!("{}.", build.help);
        let mut encoder = encoder.encode_descriptor(build.name, &help, None, one.metric_type())?;
        one.encode(encoder.encode_family(&labels)?)
    }
}

/// The resident memory of this process in bytes, where the system tells (Linux).
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn metrics() -> Arc<Metrics> {
        Metrics::new(TimestampMs::new(1_500))
    }

    #[test]
    fn the_table_lists_exactly_what_is_scraped() {
        let metrics = metrics();
        // Without a value of its labels a metric is not scraped at all.
        metrics.connections.of(["x"]);
        let by_one = [&metrics.connections_accepted, &metrics.accept_errors, &metrics.actor_restarts];
        for by in by_one.into_iter().chain([&metrics.topic_bytes_in, &metrics.topic_bytes_out]) {
            by.of(["x"]);
        }
        metrics.connections_refused.of(["x", "y"]);
        metrics.connections_dropped.of(["x", "y"]);
        metrics.requests.of(["x", "y"]);
        metrics.group_lag.of(["x", "y", "z"]);
        let text = metrics.text().unwrap();
        let scraped: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| {
                let (name, kind) = line.split_once(' ').unwrap();
                if kind == "counter" { format!("{name}_total counter") } else { line.to_owned() }
            })
            .collect();
        let listed: BTreeSet<String> =
            TABLE.iter().chain(PROCESS_TABLE).map(|info| format!("{} {}", info.name, info.kind)).collect();
        assert_eq!(scraped, listed);
        assert!(listed.iter().all(|line| line.starts_with("polylogue_")));
    }

    #[test]
    fn what_is_counted_is_scraped_under_its_labels() {
        let metrics = metrics();
        metrics.corrupt_batches.inc();
        let orders = metrics.topic_bytes_in.of(["orders".to_owned()]);
        orders.inc_by(5);
        metrics.topic_bytes_in.of(["orders"]).inc_by(2);
        metrics.requests.of(["Produce", "None"]).inc();
        metrics.connections.of(["kafka"]).inc();
        metrics.recovery_seconds.inc_by(0.25);
        metrics.flush_seconds.observe(0.000_3);
        let text = metrics.text().unwrap();
        for line in [
            "polylogue_corrupt_batches_total 1",
            "polylogue_topic_bytes_in_total{topic=\"orders\"} 7",
            "polylogue_requests_total{api=\"Produce\",error=\"None\"} 1",
            "polylogue_connections{listener=\"kafka\"} 1",
            "polylogue_recovery_seconds_total 0.25",
            "polylogue_flush_seconds_count 1",
            "polylogue_process_start_time_seconds 1.5",
            concat!("polylogue_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# EOF",
        ] {
            assert!(text.lines().any(|scraped| scraped == line), "no {line} in\n{text}");
        }
        metrics.topic_bytes_in.forget(["orders"]);
        assert!(!metrics.text().unwrap().contains("orders"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn resident_memory_is_known() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(metrics().text().unwrap().contains("\npolylogue_process_resident_memory_bytes "));
    }
}
