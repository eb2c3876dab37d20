//! What has to hold, whatever happens: held against all that the coordinator decides, all that clients are told, and
//! all that a successor reads.
//!
//! Its own knowledge is a list of everything that was decided to be written, and a second coordinator that is given
//! nothing but that list, as a replay would. Each record is one entry, so that the log's end says how much of the
//! list has survived.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use polylogue::{
    actors::group_coordinator::core::{
        Answer, Caller, Commit, Committed, Coordinator, Effect, FetchOffsets, Image, ListFilter, Now,
        PerPartition, Request, Ticket,
        consumer::stored::Fact,
        stored::{ClassicGroupValue, GroupKey, OffsetKey, OffsetValue, Stored},
    },
    config::node::GroupSettings,
    model::TimestampMs,
    wire::{ErrorCode, Str, api::describe_groups::DescribedGroup},
};

use crate::{
    member::partitions,
    node::Asked,
    standings::{self, Owners, describe_consumer, same_standings},
    trial::{Checked, Violation, hold},
};

pub(crate) const DURABLE: &str = "an answer that was given is true after every crash";
pub(crate) const REPLAY: &str = "S20: replay gives what the live coordinator has";
pub(crate) const OWNER: &str = "S21: one owner per partition and generation";
pub(crate) const FENCED: &str = "S21: only a member in the current generation commits";
pub(crate) const FORWARD: &str = "a generation never goes back";
pub(crate) const POSITION: &str = "a committed offset never goes back by itself";
pub(crate) const KEPT: &str = "an offset goes only when somebody says so or its time is up";
pub(crate) const FOUND: &str = "OffsetFetch finds what was committed";
pub(crate) const IN_TIME: &str = "what is due is done in time";
pub(crate) const ANSWERED: &str = "nobody waits for ever";
pub(crate) const SETTLES: &str = "after a quiet time every member has its share";
pub(crate) const WHOLE_LOG: &str = "the log is not hurt by a crash";

/// Who is asked why a record is written.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one at a time")]
pub(crate) enum Cause {
    Request(Request),
    Time,
    Sweep,
    TopicsDeleted,
}

/// What commits carry that come from somebody else than the member they name.
pub(crate) const STRANGER: &str = "by a stranger";

type Spot = (Str, Str, i32);

#[derive(Debug)]
pub(crate) struct Checks {
    settings: GroupSettings,
    /// All that was decided to be written and not undone by a crash.
    writes: Vec<Stored>,
    /// What a coordinator knows that is given `writes` alone.
    shadow: Coordinator,
    image: Arc<Image>,
    groups: BTreeMap<Str, ClassicGroupValue>,
    /// Of groups whose coordinator assigns.
    epochs: BTreeMap<Str, i32>,
    offsets: BTreeMap<Spot, OffsetValue>,
    /// How many of `writes` somebody has been answered upon.
    acknowledged: usize,
    /// How many of `writes` are looked at in `told` and `owners`.
    looked_at: usize,
    /// The generation of the newest assignment that somebody was told, by group.
    told: BTreeMap<Str, i32>,
    owners: BTreeMap<(Str, i32, usize), Str>,
    /// The same where the coordinator assigns, by the member's epoch.
    owned: Owners,
    /// Who was let into which generation.
    joined: BTreeSet<(Str, i32, Str)>,
}

/// Asks without changing anything.
pub(crate) fn ask(core: &mut Coordinator, request: Request) -> Option<Answer> {
    let now = Now { monotonic: Duration::ZERO, wall: TimestampMs::NONE };
    let caller = Caller { version: 5, ..Caller::default() };
    let mut effects = Vec::new();
    core.step(now, Ticket(u64::MAX), &caller, request, &mut effects);
    effects.into_iter().find_map(|effect| match effect {
        Effect::Answer(_, answer) => Some(answer),
        _ => None,
    })
}

pub(crate) fn describe(core: &mut Coordinator, group: &Str) -> DescribedGroup {
    match ask(core, Request::Describe { group: group.clone() }) {
        Some(Answer::Describe(described)) => described,
        other => panic!("{other:?}"),
    }
}

fn offsets(core: &mut Coordinator, group: &Str) -> PerPartition<Option<Committed>> {
    match ask(core, Request::FetchOffsets(FetchOffsets { group: group.clone(), member: None, topics: None }))
    {
        Some(Answer::Offsets(Ok(offsets))) => offsets,
        other => panic!("{other:?}"),
    }
}

fn groups(core: &mut Coordinator) -> BTreeSet<Str> {
    match ask(core, Request::List(ListFilter::default())) {
        Some(Answer::List(groups)) => groups.into_iter().map(|group| group.group_id).collect(),
        other => panic!("{other:?}"),
    }
}

/// A partition of a topic, and what is committed for it.
type Essence = (Str, i32, Option<(i64, Str)>);

/// What of an offset is kept in the log at any version of the record.
fn essence(found: &PerPartition<Option<Committed>>) -> Vec<Essence> {
    let of_topic = |(topic, found): &(Str, Vec<_>)| {
        let one = |(index, committed): &(polylogue::model::PartitionIndex, Option<Committed>)| {
            let kept = committed.as_ref().map(|kept| (kept.offset.get(), kept.metadata.clone()));
            (topic.clone(), index.get(), kept)
        };
        found.iter().map(one).collect::<Vec<_>>()
    };
    found.iter().flat_map(of_topic).collect()
}

fn spot(key: &OffsetKey) -> Spot {
    (key.group.clone(), key.topic.clone(), key.partition.get())
}

impl Checks {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self {
            shadow: Coordinator::new(settings.clone()),
            image: Arc::default(),
            settings,
            writes: Vec::new(),
            groups: BTreeMap::new(),
            epochs: BTreeMap::new(),
            offsets: BTreeMap::new(),
            acknowledged: 0,
            looked_at: 0,
            told: BTreeMap::new(),
            owners: BTreeMap::new(),
            owned: Owners::default(),
            joined: BTreeSet::new(),
        }
    }

    /// What topics there are from now on. What was decided before is read anew, so that nothing follows from it here.
    pub(crate) fn set_image(&mut self, image: &Arc<Image>) {
        self.image = Arc::clone(image);
        self.replay();
    }

    fn replay(&mut self) {
        (self.shadow, self.groups, self.offsets) =
            (Coordinator::new(self.settings.clone()), BTreeMap::new(), BTreeMap::new());
        self.epochs.clear();
        let now = Now { monotonic: Duration::ZERO, wall: TimestampMs::NONE };
        self.shadow.set_image(now, Arc::clone(&self.image), &mut Vec::new());
        for stored in self.writes.clone() {
            self.apply(&stored);
        }
    }

    /// How many records were decided to be written.
    pub(crate) fn decided(&self) -> usize {
        self.writes.len()
    }

    fn apply(&mut self, stored: &Stored) {
        self.shadow.load(stored.clone());
        match stored {
            Stored::Offset { key, value: Some(value) } => {
                self.offsets.insert(spot(key), value.clone());
            }
            Stored::Offset { key, value: None } => {
                self.offsets.remove(&spot(key));
            }
            Stored::ClassicGroup { key, value: Some(value) } => {
                self.groups.insert(key.group.clone(), value.clone());
            }
            Stored::ClassicGroup { key, value: None } => {
                self.groups.remove(&key.group);
            }
            Stored::Consumer(Fact::Group(key, value)) => match value {
                Some(value) => drop(self.epochs.insert(key.group.clone(), value.epoch)),
                None => drop(self.epochs.remove(&key.group)),
            },
            #[allow(unreachable_patterns, reason = "kinds that this world does not use may come")]
            _ => {}
        }
    }

    /// The coordinator has decided to write this.
    pub(crate) fn write(&mut self, stored: &Stored, now: Now, cause: &Cause) -> Checked {
        match stored {
            Stored::Offset { key, value: Some(value) } => self.offset(key, value, cause)?,
            Stored::Offset { key, value: None } => self.offset_goes(key, now, cause)?,
            Stored::ClassicGroup { key: GroupKey { group }, value: Some(value) } => {
                let before = self.groups.get(group).map_or(0, |before| before.generation);
                hold!(value.generation >= before, FORWARD, "{group}: {} after {before}", value.generation);
            }
            Stored::Consumer(Fact::Group(GroupKey { group }, Some(value))) => {
                let before = self.epochs.get(group).copied().unwrap_or(0);
                hold!(value.epoch >= before, FORWARD, "{group}: {} after {before}", value.epoch);
            }
            Stored::ClassicGroup { .. } | Stored::Consumer(Fact::Group(..)) => {
                let by = matches!(cause, Cause::Request(Request::Delete { .. }) | Cause::Sweep);
                hold!(by, KEPT, "a group is forgotten by {cause:?}");
            }
            #[allow(unreachable_patterns, reason = "kinds that this world does not use may come")]
            _ => {}
        }
        self.apply(stored);
        self.writes.push(stored.clone());
        Ok(())
    }

    fn offset(&self, key: &OffsetKey, value: &OffsetValue, cause: &Cause) -> Checked {
        let Cause::Request(Request::Commit(commit)) = cause else {
            return Err(Violation { rule: KEPT, what: format!("{cause:?} commits {key:?}") });
        };
        let before = self.offsets.get(&spot(key)).map(|before| before.offset);
        // What a stranger says is no position of anybody; that it is let through where it should not be is found anyway.
        let forward = commit.generation < 0
            || is_strangers(commit)
            || before.is_none_or(|before| before <= value.offset);
        hold!(forward, POSITION, "{key:?}: {} after {before:?}", value.offset);
        Ok(())
    }

    fn offset_goes(&self, key: &OffsetKey, now: Now, cause: &Cause) -> Checked {
        let said = matches!(
            cause,
            Cause::TopicsDeleted | Cause::Request(Request::DeleteOffsets { .. } | Request::Delete { .. })
        );
        if said {
            return Ok(());
        }
        hold!(matches!(cause, Cause::Sweep), KEPT, "{key:?} goes by {cause:?}");
        let Some(kept) = self.offsets.get(&spot(key)) else { return Ok(()) };
        let due = if kept.expire_timestamp.get() >= 0 {
            kept.expire_timestamp
        } else {
            kept.commit_timestamp.later(self.settings.offsets_retention)
        };
        hold!(due <= now.wall, KEPT, "{key:?} goes at {} and was to stay until {due}", now.wall);
        Ok(())
    }

    /// The coordinator has decided to answer this.
    pub(crate) fn answer(&mut self, asked: &Asked, answer: &Answer, core: &mut Coordinator) -> Checked {
        match (&asked.request, answer) {
            (Request::Join(request), Answer::Join(answer)) if answer.error_code == ErrorCode::None => {
                let (group, generation) = (request.group_id.clone(), answer.generation_id);
                self.not_behind(&group, generation)?;
                self.joined.insert((group, generation, answer.member_id.clone()));
            }
            (Request::Sync(request), Answer::Sync(answer)) if answer.error_code == ErrorCode::None => {
                self.not_behind(&request.group_id, request.generation_id)?;
            }
            (Request::Commit(commit), Answer::Commit(codes)) => {
                let accepted = codes.iter().flat_map(|(_, codes)| codes).any(|(_, c)| *c == ErrorCode::None);
                if accepted && describe_consumer(core, &commit.group).error_code == ErrorCode::None {
                    standings::may_commit(commit, codes, core)?;
                } else if accepted {
                    self.may_commit(&commit.group, commit.generation, &commit.member_id, core)?;
                }
            }
            (Request::FetchOffsets(request), Answer::Offsets(Ok(found))) => {
                let expected = ask(&mut self.shadow, Request::FetchOffsets(request.clone()));
                let Some(Answer::Offsets(Ok(expected))) = expected else { panic!("{expected:?}") };
                let (found, expected) = (essence(found), essence(&expected));
                hold!(found == expected, FOUND, "{found:?} instead of {expected:?}");
            }
            _ => {}
        }
        Ok(())
    }

    fn not_behind(&self, group: &Str, generation: i32) -> Checked {
        let newest = self.groups.get(group).map_or(0, |value| value.generation);
        hold!(generation >= newest, FORWARD, "{group}: {generation} is told after {newest} was settled");
        Ok(())
    }

    fn may_commit(&self, group: &Str, generation: i32, member: &Str, core: &mut Coordinator) -> Checked {
        if generation < 0 {
            let members = describe(core, group).members;
            hold!(members.is_empty(), FENCED, "{group}: by nobody, with {} members", members.len());
            return Ok(());
        }
        let newest = self.groups.get(group).map_or(0, |value| value.generation);
        hold!(generation >= newest, FENCED, "{group}: {member} of {generation}, {newest} is settled");
        let was_let_in = self.joined.contains(&(group.clone(), generation, member.clone()))
            || self.was_carried(group, generation, member, core);
        hold!(was_let_in, FENCED, "{group}: {member} was never in generation {generation}");
        Ok(())
    }

    /// A static member that is away when a generation begins is in it without having been told.
    fn was_carried(&self, group: &Str, generation: i32, member: &Str, core: &mut Coordinator) -> bool {
        let mut members = describe(core, group).members.into_iter();
        let is_static = members.any(|one| one.member_id == *member && one.group_instance_id.is_some());
        let was_in = |(of, at, who): &(Str, i32, Str)| of == group && *at < generation && who == member;
        is_static && self.joined.iter().any(was_in)
    }

    /// A client is told this; it rests on the first `after` records.
    pub(crate) fn told(&mut self, asked: &Asked, after: usize, answer: &Answer) -> Checked {
        self.acknowledged = self.acknowledged.max(after);
        self.look_at(after);
        match (&asked.request, answer) {
            (Request::Join(request), Answer::Join(answer)) if answer.error_code == ErrorCode::None => {
                self.told_before(&request.group_id, answer.generation_id)?;
            }
            (Request::Sync(request), Answer::Sync(answer)) if answer.error_code == ErrorCode::None => {
                let (group, generation) = (&request.group_id, request.generation_id);
                self.told_before(group, generation)?;
                self.told.insert(group.clone(), generation);
                let name = request.group_instance_id.as_ref().unwrap_or(&request.member_id);
                for partition in partitions(&answer.assignment) {
                    let owner = self.owners.entry((group.clone(), generation, partition));
                    let owner = owner.or_insert_with(|| name.clone());
                    hold!(
                        owner == name,
                        OWNER,
                        "{group} {generation}: {partition} is {owner}'s and {name}'s"
                    );
                }
            }
            (Request::ConsumerHeartbeat(request), Answer::ConsumerHeartbeat(answer)) => {
                self.owned.told(request, answer)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn told_before(&self, group: &Str, generation: i32) -> Checked {
        let before = self.told.get(group).copied().unwrap_or(0);
        hold!(generation >= before, FORWARD, "{group}: {generation} is told after {before}");
        Ok(())
    }

    /// A group that was deleted begins anew.
    fn look_at(&mut self, upto: usize) {
        for stored in self.writes.get(self.looked_at..upto).unwrap_or_default() {
            if let Stored::ClassicGroup { key: GroupKey { group }, value: None } = stored {
                self.told.remove(group);
                self.owners.retain(|(of, ..), _| of != group);
            }
            if let Stored::Consumer(Fact::Group(GroupKey { group }, None)) = stored {
                self.owned.forget(group);
            }
        }
        self.looked_at = self.looked_at.max(upto);
    }

    /// A successor has read the log, which ends here.
    pub(crate) fn loaded(&mut self, core: &mut Coordinator, log_end: usize) -> Checked {
        let (had, acknowledged) = (self.writes.len(), self.acknowledged);
        hold!(log_end >= acknowledged, DURABLE, "{acknowledged} records were, {log_end} are in the log");
        hold!(log_end <= had, REPLAY, "{log_end} records are in the log, {had} were decided");
        self.writes.truncate(log_end);
        self.replay();
        // What is read is told to those who ask from now on.
        self.look_at(log_end);
        self.same_classic(core)
    }

    /// Whether the live coordinator and a replay of all that it has decided are the same to whoever asks.
    pub(crate) fn same(&mut self, core: &mut Coordinator) -> Checked {
        for group in groups(core).union(&groups(&mut self.shadow)) {
            same_standings(core, &mut self.shadow, group)?;
        }
        self.same_classic(core)
    }

    fn same_classic(&mut self, core: &mut Coordinator) -> Checked {
        for group in groups(core).union(&groups(&mut self.shadow)) {
            let (live, replayed) = (describe(core, group), describe(&mut self.shadow, group));
            let settled = match live.group_state.as_str() {
                "Stable" => live == replayed,
                "Empty" | "Dead" => replayed.members.is_empty(),
                _ => true,
            };
            hold!(settled, REPLAY, "{group}: {live:?} is read back as {replayed:?}");
            let (live_offsets, read) = (offsets(core, group), offsets(&mut self.shadow, group));
            let (live_offsets, read) = (essence(&live_offsets), essence(&read));
            hold!(live_offsets == read, REPLAY, "{group}: {live_offsets:?} are read back as {read:?}");
            one_owner(&live)?;
        }
        Ok(())
    }
}

/// Whether a commit carries what strangers leave with theirs.
fn is_strangers(commit: &Commit) -> bool {
    let mut partitions = commit.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.any(|partition| partition.committed_metadata.as_deref() == Some(STRANGER))
}

fn one_owner(group: &DescribedGroup) -> Checked {
    let mut owned = BTreeSet::new();
    for member in &group.members {
        for partition in partitions(&member.member_assignment) {
            hold!(owned.insert(partition), OWNER, "{}: {partition} twice in the state", group.group_id);
        }
    }
    Ok(())
}
