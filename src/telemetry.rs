//! Where log lines go, and which.
//!
//! Everything is logged through `tracing` and written to standard error, so that standard output
//! carries data only. For people a line is text, coloured on a terminal alone; for machines one JSON
//! object. The filter is a list of `target=level`: plain prefixes, because the full filter language
//! brings an engine for regular expressions whose memory an idle node would carry for nothing. Levels
//! can be changed while the process runs ([`LogLevels`]).

use std::{env, io, io::IsTerminal, panic};

use serde::{Deserialize, Serialize};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::{ParseError, Targets},
    fmt::{MakeWriter, layer},
    layer::SubscriberExt,
    reload,
};

mod levels;

pub use levels::{LOGGERS, LevelChange, LevelError, LogLevels, ROOT};

/// The environment variable with the filter, used when no flag gives one.
pub const FILTER_VARIABLE: &str = "POLYLOGUE_LOG";

/// What is logged when nobody says: the node's own events, and warnings of its libraries, but for those of the cluster's: `ractor_cluster`
/// warns of every session that ends, `openraft` several times in 100 ms while a member is away. What matters about either we are
/// told by results, and say ourselves.
const FILTER_DEFAULT: &str = "warn,polylogue=info,ractor_cluster=error,openraft=off";
/// The cluster's library. Below `info` it prints what its messages carry.
const CLUSTER_LIBRARY: &str = "ractor_cluster";

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line of text.
    #[default]
    Human,
    /// A JSON object.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not a list of `target=level`.
    #[error("bad log filter {filter:?}")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The process logs already.
    #[error("logging is set up already")]
    SetUpAlready,
}

/// Sends the process's log lines to standard error, panics too, and gives what changes their levels.
/// Called once, by `main`.
///
/// `filter` is a flag's, such as `info` or `warn,polylogue::storage=debug`; without one the variable
/// [`FILTER_VARIABLE`] is asked.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<LogLevels, TelemetryError> {
    let from_environment = env::var(FILTER_VARIABLE).ok();
    let targets = parse(choose(filter, from_environment.as_deref()))?;
    let ansi = io::stderr().is_terminal();
    let (subscriber, levels) = subscriber(format, ansi, targets, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::SetUpAlready)?;
    log_panics();
    Ok(levels)
}

fn choose<'a>(flag: Option<&'a str>, from_environment: Option<&'a str>) -> &'a str {
    let given = [flag, from_environment].into_iter().flatten();
    given.map(str::trim).find(|filter| !filter.is_empty()).unwrap_or(FILTER_DEFAULT)
}

fn parse(filter: &str) -> Result<Targets, TelemetryError> {
    let targets: Targets =
        filter.parse().map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let capped: Vec<(String, LevelFilter)> = targets
        .iter()
        .filter(|(target, level)| target.starts_with(CLUSTER_LIBRARY) && *level > LevelFilter::INFO)
        .map(|(target, _)| (target.to_owned(), LevelFilter::INFO))
        .collect();
    let otherwise = targets.default_level().unwrap_or(LevelFilter::OFF).min(LevelFilter::INFO);
    let named = targets.iter().any(|(target, _)| target == CLUSTER_LIBRARY);
    let targets = targets.with_targets(capped);
    Ok(if named { targets } else { targets.with_target(CLUSTER_LIBRARY, otherwise) })
}

fn subscriber<W>(
    format: LogFormat,
    ansi: bool,
    targets: Targets,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, LogLevels)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets.clone());
    let levels = LogLevels::new(targets, move |targets| {
        // The subscriber lives as long as the process; one of a test that is over logs nothing more.
        let _ = handle.reload(targets);
    });
    let registry = tracing_subscriber::registry().with(filter);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        LogFormat::Human => Box::new(registry.with(layer().with_ansi(ansi).with_writer(writer))),
        LogFormat::Json => {
            Box::new(registry.with(layer().json().flatten_event(true).with_ansi(false).with_writer(writer)))
        }
    };
    (subscriber, levels)
}

/// Makes a panic a log line like any other. An actor's panic is reported by its supervisor as well,
/// which does not know the place.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let place = info.location().map(ToString::to_string);
        let text = info.payload_as_str().unwrap_or("no text");
        tracing::error!(
            panic = text,
            place = place.as_deref().unwrap_or("unknown"),
            thread = thread.name().unwrap_or("unnamed"),
            "panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _levels) = subscriber(format, false, parse(filter).unwrap(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "polylogue::storage", partition = "orders-0", "recovered");
            tracing::debug!(target: "polylogue::storage", "detail");
            tracing::info!(target: "hyper", "connected");
            tracing::debug!(target: "ractor_cluster::net", "payload");
            tracing::info!(target: "ractor_cluster::node", "authenticated");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_clusters_library_says_no_more_than_it_is_asked_and_never_what_messages_carry() {
        for (filter, says) in [
            ("warn", false),
            ("trace,ractor_cluster=warn", false),
            ("trace", true),
            ("warn,ractor_cluster=trace", true),
            ("warn,ractor_cluster::net=trace,ractor_cluster::node=trace", true),
        ] {
            let text = logged(LogFormat::Human, filter);
            assert_eq!(text.contains("authenticated"), says, "{filter}: {text}");
            assert!(!text.contains("payload"), "{filter}: {text}");
        }
    }

    #[test]
    fn by_default_the_nodes_own_events_are_logged_and_its_libraries_are_quiet() {
        let text = logged(LogFormat::Human, FILTER_DEFAULT);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(" INFO polylogue::storage: recovered partition=\"orders-0\""), "{text}");
        assert!(!text.contains('\u{1b}'), "no colours off a terminal");
    }

    #[test]
    fn a_level_that_is_changed_holds_for_the_lines_that_follow() {
        let lines = Lines::default();
        let writer = lines.clone();
        let targets = parse(FILTER_DEFAULT).unwrap();
        let (subscriber, levels) = subscriber(LogFormat::Human, false, targets, move || writer.clone());
        let change = |level: Option<&str>| {
            let level = level.map(str::to_owned);
            levels.change(&[LevelChange { logger: "polylogue.kafka".to_owned(), level }], false).unwrap();
            tracing::debug!(target: "polylogue::kafka::handlers", "at {}", level_of_kafka(&levels));
        };
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "polylogue::kafka::handlers", "before");
            change(Some("DEBUG"));
            change(Some("ERROR"));
            change(Some("TRACE"));
            change(None);
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("at debug") && text.contains("at trace"), "{text}");
    }

    fn level_of_kafka(levels: &LogLevels) -> String {
        let of_kafka = levels.all().into_iter().find(|(logger, _)| *logger == "polylogue.kafka");
        of_kafka.unwrap().1.to_string()
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let text = logged(LogFormat::Json, "polylogue=debug");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["partition"], "orders-0");
        assert_eq!(lines[0]["level"], "INFO");
    }

    #[test]
    fn payloads_of_the_cluster_are_never_logged() {
        let text = logged(LogFormat::Human, "trace");
        assert!(text.contains("detail") && !text.contains("payload"), "{text}");
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_both_before_the_default() {
        assert_eq!(choose(Some("debug"), Some("trace")), "debug");
        assert_eq!(choose(None, Some("trace")), "trace");
        assert_eq!(choose(Some(" "), Some("")), FILTER_DEFAULT);
    }

    #[test]
    fn a_bad_filter_is_refused_by_name() {
        let error = parse("polylogue=loud").unwrap_err();
        assert_eq!(error.to_string(), "bad log filter \"polylogue=loud\"");
    }
}
