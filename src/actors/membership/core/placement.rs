//! Where the replicas of new partitions go.
//!
//! As Kafka's `StripedReplicaPlacer` does, replicas of a partition go to the racks in turn, and leaders are spread over
//! the brokers. Other than there, what a broker has already counts: who has the least gets the next, so that many small
//! topics are spread as well as one large one.

use super::{
    image::{BrokerImage, MetadataImage},
    record::Assignment,
    rules::Rules,
};
use crate::model::NodeId;

/// A broker and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    node: NodeId,
    /// Brokers without a rack share one.
    rack: Option<String>,
    live: bool,
    replicas: usize,
    /// The most that it can keep; none where that is not known.
    replicas_max: Option<usize>,
    /// Partitions of which it is the first replica.
    preferred: usize,
}

impl Host {
    fn is_full(&self) -> bool {
        self.replicas_max.is_some_and(|max| self.replicas >= max)
    }
}

/// All brokers and what they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed(Vec<Host>);

impl Placed {
    pub(super) fn of(image: &MetadataImage, rules: &Rules) -> Self {
        let host = |(node, broker): (&NodeId, &BrokerImage)| Host {
            node: *node,
            rack: broker.rack.clone(),
            live: broker.is_live(),
            replicas: 0,
            replicas_max: rules.replicas_max_of(image, *node),
            preferred: 0,
        };
        let mut placed = Self(image.brokers().iter().map(host).collect());
        // Where there is no choice nothing has to be counted: that is a walk over all partitions.
        if placed.0.len() > 1 {
            let partitions = image.topics().values().flat_map(|topic| &topic.partitions);
            partitions.for_each(|partition| placed.count(&partition.replicas));
        }
        placed
    }

    fn count(&mut self, replicas: &[NodeId]) {
        for (place, node) in replicas.iter().enumerate() {
            let Ok(at) = self.0.binary_search_by_key(node, |host| host.node) else { continue };
            if let Some(host) = self.0.get_mut(at) {
                host.replicas += 1;
                host.preferred += usize::from(place == 0);
            }
        }
    }
}

/// The replicas of `count` new partitions, `factor` of each; `None` where there are not so many brokers, or none that
/// can lead. Who is full gets some only where others do not suffice: whether there is room is for the caller to look at.
pub(super) fn place(placed: &Placed, count: usize, factor: usize) -> Option<Vec<Assignment>> {
    let mut hosts = placed.0.clone();
    let some_live = hosts.iter().any(|host| host.live);
    if factor == 0 || factor > hosts.len() || !some_live {
        return None;
    }
    Some((0..count).map(|at| Assignment { replicas: place_one(&mut hosts, factor, at) }).collect())
}

fn place_one(hosts: &mut [Host], factor: usize, turn: usize) -> Vec<NodeId> {
    let mut chosen: Vec<usize> = Vec::with_capacity(factor);
    while chosen.len() < factor {
        let Some(next) = next_host(hosts, &chosen) else { break };
        chosen.push(next);
    }
    let host = |at: &usize| hosts.get(*at);
    let fewest = |at: &&usize| host(at).map(|host| (!host.live, host.preferred, host.replicas, host.node));
    let Some(first) = chosen.iter().min_by_key(fewest).copied() else { return Vec::new() };
    chosen.retain(|at| *at != first);
    chosen.sort_unstable();
    // Whoever comes second leads when the first is away: that is not always the same one.
    let first_other = turn.checked_rem(chosen.len()).unwrap_or(0);
    chosen.rotate_left(first_other);
    chosen.insert(0, first);
    for (place, at) in chosen.iter().enumerate() {
        if let Some(host) = hosts.get_mut(*at) {
            host.replicas += 1;
            host.preferred += usize::from(place == 0);
        }
    }
    chosen.iter().filter_map(|at| hosts.get(*at)).map(|host| host.node).collect()
}

/// Who has room before who has not, then who is there before who is not (the first one in any case: somebody has to lead), a
/// rack that has none of the partition before one that has, and who has the least before who has more.
fn next_host(hosts: &[Host], chosen: &[usize]) -> Option<usize> {
    let in_rack = |rack: &Option<String>| {
        chosen.iter().filter(|at| hosts.get(**at).is_some_and(|host| host.rack == *rack)).count()
    };
    let free = hosts.iter().enumerate().filter(|(at, _)| !chosen.contains(at));
    let best = free.min_by_key(|(_, host)| {
        let cannot_lead = chosen.is_empty() && !host.live;
        let burden = (host.replicas, host.preferred);
        (cannot_lead, host.is_full(), !host.live, in_rack(&host.rack), burden, host.node)
    });
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use fastrand::Rng;

    use super::{Host, Placed, place};
    use crate::model::NodeId;

    fn hosts(count: i32, racks: i32) -> Placed {
        let host = |node| Host {
            node: NodeId::new(node),
            rack: (racks > 0).then(|| format!("rack {}", node % racks)),
            live: true,
            replicas: 0,
            replicas_max: None,
            preferred: 0,
        };
        Placed((1..=count).map(host).collect())
    }

    /// The most and the fewest that a broker has.
    fn spread(nodes: impl Iterator<Item = NodeId>, of: &Placed) -> (usize, usize) {
        let mut counts: BTreeMap<NodeId, usize> = of.0.iter().map(|host| (host.node, 0)).collect();
        nodes.for_each(|node| *counts.entry(node).or_default() += 1);
        (counts.values().copied().max().unwrap_or(0), counts.values().copied().min().unwrap_or(0))
    }

    #[test]
    fn replicas_and_leaders_are_spread_over_brokers_that_are_alike() {
        for (brokers, factor) in
            (1..=7).flat_map(|brokers| (1..=brokers).map(move |factor| (brokers, factor)))
        {
            let placed = hosts(brokers, 0);
            let partitions = place(&placed, 60, usize::try_from(factor).unwrap()).unwrap();
            let all = partitions.iter().flat_map(|partition| partition.replicas.iter().copied());
            let (most, fewest) = spread(all, &placed);
            assert!(most - fewest <= 1, "{factor} on {brokers}: from {fewest} to {most} replicas");
            let (most, fewest) = spread(partitions.iter().map(|partition| partition.replicas[0]), &placed);
            assert!(most - fewest <= 2, "{factor} on {brokers}: from {fewest} to {most} leaders");
        }
    }

    #[test]
    fn every_partition_is_in_as_many_racks_as_it_can_be() {
        for seed in 0..500 {
            let mut rng = Rng::with_seed(seed);
            let (brokers, racks) = (rng.i32(1..9), rng.i32(1..5));
            let placed = hosts(brokers, racks);
            let factor = rng.usize(1..=usize::try_from(brokers).unwrap());
            let rack_of = |node: NodeId| node.get() % racks;
            let there: BTreeSet<i32> = placed.0.iter().map(|host| rack_of(host.node)).collect();
            for partition in place(&placed, 20, factor).unwrap() {
                let nodes: BTreeSet<NodeId> = partition.replicas.iter().copied().collect();
                assert_eq!(nodes.len(), factor, "seed {seed}: a broker twice");
                let used: BTreeSet<i32> = nodes.iter().map(|node| rack_of(*node)).collect();
                assert_eq!(used.len(), factor.min(there.len()), "seed {seed}: {partition:?}");
            }
        }
    }

    #[test]
    fn who_is_away_gets_replicas_only_where_others_do_not_suffice_and_never_leads_first() {
        for seed in 0..500 {
            let mut rng = Rng::with_seed(seed);
            let brokers = rng.i32(1..7);
            let mut placed = hosts(brokers, rng.i32(0..3));
            placed.0.iter_mut().for_each(|host| host.live = rng.bool());
            let live: BTreeSet<NodeId> =
                placed.0.iter().filter(|host| host.live).map(|host| host.node).collect();
            let factor = rng.usize(1..=usize::try_from(brokers).unwrap());
            let Some(partitions) = place(&placed, 10, factor) else {
                assert!(live.is_empty(), "seed {seed}");
                continue;
            };
            for partition in partitions {
                assert!(live.contains(&partition.replicas[0]), "seed {seed}: {partition:?}");
                let used = partition.replicas.iter().filter(|node| live.contains(node)).count();
                assert_eq!(used, factor.min(live.len()), "seed {seed}: {partition:?}");
            }
        }
    }

    #[test]
    fn a_broker_that_has_less_gets_more() {
        let mut placed = hosts(3, 0);
        placed.0.iter_mut().take(2).for_each(|host| (host.replicas, host.preferred) = (30, 30));
        let partitions = place(&placed, 30, 1).unwrap();
        assert!(partitions.iter().all(|partition| partition.replicas == [NodeId::new(3)]));
    }

    #[test]
    fn there_are_never_more_replicas_than_brokers() {
        assert_eq!(place(&hosts(2, 0), 1, 3), None);
        assert_eq!(place(&hosts(2, 0), 1, 0), None);
        assert_eq!(place(&Placed(Vec::new()), 1, 1), None);
    }
}
