//! Which starts of a node are over: a process that was paused, or a copy of its folder, must not speak for its successor.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{BootId, NodeId};

/// How many earlier starts of a node are remembered.
const REMEMBERED: usize = 64;

/// What is known of starts. A start that nobody has heard of is not stale: it may be about to register.
#[derive(Clone, Debug, Default)]
pub(super) struct Boots {
    nodes: BTreeMap<NodeId, Starts>,
}

#[derive(Clone, Debug)]
struct Starts {
    current: BootId,
    earlier: VecDeque<BootId>,
}

impl Boots {
    /// The node has been registered under this start; the one before is over.
    pub(super) fn registered(&mut self, node: NodeId, boot: BootId) {
        let starts =
            self.nodes.entry(node).or_insert_with(|| Starts { current: boot, earlier: VecDeque::new() });
        if starts.current == boot {
            return;
        }
        let ended = std::mem::replace(&mut starts.current, boot);
        starts.earlier.retain(|earlier| *earlier != boot);
        starts.earlier.push_back(ended);
        if starts.earlier.len() > REMEMBERED {
            starts.earlier.pop_front();
        }
    }

    /// Whether another start of the node has been registered after this one.
    pub(super) fn is_stale(&self, node: NodeId, boot: BootId) -> bool {
        self.nodes.get(&node).is_some_and(|starts| starts.earlier.contains(&boot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_a_start_is_stale_once_another_is_registered_and_an_unknown_one_is_not() {
        let (node, mut boots) = (NodeId::new(3), Boots::default());
        let [first, second, third] = [(); 3].map(|()| BootId::random());
        boots.registered(node, first);
        boots.registered(node, first);
        assert!(!boots.is_stale(node, first) && !boots.is_stale(node, second));
        boots.registered(node, second);
        boots.registered(node, third);
        assert!(boots.is_stale(node, first) && boots.is_stale(node, second) && !boots.is_stale(node, third));
        assert!(!boots.is_stale(NodeId::new(4), first), "of that node alone");
    }

    #[test]
    fn a_bounded_number_of_starts_is_remembered() {
        let (node, mut boots) = (NodeId::new(3), Boots::default());
        for _ in 0..1000 {
            boots.registered(node, BootId::random());
        }
        assert_eq!(boots.nodes[&node].earlier.len(), REMEMBERED);
    }
}
