//! Lays file, environment and command line over one another, and remembers who said what.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, File, FileFormat, Value, ValueKind};

use super::{
    NodeFlags,
    error::NodeConfigError,
    listeners,
    raw::{Raw, TOPIC_DEFAULTS},
    table::SETTINGS,
};
use crate::config::topic;

const PREFIX: &str = "POLYLOGUE_";

/// Variables to leave alone although they begin as ours do, parted by commas; a `*` at the end stands
/// for anything.
pub(super) const IGNORE_VARIABLES: &str = "POLYLOGUE_IGNORE_VARIABLES";
/// Ours, and no settings: the log filter, and what tests and benches read.
const NO_SETTINGS: &[&str] = &["POLYLOGUE_LOG", "POLYLOGUE_BIN", "POLYLOGUE_CLIENTS", IGNORE_VARIABLES];

/// What a process finds around it; read once, so that a test can make its own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment. Only names that begin with `POLYLOGUE_` are looked at.
    pub environment: Vec<(String, String)>,
    /// The machine's name.
    pub host_name: Option<String>,
}

impl Surroundings {
    /// Those of this process. Variables that are not UTF-8 are left out.
    pub fn of_this_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let host_name = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
        Self {
            environment: std::env::vars_os().filter_map(text).collect(),
            host_name: host_name.filter(|name| !name.is_empty()),
        }
    }
}

/// All settings that were given, by full name; later sources have replaced earlier ones.
#[derive(Debug, Default)]
pub(super) struct Settings {
    values: BTreeMap<String, Value>,
    problems: Vec<NodeConfigError>,
}

impl Settings {
    /// File, then environment, then command line.
    pub(super) fn gather(
        flags: &NodeFlags,
        file: Option<&Path>,
        around: &Surroundings,
    ) -> Result<Self, NodeConfigError> {
        let mut settings = Self::default();
        if let Some(path) = file {
            settings.add_file(path)?;
        }
        settings.add_environment(&around.environment);
        settings.add_flags(flags);
        Ok(settings)
    }

    /// Where the value of a setting came from.
    pub(super) fn origin(&self, key: &str) -> String {
        let origin = self.values.get(key).and_then(Value::origin);
        origin.unwrap_or("default").to_owned()
    }

    /// Whether somebody gave a value.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Takes a setting as not given; whether it was.
    pub(super) fn forget(&mut self, key: &str) -> bool {
        self.values.remove(key).is_some()
    }

    /// What was refused while sources were read.
    pub(super) fn take_problems(&mut self) -> Vec<NodeConfigError> {
        std::mem::take(&mut self.problems)
    }

    /// Refuses the setting with what is wrong with it.
    pub(super) fn invalid(&self, key: &str, problem: impl Into<String>) -> NodeConfigError {
        NodeConfigError::Invalid { key: key.to_owned(), origin: self.origin(key), problem: problem.into() }
    }

    /// The defaults for topics, as text.
    pub(super) fn topic_defaults(&self) -> Result<BTreeMap<String, String>, NodeConfigError> {
        let of_topics = self
            .values
            .iter()
            .filter_map(|(key, value)| key.strip_prefix(TOPIC_DEFAULTS).map(|name| (key, name, value)));
        of_topics
            .map(|(key, name, value)| {
                let text = value.clone().into_string().map_err(|error| self.of_kind(key, &error))?;
                Ok((name.to_owned(), text))
            })
            .collect()
    }

    /// Everything else, in its own shape.
    pub(super) fn raw(&self) -> Result<Raw, NodeConfigError> {
        let mut root = config::Map::new();
        for (key, value) in self.values.iter().filter(|(key, _)| !key.starts_with(TOPIC_DEFAULTS)) {
            insert(&mut root, key, value);
        }
        let root = Value::new(None, ValueKind::Table(root));
        root.try_deserialize().map_err(|error| {
            let key = key_of(&error).unwrap_or_default();
            self.of_kind(&key, &error)
        })
    }

    fn of_kind(&self, key: &str, error: &ConfigError) -> NodeConfigError {
        self.invalid(key, problem_of(error))
    }

    fn add_file(&mut self, path: &Path) -> Result<(), NodeConfigError> {
        let unreadable = |cause: String| NodeConfigError::File {
            path: path.to_path_buf(),
            cause: cause.trim().to_owned(),
        };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let read = Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build();
        let read = read.map_err(|error| unreadable(error.to_string()))?;
        let origin = format!("file {}", path.display());
        let mut leaves = Vec::new();
        flatten("", read.cache, &mut leaves);
        for (key, value) in leaves {
            self.put(key, &origin, value.kind);
        }
        Ok(())
    }

    /// A variable that begins as ours do and names no setting is as good as a misspelt key in the file,
    /// and refused as that is: a bound that an operator believes in must not be missing. Orchestrators
    /// set variables of their own after a service's name, so some can be named as foreign.
    fn add_environment(&mut self, environment: &[(String, String)]) {
        let known: HashMap<String, String> = all_keys().map(|key| (variable_of(&key), key)).collect();
        let value_of = |wanted: &str| environment.iter().find(|(name, _)| name == wanted);
        let foreign = value_of(IGNORE_VARIABLES).map(|(_, value)| value.as_str()).unwrap_or_default();
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if NO_SETTINGS.contains(&name.as_str()) || is_foreign(name, foreign) {
                continue;
            }
            if let Some(key) = known.get(name).cloned().or_else(|| listeners::key_of_variable(rest)) {
                self.put(key, &format!("environment variable {name}"), ValueKind::String(value.clone()));
            } else {
                let near = closest(name, known.keys().map(String::as_str), 2).map(str::to_owned);
                self.problems.push(NodeConfigError::UnknownVariable { name: name.clone(), near });
            }
        }
    }

    fn add_flags(&mut self, flags: &NodeFlags) {
        for (key, value) in flags.given() {
            let flag = match key.as_str() {
                "seeds" => "seed",
                "cluster.cookie-file" => "cluster-cookie-file",
                same => same,
            };
            let origin = format!("flag --{flag}");
            self.put(key, &origin, ValueKind::String(value));
        }
        for (key, value) in &flags.settings {
            self.put(key.clone(), "command line", ValueKind::String(value.clone()));
        }
    }

    fn put(&mut self, key: String, origin: &str, value: ValueKind) {
        if let Some(problem) = refusal_of(&key, origin) {
            self.problems.push(problem);
        } else {
            self.values.insert(key, Value::new(Some(&origin.to_owned()), value));
        }
    }
}

/// Why there is no setting of this name.
fn refusal_of(key: &str, origin: &str) -> Option<NodeConfigError> {
    let (key, origin) = (key.to_owned(), origin.to_owned());
    if let Some((name, _)) = listeners::parts_of(&key) {
        let problem = listeners::name_problem(name)?;
        return Some(NodeConfigError::Invalid { key, origin, problem });
    }
    if SETTINGS.iter().any(|setting| setting.key == key) || key.starts_with(TOPIC_DEFAULTS) {
        return None;
    }
    let near = nearest(&key);
    Some(NodeConfigError::UnknownKey { key, origin, near })
}

/// Puts a value where its full name says, `listeners.in.listen` three tables deep.
fn insert(table: &mut config::Map<String, Value>, key: &str, value: &Value) {
    let Some((name, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value.clone());
        return;
    };
    let inner = table.entry(name.to_owned());
    let inner = inner.or_insert_with(|| Value::new(None, ValueKind::Table(config::Map::new())));
    if let ValueKind::Table(inner) = &mut inner.kind {
        insert(inner, rest, value);
    }
}

fn is_foreign(name: &str, foreign: &str) -> bool {
    foreign.split(',').map(str::trim).any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    })
}

impl NodeFlags {
    fn given(&self) -> Vec<(String, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        let seeds = (!self.seeds.is_empty()).then(|| self.seeds.join(","));
        let all = [
            ("node-id", self.node_id.map(|id| id.to_string())),
            ("data-dir", self.data_dir.as_ref().map(path)),
            ("kafka-listen", self.kafka_listen.clone()),
            ("kafka-advertise", self.kafka_advertise.clone()),
            ("admin-listen", self.admin_listen.clone()),
            ("cluster-listen", self.cluster_listen.clone()),
            ("cluster-advertise", self.cluster_advertise.clone()),
            ("cluster.cookie-file", self.cluster_cookie_file.as_ref().map(path)),
            ("seeds", seeds),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

/// The variable that gives a setting: `limits.request-bytes` is `POLYLOGUE_LIMITS_REQUEST_BYTES`.
pub fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
}

fn all_keys() -> impl Iterator<Item = String> {
    let of_topics = topic::TABLE.iter().map(|key| format!("{TOPIC_DEFAULTS}{}", key.name));
    SETTINGS.iter().map(|setting| setting.key.to_owned()).chain(of_topics)
}

/// Full names and values; `retention.ms = 1` and `"retention.ms" = 1` come out the same.
fn flatten(prefix: &str, value: Value, leaves: &mut Vec<(String, Value)>) {
    match value.kind {
        ValueKind::Table(table) => {
            for (name, inner) in table {
                let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                flatten(&key, inner, leaves);
            }
        }
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)
        | ValueKind::Array(_) => leaves.push((prefix.to_owned(), value)),
    }
}

fn key_of(error: &ConfigError) -> Option<String> {
    if let ConfigError::Type { key, .. } | ConfigError::At { key, .. } = error {
        return key.clone();
    }
    None
}

fn problem_of(error: &ConfigError) -> String {
    if let ConfigError::Type { unexpected, expected, .. } = error {
        return format!("expected {expected}, found {unexpected}");
    }
    if let ConfigError::At { error, .. } = error {
        return problem_of(error);
    }
    error.to_string()
}

/// The known key that is closest by spelling, if it is close at all.
fn nearest(key: &str) -> Option<String> {
    let keys = || SETTINGS.iter().map(|setting| setting.key);
    let below = || keys().find(|known| known.ends_with(&format!(".{key}")));
    closest(key, keys(), 2).or_else(below).map(str::to_owned)
}

fn closest<'a>(to: &str, among: impl Iterator<Item = &'a str>, at_most: usize) -> Option<&'a str> {
    let (edits, best) = among.map(|known| (distance(to, known), known)).min()?;
    (edits <= at_most).then_some(best)
}

/// Single-character edits that turn one into the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.bytes().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&row, j) + usize::from(a != b);
            next.push(replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
