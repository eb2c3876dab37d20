//! The table of safety rules in `docs/ARCHITECTURE.md`, held against the names of the tests.
//!
//! A test that plays a rule's story has the rule's number in its name, or those of several: `s10_s11_...`.

use std::collections::BTreeMap;

use crate::{lexer::tokens, rules::Source};

/// How many tests bear a rule's number, by file.
pub(crate) type Tests = BTreeMap<String, usize>;

/// The rules' numbers: they are never reused, and new ones are added here.
pub(crate) const RULES: std::ops::RangeInclusive<u32> = 1..=22;

/// The tests of each rule by their names.
pub(crate) fn by_name(sources: &[Source]) -> BTreeMap<u32, Tests> {
    let mut found: BTreeMap<u32, Tests> = BTreeMap::new();
    for source in sources {
        let tokens = tokens(&source.text);
        let functions = tokens.windows(2).filter(|pair| pair[0].is_word("fn"));
        for rule in functions.filter_map(|pair| pair[1].word()).flat_map(rules_of) {
            *found.entry(rule).or_default().entry(source.path.clone()).or_default() += 1;
        }
    }
    found
}

/// The numbers at the head of a function's name.
fn rules_of(name: &str) -> Vec<u32> {
    let number = |part: &str| part.strip_prefix('s').filter(|digits| digits.len() == 2)?.parse().ok();
    name.split('_').map_while(number).collect()
}

/// What the table says: the last cell of each row that begins with a rule's number.
pub(crate) fn by_table(page: &str) -> BTreeMap<u32, String> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        let rule = cells.first()?.strip_prefix('S')?.parse().ok()?;
        Some((rule, (*cells.last()?).to_owned()))
    };
    page.lines().filter(|line| line.starts_with("| S")).filter_map(row).collect()
}

/// The last cell of a rule's row as it has to be.
fn cell(tests: &Tests) -> String {
    let entry = |(path, count): (&String, &usize)| match count {
        1 => format!("`{path}`"),
        count => format!("`{path}` ({count})"),
    };
    tests.iter().map(entry).collect::<Vec<_>>().join("<br>")
}

/// What is wrong with the table, with what has to stand there instead.
pub(crate) fn misses(page: &str, sources: &[Source]) -> Vec<String> {
    let (said, found) = (by_table(page), by_name(sources));
    let mut misses = Vec::new();
    for rule in RULES {
        let Some(tests) = found.get(&rule) else {
            misses.push(format!("no test bears the number of S{rule}"));
            continue;
        };
        let right = cell(tests);
        if said.get(&rule) != Some(&right) {
            misses.push(format!("the last cell of S{rule} has to be: {right}"));
        }
    }
    let unknown = |rule: &&u32| !RULES.contains(*rule);
    let strange = said.keys().chain(found.keys()).filter(unknown);
    misses.extend(strange.map(|rule| format!("there is no rule S{rule}")));
    misses
}
