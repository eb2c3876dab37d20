//! `polylogue bench`: loads a cluster, ours or any other that speaks the Kafka protocol, and says how it went.
//!
//! It measures a cluster together with our own client. For a comparison of brokers by a client that neither
//! side wrote there is `cargo bench --bench peers`.

mod consume;
mod latency;
mod payload;
mod produce;
mod report;

use clap::{Args, Subcommand};

use super::{
    connect::{Connect, explain},
    topic_name,
};
use crate::{
    client::{Admin, Client, admin::NewTopic},
    model::{PartitionIndex, TopicName},
    wire::ErrorCode,
};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write as fast as possible, or at a given rate: records and bytes a second, time to acknowledgement.
    Produce(produce::Flags),
    /// Read as fast as possible: records and bytes a second.
    Consume(consume::Flags),
    /// Write at a steady rate and read what was written: how long a record is on its way.
    ///
    /// The time counts from when a record was due, so that a stall is seen by every record that was due
    /// during it.
    Latency(latency::Flags),
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Produce(flags) => produce::run(flags).await,
        Command::Consume(flags) => consume::run(flags).await,
        Command::Latency(flags) => latency::run(flags).await,
    }
}

/// The topic, which is made if it is not there.
#[derive(Args, Clone, Debug)]
struct Topic {
    /// The topic; made if it is not there.
    #[arg(long = "topic", value_name = "NAME", default_value = "bench", value_parser = topic_name)]
    name: TopicName,
    /// How many partitions it has, if it is made [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas of each, if it is made [default: as the cluster is configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    #[command(flatten)]
    connect: Connect,
}

impl Topic {
    /// Makes the topic if need be; its partitions.
    async fn prepare(&self, client: &Client) -> anyhow::Result<Vec<PartitionIndex>> {
        let admin = Admin::new(client);
        let new = NewTopic {
            name: self.name.clone(),
            partitions: Some(self.partitions.unwrap_or(1)),
            replication_factor: self.replication_factor,
            configs: Vec::new(),
        };
        match admin.create_topic(&new).await {
            Ok(_) => eprintln!("made topic {}", self.name),
            Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
            Err(error) => return Err(explain(error)),
        }
        let topic = client.topic(&self.name).await.map_err(explain)?;
        Ok(topic.partitions.iter().map(|partition| partition.index).collect())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if rate.is_finite() && (0.1..=10_000_000.0).contains(&rate) {
        Ok(rate)
    } else {
        Err("a rate is from 0.1 to 10,000,000 records a second".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_is_a_number_that_a_schedule_can_keep() {
        assert_eq!(rate("1000"), Ok(1000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "NaN", "inf", "1e12", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
