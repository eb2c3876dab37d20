//! A subscription by regular expression, as the coordinator resolves it.

use std::collections::BTreeSet;

use regex_lite::{Regex, RegexBuilder};

use super::super::image::Image;
use crate::model::{TopicId, is_internal};

/// Bytes that a compiled expression may take; clients send them.
const MOST_BYTES: usize = 1 << 20;

/// An expression, and the topics whose whole name it matches. The node's own topics are never among them.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) topics: BTreeSet<TopicId>,
}

impl Pattern {
    pub(super) fn new(expression: &str, image: &Image) -> Result<Self, regex_lite::Error> {
        let regex = compiled(expression)?;
        let matched = image.topics.iter().filter(|(name, _)| !is_internal(name) && regex.is_match(name));
        Ok(Self { topics: matched.map(|(_, topic)| topic.id).collect() })
    }
}

/// The expression for whole names.
pub(super) fn compiled(expression: &str) -> Result<Regex, regex_lite::Error> {
    // By itself first: what is wrong with it is told without our brackets.
    RegexBuilder::new(expression).size_limit(MOST_BYTES).build()?;
    RegexBuilder::new(&format!("^(?:{expression})$")).size_limit(MOST_BYTES).build()
}

#[cfg(test)]
mod tests {
    use super::{Image, Pattern, compiled};
    use crate::{actors::group_coordinator::core::TopicImage, model::TopicId, wire::Str};

    #[test]
    fn an_expression_is_for_whole_names_and_never_for_the_nodes_own_topics() {
        let ids: Vec<_> = (0..4).map(|id| TopicId::from_bytes([id; 16])).collect();
        let names = ["orders", "orders-eu", "__consumer_offsets", "old-orders"];
        let topic = |(name, id): (&str, &TopicId)| {
            (Str::from(name), TopicImage { id: *id, partitions: 1, ..TopicImage::default() })
        };
        let image = Image::new(names.into_iter().zip(&ids).map(topic).collect());
        let matched = |expression| Pattern::new(expression, &image).unwrap().topics;
        assert_eq!(matched("orders.*"), [ids[0], ids[1]].into());
        assert_eq!(matched("orders|nothing"), [ids[0]].into());
        assert_eq!(matched(".*"), [ids[0], ids[1], ids[3]].into());
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        assert!(compiled("orders(").is_err());
        assert!(compiled("a)(b").is_err());
        assert!(compiled("((((a{100}){100}){100}){100}){100}").is_err());
    }
}
