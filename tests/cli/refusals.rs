//! What goes wrong is said on standard error, with what to do, and by the exit code.

use crate::{at, polylogue, support};

#[test]
fn what_a_node_refuses_ends_with_1_and_its_reason() {
    let node = support::start_node();
    at(&node, &["topic", "create", "there", "--partitions", "1"], "").done();
    for (arguments, reason) in [
        (&["topic", "create", "there"][..], "there"),
        (&["topic", "create", "new", "--config", "no.such.config=1"], "no.such.config"),
        (&["topic", "create", "new", "--config", "retention.ms=soon"], "retention.ms"),
        (&["topic", "create", "new", "--replication-factor", "3"], "replication"),
        (&["topic", "describe", "nowhere"], "nowhere"),
        (&["topic", "delete", "nowhere"], "nowhere"),
        (&["topic", "alter", "there", "--partitions", "1"], "there"),
        (&["consume", "there", "--partition", "7", "--until-end"], "7"),
        (&["group", "alter", "g", "--set", "no.such.config=1"], "g"),
    ] {
        let complaint = at(&node, arguments, "").failed(1);
        assert!(complaint.to_lowercase().contains(reason), "{arguments:?}: {complaint}");
    }
}

#[test]
fn what_is_not_understood_ends_with_2_and_names_the_word() {
    for (arguments, word) in [
        (&["topic", "create"][..], "<NAME>"),
        (&["topic", "create", "t", "--partitons", "3"], "--partitons"),
        (&["consume", "t", "--from", "yesterday"], "yesterday"),
        (&["produce", "t", "--compression", "brotli"], "brotli"),
        (&["topic", "create", "bad name"], "bad name"),
        (&["group", "reset-offsets", "g", "--to-latest"], "--topic"),
        (&["group", "reset-offsets", "g", "--topic", "t"], "--to-earliest"),
        (&["group", "reset-offsets", "g", "--all-topics", "--to-latest", "--to-earliest"], "--to-earliest"),
        (&["group", "reset-offsets", "g", "--topic", "t:x", "--to-latest"], "t:x"),
        (&["group", "delete", "g", "--topic", "t"], "--offsets"),
        (&["group", "describe"], "<GROUP>"),
        (&["nonsense"], "nonsense"),
    ] {
        let complaint = polylogue(arguments, "").failed(2);
        assert!(complaint.contains(word), "{arguments:?}: {complaint}");
    }
}

#[test]
fn without_a_node_a_command_says_where_it_looked_for_one() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for arguments in
        [&["topic", "list"][..], &["group", "list"], &["produce", "t"], &["consume", "t", "--until-end"]]
    {
        let options = ["--bootstrap", &free, "--timeout", "500ms"];
        let complaint = polylogue(&[arguments, &options].concat(), "x\n").failed(1);
        assert!(complaint.contains(&free), "{arguments:?}: {complaint}");
    }
    let complaint = polylogue(&["cluster", "tree", "--admin", &free], "").failed(1);
    assert!(complaint.contains(&free), "{complaint}");
}
