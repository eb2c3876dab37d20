//! A thing that a request names twice is answered once, and refused, as in Kafka: clients find an answer
//! by what they asked for. It also keeps an answer from growing with repetitions.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

/// Each item once by its key, in their order, and whether it was there only once.
pub(crate) fn once_each<T, K: Hash + Eq>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> Vec<(T, bool)> {
    let mut places = HashMap::new();
    let mut each: Vec<(T, bool)> = Vec::new();
    for item in items {
        let place = *places.entry(key(&item)).or_insert(each.len());
        match each.get_mut(place) {
            Some((_, once)) => *once = false,
            None => each.push((item, true)),
        }
    }
    each
}

/// What is there more than once.
pub(crate) fn named_twice<K: Hash + Eq + Clone>(named: impl IntoIterator<Item = K>) -> HashSet<K> {
    once_each(named, Clone::clone).into_iter().filter_map(|(key, once)| (!once).then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::{named_twice, once_each};

    #[test]
    fn only_what_is_named_more_than_once_is_found() {
        let twice = named_twice(["a", "b", "a", "c", "a", "c"]);
        assert!(twice.len() == 2 && twice.contains("a") && twice.contains("c"));
    }

    #[test]
    fn what_is_there_more_than_once_keeps_its_first_place_and_is_marked() {
        let each = once_each([("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 5)], |(name, _)| *name);
        assert_eq!(each, [(("a", 1), false), (("b", 2), true), (("c", 4), true)]);
    }
}
