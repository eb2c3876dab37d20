//! Kafka's Java client, whose producer is idempotent by itself.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::Mutex,
    thread,
};

use super::{Ends, Progress, TOPIC, cluster, strike};
use crate::java_client;

const TEST: &str = "the_java_client_notices_nothing_of_leaders_that_are_killed_and_of_a_rolling_restart";
const PARTITIONS: i32 = 3;
const HEAP_MB: u32 = 256;

/// `progress WRITTEN READ`.
fn progress(line: &str) -> Option<Progress> {
    let mut words = line.strip_prefix("progress ")?.split(' ').map(str::parse);
    Some(Progress { written: words.next()?.ok()?, read: words.next()?.ok()? })
}

#[test]
fn the_java_client_notices_nothing_of_leaders_that_are_killed_and_of_a_rolling_restart() {
    let Some((kafka, folder)) = java_client::find(TEST) else { return };
    let mut cluster = cluster(PARTITIONS);
    let mut program = kafka.java_beside(&folder, "FailOver", HEAP_MB);
    program.args([&cluster.bootstrap(), TOPIC, &PARTITIONS.to_string()]);
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = Ends(program.spawn().unwrap());
    let (input, output) = (program.0.stdin.take().unwrap(), program.0.stdout.take().unwrap());
    let (now, said) = (Mutex::new(Progress { written: 0, read: 0 }), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            for line in BufReader::new(output).lines() {
                let line = line.unwrap();
                match progress(&line) {
                    Some(progress) => *now.lock().unwrap() = progress,
                    None => said.lock().unwrap().push(line),
                }
            }
        });
        let struck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            strike(&mut cluster, &|| *now.lock().unwrap());
        }));
        // It looks at what was read once it is told to stop.
        drop(input);
        let status = program.0.wait().unwrap();
        reading.join().unwrap();
        let said = said.lock().unwrap().join("\n");
        assert!(status.success(), "it ended with {status}: {said}");
        struck.unwrap();
    });
}
