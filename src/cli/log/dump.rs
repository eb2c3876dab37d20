//! `polylogue log dump`: prints what is in files.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use serde_json::{Map, Value, json};

use super::shown;
use crate::{
    actors::membership::{Proposal, offline, quorum::Content},
    cli::{connect::Output, consume::format::text},
    model::{Offset, TimestampMs},
    record::{BatchHeader, DEFAULT_MAX_UNPACKED_BYTES, RecordRef, TimestampType, unpack},
    storage::{
        block_checksums::BlockChecksums,
        checkpoint::{self, Checkpoint, Found},
        compaction,
        fs::real::RealFs,
        inspect::{self, Gaps, Piece, SegmentWalk},
        leader_epochs::LeaderEpochs,
        partition_folder,
        producer_state::{ProducerLimits, ProducerState},
    },
};

/// Names and values, in the order in which people read them.
macro_rules! fields {
    ($($name:literal: $value:expr),+ $(,)?) => { [$(($name, json!($value))),+] };
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// Files, or partitions' folders, of which all segments are printed.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Print the records of each batch too, unpacked.
    #[arg(long)]
    records: bool,
    /// Begin with the batch that holds this offset [default: the first]
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    from: Option<i64>,
    /// End after this many batches of each segment [default: all]
    #[arg(long, value_name = "N")]
    batches: Option<u64>,
    /// How to print; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut damaged = 0;
    for path in &flags.paths {
        let mut dump = Dump { flags, out: &mut out, damaged: 0 };
        dump.path(path)?;
        damaged += dump.damaged;
    }
    out.flush()?;
    if damaged > 0 {
        bail!("{damaged} places are damaged");
    }
    Ok(())
}

struct Dump<'a, W: Write> {
    flags: &'a Flags,
    out: &'a mut W,
    damaged: u64,
}

impl<W: Write> Dump<'_, W> {
    fn path(&mut self, path: &Path) -> anyhow::Result<()> {
        let kind = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let what = || format!("cannot read {}", path.display());
        if !kind.is_dir() {
            return self.file(path).with_context(what);
        }
        let segments = inspect::segments(&RealFs, path).with_context(what)?;
        if segments.is_empty() {
            bail!("{} is no partition's folder: there is no .log file in it", path.display());
        }
        for (at, segment) in segments.iter().enumerate() {
            let end = segments.get(at + 1).map(|next| next.base);
            self.segment(&segment.path, segment.base, end).with_context(what)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(base) = inspect::base_of(path) {
            return self.segment(path, base, None);
        }
        match name.rsplit_once('.').map_or(name, |(_, extension)| extension) {
            "index" => self.index(path, ["relative_offset", "position"]),
            "timeindex" => self.index(path, ["timestamp", "relative_offset"]),
            "snapshot" => self.producers(path),
            "checksums" => self.checksums(path),
            "leader-epochs" => self.epochs(path),
            "checkpoint" => self.checkpoint(path),
            "partition" => self.partition(path),
            "compacted-to" => self.compacted_to(path),
            _ if name == "quorum.log" => self.quorum(path),
            _ => bail!(
                "{name} is none of: a segment (20 digits and .log), .index, .timeindex, .snapshot, .checksums, \
                 leader-epochs, checkpoint, compacted-to, partition, quorum.log"
            ),
        }
    }

    /// One object: a line of JSON, or `name value` pairs on a line.
    fn say(&mut self, fields: &[(&str, Value)]) -> io::Result<()> {
        if self.flags.output == Output::Json {
            let object: Map<String, Value> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            serde_json::to_writer(&mut *self.out, &object)?;
            return writeln!(self.out);
        }
        let pairs = fields.iter().map(|(name, value)| {
            let name = name.replace('_', " ");
            value.as_str().map_or_else(|| format!("{name} {value}"), |text| format!("{name} {text}"))
        });
        writeln!(self.out, "{}", pairs.collect::<Vec<_>>().join("  "))
    }

    fn segment(&mut self, path: &Path, base: Offset, end: Option<Offset>) -> anyhow::Result<()> {
        if self.flags.output == Output::Table {
            writeln!(self.out, "{}", shown(path))?;
        }
        let mut walk = SegmentWalk::open(&RealFs, path, (base, end), Gaps::Allowed)?;
        let from = self.flags.from.map_or(Offset::ZERO, Offset::new);
        let mut left = self.flags.batches.unwrap_or(u64::MAX);
        while let Some(piece) = walk.step()? {
            match piece {
                Piece::Batch { position, header } if header.next_offset() > from => {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    self.say(&batch_fields(position, &header))?;
                    if self.flags.records {
                        self.records(walk.batch())?;
                    }
                }
                Piece::Batch { .. } => {}
                Piece::Gap { first, next } => {
                    self.say(
                        &fields! { "gap": true, "first_offset": first.get(), "next_offset": next.get() },
                    )?;
                }
                Piece::Damage(damage) => {
                    self.damaged += 1;
                    self.say(&fields! {
                        "damage": damage.reason.to_string(),
                        "position": damage.position,
                        "bytes": damage.len,
                        "first_offset": damage.first.get(),
                        "next_offset": damage.next.get(),
                    })?;
                }
            }
        }
        Ok(())
    }

    fn records(&mut self, batch: &[u8]) -> anyhow::Result<()> {
        let unpacked = unpack(&Bytes::copy_from_slice(batch), DEFAULT_MAX_UNPACKED_BYTES)?;
        for record in &unpacked {
            let record = record_fields(&record?);
            if self.flags.output == Output::Table {
                write!(self.out, "  ")?;
            }
            self.say(&record)?;
        }
        Ok(())
    }

    fn index(&mut self, path: &Path, names: [&str; 2]) -> anyhow::Result<()> {
        let Some(entries) = inspect::index_entries(&RealFs, path)? else {
            bail!("its name is not a segment's, or its length not that of whole entries");
        };
        for (first, second) in entries {
            let [of_first, of_second] = names;
            self.say(&[(of_first, json!(first)), (of_second, json!(second))])?;
        }
        Ok(())
    }

    fn producers(&mut self, path: &Path) -> anyhow::Result<()> {
        let limits = ProducerLimits { max_producers: usize::MAX, ..ProducerLimits::default() };
        let Some((state, end)) = ProducerState::load(&RealFs, path, limits)? else { return Ok(()) };
        self.say(&fields! { "end_offset": end.get(), "producers": state.len() })?;
        for producer in state.producers() {
            self.say(&fields! {
                "producer_id": producer.producer_id.get(),
                "producer_epoch": producer.producer_epoch.get(),
                "last_sequence": producer.last_sequence.get(),
                "last_timestamp": producer.last_timestamp.get(),
            })?;
        }
        Ok(())
    }

    fn checksums(&mut self, path: &Path) -> anyhow::Result<()> {
        if let Some(checksums) = BlockChecksums::load(&RealFs, path)? {
            self.say(&fields! { "segment_bytes": checksums.file_len() })?;
        }
        Ok(())
    }

    fn epochs(&mut self, path: &Path) -> anyhow::Result<()> {
        let epochs = LeaderEpochs::load(&RealFs, path)?.unwrap_or_default();
        for entry in epochs.entries() {
            self.say(&fields! { "leader_epoch": entry.epoch.get(), "start_offset": entry.start.get() })?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, path: &Path) -> anyhow::Result<()> {
        match checkpoint::look(&RealFs, path)? {
            Found::Newest(Checkpoint { flushed, segment_base, position, log_start, clean }) => {
                self.say(&fields! {
                    "flushed_offset": flushed.get(),
                    "segment_base": segment_base.get(),
                    "position": position,
                    "log_start": log_start.get(),
                    "closed_by_boot": clean.map(|boot| boot.to_string()),
                })?;
            }
            Found::Blank => bail!("nothing was ever written to it"),
            Found::Damaged([first, second]) => bail!("neither slot is whole: {first}; {second}"),
        }
        Ok(())
    }

    fn partition(&mut self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        match partition_folder::id_of(&RealFs, folder)? {
            Some(id) => {
                self.say(&fields! { "topic_id": id.topic.to_string(), "partition": id.index.get() })?;
            }
            None => bail!("it does not say whose it is"),
        }
        Ok(())
    }

    fn compacted_to(&mut self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let offset = compaction::load_cleaned_to(&RealFs, folder)?;
        Ok(self.say(&fields! { "compacted_to": offset.get() })?)
    }

    fn quorum(&mut self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let Some(stopped) = offline::entries_of(&RealFs, folder)? else { return Ok(()) };
        let state = &stopped.at_snapshot;
        self.say(&fields! {
            "snapshot_of_entries": state.index(),
            "cluster_id": state.cluster_id().to_string(),
            "topics": state.topics().len(),
            "partitions": state.partition_count(),
        })?;
        for (index, content) in &stopped.entries {
            self.entry(*index, content)?;
        }
        Ok(())
    }

    fn entry(&mut self, index: u64, content: &Content) -> anyhow::Result<()> {
        match content {
            Content::Begun => self.say(&fields! { "index": index, "leader": "has begun" })?,
            Content::Members(members) => {
                let nodes: Vec<_> = members.nodes.values().map(|member| member.node.get()).collect();
                self.say(&fields! { "index": index, "members": nodes })?;
            }
            Content::Proposal(Proposal::Elected { node }) => {
                self.say(&fields! { "index": index, "controller": node.get() })?;
            }
            Content::Proposal(Proposal::Records { records, .. }) => {
                for record in records {
                    let record = serde_json::to_value(record)?;
                    self.say(&fields! { "index": index, "record": record })?;
                }
            }
        }
        Ok(())
    }
}

fn batch_fields(position: u64, header: &BatchHeader) -> Vec<(&'static str, Value)> {
    let codec = header.compression().map_or_else(|error| error.to_string(), |codec| codec.name().to_owned());
    let mut fields = fields! {
        "offset": header.base_offset.get(),
        "last_offset": header.last_offset().get(),
        "position": position,
        "bytes": header.total_len(),
        "records": header.record_count,
        "codec": codec,
        "leader_epoch": header.partition_leader_epoch.get(),
        "time": shown_time(header.max_timestamp),
        "timestamp": header.max_timestamp.get(),
        "crc": format!("{:08x}", header.crc),
    }
    .to_vec();
    if header.is_idempotent() {
        fields.push(("producer_id", json!(header.producer_id.get())));
        fields.push(("producer_epoch", json!(header.producer_epoch.get())));
        fields.push(("sequence", json!(header.base_sequence.get())));
    }
    for (flag, is_set) in [
        ("log_append_time", header.timestamp_type() == TimestampType::LogAppendTime),
        ("transactional", header.is_transactional()),
        ("control", header.is_control()),
    ] {
        if is_set {
            fields.push((flag, json!(true)));
        }
    }
    fields
}

fn record_fields(record: &RecordRef<'_>) -> [(&'static str, Value); 5] {
    let header =
        |(name, value): (&[u8], Option<&[u8]>)| json!({ "name": text(Some(name)), "value": text(value) });
    fields! {
        "offset": record.offset.get(),
        "timestamp": record.timestamp.get(),
        "key": text(record.key),
        "value": text(record.value),
        "headers": record.headers.clone().map(header).collect::<Vec<_>>(),
    }
}

/// As people write it, in UTC; a dash where there is none.
fn shown_time(time: TimestampMs) -> String {
    let millis = u64::try_from(time.get()).ok().map(Duration::from_millis);
    let at = millis.and_then(|since| UNIX_EPOCH.checked_add(since));
    // A year of more digits than four cannot be written so.
    at.filter(|_| time.get() < 253_402_300_800_000)
        .map_or_else(|| "-".to_owned(), |at| humantime::format_rfc3339_millis(at).to_string())
}
