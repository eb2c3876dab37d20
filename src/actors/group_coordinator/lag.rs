//! How far groups are behind, as gauges: measured when somebody looks at the metrics, and never else.
//!
//! **Invariants.**
//! - A commit costs nothing more for it, and neither does a group that nobody looks at.
//! - What is measured and shown is bounded by a setting, however many groups there are; what is left out is counted.
//! - A coordinator that does not answer, and a partition whose leader does not, have no figure rather than an old one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, oneshot},
    time::timeout,
};

use super::{
    core::{Survey, Surveyed},
    handle::Groups,
    leaders::Leaders,
    message::CoordinatorMessage,
};
use crate::{
    actors::{
        partition::{PartitionHandle, table::TopicTable},
        supervise::Slot,
    },
    clock::Clock,
    metrics::{Gauge, Metrics},
    model::{Offset, PartitionId, PartitionIndex},
    wire::Str,
};

/// Who looks more often sees the same figures again.
const EVERY: Duration = Duration::from_secs(1);
/// How long one coordinator may take; it answers from memory.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// How long all together may take. Whoever looks at the metrics is not to wait for who is stuck.
const ALL_WITHIN: Duration = Duration::from_secs(1);

/// Group, topic and partition.
type Key = (Str, Str, PartitionIndex);

/// Measures the lag of this node's groups.
#[derive(Debug)]
pub struct LagMeter {
    groups: Groups,
    topics: TopicTable,
    elsewhere: Option<Leaders>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    most: usize,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    at: Option<Duration>,
    gauges: HashMap<Key, Gauge>,
}

impl LagMeter {
    /// One that shows the lag of `most` partitions; with 0 it does nothing. In a cluster some are led `elsewhere`.
    pub fn new(
        groups: Groups,
        topics: TopicTable,
        elsewhere: Option<Leaders>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        most: usize,
    ) -> Self {
        Self { groups, topics, elsewhere, metrics, clock, most, shown: Mutex::default() }
    }

    /// Brings the gauges up to date, unless that has just been done.
    pub async fn measure(&self) {
        if self.most == 0 {
            return;
        }
        // Held meanwhile: who looks at the same time waits for the same figures.
        let mut shown = self.shown.lock().await;
        let now = self.clock.monotonic();
        if shown.at.is_some_and(|at| now.saturating_sub(at) < EVERY) {
            return;
        }
        let survey = self.survey(now + ALL_WITHIN).await;
        let ends = self.ends(&survey).await;
        self.show(&mut shown, &survey, &ends);
        shown.at = Some(now);
    }

    /// Asks the coordinators one after the other, each for what there is still room for.
    async fn survey(&self, deadline: Duration) -> Survey {
        let mut all = Survey::default();
        for coordinator in self.groups.now().iter().flatten() {
            let left = deadline.saturating_sub(self.clock.monotonic()).min(ANSWER_WITHIN);
            let most = self.most - all.offsets.len();
            let Some(some) = ask(coordinator, most, left).await else { continue };
            all.offsets.extend(some.offsets);
            all.left_out += some.left_out;
        }
        all
    }

    /// How far consumers may read, by partition, where its leader says so.
    async fn ends(&self, survey: &Survey) -> BTreeMap<PartitionId, Offset> {
        let (mut ends, mut led_elsewhere) = (BTreeMap::new(), BTreeSet::new());
        for id in survey.offsets.iter().filter_map(|surveyed| self.partition(surveyed)) {
            let topic = self.topics.by_id(id.topic);
            let handle = topic.as_ref().and_then(|topic| topic.partition(id.index));
            if let Some(leader) = handle.and_then(PartitionHandle::leader) {
                ends.insert(id, leader.high_watermark());
            } else {
                led_elsewhere.insert(id);
            }
        }
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| !led_elsewhere.is_empty()) {
            ends.extend(elsewhere.ends(led_elsewhere).await);
        }
        ends
    }

    fn show(&self, shown: &mut Shown, survey: &Survey, ends: &BTreeMap<PartitionId, Offset>) {
        let mut before = std::mem::take(&mut shown.gauges);
        for surveyed in &survey.offsets {
            let Some(end) = self.partition(surveyed).and_then(|id| ends.get(&id)) else { continue };
            let key = (surveyed.group.clone(), surveyed.topic.clone(), surveyed.partition);
            let gauge = before.remove(&key).unwrap_or_else(|| self.metrics.group_lag.of(labels(&key)));
            gauge.set(end.distance_from(surveyed.offset).max(0));
            shown.gauges.insert(key, gauge);
        }
        for gone in before.keys() {
            self.metrics.group_lag.forget(labels(gone));
        }
        self.metrics.group_lag_left_out.set(survey.left_out as i64);
    }

    /// None for one of a topic that took the name of the one it was committed for.
    fn partition(&self, surveyed: &Surveyed) -> Option<PartitionId> {
        let topic = self.topics.by_name(&surveyed.topic)?;
        if !surveyed.topic_id.is_nil() && surveyed.topic_id != topic.id {
            return None;
        }
        topic.partition(surveyed.partition).map(PartitionHandle::id)
    }
}

/// None from one that is being started, reads its log, or is stuck.
async fn ask(coordinator: &Slot<CoordinatorMessage>, most: usize, within: Duration) -> Option<Survey> {
    let (reply, answer) = oneshot::channel();
    coordinator.get()?.cast(CoordinatorMessage::Survey { most, reply }).ok()?;
    timeout(within, answer).await.ok()?.ok()
}

fn labels((group, topic, partition): &Key) -> [String; 3] {
    [group.as_str().to_owned(), topic.as_str().to_owned(), partition.to_string()]
}
