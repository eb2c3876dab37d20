//! What lies between the clients and the node.
//!
//! A connection keeps order, and whatever is lost takes with it all that follows, until the client gives the connection
//! up. Old copies of requests that are no commits may come late: they stand for what a client has said again over
//! another connection. A commit of a connection that was given up comes no more, since then no broker could keep the
//! position from going back. Nor does a heartbeat of a group whose coordinator assigns, since it says what is owned.

use polylogue::actors::group_coordinator::{
    Refusal,
    core::{Answer, ListFilter, Partitions, Request},
};
use polylogue::{
    model::PartitionIndex,
    wire::{
        Str,
        api::leave_group::{LeaveGroupRequest, MemberIdentity},
    },
};

use crate::{
    chance::chance,
    checks::STRANGER,
    member::{TOPIC, commit},
    node::Asked,
    script::Action,
    trial::Checked,
    world::{Event, World},
};

#[derive(Debug)]
pub(crate) struct Network {
    lost_percent: u8,
    delay_us: u64,
    stale_percent: u8,
    since: u64,
    /// By client: how many messages there were, and when the last one arrives, to the node and back.
    lines: Vec<(u64, [u64; 2])>,
}

const CALM_US: u64 = 1000;

impl Network {
    pub(crate) fn new(clients: usize) -> Self {
        let lines = vec![(0, [0; 2]); clients];
        Self { lost_percent: 0, delay_us: CALM_US, stale_percent: 0, since: 0, lines }
    }

    pub(crate) fn trouble(&mut self, since: u64, lost_percent: u8, delay_ms: u64, stale_percent: u8) {
        (self.lost_percent, self.delay_us, self.stale_percent) =
            (lost_percent, 1000 * delay_ms, stale_percent);
        self.since = since;
    }

    /// The trouble that began then is over, unless another has begun since.
    pub(crate) fn calm(&mut self, since: u64) {
        if since >= self.since {
            (self.lost_percent, self.delay_us, self.stale_percent) = (0, CALM_US, 0);
        }
    }
}

/// What becomes of a message.
struct Fate {
    is_lost: bool,
    at: u64,
    stale_at: Option<u64>,
}

impl World {
    fn fate(&mut self, client: usize, way: usize) -> Fate {
        let network = &mut self.network;
        let (count, arrivals) = &mut network.lines[client];
        *count += 1;
        let mut rng = chance(self.script.seed, &[5, client as u64, *count]);
        let is_lost = rng.u8(0..100) < network.lost_percent;
        let at = (self.now + rng.u64(0..=network.delay_us)).max(arrivals[way] + 1);
        let stale = rng.u8(0..100) < network.stale_percent;
        let stale_at = stale.then(|| at + rng.u64(0..8_000_000));
        if !is_lost {
            arrivals[way] = at;
        }
        Fate { is_lost, at, stale_at }
    }

    fn is_administrator(&self, client: usize) -> bool {
        client >= self.members.len()
    }

    pub(crate) fn send(&mut self, client: usize, number: u64, request: Request) {
        let fate = self.fate(client, 0);
        let connection = match self.members.get_mut(client) {
            Some(member) => {
                member.is_cut |= fate.is_lost;
                if member.is_cut {
                    return;
                }
                member.connection
            }
            None => 0,
        };
        let asked = Asked { client, connection, number, at: 0, request };
        // Nor a heartbeat that says what a member owns: the protocol has nothing to tell an old one by.
        let may_be_stale = !matches!(asked.request, Request::Commit(_) | Request::ConsumerHeartbeat(_));
        if let Some(stale_at) = fate.stale_at.filter(|_| may_be_stale) {
            // Nobody waits for what it is answered.
            let copy = Asked { connection: u64::MAX, ..asked.clone() };
            self.push(stale_at, Event::Request(Box::new(copy)));
        }
        self.push(fate.at, Event::Request(Box::new(asked)));
    }

    pub(crate) fn on_arrival(&mut self, mut asked: Asked) -> Checked {
        let given_up = self.members.get(asked.client).is_some_and(|m| m.connection != asked.connection);
        if given_up && matches!(asked.request, Request::Commit(_) | Request::ConsumerHeartbeat(_)) {
            return Ok(());
        }
        if !self.node.is_up {
            let (client, connection) = (asked.client, asked.connection);
            self.after(CALM_US, Event::Broken { client, connection });
            return Ok(());
        }
        asked.at = self.now;
        let version = match (&asked.request, self.members.get(asked.client)) {
            (Request::Join(_), Some(member)) => member.spec.version,
            // As newer clients do; an older one cannot say which epoch it is of.
            (Request::Commit(_), member) if member.is_none_or(|member| member.spec.server_side) => 9,
            (Request::Leave(_), Some(member)) => member.spec.version.clamp(0, 5),
            _ => 5,
        };
        self.on_request(asked, version)
    }

    pub(crate) fn reply(&mut self, asked: &Asked, outcome: Result<Answer, Refusal>) {
        let (client, connection, number) = (asked.client, asked.connection, asked.number);
        let fate = self.fate(client, 1);
        if let Some(member) = self.members.get_mut(client).filter(|member| member.connection == connection) {
            member.is_cut |= fate.is_lost;
            if member.is_cut {
                return;
            }
        }
        self.push(fate.at, Event::Reply { client, connection, number, outcome: Box::new(outcome) });
    }

    /// The node is gone: everybody's connection is.
    pub(crate) fn break_connections(&mut self) {
        for client in 0..self.members.len() {
            let connection = self.members[client].connection;
            self.members[client].is_cut = true;
            self.after(CALM_US, Event::Broken { client, connection });
        }
    }

    pub(crate) fn ask_as_administrator(&mut self, action: &Action) {
        let client = self.members.len();
        debug_assert!(self.is_administrator(client));
        let group = |at: usize| self.groups[at].clone();
        let request = match *action {
            Action::Describe(at) => Request::Describe { group: group(at) },
            Action::List => Request::List(ListFilter::default()),
            Action::DeleteGroup(at) => Request::Delete { group: group(at) },
            Action::DeleteOffset { group: at, partition } => {
                let indexes = vec![PartitionIndex::new(partition as i32)];
                let topics = vec![Partitions { topic: Str::from_static(TOPIC), indexes }];
                Request::DeleteOffsets { group: group(at), topics }
            }
            Action::Evict(member) => {
                let member = &self.members[member];
                let instance = member.spec.instance.as_deref().map(Str::from);
                let member_id = if instance.is_some() { Str::default() } else { member.id.clone() };
                let leaving = MemberIdentity { member_id, group_instance_id: instance, reason: None };
                let (group_id, members) = (member.group.clone(), vec![leaving]);
                Request::Leave(LeaveGroupRequest { group_id, members, ..LeaveGroupRequest::default() })
            }
            Action::CommitAsNobody { group: at, partition, offset, retention_ms } => {
                let mut commit = commit(&group(at), self.topic(), &[(partition, offset)]);
                commit.retention_ms = retention_ms;
                Request::Commit(commit)
            }
            Action::StaleCommit { member, generations_back } => {
                let member = &self.members[member];
                let mut commit = commit(&member.group, self.topic(), &[(0, 0)]);
                commit.topics[0].partitions[0].committed_metadata = Some(STRANGER.into());
                commit.member_id = member.id.clone();
                commit.generation = (member.generation - generations_back).max(0);
                commit.instance_id = Some("somebody else".into()).filter(|_| generations_back == 0);
                Request::Commit(commit)
            }
            ref other => panic!("{other:?} is nothing to ask"),
        };
        self.send(client, 0, request);
    }
}
