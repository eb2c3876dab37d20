//! Log levels that change while the process runs, as Kafka's brokers let them (KIP-412).
//!
//! A level holds for a target and all below it, so [`LOGGERS`] names the parts of this program and not
//! each of its modules. What is changed is forgotten when the process ends: the filter that it was
//! started with is what an operator has written down.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::filter::Targets;

use super::{TelemetryError, parse};

/// Everything that has no level of its own.
pub const ROOT: &str = "root";

/// The targets whose level can be asked for and changed, ordered; [`ROOT`] is beside them. They are written
/// with dots: Kafka's own tools take no other sign between two words.
pub const LOGGERS: &[&str] = &[
    "polylogue",
    "polylogue.actors.cluster_link",
    "polylogue.actors.controller",
    "polylogue.actors.group_coordinator",
    "polylogue.actors.listener",
    "polylogue.actors.membership",
    "polylogue.actors.partition",
    "polylogue.actors.supervise",
    "polylogue.admin",
    "polylogue.client",
    "polylogue.clock",
    "polylogue.kafka",
    "polylogue.node",
    "polylogue.storage",
    "polylogue.telemetry",
];

/// One change of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelChange {
    /// The target, or [`ROOT`].
    pub logger: String,
    /// The level by its name in capitals; `None` gives back what the process was started with.
    pub level: Option<String>,
}

/// Why a level is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// Nothing is logged under that name.
    #[error("there is no logger {0:?}")]
    NoLogger(String),
    /// Kafka may know it, this program's lines do not have it.
    #[error("logger {logger}: {level:?} is not one of TRACE, DEBUG, INFO, WARN, ERROR, OFF")]
    NoLevel {
        /// The logger.
        logger: String,
        /// As it was given.
        level: String,
    },
    /// Something has to hold for what has no level of its own.
    #[error("the level of logger root cannot be taken away")]
    RootStays,
    /// One request names a logger twice.
    #[error("logger {0} is changed twice in one request")]
    Twice(String),
}

/// The levels of this process. Cheap to clone.
#[derive(Clone)]
pub struct LogLevels(Arc<Inner>);

struct Inner {
    at_start: Targets,
    changed: Mutex<BTreeMap<String, LevelFilter>>,
    apply: Box<dyn Fn(Targets) + Send + Sync>,
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

impl LogLevels {
    /// Levels that begin with a filter; `apply` is given the new one after each change.
    pub fn starting_with(
        filter: &str,
        apply: impl Fn(Targets) + Send + Sync + 'static,
    ) -> Result<Self, TelemetryError> {
        Ok(Self::new(parse(filter)?, apply))
    }

    pub(super) fn new(at_start: Targets, apply: impl Fn(Targets) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { at_start, changed: Mutex::default(), apply: Box::new(apply) }))
    }

    /// Every logger with the level that holds for it, ordered by name.
    pub fn all(&self) -> Vec<(&'static str, LevelFilter)> {
        let now = self.0.with(&self.0.changed());
        let level = |logger: &&'static str| (*logger, level_of(&now, logger));
        LOGGERS.iter().map(level).chain([(ROOT, level_of(&now, ROOT))]).collect()
    }

    /// Carries out all changes, or none and says why; or only checks them.
    pub fn change(&self, changes: &[LevelChange], validate_only: bool) -> Result<(), LevelError> {
        let mut changed = self.0.changed();
        let mut after = changed.clone();
        for (at, change) in changes.iter().enumerate() {
            if changes.iter().take(at).any(|earlier| earlier.logger == change.logger) {
                return Err(LevelError::Twice(change.logger.clone()));
            }
            apply(&mut after, change)?;
        }
        if !validate_only {
            (self.0.apply)(self.0.with(&after));
            *changed = after;
        }
        Ok(())
    }
}

impl Inner {
    fn changed(&self) -> MutexGuard<'_, BTreeMap<String, LevelFilter>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, changed: &BTreeMap<String, LevelFilter>) -> Targets {
        changed.iter().fold(self.at_start.clone(), |targets, (logger, level)| {
            if logger == ROOT {
                targets.with_default(*level)
            } else {
                targets.with_target(target_of(logger), *level)
            }
        })
    }
}

fn apply(changed: &mut BTreeMap<String, LevelFilter>, change: &LevelChange) -> Result<(), LevelError> {
    let logger = change.logger.as_str();
    if logger != ROOT && !LOGGERS.contains(&logger) {
        return Err(LevelError::NoLogger(logger.to_owned()));
    }
    match &change.level {
        Some(level) => changed.insert(logger.to_owned(), named(logger, level)?),
        None if logger == ROOT => return Err(LevelError::RootStays),
        None => changed.remove(logger),
    };
    Ok(())
}

/// A logger's name as events carry it.
fn target_of(logger: &str) -> String {
    logger.replace('.', "::")
}

/// The most verbose level that gets through.
fn level_of(targets: &Targets, logger: &str) -> LevelFilter {
    let logger = target_of(logger);
    let from_below = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
    let found = from_below.into_iter().find(|level| targets.would_enable(&logger, level));
    found.map_or(LevelFilter::OFF, LevelFilter::from_level)
}

/// As Kafka writes them: in capitals.
fn named(logger: &str, level: &str) -> Result<LevelFilter, LevelError> {
    match level {
        "TRACE" => Ok(LevelFilter::TRACE),
        "DEBUG" => Ok(LevelFilter::DEBUG),
        "INFO" => Ok(LevelFilter::INFO),
        "WARN" => Ok(LevelFilter::WARN),
        "ERROR" => Ok(LevelFilter::ERROR),
        "OFF" => Ok(LevelFilter::OFF),
        _ => Err(LevelError::NoLevel { logger: logger.to_owned(), level: level.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::mpsc};

    use super::*;

    fn change(logger: &str, level: Option<&str>) -> LevelChange {
        LevelChange { logger: logger.to_owned(), level: level.map(str::to_owned) }
    }

    fn levels(filter: &str) -> (LogLevels, mpsc::Receiver<Targets>) {
        let (applied, on_applied) = mpsc::channel();
        let apply = move |targets| applied.send(targets).unwrap();
        (LogLevels::starting_with(filter, apply).unwrap(), on_applied)
    }

    fn level(levels: &LogLevels, logger: &str) -> LevelFilter {
        levels.all().into_iter().find(|(name, _)| *name == logger).unwrap().1
    }

    #[test]
    fn a_level_holds_for_what_is_below_it_until_it_is_taken_away() {
        let (levels, applied) = levels("warn,polylogue=info");
        assert_eq!(level(&levels, "polylogue.kafka"), LevelFilter::INFO);
        levels
            .change(&[change("polylogue", Some("DEBUG")), change("polylogue.storage", Some("ERROR"))], false)
            .unwrap();
        assert_eq!(level(&levels, "polylogue.kafka"), LevelFilter::DEBUG);
        assert_eq!(level(&levels, "polylogue.storage"), LevelFilter::ERROR);
        let now = applied.try_recv().unwrap();
        assert!(now.would_enable("polylogue::kafka::handlers", &Level::DEBUG));
        assert!(!now.would_enable("polylogue::storage::log", &Level::WARN));
        levels.change(&[change("polylogue", None)], false).unwrap();
        assert_eq!(level(&levels, "polylogue.kafka"), LevelFilter::INFO);
        assert_eq!(level(&levels, "polylogue.storage"), LevelFilter::ERROR);
    }

    #[test]
    fn the_root_level_is_that_of_everything_else_and_cannot_be_taken_away() {
        let (levels, applied) = levels("warn,polylogue=info");
        assert_eq!(level(&levels, ROOT), LevelFilter::WARN);
        levels.change(&[change(ROOT, Some("OFF"))], false).unwrap();
        assert_eq!(
            (level(&levels, ROOT), level(&levels, "polylogue")),
            (LevelFilter::OFF, LevelFilter::INFO)
        );
        assert!(!applied.try_recv().unwrap().would_enable("hyper", &Level::ERROR));
        assert_eq!(levels.change(&[change(ROOT, None)], false), Err(LevelError::RootStays));
    }

    #[test]
    fn a_change_that_is_refused_or_only_checked_changes_nothing() {
        let (levels, applied) = levels("info");
        let before = levels.all();
        let good = || change("polylogue", Some("TRACE"));
        for (bad, why) in [
            (change("polylogue.nothing", Some("INFO")), LevelError::NoLogger("polylogue.nothing".to_owned())),
            (change("polylogue", Some("INFO")), LevelError::Twice("polylogue".to_owned())),
            (
                change("polylogue.kafka", Some("FATAL")),
                LevelError::NoLevel { logger: "polylogue.kafka".to_owned(), level: "FATAL".to_owned() },
            ),
        ] {
            assert_eq!(levels.change(&[good(), bad], false), Err(why));
        }
        levels.change(&[good()], true).unwrap();
        assert_eq!(levels.all(), before);
        assert!(applied.try_recv().is_err());
    }

    #[test]
    fn whoever_writes_log_lines_is_below_a_logger_of_its_own() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut open = vec![sources.clone()];
        let mut found = 0;
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("tracing::")) {
                let module = path.strip_prefix(&sources).unwrap().with_extension("");
                let target = format!("polylogue.{}", module.display()).replace('/', ".");
                let own = |logger: &&str| *logger != LOGGERS[0] && target.starts_with(*logger);
                assert!(LOGGERS.iter().any(&own), "{target}");
                found += 1;
            }
        }
        assert!(found > 20);
        assert!(LOGGERS.is_sorted());
    }
}
