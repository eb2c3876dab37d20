//! A producer: one record in flight, tried again for as long as it takes where that is safe.

use super::{
    checks::ONCE,
    log::Record,
    script::{Client, Node},
    world::{Event, Produce, Produced, World},
};
use crate::trial::{Checked, hold};

#[derive(Debug)]
pub(super) struct Producer {
    spec: Client,
    producer: u64,
    sequence: i64,
    /// The request that waits for its answer, and until when.
    waits: Option<(u64, u64)>,
    record: Option<Record>,
    number: u64,
    leader: Option<Node>,
    pub(super) stopped: bool,
}

impl Producer {
    pub(super) const fn new(spec: Client) -> Self {
        Self {
            spec,
            producer: 0,
            sequence: -1,
            waits: None,
            record: None,
            number: 0,
            leader: None,
            stopped: false,
        }
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.record.is_none()
    }
}

impl World {
    pub(super) fn on_client(&mut self, client: usize) {
        let mut rng = self.rng();
        let pause = 1000 * rng.u64(1..=self.clients[client].spec.pause_ms);
        self.after(pause, Event::Client { client });
        let it = &self.clients[client];
        if it.waits.is_some_and(|(_, until)| until > self.now) {
            return;
        }
        if it.waits.is_some() {
            self.happens("timed out");
            self.outcome_unknown(client);
        }
        if self.clients[client].record.is_none() {
            if self.clients[client].stopped {
                return;
            }
            self.next_record(client);
        }
        let nodes = self.nodes.len();
        let it = &mut self.clients[client];
        let Some(record) = it.record else { return };
        let node = it.leader.take().unwrap_or_else(|| rng.usize(1..nodes));
        it.leader = Some(node);
        it.number += 1;
        it.waits = Some((it.number, self.now + 400_000));
        let asks = Produce { client, number: it.number, record, acks_all: it.spec.acks_all };
        // Now and then a request is lost, or comes when nobody waits for it any more.
        let delay = match rng.u8(0..60) {
            0 => return,
            1 => rng.u64(0..2_000_000),
            _ => rng.u64(50..2000),
        };
        self.after(delay, Event::Produce { node, asks });
    }

    fn next_record(&mut self, client: usize) {
        self.records += 1;
        let id = self.records;
        let it = &mut self.clients[client];
        if it.producer == 0 || !it.spec.idempotent {
            (it.producer, it.sequence) = (id, -1);
        }
        let sequence = if it.spec.idempotent { it.sequence + 1 } else { -1 };
        it.record = Some(Record { epoch: 0, id, producer: it.producer, sequence });
    }

    /// It may be there or not: who is idempotent tries again, another does not.
    fn outcome_unknown(&mut self, client: usize) {
        let it = &mut self.clients[client];
        it.waits = None;
        it.leader = None;
        if !it.spec.idempotent {
            it.record = None;
        }
    }

    pub(super) fn on_produced(&mut self, client: usize, number: u64, outcome: Produced) -> Checked {
        let it = &mut self.clients[client];
        if it.waits.is_none_or(|(waits, _)| waits != number) {
            return Ok(());
        }
        it.waits = None;
        match outcome {
            Produced::Acknowledged => {
                if let Some(record) = it.record.take() {
                    it.sequence = record.sequence;
                }
            }
            Produced::NotHere { leader } => it.leader = leader,
            Produced::Unknown => self.outcome_unknown(client),
            Produced::OutOfOrder => {
                let is_allowed = !it.spec.acks_all || self.forgiven > 0 || self.deleted;
                // What was acknowledged before is there no more; it goes on as another.
                let was = it.record.take();
                it.producer = 0;
                hold!(is_allowed, ONCE, "client {client}: the leader lacks what came before {was:?}");
            }
        }
        Ok(())
    }
}
