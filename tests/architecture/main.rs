//! The layering of `docs/ARCHITECTURE.md`, kept by a test that reads the sources.
//!
//! A map that nobody checks is wrong within a month. This fails on an import from the right, on
//! actors' crates outside of actors, on unsafe outside of its places, and on files and functions that
//! have outgrown a reader, on a table of safety rules that is not what the tests' names say; and on itself, where a
//! planted breach is not found.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lexer;
mod rules;
mod safety;

use std::{fs, path::Path};

use rules::{Breach, MAX_FILE_LINES, MAX_FUNCTION_LINES, Source, breaches};

/// Every Rust file of ours below the project's root.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"] {
        collect(root, &root.join(folder), &mut found);
    }
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    if !folder.exists() {
        return;
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push(Source { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

fn found_in(path: &str, text: &str) -> Vec<Breach> {
    breaches(&Source { path: path.to_owned(), text: text.to_owned() })
}

#[track_caller]
fn assert_found(path: &str, text: &str, line: usize, what: &str) {
    let found = found_in(path, text);
    let expected = Breach { path: path.to_owned(), line, what: what.to_owned() };
    assert_eq!(found, [expected], "in:\n{text}");
}

#[track_caller]
fn assert_fine(path: &str, text: &str) {
    assert_eq!(found_in(path, text), [], "in:\n{text}");
}

#[test]
fn nothing_imports_from_the_right_and_nothing_has_outgrown_a_reader() {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the sources were not found");
    let found: Vec<String> = sources.iter().flat_map(breaches).map(|breach| breach.to_string()).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_planted_import_from_the_right_is_found_however_it_is_written() {
    let storage = "src/storage/log/mod.rs";
    let refused = "storage may not import actors";
    assert_found(storage, "use crate::actors::partition;", 1, refused);
    assert_found(storage, "\nuse crate::{model::Offset, wire::{self, Str}, actors::{a, b}};", 2, refused);
    assert_found(storage, "use crate::{\n    model,\n    actors as a,\n};", 3, refused);
    assert_found(storage, "fn f() -> crate::actors::Tree { loop {} }", 1, refused);
    assert_found(storage, "use super::super::actors;", 1, refused);
    assert_found(storage, "mod tests {\n use super::super::super::{actors};\n}", 2, refused);
    assert_found("src/storage/scrub.rs", "pub(crate) use super::super::actors;", 1, refused);
    assert_found("src/storage.rs", "use super::actors;", 1, refused);
    assert_found("src/admin/mod.rs", "use crate::node::Node;", 1, "admin may not import node");
    assert_found("src/kafka/mod.rs", "use crate::storage::log;", 1, "kafka may not import storage");
    assert_found("src/model/offset.rs", "use crate::wire::Str;", 1, "model may not import wire");
}

#[test]
fn a_planted_way_around_the_layers_is_found() {
    let unknown = "wire names crate::Node, which is no module of the layers";
    assert_found("src/wire/mod.rs", "use crate::Node;", 1, unknown);
    let glob = "wire names crate::*, which is no module of the layers";
    assert_found("src/wire/mod.rs", "use crate::*;", 1, glob);
    assert_found("src/wire/mod.rs", "use crate::{model, *};", 1, glob);
    let alias = "wire names crate::self as, which is no module of the layers";
    assert_found("src/wire/mod.rs", "use crate as root;", 1, alias);
    assert_found("src/helpers.rs", "", 1, "module helpers has no place in the layers");
}

#[test]
fn chaos_sees_model_and_client_only_and_only_the_command_line_sees_it() {
    assert_fine("src/chaos/checker/mod.rs", "use crate::{chaos::history, model::Offset, client::Client};");
    assert_found("src/chaos/history/mod.rs", "use crate::clock::Clock;", 1, "chaos may not import clock");
    assert_found("src/actors/mod.rs", "use crate::chaos::history;", 1, "actors may not import chaos");
    assert_fine("src/cli/chaos.rs", "use crate::chaos::history;");
}

#[test]
fn fuzzing_sees_what_it_fuzzes_and_nobody_sees_it() {
    assert_fine(
        "src/fuzzing/recovery/mod.rs",
        "use crate::{clock::Clock, fuzzing::input, storage::log::Log};",
    );
    assert_found("src/fuzzing/mod.rs", "use crate::kafka::dispatch;", 1, "fuzzing may not import kafka");
    assert_found("src/storage/mod.rs", "use crate::fuzzing::seeds;", 1, "storage may not import fuzzing");
    assert_found("src/cli/mod.rs", "use crate::fuzzing::seeds;", 1, "cli may not import fuzzing");
}

#[test]
fn imports_from_the_left_of_ones_own_and_of_the_same_layer_are_fine() {
    assert_fine("src/storage/log/mod.rs", "use crate::{model::{Offset}, record, storage::fs::Fs};");
    assert_fine("src/clock.rs", "use crate::model::TimestampMs;");
    assert_fine("src/storage/log/mod.rs", "use super::fs; use super::super::record; pub(crate) struct A;");
    assert_fine("src/storage/log/mod.rs", "mod tests { use super::super::actors; use super::*; }");
    assert_fine("src/wire/mod.rs", "macro_rules! m { () => { $crate::wire::x } } crate::m!();");
    assert_fine("src/lib.rs", "pub use crate::node::Node;");
}

#[test]
fn comments_strings_and_lifetimes_are_no_code() {
    let text = r##"
        // use crate::actors;
        /* unsafe /* nested */ use crate::actors; */
        /// [`crate::actors`]
        const A: &str = "unsafe \" use crate::actors;";
        const B: &str = r#"ractor " use crate::actors;"#;
        const C: (char, char, &[u8]) = ('"', '\'', b"unsafe");
        fn f<'a>(a: &'a str) -> &'a str { a }
    "##;
    assert_fine("src/storage/mod.rs", text);
    let behind = format!("{text}\nuse crate::actors;");
    assert_found("src/storage/mod.rs", &behind, 10, "storage may not import actors");
}

#[test]
fn a_planted_actor_crate_outside_of_actors_is_found() {
    let what = "ractor is named outside of actors/ and node.rs";
    assert_found("src/kafka/connection.rs", "fn f() {\n    ractor::call!(a, b);\n}", 2, what);
    assert_fine("src/actors/partition/mod.rs", "use ractor::Actor;");
    assert_fine("src/node.rs", "use ractor::Actor;");
}

#[test]
fn planted_unsafe_code_outside_of_its_places_is_found() {
    let what = "unsafe outside of the system-call seam";
    assert_found("src/record/mod.rs", "\n\nfn f() { unsafe { g() } }", 3, what);
    assert_fine("src/sys/mod.rs", "fn f() { unsafe { g() } }");
    assert_fine("src/record/mod.rs", "#![deny(unsafe_code)]");
}

#[test]
fn planted_giants_are_found_and_what_just_fits_is_not() {
    let file = |lines| "//\n".repeat(lines);
    let what = format!("{} lines in a file, more than {MAX_FILE_LINES}", MAX_FILE_LINES + 1);
    assert_found("src/model/mod.rs", &file(MAX_FILE_LINES + 1), MAX_FILE_LINES + 1, &what);
    assert_fine("src/model/mod.rs", &file(MAX_FILE_LINES));

    let function =
        |lines: usize| format!("trait T {{ fn g(); }}\nfn f(a: [u8; 3]) {{{}}}", "\n".repeat(lines - 1));
    let what = format!("fn f has {} lines, more than {MAX_FUNCTION_LINES}", MAX_FUNCTION_LINES + 1);
    assert_found("tests/x/main.rs", &function(MAX_FUNCTION_LINES + 1), 2, &what);
    assert_fine("tests/x/main.rs", &function(MAX_FUNCTION_LINES));
}

#[test]
fn the_table_of_safety_rules_names_each_rules_tests_and_no_others() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ARCHITECTURE.md");
    let misses = safety::misses(&fs::read_to_string(page).unwrap(), &sources());
    assert!(misses.is_empty(), "in docs/ARCHITECTURE.md:\n{}", misses.join("\n"));
}

#[test]
fn a_planted_gap_in_the_table_of_safety_rules_is_found() {
    let source = |path: &str, text: String| Source { path: path.to_owned(), text };
    let all = safety::RULES.map(|rule| format!("fn s{rule:02}_story() {{}}\n")).collect::<Vec<_>>().concat();
    let rows = safety::RULES
        .map(|rule| format!("| S{rule} | a | `b` | `src/all.rs` |\n"))
        .collect::<Vec<_>>()
        .concat();
    let sources = |more: &str| {
        vec![
            source("src/all.rs", all.clone()),
            source("tests/more.rs", format!("// fn s01_comment()\n{more}")),
        ]
    };
    assert_eq!(safety::misses(&rows, &sources("fn s_1() {} fn some_s01_helper() {} fn s1_x() {}")), [""; 0]);

    let missing = |cell: &str| format!("the last cell of S7 has to be: {cell}");
    let also = missing("`src/all.rs`<br>`tests/more.rs` (2)");
    assert_eq!(safety::misses(&rows, &sources("fn s07_a() {} async fn s07_b() {}")), [also]);
    let named =
        rows.replace("| S7 | a | `b` | `src/all.rs` |", "| S7 | a | `b` | `src/all.rs`<br>`tests/gone.rs` |");
    assert_eq!(safety::misses(&named, &sources("")), [missing("`src/all.rs`")]);
    let both = safety::misses(&rows, &sources("fn s07_s08_both() {}"));
    assert_eq!(
        both,
        [7, 8].map(|rule| format!("the last cell of S{rule} has to be: `src/all.rs`<br>`tests/more.rs`"))
    );

    let without = rows.replace("| S22 |", "| none |");
    assert_eq!(safety::misses(&without, &sources("")), ["the last cell of S22 has to be: `src/all.rs`"]);
    assert_eq!(safety::misses(&rows, &sources("fn s23_new() {}")), ["there is no rule S23"]);
    let nobody = [source("src/all.rs", all.replace("fn s05_story", "fn story"))];
    assert_eq!(safety::misses(&rows, &nobody), ["no test bears the number of S5"]);
}
