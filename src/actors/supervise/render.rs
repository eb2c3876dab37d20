//! The tree, drawn for a terminal.

use std::{
    fmt::Write,
    time::{Duration, UNIX_EPOCH},
};

use super::{ActorInfo, ActorState};
use crate::model::TimestampMs;

/// Draws a snapshot as an indented tree, one actor per line. Expects the order of
/// [`Tree::snapshot`](super::Tree::snapshot); actors whose parent is missing stand at their depth.
pub fn render_tree(actors: &[ActorInfo]) -> String {
    let mut text = String::new();
    for (at, actor) in actors.iter().enumerate() {
        let after = actors.get(at + 1..).unwrap_or_default();
        branches(&mut text, actor, after);
        line(&mut text, actor);
    }
    text
}

/// Draws the strokes before an actor: one column for each ancestor below the root, the last of which
/// is a corner if no sibling follows.
fn branches(text: &mut String, actor: &ActorInfo, after: &[ActorInfo]) {
    let ends: Vec<usize> = actor.path.match_indices('/').map(|(at, _)| at).collect();
    for (depth, end) in ends.iter().enumerate() {
        let parent = &actor.path[..*end];
        let own_end = ends.get(depth + 1).copied().unwrap_or(actor.path.len());
        let own = &actor.path[..own_end];
        let sibling_follows = after
            .iter()
            .take_while(|other| is_below(&other.path, parent))
            .any(|other| other.path != own && !is_below(&other.path, own));
        let is_last_column = depth + 1 == ends.len();
        text.push_str(match (is_last_column, sibling_follows) {
            (true, true) => "├── ",
            (true, false) => "└── ",
            (false, true) => "│   ",
            (false, false) => "    ",
        });
    }
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

fn line(text: &mut String, actor: &ActorInfo) {
    let name = actor.path.rsplit('/').next().unwrap_or_default();
    let _ = write!(text, "{name}  {}  {}", actor.kind, StateText(actor.state));
    if actor.restarts > 0 {
        let _ = write!(text, "  restarts={}", actor.restarts);
    }
    if actor.queue_depth > 0 {
        let _ = write!(text, "  queue={}", actor.queue_depth);
    }
    if let Some(epoch) = actor.epoch {
        let _ = write!(text, "  epoch={epoch}");
    }
    if let Some(detail) = &actor.detail {
        let _ = write!(text, "  {detail}");
    }
    if let Some(failure) = &actor.last_failure {
        let _ = write!(text, "  last failure at {}: {}", time(failure.at), one_line(&failure.cause));
    }
    text.push('\n');
}

fn time(at: TimestampMs) -> humantime::Rfc3339Timestamp {
    let since_epoch = Duration::from_millis(u64::try_from(at.get()).unwrap_or_default());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct StateText(ActorState);

impl std::fmt::Display for StateText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            ActorState::Starting => f.write_str("starting"),
            ActorState::Running => f.write_str("running"),
            ActorState::Restarting { in_ms } => write!(f, "restarting in {in_ms} ms"),
            ActorState::Stopped => f.write_str("stopped"),
            ActorState::Failed => f.write_str("failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actors::supervise::LastFailure,
        model::{LeaderEpoch, TimestampMs},
    };

    fn actor(path: &str) -> ActorInfo {
        ActorInfo {
            path: path.to_owned(),
            kind: "Kind".to_owned(),
            state: ActorState::Running,
            restarts: 0,
            queue_depth: 0,
            last_failure: None,
            epoch: None,
            detail: None,
        }
    }

    #[test]
    fn every_actor_has_a_line_at_its_depth() {
        let mut failing = actor("node/partitions/b-0");
        failing.state = ActorState::Restarting { in_ms: 100 };
        failing.restarts = 2;
        failing.queue_depth = 7;
        failing.epoch = Some(LeaderEpoch::new(4));
        failing.detail = Some("recovering".to_owned());
        failing.last_failure =
            Some(LastFailure { cause: "disk\n gone".to_owned(), at: TimestampMs::new(1_795_341_600_005) });
        let actors =
            [actor("node"), actor("node/partitions"), actor("node/partitions/a-0"), failing, actor("node/z")];
        let expected = "\
node  Kind  running
├── partitions  Kind  running
│   ├── a-0  Kind  running
│   └── b-0  Kind  restarting in 100 ms  restarts=2  queue=7  epoch=4  recovering  last failure at 2026-11-22T10:00:00.005Z: disk gone
└── z  Kind  running
";
        assert_eq!(render_tree(&actors), expected);
    }

    #[test]
    fn a_line_of_the_tree_survives_json() {
        let mut info = actor("node/a");
        info.state = ActorState::Restarting { in_ms: 3 };
        let text = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<ActorInfo>(&text).unwrap(), info);
    }
}
