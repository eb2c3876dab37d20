//! The command line: one file for each subcommand.
//!
//! What it does is the library's; here are words, tables, terminals and exit codes. Errors say what to
//! do next. Only here may an error be without a type.

mod bench;
mod chaos;
mod cluster;
mod completions;
mod config;
mod connect;
mod consume;
mod demo;
mod dev;
mod group;
mod log;
mod produce;
mod progress;
pub mod serve;
mod table;
mod topic;

use std::io;

use clap::{Parser, Subcommand};

/// A distributed, append-only commit log that speaks the Kafka protocol.
#[derive(Debug, Parser)]
#[command(name = "polylogue", version, propagate_version = true, max_term_width = 100)]
pub struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Serve(serve::Flags),
    /// Create, list, describe, alter and delete topics.
    #[command(subcommand)]
    Topic(topic::Command),
    /// List, describe and alter consumer groups, reset and delete their offsets, see to their dead letters.
    #[command(subcommand)]
    Group(group::Command),
    /// Write lines of standard input as records.
    Produce(produce::Flags),
    /// Read records to standard output.
    Consume(consume::Flags),
    /// Start a node, write a day of a web shop, read it back and compare.
    Demo(demo::Flags),
    /// Run nodes on this machine in one terminal, to try things on.
    Dev(dev::Flags),
    /// Load a cluster, ours or any other that speaks the Kafka protocol, and measure it.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Break nodes on purpose, and tell what came of it.
    #[command(subcommand)]
    Chaos(chaos::Command),
    /// Look into running nodes.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Look into the files of a data folder, mend them, bring topics in. No node may run there.
    #[command(subcommand)]
    Log(log::Command),
    /// Print the settings in force and where each came from, or the topic configs that there are.
    Config(config::Flags),
    /// Print a script that lets a shell complete these commands.
    Completions(completions::Flags),
}

/// Runs what was asked for.
pub fn run(program: Program) -> anyhow::Result<()> {
    match program.command {
        Command::Serve(flags) => serve::run(flags),
        Command::Topic(command) => connect::block_on(topic::run(command)),
        Command::Group(command) => connect::block_on(group::run(command)),
        Command::Produce(flags) => connect::block_on(produce::run(flags)),
        Command::Consume(flags) => connect::block_on(consume::run(flags)),
        Command::Demo(flags) => connect::block_on(demo::run(flags)),
        Command::Dev(flags) => connect::block_on(dev::run(flags)),
        Command::Bench(command) => connect::block_on(bench::run(command)),
        Command::Chaos(command) => chaos::run(command),
        Command::Cluster(command) => connect::block_on(cluster::run(command)),
        Command::Log(command) => log::run(command),
        Command::Config(flags) => config::run(flags),
        Command::Completions(flags) => completions::run(flags),
    }
}

/// 2 where what was asked for cannot be understood, as clap does; else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<crate::config::node::NodeConfigError>() { 2 } else { 1 }
}

/// Whether all that failed is that nobody reads our output any more, as with `| head`.
pub fn is_closed_output(error: &anyhow::Error) -> bool {
    let broken_pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken_pipe)
}

/// `KEY=VALUE`.
fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected")?;
    if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

fn topic_name(text: &str) -> Result<crate::model::TopicName, String> {
    crate::model::TopicName::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Program, is_closed_output, key_value};

    #[test]
    fn the_definition_of_every_subcommand_holds_together() {
        Program::command().debug_assert();
    }

    #[test]
    fn every_option_is_explained() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let helped = argument.get_help().is_some();
                assert!(helped, "{} {} has no help", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        let mut command = Program::command();
        command.build();
        check(&command);
    }

    #[test]
    fn a_setting_is_parted_at_its_first_equals_sign() {
        assert_eq!(key_value("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(key_value("a").is_err());
        assert!(key_value("=b").is_err());
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_of_ours() {
        let gone = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(is_closed_output(&gone));
        assert!(!is_closed_output(&anyhow::anyhow!("other")));
    }
}
