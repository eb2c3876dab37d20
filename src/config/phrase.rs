//! Texts of this program in refusals that come from another node.
//!
//! A refusal names keys and reasons by texts that stand in the program. One that has travelled is read back to the
//! same text, which the reader's program mostly has too; texts that are new to it are kept, once each.

use std::{collections::BTreeSet, sync::Mutex};

use serde::{Deserialize, Deserializer};

/// A text that stands in the program.
pub type Phrase = &'static str;

/// The texts kept, in all: programs have fewer.
const KEPT_MAX: usize = 1_024;
/// The longest of them.
const LENGTH_MAX: usize = 1_024;
/// What is read instead of any more, or of longer ones.
const UNREADABLE: Phrase = "(a text of another version)";

static KEPT: Mutex<BTreeSet<Phrase>> = Mutex::new(BTreeSet::new());

/// For `#[serde(deserialize_with)]`.
pub fn phrase<'de, D: Deserializer<'de>>(input: D) -> Result<Phrase, D::Error> {
    let text = String::deserialize(input)?;
    let Ok(mut kept) = KEPT.lock() else { return Ok(UNREADABLE) };
    if let Some(known) = kept.get(text.as_str()) {
        return Ok(known);
    }
    if kept.len() >= KEPT_MAX || text.len() > LENGTH_MAX {
        return Ok(UNREADABLE);
    }
    let new: Phrase = Box::leak(text.into_boxed_str());
    kept.insert(new);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{LENGTH_MAX, Phrase, UNREADABLE, phrase};

    #[derive(Deserialize)]
    struct Told(#[serde(deserialize_with = "phrase")] Phrase);

    fn read(text: &str) -> Phrase {
        serde_json::from_str::<Told>(&serde_json::to_string(text).unwrap()).unwrap().0
    }

    #[test]
    fn a_text_is_kept_once_and_an_endless_one_never() {
        let (first, second) = (read("retention.ms"), read("retention.ms"));
        assert_eq!(first, "retention.ms");
        assert!(std::ptr::eq(first, second));
        assert_eq!(read(&"a".repeat(LENGTH_MAX + 1)), UNREADABLE);
    }
}
