//! kcat, as it is called in a shell: lines go in at one end and come out at the other.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{ChildStdin, ChildStdout},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{Ends, GROUP, Progress, Read, TOPIC, cluster, strike};
use crate::support::kcat;

const TEST: &str = "kcat_notices_nothing_of_leaders_that_are_killed_and_of_a_rolling_restart";

fn write(mut to: ChildStdin, written: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let number = written.load(Ordering::Relaxed);
        // It fails where kcat has ended, which its exit code tells.
        if writeln!(to, "{number}").and_then(|()| to.flush()).is_err() {
            return;
        }
        written.store(number + 1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
}

fn read(from: ChildStdout, seen: &Read) {
    for line in BufReader::new(from).lines() {
        let line = line.unwrap();
        let mut words = line.split(' ').map(|word| word.parse::<i64>().ok());
        let mut word = || words.next().flatten();
        match (word(), word(), word()) {
            (Some(partition), Some(offset), Some(number)) => {
                seen.add(partition as i32, offset, number as u64);
            }
            _ => seen.wrong(format!("{line:?} was not written")),
        }
    }
}

#[test]
fn kcat_notices_nothing_of_leaders_that_are_killed_and_of_a_rolling_restart() {
    let Some(kcat) = kcat::find(TEST) else { return };
    let mut cluster = cluster(1);
    let bootstrap = cluster.bootstrap();
    let idempotent = ["-P", "-t", TOPIC, "-p", "0", "-X", "enable.idempotence=true"];
    let mut producer = Ends(kcat.start(&bootstrap, &idempotent));
    let group = ["-G", GROUP, "-q", "-u", "-f", "%p %o %s\n", "-X", "auto.offset.reset=earliest", TOPIC];
    let mut consumer = Ends(kcat.start(&bootstrap, &group));
    let (input, output) = (producer.0.stdin.take().unwrap(), consumer.0.stdout.take().unwrap());
    let (seen, written, stop) = (Read::of(1), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let reading = scope.spawn(|| read(output, &seen));
        let writing = scope.spawn(|| write(input, &written, &stop));
        let struck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            strike(&mut cluster, &|| Progress {
                written: written.load(Ordering::Relaxed),
                read: seen.count(),
            });
        }));
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap();
        let mut said = String::new();
        producer.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = producer.0.wait().unwrap();
        if struck.is_ok() && status.success() {
            seen.until(&[written.load(Ordering::Relaxed)]);
        }
        drop(consumer);
        reading.join().unwrap();
        assert!(status.success() && !said.contains("Delivery failed"), "kcat ended with {status}: {said}");
        struck.unwrap();
    });
}
