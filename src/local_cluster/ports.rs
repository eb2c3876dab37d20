//! Ports that nobody else takes while a node is down.
//!
//! A port that the kernel chose lies in its ephemeral range, and there any outgoing connection may
//! take it between a kill and the restart; a client that reconnects in a loop can even connect to
//! itself. So ports are chosen below that range, and never twice by one process.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Below are ports that other services are known for.
const LOWEST: u16 = 10_240;
const ATTEMPTS: usize = 1000;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on 127.0.0.1 that nobody listens on, and that this process has not given out before.
pub fn free_port() -> io::Result<u16> {
    let range = outside_the_ephemeral_range();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let port = fastrand::u16(range.clone());
        if given.contains(&port) {
            continue;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => {
                given.insert(port);
                return Ok(port);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn outside_the_ephemeral_range() -> Range<u16> {
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let start = ephemeral.split_whitespace().next().and_then(|start| start.parse().ok());
    let end = start.filter(|start| *start > LOWEST + 1000).unwrap_or(32_768);
    LOWEST..end
}
