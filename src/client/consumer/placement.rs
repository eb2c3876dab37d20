//! Finds out, for each partition, who leads it and where to begin.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    select,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::sleep,
};

use super::{
    ConsumeError, ConsumerConfig, Fetched, StartAt,
    fetcher::Fetcher,
    partition::{Assigned, Placed},
    turns::Turns,
};
use crate::{
    client::{Client, ClientError},
    model::NodeId,
};

/// What fetchers and placement say to each other.
pub(super) type Returned = mpsc::UnboundedSender<Assigned>;
pub(super) type Returns = mpsc::UnboundedReceiver<Assigned>;

pub(super) struct Placement {
    client: Client,
    config: Arc<ConsumerConfig>,
    events: mpsc::Sender<Fetched>,
    turns: Turns,
    room: Arc<Semaphore>,
    room_size: usize,
    /// Partitions that are being placed.
    placing: Arc<AtomicUsize>,
    fetchers: HashMap<NodeId, mpsc::UnboundedSender<Placed>>,
    /// Fetchers, and partitions that are being placed.
    tasks: JoinSet<Option<Result<Placed, (Assigned, ConsumeError)>>>,
}

impl Placement {
    pub(super) fn new(
        client: Client,
        config: Arc<ConsumerConfig>,
        events: mpsc::Sender<Fetched>,
        turns: Turns,
        room_size: usize,
    ) -> Self {
        let room = Arc::new(Semaphore::new(room_size));
        let (placing, fetchers) = (Arc::default(), HashMap::new());
        Self { client, config, events, turns, room, room_size, placing, fetchers, tasks: JoinSet::new() }
    }

    /// Places what is assigned and what comes back, until the consumer is gone.
    ///
    /// The channels between the tasks hold each partition once for each turn that the consumer gave it, which bounds them.
    pub(super) async fn run(mut self, assigned: Vec<Assigned>, returned: Returned, mut returns: Returns) {
        for assigned in assigned {
            self.place(assigned);
        }
        loop {
            select! {
                Some(assigned) = returns.recv() => {
                    self.place(assigned);
                    // Those that come together are placed together: a fetch that does not know yet of the last one waits.
                    while let Ok(assigned) = returns.try_recv() {
                        self.place(assigned);
                    }
                }
                Some(done) = self.tasks.join_next() => match done {
                    Ok(Some(Ok(placed))) => self.hand_over(placed, &returned),
                    Ok(Some(Err((assigned, error)))) => {
                        if self.events.send(Fetched::failed(assigned, error)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a task of the consumer failed"),
                },
                () = self.events.closed() => return,
            }
        }
    }

    fn place(&mut self, assigned: Assigned) {
        if !self.is_current(&assigned) {
            return;
        }
        let client = self.client.clone();
        let placing = Arc::clone(&self.placing);
        placing.fetch_add(1, Ordering::AcqRel);
        self.tasks.spawn(async move {
            let placed = place(&client, assigned).await;
            placing.fetch_sub(1, Ordering::AcqRel);
            Some(placed)
        });
    }

    fn is_current(&self, assigned: &Assigned) -> bool {
        self.turns.is_current(&assigned.topic, assigned.partition, assigned.turn)
    }

    /// Gives a partition to the fetcher of its leader, which is started if there is none.
    fn hand_over(&mut self, placed: Placed, returned: &Returned) {
        if !self.is_current(&placed.assigned) {
            return;
        }
        let node = placed.leader.node;
        let refused = match self.fetchers.get(&node) {
            Some(fetcher) => fetcher.send(placed).err().map(|refused| refused.0),
            None => Some(placed),
        };
        let Some(placed) = refused else { return };
        let (sender, incoming) = mpsc::unbounded_channel();
        let fetcher = Fetcher {
            node,
            client: self.client.clone(),
            config: Arc::clone(&self.config),
            placing: Arc::clone(&self.placing),
            incoming,
            returned: returned.clone(),
            events: self.events.clone(),
            turns: self.turns.clone(),
            room: Arc::clone(&self.room),
            room_size: self.room_size,
            partitions: vec![placed],
        };
        self.fetchers.insert(node, sender);
        self.tasks.spawn(async move {
            fetcher.run().await;
            None
        });
    }
}

async fn place(client: &Client, mut assigned: Assigned) -> Result<Placed, (Assigned, ConsumeError)> {
    let failed = |assigned: &Assigned, source| ConsumeError::Partition {
        topic: assigned.topic.clone(),
        partition: assigned.partition,
        source,
    };
    if assigned.failures > 0 {
        let seen = client.metadata().generation;
        sleep(client.backoff(assigned.failures)).await;
        if let Err(error) = client.refresh(seen).await {
            tracing::debug!(%error, "metadata cannot be had");
        }
    }
    match find(client, &assigned).await {
        Ok((leader, offset)) => Ok(Placed { assigned, leader, offset }),
        Err(error) => {
            assigned.failures += 1;
            let error = failed(&assigned, error);
            Err((assigned, error))
        }
    }
}

async fn find(
    client: &Client,
    assigned: &Assigned,
) -> Result<(crate::client::Leader, crate::model::Offset), ClientError> {
    let offset = match assigned.next {
        StartAt::Offset(offset) => offset,
        StartAt::Spec(spec) => {
            let found = client.offsets(&assigned.topic, &[(assigned.partition, spec)]).await?;
            found.first().ok_or(ClientError::Incomplete(crate::wire::ApiKey::ListOffsets))?.offset
        }
    };
    Ok((client.leader(&assigned.topic, assigned.partition).await?, offset))
}
