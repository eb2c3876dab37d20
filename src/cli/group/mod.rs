//! `polylogue group`: lists, describes and alters consumer groups, moves and deletes their offsets.

mod alter;
mod configs;
mod dead_letters;
mod delete;
mod describe;
mod lag;
mod list;
mod plan;
mod reset_offsets;
mod selection;

use anyhow::{anyhow, bail};
use clap::Subcommand;

use super::connect::explain;
use crate::{client::ClientError, wire::ErrorCode};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List groups with their state and the number of their members.
    List(list::Flags),
    /// Show state, members, committed offsets and lag of groups.
    Describe(describe::Flags),
    /// Change configs of a group.
    Alter(alter::Flags),
    /// Set the committed offsets of a group that has no members.
    ResetOffsets(reset_offsets::Flags),
    /// Delete groups, or their committed offsets of some topics.
    Delete(delete::Flags),
    /// Records that have failed too often: list them, write them again.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(flags) => list::run(flags).await,
        Command::Describe(flags) => describe::run(flags).await,
        Command::Alter(flags) => alter::run(flags).await,
        Command::ResetOffsets(flags) => reset_offsets::run(flags).await,
        Command::Delete(flags) => delete::run(flags).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
    }
}

/// The error, with what to do about it where a group is the matter.
fn explain_for(group: &str, error: ClientError) -> anyhow::Error {
    match error.code().and_then(|code| advice(group, code)) {
        Some(advice) => anyhow!("{error}\n{advice}"),
        None => explain(error),
    }
}

fn advice(group: &str, code: ErrorCode) -> Option<String> {
    // No other code has to do with groups in a way that a person could mend.
    #[allow(clippy::wildcard_enum_match_arm, reason = "advice is for a few of many codes")]
    match code {
        ErrorCode::GroupIdNotFound => Some("see `polylogue group list`".to_owned()),
        // The second is what a commit of somebody who is no member is told.
        ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId | ErrorCode::RebalanceInProgress => {
            Some(stop_members(group))
        }
        ErrorCode::GroupSubscribedToTopic => Some(format!(
            "members of the group read the topic: stop them first, see `polylogue group describe {group} --members`"
        )),
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable => Some(
            "the coordinator is still reading its log: try again, or wait longer with --timeout".to_owned(),
        ),
        _ => None,
    }
}

fn stop_members(group: &str) -> String {
    format!(
        "stop its members first, and wait until their session time-out is over if they were killed; who they \
         are says `polylogue group describe {group} --members`"
    )
}

/// Ends with everything that failed, if anything did.
fn end_with(failures: &[String]) -> anyhow::Result<()> {
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

/// What stands where there is nothing to show.
const NOTHING: &str = "-";

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}
