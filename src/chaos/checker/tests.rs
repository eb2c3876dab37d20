//! A checker is worth what it catches: for each rule a history that breaks it, made from a good one,
//! and good histories that look like trouble and must pass.

use std::{collections::BTreeSet, io::Cursor, time::Duration};

use super::{Checker, Expectations, Report, Rule, check};
use crate::{
    chaos::history::{
        Acknowledged, Acks, ContentDigest, Entry, Event, HistoryReader, HistoryWriter, NodeChange, NodeEvent,
        ProducerName, ProducerProfile, Read, RecordId, Refused, ScanBegan, ScanEnded, Sent, TopicPartition,
    },
    model::{NodeId, Offset},
};

fn partition() -> TopicPartition {
    "orders/0".parse().unwrap()
}

/// Record `sequence` of producer `p`.
fn id(sequence: u32) -> RecordId {
    RecordId { partition: partition(), producer: ProducerName::new("p").unwrap(), sequence }
}

fn digest(id: &RecordId) -> ContentDigest {
    ContentDigest::of(None, Some(&id.in_value(b"payload")), &[])
}

fn producer(idempotent: bool, retries: bool, in_flight: u32) -> Event {
    let name = ProducerName::new("p").unwrap();
    Event::Producer(ProducerProfile { name, acks: Acks::All, idempotent, retries, in_flight })
}

fn idempotent() -> Event {
    producer(true, true, 5)
}

fn sent(sequence: u32) -> Event {
    Event::Sent(Sent { digest: digest(&id(sequence)), record: id(sequence) })
}

fn acknowledged(sequence: u32, offset: i64) -> Event {
    Event::Acknowledged(Acknowledged { record: id(sequence), offset: Some(Offset::new(offset)) })
}

fn unknown(sequence: u32) -> Event {
    Event::Unknown(Refused { record: id(sequence), cause: "timed out".into() })
}

fn failed(sequence: u32) -> Event {
    Event::Failed(Refused { record: id(sequence), cause: "message too large".into() })
}

fn read(sequence: u32, offset: i64) -> Event {
    let record = id(sequence);
    let digest = digest(&record);
    let (partition, record) = (partition(), Some(record));
    Event::Read(Read { reader: "r".into(), partition, offset: Offset::new(offset), record, digest })
}

/// A complete read that finds these sequences from offset 0 on.
fn scan(sequences: &[u32]) -> Vec<Event> {
    let reads = sequences.iter().zip(0..).map(|(sequence, offset)| read(*sequence, offset)).collect();
    scan_of(0, sequences.len() as i64, reads)
}

fn scan_of(from: i64, until: i64, reads: Vec<Event>) -> Vec<Event> {
    let (from, until) = (Offset::new(from), Offset::new(until));
    let began = Event::ScanBegan(ScanBegan { reader: "r".into(), partition: partition(), from, until });
    let ended = Event::ScanEnded(ScanEnded { reader: "r".into(), partition: partition() });
    [vec![began], reads, vec![ended]].concat()
}

/// Five records, acknowledged at 0 to 4 by an idempotent producer.
fn five() -> Vec<Event> {
    let mut events = vec![idempotent()];
    for sequence in 0..5 {
        events.extend([sent(sequence), acknowledged(sequence, sequence.into())]);
    }
    events
}

fn judge_by(expectations: Expectations, events: Vec<Event>) -> Report {
    let mut checker = Checker::new(expectations);
    for (event, at_us) in events.into_iter().zip(1..) {
        checker.observe(&Entry { at_us, event });
    }
    checker.finish()
}

fn judge(events: Vec<Event>) -> Report {
    judge_by(Expectations::default(), events)
}

#[track_caller]
fn assert_broken(events: Vec<Event>, rules: &[Rule]) {
    let report = judge(events);
    let broken: BTreeSet<Rule> = report.broken.keys().copied().collect();
    assert_eq!(broken, rules.iter().copied().collect(), "{report}");
}

#[track_caller]
fn assert_good(events: Vec<Event>) -> Report {
    let report = judge(events);
    assert!(report.is_clean(), "{report}");
    report
}

#[test]
fn all_acknowledged_and_read_back_passes_and_is_counted() {
    let report = assert_good([five(), scan(&[0, 1, 2, 3, 4])].concat());
    assert_eq!((report.counts.sent, report.counts.acknowledged, report.counts.reads), (5, 5, 5));
    assert_eq!((report.counts.scans, report.counts.events), (1, 18));
}

#[test]
fn an_acknowledged_record_that_is_cut_off_is_caught() {
    assert_broken([five(), scan(&[0, 1, 2, 3])].concat(), &[Rule::AcknowledgedIsPresent]);
}

#[test]
fn an_acknowledged_record_in_the_middle_that_is_gone_is_caught_with_its_gap() {
    let reads = vec![read(0, 0), read(1, 1), read(3, 3), read(4, 4)];
    assert_broken([five(), scan_of(0, 5, reads)].concat(), &[Rule::AcknowledgedIsPresent, Rule::NoGap]);
}

#[test]
fn an_acknowledged_record_whose_offset_another_has_taken_is_caught() {
    let mut events = vec![idempotent(), sent(0), acknowledged(0, 0), sent(1), unknown(1)];
    events.extend(scan(&[1]));
    assert_broken(events, &[Rule::AcknowledgedIsPresent]);
}

#[test]
fn an_acknowledged_record_without_a_known_offset_that_is_nowhere_is_caught() {
    let nowhere = Event::Acknowledged(Acknowledged { record: id(0), offset: None });
    let events = |found: &[u32]| [vec![idempotent(), sent(0), nowhere.clone()], scan(found)].concat();
    assert_good(events(&[0]));
    assert_broken(events(&[]), &[Rule::AcknowledgedIsPresent]);
}

#[test]
fn a_log_start_that_moved_by_itself_is_caught_and_one_that_may_move_passes() {
    let events = [five(), scan_of(2, 5, vec![read(2, 2), read(3, 3), read(4, 4)])].concat();
    assert_broken(events.clone(), &[Rule::AcknowledgedIsPresent, Rule::NoGap]);
    let retention = Expectations { log_start_may_move: true, ..Expectations::default() };
    let report = judge_by(retention, events);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn changed_content_is_caught() {
    let mut reads: Vec<Event> = (0..5).map(|sequence| read(sequence, sequence.into())).collect();
    let Event::Read(changed) = &mut reads[3] else { unreachable!() };
    changed.digest = ContentDigest::from_bits(changed.digest.get() ^ 1);
    assert_broken([five(), scan_of(0, 5, reads)].concat(), &[Rule::ContentUnchanged]);
}

#[test]
fn two_records_acknowledged_at_one_offset_are_caught() {
    let events = vec![idempotent(), sent(0), sent(1), acknowledged(0, 0), acknowledged(1, 0)];
    // Whichever of them is there, one of the promises is broken; the first is the one that is looked for.
    assert_broken([events.clone(), scan(&[0])].concat(), &[Rule::OneRecordPerOffset]);
    let rules = [Rule::OneRecordPerOffset, Rule::AcknowledgedIsPresent];
    assert_broken([events, scan(&[1])].concat(), &rules);
}

#[test]
fn a_duplicate_of_an_idempotent_producer_is_caught() {
    let rules = [Rule::AtMostOnce];
    assert_broken([five(), scan(&[0, 1, 2, 3, 4, 2])].concat(), &rules);
    // Also where one of the two was acknowledged and nothing else shows it.
    assert_broken([five(), scan(&[0, 1, 2, 3, 4, 4])].concat(), &rules);
}

#[test]
fn an_unknown_outcome_that_is_there_twice_is_caught() {
    for promise in [producer(true, true, 5), producer(false, false, 1)] {
        let events = [vec![promise, sent(0), unknown(0)], scan(&[0, 0])].concat();
        assert_broken(events, &[Rule::AtMostOnce]);
    }
}

#[test]
fn a_duplicate_is_allowed_where_the_producer_sends_again_and_is_not_idempotent() {
    let mut events = vec![producer(false, true, 1), sent(0), sent(1), sent(2)];
    // A batch of 0 and 1 was written, its answer lost, and was sent again.
    events.extend([acknowledged(0, 2), acknowledged(1, 3), acknowledged(2, 4)]);
    events.extend(scan(&[0, 1, 0, 1, 2]));
    let report = assert_good(events);
    assert_eq!(report.counts.duplicates_allowed, 2);
}

#[test]
fn order_is_kept_by_idempotence_or_one_in_flight_and_by_nothing_else() {
    let events = |promise: Event| {
        let sends = vec![promise, sent(0), sent(1), acknowledged(0, 1), acknowledged(1, 0)];
        [sends, scan(&[1, 0])].concat()
    };
    assert_broken(events(producer(true, true, 5)), &[Rule::OrderKept]);
    assert_broken(events(producer(false, true, 1)), &[Rule::OrderKept]);
    assert_good(events(producer(false, true, 5)));
}

#[test]
fn an_unknown_outcome_may_be_there_or_not() {
    let sends = vec![idempotent(), sent(0), acknowledged(0, 0), sent(1), unknown(1), sent(2), unknown(2)];
    let report = assert_good([sends.clone(), scan(&[0])].concat());
    assert_eq!((report.counts.unknown, report.counts.unknown_present), (2, 0));
    let report = assert_good([sends.clone(), scan(&[0, 2])].concat());
    assert_eq!((report.counts.unknown, report.counts.unknown_present), (2, 1));
    assert_good([sends, scan(&[0, 1, 2])].concat());
}

#[test]
fn a_record_without_any_outcome_may_be_there_or_not() {
    let sends = vec![idempotent(), sent(0)];
    assert_good([sends.clone(), scan(&[])].concat());
    let report = assert_good([sends, scan(&[0])].concat());
    assert_eq!((report.counts.unknown, report.counts.unknown_present), (1, 1));
}

#[test]
fn a_gap_is_caught_also_at_either_end_and_passes_where_offsets_may_have_gaps() {
    let sends = vec![producer(true, true, 5), sent(0), unknown(0), sent(1), unknown(1)];
    let with = |scan: Vec<Event>| [sends.clone(), scan].concat();
    assert_broken(with(scan_of(0, 3, vec![read(0, 0), read(1, 2)])), &[Rule::NoGap]);
    assert_broken(with(scan_of(0, 2, vec![read(0, 1)])), &[Rule::NoGap]);
    assert_broken(with(scan_of(0, 2, vec![read(0, 0)])), &[Rule::NoGap]);
    let gaps = Expectations { contiguous_offsets: false, ..Expectations::default() };
    let report = judge_by(gaps, with(scan_of(0, 3, vec![read(0, 0), read(1, 2)])));
    assert!(report.is_clean(), "{report}");
}

#[test]
fn what_was_never_sent_there_is_caught() {
    assert_broken([five(), scan(&[0, 1, 2, 3, 4, 5])].concat(), &[Rule::NothingInvented]);

    let mut nameless = [five(), scan(&[0, 1, 2, 3, 4, 5])].concat();
    for event in &mut nameless {
        if let Event::Read(read) = event
            && read.offset == Offset::new(5)
        {
            read.record = None;
        }
    }
    assert_broken(nameless, &[Rule::NothingInvented]);

    let mut elsewhere = vec![idempotent(), sent(0), unknown(0)];
    let Event::Read(mut astray) = read(0, 0) else { unreachable!() };
    astray.partition = "orders/1".parse().unwrap();
    elsewhere.push(Event::Read(astray));
    assert_broken(elsewhere, &[Rule::NothingInvented]);

    assert_broken(vec![idempotent(), read(0, 0), sent(0)], &[Rule::NothingInvented]);
}

#[test]
fn a_refused_record_that_is_there_is_caught() {
    let sends = vec![idempotent(), sent(0), failed(0)];
    assert_good([sends.clone(), scan(&[])].concat());
    assert_broken([sends, scan(&[0])].concat(), &[Rule::RefusedIsAbsent]);
}

#[test]
fn reads_of_one_offset_that_disagree_are_caught() {
    let sends = vec![idempotent(), sent(0), unknown(0), sent(1), unknown(1)];
    assert_broken([sends, vec![read(0, 0), read(1, 0)]].concat(), &[Rule::ReadsAgree]);
}

#[test]
fn what_was_seen_and_is_gone_later_is_caught() {
    let sends = vec![idempotent(), sent(0), unknown(0), sent(1), unknown(1)];
    let events = [sends, vec![read(0, 0), read(1, 1)], scan(&[0])].concat();
    assert_broken(events, &[Rule::SeenStaysSeen]);
}

#[test]
fn what_is_seen_or_acknowledged_while_a_scan_runs_need_not_be_in_it() {
    let mut events = vec![idempotent(), sent(0), sent(1)];
    let mut scanned = scan(&[0]);
    let Event::Read(mut other) = read(1, 1) else { unreachable!() };
    other.reader = "other".into();
    scanned.splice(1..1, [acknowledged(0, 0), acknowledged(1, 1), Event::Read(other)]);
    events.extend(scanned);
    // The acknowledgements came after the scan began, so another one has to prove them.
    assert_broken(events.clone(), &[Rule::ReadBack]);
    assert_good([events, scan(&[0, 1])].concat());
}

#[test]
fn two_scans_at_once_do_not_hide_from_each_other_what_they_found() {
    let rename = |events: Vec<Event>| -> Vec<Event> {
        let rename = |mut event| {
            if let Event::ScanBegan(ScanBegan { reader, .. })
            | Event::ScanEnded(ScanEnded { reader, .. })
            | Event::Read(Read { reader, .. }) = &mut event
            {
                *reader = "q".into();
            }
            event
        };
        events.into_iter().map(rename).collect()
    };
    let (one, two) = (scan(&[0, 1, 2, 3, 4]), rename(scan(&[0, 1, 2, 3, 4])));
    let both: Vec<Event> = one.into_iter().zip(two).flat_map(|(one, two)| [one, two]).collect();
    assert_good([five(), both].concat());
}

#[test]
fn a_complete_read_that_goes_back_is_caught() {
    let reads = [0, 1, 2, 3, 4, 2].map(|sequence| read(sequence, sequence.into())).to_vec();
    assert_broken([five(), scan_of(0, 5, reads)].concat(), &[Rule::ReadsAscend]);
}

#[test]
fn acknowledgements_that_nobody_read_back_are_caught() {
    assert_broken(five(), &[Rule::ReadBack]);
    let mut unfinished = [five(), scan(&[0, 1, 2, 3, 4])].concat();
    unfinished.pop();
    assert_broken(unfinished, &[Rule::ReadBack]);
}

#[test]
fn weaker_acknowledgements_promise_no_presence() {
    let mut events = [five(), scan(&[0, 1])].concat();
    let Event::Producer(profile) = &mut events[0] else { unreachable!() };
    profile.acks = Acks::Leader;
    assert_good(events);
}

#[test]
fn a_history_that_makes_no_sense_is_caught() {
    let broken = [
        vec![sent(0)],
        vec![idempotent(), idempotent()],
        vec![idempotent(), sent(0), sent(0)],
        vec![idempotent(), sent(1)],
        vec![idempotent(), unknown(0)],
        vec![idempotent(), sent(0), unknown(0), failed(0)],
        vec![Event::ScanEnded(ScanEnded { reader: "r".into(), partition: partition() })],
        scan_of(-1, 0, vec![])[..1].to_vec(),
    ];
    for events in broken {
        assert_broken(events, &[Rule::HistoryIsSound]);
    }
    let mut checker = Checker::new(Expectations::default());
    checker.observe(&Entry { at_us: 2, event: Event::Note("later".into()) });
    checker.observe(&Entry { at_us: 1, event: Event::Note("earlier".into()) });
    assert_eq!(checker.finish().broken.keys().collect::<Vec<_>>(), [&Rule::HistoryIsSound]);
}

#[test]
fn offsets_beyond_any_log_cost_no_memory() {
    let events = vec![idempotent(), sent(0), acknowledged(0, i64::MAX)];
    let found = scan_of(0, i64::MAX, vec![read(0, i64::MAX - 1)]);
    assert_broken([events, found].concat(), &[Rule::AcknowledgedIsPresent, Rule::NoGap]);
}

#[test]
fn kills_are_counted_and_told_apart_by_load() {
    let kill = Event::Node(NodeEvent { node: NodeId::new(1), change: NodeChange::Killed });
    let start = Event::Node(NodeEvent { node: NodeId::new(1), change: NodeChange::Started });
    let events =
        vec![idempotent(), kill.clone(), start, sent(0), kill.clone(), acknowledged(0, 0), kill.clone()];
    let report = assert_good([events, scan(&[0])].concat());
    assert_eq!((report.counts.kills, report.counts.kills_under_load), (3, 1));
}

#[test]
fn a_report_stays_short_and_survives_json() {
    let mut events = vec![idempotent()];
    for sequence in 0..100 {
        events.extend([sent(sequence), acknowledged(sequence, sequence.into())]);
    }
    events.extend(scan(&[]));
    let report = judge(events);
    assert_eq!(report.broken[&Rule::AcknowledgedIsPresent], 100);
    assert_eq!(report.violations.len() as u64, Report::KEPT_PER_RULE);
    let text = report.to_string();
    assert!(text.contains("acknowledged and absent: 100\n"), "{text}");
    assert!(text.contains("acknowledged and absent, orders/0 at offset 0: orders/0/p/0: "), "{text}");
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn a_history_is_judged_from_its_file_and_a_torn_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let history = HistoryWriter::create(&path, Duration::default).unwrap();
    for event in [five(), scan(&[0, 1, 2, 3, 4])].concat() {
        history.record(&event).unwrap();
    }
    drop(history);
    let report = check(HistoryReader::open(&path).unwrap(), Expectations::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.counts.reads, 5);

    let mut torn = std::fs::read(&path).unwrap();
    torn.pop();
    let reader = HistoryReader::new(Cursor::new(torn)).unwrap();
    let error = check(reader, Expectations::default()).unwrap_err();
    assert_eq!(error.to_string(), "history line 19: cut off");
}
