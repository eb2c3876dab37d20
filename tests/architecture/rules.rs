//! The rules, over the text of sources: what is in a file is all that they look at.

use std::fmt;

use crate::lexer::{Kind, Token, tokens};

/// Who stands left of whom; those of one line may see each other.
const LAYERS: &[&[&str]] = &[
    &["model", "clock", "sys", "metrics", "telemetry"],
    &["wire"],
    &["record"],
    &["storage"],
    &["config"],
    &["client"],
    &["actors"],
    &["kafka", "admin"],
    &["node"],
    &["local_cluster"],
    &["cli"],
];
/// Left of them and yet not theirs to see: what serves a connection holds actors' handles, never the
/// inside of the storage.
const NOT_THROUGH: &[(&str, &str)] = &[("kafka", "storage"), ("admin", "storage")];
/// Stands beside the layers.
struct Beside {
    module: &'static str,
    sees: &'static [&'static str],
    seen_by: &'static [&'static str],
}
const BESIDE: &[Beside] = &[
    // Is to be usable alone.
    Beside { module: "chaos", sees: &["model", "client"], seen_by: &["cli"] },
    // Is there for tests and fuzzers only.
    Beside { module: "fuzzing", sees: &["model", "clock", "wire", "record", "storage"], seen_by: &[] },
];

/// The crates that only actors and the composition root may name.
const ACTOR_CRATES: &[&str] = &["ractor", "ractor_cluster"];
const MAY_NAME_ACTOR_CRATES: &[&str] = &["src/actors/", "src/node.rs", "src/node/"];
/// The system-call seam, the memory map of the indexes among it.
const MAY_BE_UNSAFE: &[&str] = &["src/sys/"];

pub(crate) const MAX_FILE_LINES: usize = 600;
pub(crate) const MAX_FUNCTION_LINES: usize = 70;

/// A file by its path from the project's root.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A rule that a file breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Everything that is wrong with a file.
pub(crate) fn breaches(source: &Source) -> Vec<Breach> {
    let tokens = tokens(&source.text);
    let mut found = Vec::new();
    found.extend(file_too_long(source));
    found.extend(functions_too_long(&tokens));
    if let Some(module) = source.path.strip_prefix("src/") {
        found.extend(imports_from_the_right(module, &tokens));
        found.extend(forbidden_words(&source.path, &tokens));
    }
    found.into_iter().map(|(line, what)| Breach { path: source.path.clone(), line, what }).collect()
}

type Finding = (usize, String);

fn file_too_long(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    (lines > MAX_FILE_LINES).then(|| (lines, format!("{lines} lines in a file, more than {MAX_FILE_LINES}")))
}

fn functions_too_long(tokens: &[Token]) -> Vec<Finding> {
    let functions = (0..tokens.len()).filter(|at| tokens[*at].is_word("fn"));
    let too_long = functions.filter_map(|at| {
        let name = tokens.get(at + 1)?.word()?;
        let lines = tokens[end_of_function(tokens, at)?].line - tokens[at].line + 1;
        let what = format!("fn {name} has {lines} lines, more than {MAX_FUNCTION_LINES}");
        (lines > MAX_FUNCTION_LINES).then_some((tokens[at].line, what))
    });
    too_long.collect()
}

/// The brace that closes the body; `None` for a declaration without one.
fn end_of_function(tokens: &[Token], start: usize) -> Option<usize> {
    let mut brackets = 0;
    let mut body = start;
    loop {
        match &tokens.get(body)?.kind {
            Kind::Punctuation('(' | '[') => brackets += 1,
            Kind::Punctuation(')' | ']') => brackets -= 1,
            Kind::Punctuation(';') if brackets == 0 => return None,
            Kind::Punctuation('{') if brackets == 0 => return closing_brace(tokens, body),
            Kind::Punctuation(_) | Kind::Word(_) | Kind::PathSeparator | Kind::Other => {}
        }
        body += 1;
    }
}

fn closing_brace(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += i32::from(token.is('{')) - i32::from(token.is('}'));
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn forbidden_words(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let under = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    let words = tokens.iter().filter_map(|token| Some((token.line, token.word()?)));
    let forbidden = words.filter_map(|(line, word)| {
        if ACTOR_CRATES.contains(&word) && !under(MAY_NAME_ACTOR_CRATES) {
            return Some((line, format!("{word} is named outside of actors/ and node.rs")));
        }
        let what = "unsafe outside of the system-call seam";
        (word == "unsafe" && !under(MAY_BE_UNSAFE)).then(|| (line, what.to_owned()))
    });
    forbidden.collect()
}

/// Paths that lead from the crate's root into a module that this one may not see.
fn imports_from_the_right(path_in_src: &str, tokens: &[Token]) -> Vec<Finding> {
    let module = module_path(path_in_src);
    let Some(own) = module.first().cloned() else { return Vec::new() };
    let own = own.as_str();
    if !is_known(own) {
        return vec![(1, format!("module {own} has no place in the layers"))];
    }
    let names = root_names(&module, tokens);
    let refused = names.into_iter().filter(|(_, name)| name != own && !may_see(own, name));
    let message = |(line, name): (usize, String)| {
        let what = if is_known(&name) {
            format!("{own} may not import {name}")
        } else {
            format!("{own} names crate::{name}, which is no module of the layers")
        };
        (line, what)
    };
    refused.map(message).collect()
}

/// The modules that a file is, from the crate's root; none for the roots themselves, which see all.
fn module_path(path_in_src: &str) -> Vec<String> {
    let path = path_in_src.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if matches!(path, "lib" | "main") {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

fn beside(module: &str) -> Option<&'static Beside> {
    BESIDE.iter().find(|beside| beside.module == module)
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn is_known(module: &str) -> bool {
    beside(module).is_some() || layer(module).is_some()
}

fn may_see(own: &str, other: &str) -> bool {
    if let Some(own) = beside(own) {
        return own.sees.contains(&other);
    }
    if let Some(other) = beside(other) {
        return other.seen_by.contains(&own);
    }
    let left = matches!((layer(own), layer(other)), (Some(own), Some(other)) if other <= own);
    left && !NOT_THROUGH.contains(&(own, other))
}

/// Every name that a path takes from the crate's root, by `crate::` or by enough of `super::`, with
/// groups opened.
fn root_names(module: &[String], tokens: &[Token]) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    // The depth of braces at which each inline module ends.
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Punctuation('{') => {
                depth += 1;
                if at >= 2 && tokens[at - 2].is_word("mod") {
                    inline.push(depth);
                }
            }
            Kind::Punctuation('}') => {
                inline.pop_if(|opened| *opened == depth);
                depth = depth.saturating_sub(1);
            }
            Kind::Word(word) if !follows_path(tokens, at) => match word.as_str() {
                "crate" => names.extend(names_behind_root(tokens, at)),
                "super" => names.extend(names_behind_super(tokens, at, module.len() + inline.len())),
                _ => {}
            },
            Kind::Word(_) | Kind::Punctuation(_) | Kind::PathSeparator | Kind::Other => {}
        }
    }
    names
}

fn follows_path(tokens: &[Token], at: usize) -> bool {
    at > 0 && tokens[at - 1].kind == Kind::PathSeparator
}

/// What stands behind a word that means the crate's root: `::name`, `::{...}`, or an alias for it,
/// which would hide every name behind it.
fn names_behind_root(tokens: &[Token], root: usize) -> Vec<(usize, String)> {
    match tokens.get(root + 1) {
        Some(next) if next.is_word("as") => vec![(next.line, "self as".to_owned())],
        Some(next) if next.kind == Kind::PathSeparator => names_at(tokens, root + 2),
        _ => Vec::new(),
    }
}

fn names_behind_super(tokens: &[Token], start: usize, depth: usize) -> Vec<(usize, String)> {
    let mut at = start;
    let mut up = 1;
    while tokens.get(at + 1).is_some_and(|next| next.kind == Kind::PathSeparator)
        && tokens.get(at + 2).is_some_and(|next| next.is_word("super"))
    {
        at += 2;
        up += 1;
    }
    if up < depth { Vec::new() } else { names_behind_root(tokens, at) }
}

/// The first names of a path or of each path of a group.
fn names_at(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    let Some(first) = tokens.get(at) else { return Vec::new() };
    if let Some(name) = first.word() {
        // A macro has no module; where it is defined is checked there.
        let is_macro = tokens.get(at + 1).is_some_and(|next| next.is('!'));
        return if is_macro { Vec::new() } else { vec![(first.line, name.to_owned())] };
    }
    if first.is('*') {
        return vec![(first.line, "*".to_owned())];
    }
    if !first.is('{') {
        return Vec::new();
    }
    let end = closing_brace(tokens, at).unwrap_or(tokens.len());
    let mut depth = 0;
    let mut names = Vec::new();
    for inner in at..end {
        let starts = tokens[inner].is('{') || tokens[inner].is(',');
        depth += i32::from(tokens[inner].is('{')) - i32::from(tokens[inner].is('}'));
        if starts && depth == 1 {
            names.extend(names_at(tokens, inner + 1));
        }
    }
    names
}
