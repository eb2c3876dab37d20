//! A data folder in which no node works: looking through it, and bringing topics in.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{NodeError, lock_data_folder};
use crate::{
    actors::{
        membership::{
            LOGS_DIR, NewTopic, Refusal, Rules,
            offline::{Known, OfflineMetadataError, OfflineRegistry, look},
            quorum::StoppedError,
        },
        partition::log_options,
    },
    clock::{Clock, SystemClock},
    config::{
        node::ConsumerGroupSettings,
        topic::{TopicConfig, TopicConfigError, TopicDefaults, checked},
    },
    model::{NodeId, PartitionId, PartitionIndex, TimestampMs, TopicName},
    storage::{
        fs::{Fs, Lock, folder_of, real::RealFs},
        import::{self, ImportError, SourcePartition, Survey, Target},
        partition_folder::{self, FolderError},
    },
};

/// Where partitions are written before they take their place among the others.
const STAGING_DIR: &str = "importing";
/// As a node that was given none.
const DEFAULT_NODE: NodeId = NodeId::new(1);

/// A data folder that is held against every node while this lives.
#[derive(Debug)]
pub struct OfflineData {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    known: Known,
    _lock: Box<dyn Lock>,
}

/// A partition that the metadata knows, or a folder that it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflinePartition {
    /// Whose it is: `orders-0`, or the folder's name.
    pub name: String,
    /// Its topic, where the metadata knows it.
    pub topic: Option<TopicName>,
    /// Which of its topic, where the metadata knows it.
    pub index: Option<PartitionIndex>,
    /// Its folder.
    pub dir: PathBuf,
    /// What is wrong with the folder as a whole, if anything.
    pub trouble: Option<String>,
}

impl OfflineData {
    /// Takes a data folder that exists.
    pub fn open(dir: &Path) -> Result<Self, OfflineError> {
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let there = |source| NodeError::DataDir { path: dir.to_owned(), source };
        let logs = dir.join(LOGS_DIR);
        if !fs.exists(dir).map_err(there)? {
            return Err(OfflineError::NoDataFolder(dir.to_owned()));
        }
        let lock = lock_data_folder(fs.as_ref(), dir)?;
        let Some(known) = look(fs.as_ref(), dir)? else {
            let has_logs = fs.exists(&logs).map_err(there)?;
            return Err(if has_logs {
                OfflineError::NoMetadata(dir.to_owned())
            } else {
                OfflineError::NoDataFolder(dir.to_owned())
            });
        };
        Ok(Self { fs, dir: dir.to_owned(), known, _lock: lock })
    }

    /// Whether its node decides alone, or is one of several: then others have copies of what it keeps.
    pub fn is_alone(&self) -> bool {
        self.known.is_alone
    }

    /// The file system that it is on.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// Its partitions by name and index, then the folders that the metadata does not know.
    pub fn partitions(&self) -> Result<Vec<OfflinePartition>, OfflineError> {
        let logs = self.dir.join(LOGS_DIR);
        let mut known = BTreeSet::new();
        let mut partitions = Vec::new();
        for topic in self.known.image.topics_by_name() {
            for id in topic.partition_ids().filter(|id| self.keeps(*id)) {
                let dir = partition_folder::path_of(&logs, &topic.name, id.index);
                known.insert(dir.clone());
                partitions.push(OfflinePartition {
                    name: format!("{}-{}", topic.name, id.index),
                    topic: Some(topic.name.clone()),
                    index: Some(id.index),
                    trouble: self.trouble_of(id, &dir)?,
                    dir,
                });
            }
        }
        let listed = |source| NodeError::DataDir { path: logs.clone(), source };
        let entries = if self.fs.exists(&logs).map_err(listed)? {
            self.fs.list(&logs).map_err(listed)?
        } else {
            Vec::new()
        };
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            let dir = logs.join(&entry.name);
            if !known.contains(&dir) {
                let trouble = Some(
                    "no topic of this node: the next start puts it aside or finishes its deletion".to_owned(),
                );
                partitions.push(OfflinePartition {
                    name: entry.name,
                    topic: None,
                    index: None,
                    dir,
                    trouble,
                });
            }
        }
        Ok(partitions)
    }

    fn keeps(&self, id: PartitionId) -> bool {
        let partition = self.known.image.partition(id);
        partition.zip(self.known.node).is_some_and(|(partition, node)| partition.replicas.contains(&node))
    }

    /// What is wrong with a partition's folder as a whole.
    fn trouble_of(&self, id: PartitionId, dir: &Path) -> Result<Option<String>, OfflineError> {
        let there = |source| NodeError::DataDir { path: dir.to_owned(), source };
        if !self.fs.exists(dir).map_err(there)? {
            // Before its log is opened for the first time a partition has no folder, and who follows opens it later.
            let image = &self.known.image;
            let opened = image.partition(id).is_some_and(|each| each.leader_epoch.get() >= 0);
            return Ok((opened && self.known.is_alone).then(|| "its folder is missing".to_owned()));
        }
        Ok(match partition_folder::id_of(self.fs.as_ref(), dir) {
            Ok(Some(found)) if found == id => None,
            Ok(Some(found)) => Some(format!("its folder belongs to partition {found}")),
            Ok(None) => Some("its folder does not say whose it is".to_owned()),
            Err(error @ FolderError::Id { .. }) => Some(error.to_string()),
            Err(error @ FolderError::Io { .. }) => return Err(error.into()),
        })
    }
}

/// What to take over, and how.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// A partition's folder, or one that holds such folders.
    pub from: PathBuf,
    /// Which topic, where there are several.
    pub topic: Option<TopicName>,
    /// Its name here, where that is another one.
    pub name: Option<TopicName>,
    /// The data folder that it is brought into; made if it is not there.
    pub data_dir: PathBuf,
    /// Whose data folder that is to be if it is new: 1 unless given.
    pub node: Option<NodeId>,
    /// Topic configs, unchecked.
    pub configs: BTreeMap<String, String>,
    /// Leave out what is damaged, instead of refusing it.
    pub skip_damaged: bool,
    /// Make partitions empty that are not there, instead of refusing.
    pub fill_missing: bool,
    /// Read everything and write nothing.
    pub dry_run: bool,
}

/// What was taken over, or would be.
#[derive(Debug)]
pub struct ImportReport {
    /// Its name here.
    pub topic: TopicName,
    /// Its partitions; none for one that is made empty.
    pub partitions: Vec<(PartitionIndex, Option<Survey>)>,
    /// Whether retention will remove some of it before long.
    pub expires: bool,
}

/// Why nothing could be looked at or taken over.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// Somebody works in the folder, or it cannot be worked in.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is none.
    #[error("{} is no data folder: there is no metadata in it (--data-dir)", .0.display())]
    NoDataFolder(PathBuf),
    /// Logs without metadata.
    #[error("{} has logs and no metadata: restore quorum/ and the file cluster from a back-up", .0.display())]
    NoMetadata(PathBuf),
    /// Which topics there are is not for this folder to say.
    #[error(
        "{} belongs to a node of a cluster of several, which alone can say what topics there are: bring it into the folder \
         of a node that is alone, and copy it from there with a client",
        .0.display()
    )]
    OfCluster(PathBuf),
    /// The metadata cannot be read.
    #[error(transparent)]
    Metadata(OfflineMetadataError),
    /// A partition's folder is in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The source cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Source {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no partition in the source.
    #[error(
        "there is no partition in {}: name a folder such as orders-0 with .log files in it, or the folder \
         that holds such folders",
        .0.display()
    )]
    NothingThere(PathBuf),
    /// The source has another topic, or several.
    #[error("{} holds {}: choose one with --topic", path.display(), topics.join(", "))]
    WhichTopic {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        topics: Vec<String>,
    },
    /// The topic is one that a broker keeps for itself.
    #[error(
        "topic {0} is a broker's own, in a format that is not ours: it cannot be taken over under that name"
    )]
    Internal(TopicName),
    /// Not all partitions are there: records with a key would be looked for in the wrong one.
    #[error(
        "partitions {} of {topic} are not there: give the folder that holds all of them, or --fill-missing to \
         make them empty",
        missing.join(", ")
    )]
    Missing {
        /// The topic.
        topic: TopicName,
        /// The ones between.
        missing: Vec<String>,
    },
    /// A partition could not be taken over.
    #[error("partition {index}: {source}")]
    Partition {
        /// Which.
        index: PartitionIndex,
        /// Why.
        source: ImportError,
    },
    /// The topic cannot be made.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A topic config is wrong.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
}

impl From<OfflineMetadataError> for OfflineError {
    fn from(error: OfflineMetadataError) -> Self {
        if let OfflineMetadataError::Refused(refusal) = error {
            Self::Refused(refusal)
        } else if let OfflineMetadataError::Quorum(StoppedError::OthersVote(path)) = error {
            Self::OfCluster(path)
        } else {
            Self::Metadata(error)
        }
    }
}

/// Brings a topic into a data folder in which no node works. It is there as a whole or not at all: its
/// partitions are written where no node looks, take their place when they are on disk, and belong to a topic
/// once the metadata says so.
pub fn import(
    request: &ImportRequest,
    on_bytes: &mut dyn FnMut(&'static str, u64),
) -> Result<ImportReport, OfflineError> {
    import_on(Arc::new(RealFs), request, on_bytes)
}

fn import_on(
    fs: Arc<dyn Fs>,
    request: &ImportRequest,
    on_bytes: &mut dyn FnMut(&'static str, u64),
) -> Result<ImportReport, OfflineError> {
    let (topic, partitions) = chosen(fs.as_ref(), request)?;
    let config = TopicDefaults::default().resolve(&checked(&request.configs)?)?;
    // Before terabytes are read for nothing.
    if let Some(known) = look(fs.as_ref(), &request.data_dir)? {
        if !known.is_alone {
            return Err(OfflineError::OfCluster(request.data_dir.clone()));
        }
        if known.image.topic_named(topic.as_str()).is_some() {
            return Err(Refusal::TopicExists(topic).into());
        }
    }
    let mut surveyed = Vec::new();
    for (index, source) in &partitions {
        let survey = source.as_ref().map(|source| {
            import::survey(fs.as_ref(), &source.dir, request.skip_damaged, &mut |bytes| {
                on_bytes("reading", bytes);
            })
        });
        let survey = survey.transpose();
        surveyed.push((*index, survey.map_err(|source| OfflineError::Partition { index: *index, source })?));
    }
    let now = SystemClock::new().wall();
    let expires = surveyed.iter().any(|(_, survey)| is_expired(survey.as_ref(), &config, now));
    let importing = Importing { fs, request, topic: &topic, config: &config };
    if !request.dry_run {
        importing.run(&surveyed, on_bytes)?;
    }
    Ok(ImportReport { topic, partitions: surveyed, expires })
}

/// The topic's name here and all its partitions, with where they are.
type Chosen = (TopicName, Vec<(PartitionIndex, Option<SourcePartition>)>);

fn chosen(fs: &dyn Fs, request: &ImportRequest) -> Result<Chosen, OfflineError> {
    let path = &request.from;
    let mut found =
        import::find(fs, path).map_err(|source| OfflineError::Source { path: path.clone(), source })?;
    if found.is_empty() {
        return Err(OfflineError::NothingThere(path.clone()));
    }
    let topic = match &request.topic {
        None if found.len() == 1 => found.keys().next().cloned(),
        Some(topic) if found.contains_key(topic) => Some(topic.clone()),
        None | Some(_) => None,
    };
    let which = || {
        let topics = found.keys().map(TopicName::to_string).collect();
        OfflineError::WhichTopic { path: path.clone(), topics }
    };
    let topic = topic.ok_or_else(which)?;
    let name = request.name.clone().unwrap_or_else(|| topic.clone());
    if name.as_str().starts_with("__") {
        return Err(OfflineError::Internal(name));
    }
    let there = found.remove(&topic).unwrap_or_default();
    let last = there.last().map_or(0, |last| last.index.get());
    let mut all: BTreeMap<i32, SourcePartition> =
        there.into_iter().map(|each| (each.index.get(), each)).collect();
    let missing: Vec<String> =
        (0..=last).filter(|index| !all.contains_key(index)).map(|index| index.to_string()).collect();
    if !missing.is_empty() && !request.fill_missing {
        return Err(OfflineError::Missing { topic, missing });
    }
    Ok((name, (0..=last).map(|index| (PartitionIndex::new(index), all.remove(&index))).collect()))
}

fn is_expired(survey: Option<&Survey>, config: &TopicConfig, now: TimestampMs) -> bool {
    let (Some(oldest), Some(retention)) = (survey.and_then(|survey| survey.oldest), config.retention_time)
    else {
        return false;
    };
    i128::from(now.millis_since(oldest)) > retention.as_millis().cast_signed()
}

struct Importing<'a> {
    fs: Arc<dyn Fs>,
    request: &'a ImportRequest,
    topic: &'a TopicName,
    config: &'a TopicConfig,
}

impl Importing<'_> {
    fn run(
        &self,
        partitions: &[(PartitionIndex, Option<Survey>)],
        on_bytes: &mut dyn FnMut(&'static str, u64),
    ) -> Result<(), OfflineError> {
        let data_dir = &self.request.data_dir;
        let _lock = lock_data_folder(self.fs.as_ref(), data_dir)?;
        let mut registry = self.registry()?;
        let created = registry.create_topic(&NewTopic {
            name: self.topic.to_string(),
            partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
            replication_factor: -1,
            assignments: BTreeMap::new(),
            configs: self.request.configs.clone(),
        })?;
        let staging = data_dir.join(STAGING_DIR);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OfflineError::from(NodeError::DataDir { path, source })
        };
        if self.fs.exists(&staging).map_err(at(&staging))? {
            // Copies that an import has left which did not come to its end.
            self.fs.remove_dir_all(&staging).map_err(at(&staging))?;
        }
        self.fs.create_dir_all(&staging).map_err(at(&staging))?;
        self.fs.sync_dir(data_dir).map_err(at(data_dir))?;
        let mut staged = Vec::new();
        for (index, survey) in partitions {
            let Some(survey) = survey else { continue };
            let id = PartitionId { topic: created.id, index: *index };
            let dir = staging.join(format!("{id}"));
            let clock = SystemClock::shared();
            partition_folder::prepare(self.fs.as_ref(), &dir, id, clock.wall())?;
            let options = log_options(self.config);
            let epoch = registry.open_epoch(id)?;
            let target = Target { fs: Arc::clone(&self.fs), dir: &dir, id, epoch, options, clock };
            import::write(survey, &target, &mut |bytes| on_bytes("writing", bytes))
                .map_err(|source| OfflineError::Partition { index: *index, source })?;
            staged.push((*index, dir));
        }
        self.move_in(&staged).map_err(at(data_dir))?;
        registry.commit()?;
        self.fs.remove_dir_all(&staging).map_err(at(&staging))
    }

    fn registry(&self) -> Result<OfflineRegistry, OfflineError> {
        let data_dir = &self.request.data_dir;
        let owner = look(self.fs.as_ref(), data_dir)?.and_then(|known| known.node);
        let rules = Rules {
            node: self.request.node.or(owner).unwrap_or(DEFAULT_NODE),
            default_partitions: 1,
            default_replication_factor: None,
            // A node checks its own limit when partitions are made there.
            partitions_max: usize::MAX,
            replicas_max: usize::MAX,
            topic_defaults: TopicDefaults::default(),
            group_defaults: ConsumerGroupSettings::default(),
        };
        Ok(OfflineRegistry::open(Arc::clone(&self.fs), data_dir, rules)?)
    }

    /// Until the topic is known, a node that is started puts these folders aside.
    fn move_in(&self, staged: &[(PartitionIndex, PathBuf)]) -> std::io::Result<()> {
        let logs = self.request.data_dir.join(LOGS_DIR);
        self.fs.create_dir_all(&logs)?;
        self.fs.sync_dir(&folder_of(&logs))?;
        for (index, dir) in staged {
            let place = partition_folder::path_of(&logs, self.topic, *index);
            if self.fs.exists(&place)? {
                partition_folder::put_aside(self.fs.as_ref(), &place, SystemClock::new().wall())?;
            }
            self.fs.rename(dir, &place)?;
        }
        self.fs.sync_dir(&logs)
    }
}
