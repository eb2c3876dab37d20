//! Lays file, environment and command line over one another, and remembers who said what.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, File, FileFormat, Value, ValueKind};

use super::{
    NodeFlags,
    error::NodeConfigError,
    raw::{KEYS, Raw, TOPIC_DEFAULTS},
};
use crate::config::topic;

const PREFIX: &str = "POLYLOGUE_";

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
    /// Variables that look like ours and are not.
    pub(super) unknown_variables: Vec<String>,
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
        settings.add_flags(flags)?;
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
        let mut root = HashMap::new();
        for (key, value) in self.values.iter().filter(|(key, _)| !key.starts_with(TOPIC_DEFAULTS)) {
            match key.split_once('.') {
                None => {
                    root.insert(key.clone(), value.clone());
                }
                Some((table, name)) => {
                    let table = root.entry(table.to_owned());
                    let table = table.or_insert_with(|| Value::new(None, ValueKind::Table(HashMap::new())));
                    if let ValueKind::Table(inner) = &mut table.kind {
                        inner.insert(name.to_owned(), value.clone());
                    }
                }
            }
        }
        let root = Value::new(None, ValueKind::Table(root.into_iter().collect()));
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
            self.put(key, &origin, value.kind)?;
        }
        Ok(())
    }

    /// An orchestrator sets variables of its own that begin with a service's name, so one that we do
    /// not know is a warning and not an error.
    fn add_environment(&mut self, environment: &[(String, String)]) {
        let known: HashMap<String, String> = all_keys().map(|key| (variable_of(&key), key)).collect();
        for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            match known.get(name) {
                Some(key) => {
                    let origin = format!("environment variable {name}");
                    self.values.insert(key.clone(), Value::new(Some(&origin), value.as_str()));
                }
                None => self.unknown_variables.push(name.clone()),
            }
        }
    }

    fn add_flags(&mut self, flags: &NodeFlags) -> Result<(), NodeConfigError> {
        for (key, value) in flags.given() {
            let origin = format!("flag --{}", if key == "seeds" { "seed" } else { &key });
            self.put(key, &origin, ValueKind::String(value))?;
        }
        for (key, value) in &flags.settings {
            self.put(key.clone(), "command line", ValueKind::String(value.clone()))?;
        }
        Ok(())
    }

    fn put(&mut self, key: String, origin: &str, value: ValueKind) -> Result<(), NodeConfigError> {
        if !KEYS.contains(&key.as_str()) && !key.starts_with(TOPIC_DEFAULTS) {
            let near = nearest(&key);
            return Err(NodeConfigError::UnknownKey { key, origin: origin.to_owned(), near });
        }
        self.values.insert(key, Value::new(Some(&origin.to_owned()), value));
        Ok(())
    }
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
    KEYS.iter().map(|key| (*key).to_owned()).chain(of_topics)
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
    let best = KEYS.iter().map(|known| (distance(key, known), *known)).min()?;
    (best.0 <= 2 || best.1.ends_with(&format!(".{key}"))).then(|| best.1.to_owned())
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
