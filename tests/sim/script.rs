//! What the world is given: who there is, and what is done to them when. All of it comes from the seed, and any part of
//! the steps makes a script as well.

use std::time::Duration;

use fastrand::Rng;
use polylogue::config::node::GroupSettings;

use crate::{
    chance::chance,
    trial::{Script, Step},
};

/// A member of a group, as its client was set up.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) group: usize,
    /// Of a group whose coordinator assigns (KIP-848).
    pub(crate) server_side: bool,
    pub(crate) instance: Option<String>,
    /// Of the join; the other requests' versions follow from it.
    pub(crate) version: i16,
    pub(crate) session_ms: u64,
    pub(crate) rebalance_ms: u64,
    pub(crate) heartbeat_ms: u64,
    pub(crate) commit_ms: u64,
    pub(crate) protocols: Vec<&'static str>,
    /// How fast its clock goes, in millionths.
    pub(crate) clock_ppm: u64,
}

/// Something that is done to the world.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// The member's process begins, if it is not there.
    Start(usize),
    /// It ends in good order: a dynamic member says so.
    Stop(usize),
    /// It is gone without a word.
    Crash(usize),
    /// It does nothing for a while, and then all that has come meanwhile.
    Freeze {
        member: usize,
        ms: u64,
    },
    /// The node's process is killed: what it wrote stays in the cache.
    Kill {
        down_ms: u64,
    },
    /// The node's power goes: what was not synced is kept, lost or torn.
    PowerCut {
        down_ms: u64,
    },
    /// The process dies by itself before or in a later change of its disk.
    DieAfter {
        changes: u64,
        down_ms: u64,
    },
    /// The coordinator alone is thrown away.
    RestartCoordinator,
    /// The next sync of the log fails.
    FailSync {
        dropped: bool,
    },
    /// There is room for so many bytes, for a while.
    DiskFull {
        free: u64,
        ms: u64,
    },
    /// Messages get lost, late and doubled, for a while.
    Network {
        lost_percent: u8,
        delay_ms: u64,
        stale_percent: u8,
        ms: u64,
    },
    /// The node's wall clock is set.
    SetWall {
        by_ms: i64,
    },
    /// An administrator asks.
    Describe(usize),
    List,
    DeleteGroup(usize),
    DeleteOffset {
        group: usize,
        partition: usize,
    },
    /// An administrator removes a member by what it is known by.
    Evict(usize),
    /// A client that is no member commits.
    CommitAsNobody {
        group: usize,
        partition: usize,
        offset: i64,
        retention_ms: i64,
    },
    /// Somebody commits as this member, with marks that are wrong.
    StaleCommit {
        member: usize,
        generations_back: i32,
    },
    /// The topic is deleted and made again.
    RecreateTopic,
}

/// All that a world begins with.
#[derive(Clone, Debug)]
pub(crate) struct Coordinated {
    pub(crate) settings: GroupSettings,
    pub(crate) count: usize,
    pub(crate) partitions: usize,
    pub(crate) members: Vec<Spec>,
}

/// How long a script goes on.
const LENGTH_MS: u64 = 60_000;

impl Coordinated {
    pub(crate) fn longest_session_ms(&self) -> u64 {
        self.members.iter().map(|spec| spec.session_ms).max().unwrap_or(0)
    }

    pub(crate) fn longest_rebalance_ms(&self) -> u64 {
        self.members.iter().map(|spec| spec.rebalance_ms).max().unwrap_or(0)
    }
}

pub(crate) fn of_seed(seed: u64) -> Script<Coordinated> {
    let mut rng = chance(seed, &[0]);
    let groups = rng.usize(1..=2);
    let members: Vec<Spec> = (0..rng.usize(1..=6)).map(|at| spec(&mut rng, groups, at)).collect();
    let settings = GroupSettings {
        initial_rebalance_delay: Duration::from_millis(*rng.choice(&[0, 0, 300, 3000]).unwrap_or(&0)),
        min_session_timeout: Duration::from_secs(1),
        max_size: if rng.u8(0..8) == 0 { 2 } else { 1000 },
        offsets_retention: Duration::from_secs(rng.u64(20..600)),
        ..GroupSettings::default()
    };
    let mut steps: Vec<_> = members
        .iter()
        .enumerate()
        .map(|(at, _)| Step { at_ms: rng.u64(0..8000), what: Action::Start(at) })
        .collect();
    let partitions = rng.usize(1..=5);
    for _ in 0..rng.usize(5..40) {
        let what = action(&mut rng, groups, members.len(), partitions);
        steps.push(Step { at_ms: rng.u64(0..LENGTH_MS), what });
    }
    let mut given = Coordinated { settings, count: groups, partitions, members };
    add_server_side(&mut given, &mut steps, &mut chance(seed, &[6]));
    Script::new(seed, given, steps)
}

/// Every other world has a group whose coordinator assigns besides.
fn add_server_side(given: &mut Coordinated, steps: &mut Vec<Step<Action>>, rng: &mut Rng) {
    if rng.bool() {
        return;
    }
    let session_ms = rng.u64(3000..8000);
    let consumer = &mut given.settings.consumer;
    consumer.session_timeout.default = Duration::from_millis(session_ms);
    consumer.session_timeout.min = Duration::from_secs(1);
    consumer.heartbeat_interval.default = Duration::from_secs(1);
    let first = given.members.len();
    for at in 0..rng.usize(1..=4) {
        given.members.push(Spec {
            group: given.count,
            server_side: true,
            instance: (rng.u8(0..3) == 0).then(|| format!("s{}", if rng.u8(0..4) == 0 { 0 } else { at })),
            version: 1,
            session_ms,
            rebalance_ms: rng.u64(2000..10_000),
            heartbeat_ms: rng.u64(200..700),
            commit_ms: rng.u64(200..3000),
            protocols: Vec::new(),
            clock_ppm: rng.u64(950_000..1_050_000),
        });
    }
    given.count += 1;
    let mut whats: Vec<_> =
        (first..given.members.len()).map(|at| (rng.u64(0..8000), Action::Start(at))).collect();
    for _ in 0..rng.usize(3..20) {
        let (group, member) = (given.count - 1, rng.usize(first..given.members.len()));
        let what = match rng.u8(0..20) {
            0..7 => Action::Start(member),
            7..10 => Action::Stop(member),
            10..13 => Action::Crash(member),
            13..16 => Action::Freeze { member, ms: rng.u64(100..12_000) },
            16..18 => Action::StaleCommit { member, generations_back: rng.i32(-1..3) },
            18 => Action::CommitAsNobody { group, partition: 0, offset: rng.i64(0..1000), retention_ms: -1 },
            _ => Action::DeleteGroup(group),
        };
        whats.push((rng.u64(0..LENGTH_MS), what));
    }
    steps.extend(whats.into_iter().map(|(at_ms, what)| Step { at_ms, what }));
}

fn spec(rng: &mut Rng, groups: usize, at: usize) -> Spec {
    let group = rng.usize(0..groups);
    let session_ms = rng.u64(2000..8000);
    // Now and then two processes believe that they are the same.
    let instance = (rng.u8(0..3) == 0).then(|| format!("i{}", if rng.u8(0..4) == 0 { 0 } else { at }));
    let version = if instance.is_some() { rng.i16(5..=9) } else { rng.i16(0..=9) };
    Spec {
        group,
        server_side: false,
        instance,
        version,
        session_ms,
        rebalance_ms: rng.u64(1000..10_000),
        heartbeat_ms: session_ms / rng.u64(3..6),
        commit_ms: rng.u64(200..3000),
        protocols: if rng.bool() { vec!["range"] } else { vec!["roundrobin", "range"] },
        clock_ppm: rng.u64(950_000..1_050_000),
    }
}

fn action(rng: &mut Rng, groups: usize, members: usize, partitions: usize) -> Action {
    let (group, member, partition) = (rng.usize(0..groups), rng.usize(0..members), rng.usize(0..partitions));
    let down_ms = rng.u64(10..4000);
    match rng.u8(0..100) {
        0..18 => Action::Start(member),
        18..24 => Action::Stop(member),
        24..31 => Action::Crash(member),
        31..37 => Action::Freeze { member, ms: rng.u64(100..12_000) },
        37..43 => Action::Kill { down_ms },
        43..50 => Action::PowerCut { down_ms },
        50..54 => Action::DieAfter { changes: rng.u64(0..12), down_ms },
        54..60 => Action::RestartCoordinator,
        60..64 => Action::FailSync { dropped: rng.bool() },
        64..67 => Action::DiskFull { free: rng.u64(0..800), ms: rng.u64(100..3000) },
        67..75 => Action::Network {
            lost_percent: rng.u8(0..15),
            delay_ms: rng.u64(1..1500),
            stale_percent: rng.u8(0..20),
            ms: rng.u64(500..15_000),
        },
        75..78 => Action::SetWall { by_ms: rng.i64(-60_000..60_000) },
        78..81 => Action::Describe(group),
        81..82 => Action::List,
        82..85 => Action::DeleteGroup(group),
        85..88 => Action::DeleteOffset { group, partition },
        88..90 => Action::Evict(member),
        90..93 => Action::CommitAsNobody {
            group,
            partition,
            offset: rng.i64(0..1000),
            retention_ms: if rng.u8(0..4) == 0 { rng.i64(1000..60_000) } else { -1 },
        },
        93..98 => Action::StaleCommit { member, generations_back: rng.i32(-1..3) },
        _ => Action::RecreateTopic,
    }
}
