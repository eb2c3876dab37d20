//! What the world of replicas is given: how it is set up, and what is done to it when. All of it comes from the seed,
//! and any part of the steps makes a script as well.

use fastrand::Rng;
use polylogue::config::topic::Durability;

use crate::{
    chance::chance,
    trial::{Script, Step},
};

/// A node by its id, from 1; 0 is the controller.
pub(super) type Node = usize;

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// The process ends; what it wrote is in the cache.
    Kill {
        node: Node,
        down_ms: u64,
    },
    /// What was not synced is gone, as far as chance wills.
    PowerCut {
        node: Node,
        down_ms: u64,
    },
    /// Everywhere at once.
    PowerCutAll {
        down_ms: u64,
    },
    /// In good order.
    Stop {
        node: Node,
        down_ms: u64,
    },
    /// The process does nothing for a while, and then all that has come meanwhile.
    Pause {
        node: Node,
        ms: u64,
    },
    /// The replica's actor alone ends, and opens its log again.
    RestartReplica {
        node: Node,
    },
    /// Nothing passes between the two.
    Cut {
        one: Node,
        other: Node,
        ms: u64,
    },
    /// Nobody but clients reaches it.
    Isolate {
        node: Node,
        ms: u64,
    },
    /// Messages get lost and late.
    Network {
        lost_percent: u8,
        delay_ms: u64,
        ms: u64,
    },
    /// Flushes and truncations take their time.
    SlowDisk {
        node: Node,
        delay_ms: u64,
        ms: u64,
    },
    /// The disk says that it has what was written, and keeps it in a memory of its own.
    Lie {
        node: Node,
        ms: u64,
    },
    /// Data on their way to a follower are damaged.
    Damage {
        node: Node,
        ms: u64,
    },
    SetDurability(Durability),
    SetMinInSync(usize),
    /// An administrator deletes so much of what is committed.
    DeleteRecords {
        percent: u8,
    },
    /// The controller gives the leadership to another member of the set.
    MoveLeader {
        to: Node,
    },
}

/// A producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) idempotent: bool,
    pub(super) acks_all: bool,
    pub(super) pause_ms: u64,
}

/// All that a world begins with.
#[derive(Clone, Debug)]
pub(super) struct Replicas {
    pub(super) nodes: usize,
    pub(super) durability: Durability,
    pub(super) min_in_sync: usize,
    pub(super) clients: Vec<Client>,
}

const LENGTH_MS: u64 = 10_000;

pub(super) fn of_seed(seed: u64) -> Script<Replicas> {
    let mut rng = chance(seed, &[100]);
    let nodes = *rng.choice(&[2, 3, 3, 3, 4, 5]).unwrap_or(&3);
    let client = |rng: &mut Rng| Client {
        idempotent: rng.u8(0..3) != 0,
        acks_all: rng.u8(0..4) != 0,
        pause_ms: rng.u64(20..200),
    };
    let clients = (0..rng.usize(1..=3)).map(|_| client(&mut rng)).collect();
    let steps: Vec<_> = (0..rng.usize(4..30))
        .map(|_| Step { what: action(&mut rng, nodes), at_ms: rng.u64(500..LENGTH_MS) })
        .collect();
    let given = Replicas {
        nodes,
        durability: durability(&mut rng),
        min_in_sync: if nodes > 2 { rng.usize(1..=2) } else { 1 },
        clients,
    };
    if seed % 4 == 3 { with_liars(seed, given, steps) } else { Script::new(seed, given, steps) }
}

/// Some disks lie for a while, of a minority or of any, and most of them lose their power meanwhile.
fn with_liars(seed: u64, given: Replicas, mut steps: Vec<Step<Action>>) -> Script<Replicas> {
    let mut rng = chance(seed, &[103]);
    let most = if rng.u8(0..4) == 0 { given.nodes } else { (given.nodes - 1) / 2 };
    for node in 1..=rng.usize(1..=most.max(1)) {
        for _ in 0..rng.usize(1..4) {
            let (at_ms, ms) = (rng.u64(500..LENGTH_MS - 3000), rng.u64(100..3000));
            steps.push(Step { at_ms, what: Action::Lie { node, ms } });
            if rng.u8(0..4) != 0 {
                let what = Action::PowerCut { node, down_ms: rng.u64(5..1000) };
                steps.push(Step { at_ms: at_ms + rng.u64(0..=ms), what });
            }
        }
    }
    Script::new(seed, given, steps)
}

/// A topic that counts the disk, on disks that lie.
pub(super) fn lying(seed: u64) -> Script<Replicas> {
    let Script { given, steps, .. } = of_seed(seed);
    let keeps = |step: &Step<Action>| !matches!(step.what, Action::Lie { .. } | Action::SetDurability(_));
    let steps = steps.into_iter().map(|(_, step)| step).filter(keeps).collect();
    with_liars(seed, Replicas { durability: Durability::Disk, ..given }, steps)
}

/// Two replicas that restart all the time, while what the controller says comes late.
pub(super) fn restless(seed: u64) -> Script<Replicas> {
    let mut rng = chance(seed, &[102]);
    let ms = LENGTH_MS;
    let mut steps = vec![Step { at_ms: 500, what: Action::Network { lost_percent: 3, delay_ms: 300, ms } }];
    steps.extend((0..40).map(|_| {
        let node = rng.usize(1..=2);
        let what = match rng.u8(0..3) {
            0 => Action::Kill { node, down_ms: rng.u64(5..300) },
            _ => Action::RestartReplica { node },
        };
        Step { at_ms: rng.u64(500..LENGTH_MS), what }
    }));
    Script::new(seed, Replicas { nodes: 2, min_in_sync: 1, ..of_seed(seed).given }, steps)
}

fn durability(rng: &mut Rng) -> Durability {
    if rng.u8(0..3) == 0 { Durability::Replicated } else { Durability::Disk }
}

fn action(rng: &mut Rng, nodes: usize) -> Action {
    let node = rng.usize(1..=nodes);
    let other = rng.usize(0..=nodes);
    let down_ms = if rng.bool() { rng.u64(5..300) } else { rng.u64(300..4000) };
    let ms = rng.u64(50..3000);
    match rng.u8(0..100) {
        0..12 => Action::Kill { node, down_ms },
        12..26 => Action::PowerCut { node, down_ms },
        26..29 => Action::PowerCutAll { down_ms },
        29..35 => Action::Stop { node, down_ms },
        35..45 => Action::Pause { node, ms },
        45..50 => Action::RestartReplica { node },
        50..58 => Action::Cut { one: node, other, ms },
        58..66 => Action::Isolate { node, ms },
        66..74 => Action::Network { lost_percent: rng.u8(0..20), delay_ms: rng.u64(1..800), ms },
        74..80 => Action::SlowDisk { node, delay_ms: rng.u64(50..1500), ms },
        80..83 => Action::Damage { node, ms },
        83..88 => Action::SetDurability(durability(rng)),
        88..91 => Action::SetMinInSync(rng.usize(1..=2.min(nodes))),
        91..94 => Action::DeleteRecords { percent: rng.u8(0..=100) },
        _ => Action::MoveLeader { to: node },
    }
}
