//! Whether other nodes are still there.
//!
//! A client whose connection ends asks another node at once who leads now, and may be faster than the metadata: then it hears that
//! the dead one does, believes it, and librdkafka asks again a whole second later. So a node that is asked for leaders asks
//! these, too, and answers when it knows better.

use std::{collections::BTreeSet, fmt};

use crate::{actors::supervise::BoxFuture, model::NodeId};

/// The way to them.
pub trait Others: fmt::Debug + Send + Sync + 'static {
    /// Which of these have been lost a moment ago: nobody can be asked whether they are there, and this was different
    /// shortly before. Takes no longer than a client may be kept waiting.
    fn lost(&self, nodes: BTreeSet<NodeId>) -> BoxFuture<BTreeSet<NodeId>>;
}
