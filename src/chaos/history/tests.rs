use std::{fs, io::Cursor, path::Path, sync::Arc, thread, time::Duration};

use super::{
    Acknowledged, Acks, Commit, CommitFailed, Consumed, ContentDigest, DeadLetter, DeadLettersRead, Entry,
    Event, GroupProfile, HistoryError, HistoryReader, HistoryWriter, Joined, MAX_LINE_LEN, Membership,
    NodeChange, NodeEvent, Parted, Parting, PositionAsked, PositionTold, ProducerName, ProducerProfile, Read,
    RecordId, Refused, ScanBegan, ScanEnded, Sent,
};
use crate::model::{NodeId, Offset, TopicName};

fn id(text: &str) -> RecordId {
    text.parse().unwrap()
}

fn one_of_each() -> Vec<Event> {
    let record = id("orders.v1/3/web-1/4294967295");
    let partition = record.partition.clone();
    let digest = ContentDigest::of(Some(b"k"), None, &[("h", Some(b"v"))]);
    let refused = || Refused { record: record.clone(), cause: "broker said \"no\"\n".into() };
    vec![
        Event::Producer(ProducerProfile {
            name: ProducerName::new("web-1").unwrap(),
            acks: Acks::All,
            idempotent: true,
            retries: true,
            in_flight: 5,
        }),
        Event::Sent(Sent { record: record.clone(), digest }),
        Event::Acknowledged(Acknowledged { record: record.clone(), offset: Some(Offset::new(7)) }),
        Event::Acknowledged(Acknowledged { record: record.clone(), offset: None }),
        Event::Failed(refused()),
        Event::Unknown(refused()),
        Event::ScanBegan(ScanBegan {
            reader: "r".into(),
            partition: partition.clone(),
            from: Offset::ZERO,
            until: Offset::MAX,
        }),
        Event::Read(Read {
            reader: "r".into(),
            partition: partition.clone(),
            offset: Offset::new(7),
            record: Some(record.clone()),
            digest,
        }),
        Event::Read(Read {
            reader: "r".into(),
            partition: partition.clone(),
            offset: Offset::new(8),
            record: None,
            digest,
        }),
        Event::ScanEnded(ScanEnded { reader: "r".into(), partition }),
        Event::Node(NodeEvent { node: NodeId::new(1), change: NodeChange::Killed }),
        Event::Note("round 3".into()),
    ]
}

fn one_of_each_of_a_group() -> Vec<Event> {
    let partition = id("orders.v1/3/web-1/0").partition;
    let by = Membership { group: "g".into(), member: "c1".into(), generation: 4 };
    let commit = Commit { by: by.clone(), partition: partition.clone(), offset: Offset::new(8) };
    let failed = || CommitFailed { commit: commit.clone(), cause: "why \"not\"".into() };
    let (group, reader) = (by.group.clone(), by.member.clone());
    let told = |offset| {
        let (group, reader, partition) = (group.clone(), reader.clone(), partition.clone());
        Event::PositionTold(PositionTold { group, reader, partition, offset })
    };
    let read = Read {
        reader: reader.clone(),
        partition: partition.clone(),
        offset: Offset::new(7),
        record: None,
        digest: ContentDigest::default(),
    };
    let topics = vec![TopicName::new("orders.v1").unwrap()];
    let asked = PositionAsked { group: group.clone(), reader: reader.clone(), partition: partition.clone() };
    vec![
        Event::Group(GroupProfile {
            name: group.clone(),
            topics,
            session_timeout_ms: 6000,
            server_side: true,
            max_delivery_attempts: 3,
        }),
        Event::Joined(Joined { by: by.clone(), partitions: vec![partition.clone()] }),
        Event::PositionAsked(asked),
        told(None),
        told(Some(Offset::new(7))),
        Event::Consumed(Consumed { group: group.clone(), generation: 4, read }),
        Event::CommitAsked(commit.clone()),
        Event::NackAsked(commit.clone()),
        Event::CommitAcknowledged(commit.clone()),
        Event::CommitRefused(failed()),
        Event::CommitUnknown(failed()),
        Event::DeadLetter(DeadLetter {
            group: group.clone(),
            partition: partition.clone(),
            offset: Offset::new(8),
            attempts: 3,
        }),
        Event::DeadLettersRead(DeadLettersRead { group, partition, passed: Offset::new(9) }),
        Event::Parted(Parted { by, how: Parting::Killed }),
    ]
}

fn read_all(path: &Path) -> Result<Vec<Entry>, HistoryError> {
    HistoryReader::open(path)?.collect()
}

fn writer(path: &Path) -> HistoryWriter {
    HistoryWriter::create(path, || Duration::from_micros(12)).unwrap()
}

#[test]
fn every_event_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let history = writer(&path);
    let events = [one_of_each(), one_of_each_of_a_group()].concat();
    for event in &events {
        history.record(event).unwrap();
    }
    drop(history);
    let read: Vec<Event> = read_all(&path).unwrap().into_iter().map(|entry| entry.event).collect();
    assert_eq!(read, events);
}

#[test]
fn the_lines_are_those_of_the_documentation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let history = writer(&path);
    history
        .record(&Event::Acknowledged(Acknowledged { record: id("orders/0/a/0"), offset: Some(Offset::ZERO) }))
        .unwrap();
    history.record(&Event::Node(NodeEvent { node: NodeId::new(1), change: NodeChange::Killed })).unwrap();
    history.flush().unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        concat!(
            "{\"polylogue_history\":1}\n",
            "{\"at_us\":12,\"event\":{\"acknowledged\":{\"record\":\"orders/0/a/0\",\"offset\":0}}}\n",
            "{\"at_us\":12,\"event\":{\"node\":{\"node\":1,\"change\":\"killed\"}}}\n",
        )
    );
}

#[test]
fn every_line_of_the_documentation_is_read_and_written_alike() {
    let lines = include_str!("../../../docs/FORMAT.md").lines().filter(|line| line.starts_with("{\"at_us\""));
    let mut read = 0;
    for line in lines {
        let entry: Entry = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
        read += 1;
    }
    assert!(read >= 20, "{read} lines");
}

#[test]
fn lines_of_many_threads_are_whole_and_each_thread_keeps_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let history = Arc::new(writer(&path));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let history = Arc::clone(&history);
            thread::spawn(move || {
                for number in 0..2000 {
                    history.record(&Event::Note(format!("{thread} {number}"))).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    history.flush().unwrap();
    let mut next = [0; 4];
    for entry in read_all(&path).unwrap() {
        let Event::Note(text) = entry.event else { panic!("{entry:?}") };
        let (thread, number) = text.split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!(next, [2000; 4]);
}

#[test]
fn appending_goes_on_with_our_file_and_refuses_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    writer(&path).record(&Event::Note("before".into())).unwrap();
    let again = HistoryWriter::append(&path, || Duration::from_micros(13)).unwrap();
    again.record(&Event::Note("after".into())).unwrap();
    drop(again);
    let entries = read_all(&path).unwrap();
    assert_eq!(entries[1], Entry { at_us: 13, event: Event::Note("after".into()) });
    assert_eq!(entries.len(), 2);

    let other = folder.path().join("other");
    fs::write(&other, "{}\n").unwrap();
    assert!(matches!(HistoryWriter::append(&other, Duration::default), Err(HistoryError::NoHeader)));
    assert_eq!(fs::read(&other).unwrap(), b"{}\n");
}

fn first_error(text: impl AsRef<[u8]>) -> HistoryError {
    match HistoryReader::new(Cursor::new(text.as_ref())) {
        Err(error) => error,
        Ok(reader) => reader.collect::<Result<Vec<_>, _>>().unwrap_err(),
    }
}

const HEADER: &str = "{\"polylogue_history\":1}\n";

#[test]
fn an_error_names_its_line() {
    let note = "{\"at_us\":1,\"event\":{\"note\":\"x\"}}\n";
    let error = first_error(format!("{HEADER}{note}{{\"at_us\":1,\"event\":{{\"nope\":{{}}}}}}\n{note}"));
    assert!(error.to_string().starts_with("history line 3: unknown variant `nope`"), "{error}");
    let error = first_error(format!("{HEADER}{note}{}", &note[..note.len() - 1]));
    assert!(matches!(error, HistoryError::CutOff { line: 3 }), "{error}");
    let error = first_error(format!("{HEADER}{}\n", "x".repeat(MAX_LINE_LEN + 1)));
    assert!(matches!(error, HistoryError::TooLong { line: 2 }), "{error}");
    let field =
        "{\"at_us\":1,\"event\":{\"scan_ended\":{\"reader\":\"r\",\"partition\":\"t/0\",\"more\":1}}}\n";
    let error = first_error(format!("{HEADER}{field}"));
    assert!(error.to_string().contains("unknown field `more`"), "{error}");
}

#[test]
fn a_file_without_our_header_or_of_another_version_is_refused() {
    assert!(matches!(first_error(""), HistoryError::NoHeader));
    assert!(matches!(first_error("hello\n"), HistoryError::NoHeader));
    assert!(matches!(first_error("{\"polylogue_history\":2}\n"), HistoryError::Version { found: 2 }));
}

#[test]
fn a_value_carries_its_record_and_any_payload() {
    let record = id("t/0/p/12");
    assert_eq!(RecordId::of_value(&record.in_value(b" \0\xff / ")), Some(record.clone()));
    assert_eq!(RecordId::of_value(&record.in_value(b"")), Some(record));
    for other in
        [&b"t/0/p/12"[..], b"", b" ", b"t/0/p x", b"t/0/p/-1 ", b"t/0/p/1/2 ", b"../0/p/1 ", b"\xff\xff "]
    {
        assert_eq!(RecordId::of_value(other), None, "{other:?}");
    }
}

type Content<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a str, Option<&'a [u8]>)]);

#[test]
fn a_digest_tells_apart_what_differs_in_content_or_in_shape() {
    let contents: &[Content<'_>] = &[
        (None, None, &[]),
        (Some(b""), None, &[]),
        (None, Some(b""), &[]),
        (Some(b"ab"), Some(b"c"), &[]),
        (Some(b"a"), Some(b"bc"), &[]),
        (Some(b"a"), Some(b"bd"), &[]),
        (Some(b"a"), Some(b"bc"), &[("h", None)]),
        (Some(b"a"), Some(b"bc"), &[("h", Some(b""))]),
        (Some(b"a"), Some(b"bc"), &[("h", Some(b"1")), ("g", Some(b"2"))]),
        (Some(b"a"), Some(b"bc"), &[("g", Some(b"2")), ("h", Some(b"1"))]),
    ];
    let mut digests: Vec<_> =
        contents.iter().map(|(key, value, headers)| ContentDigest::of(*key, *value, headers)).collect();
    for digest in &digests {
        assert_eq!(digest.to_string().parse(), Ok(*digest));
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), contents.len());
}
