//! The other node of a test: this program in a process of its own.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use polylogue::{
    actors::cluster_link::Security,
    config::node::{ClusterSettings, HostPort, TlsFiles},
    model::NodeId,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{WITHIN, here};

const ORDERS: &str = "LINK_TEST_PEER";
const SAYS: &str = "LINK ";

/// What the other process is to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) node: i32,
    pub(crate) port: u16,
    pub(crate) cookie_file: Option<PathBuf>,
    pub(crate) tls: Option<[PathBuf; 3]>,
}

/// Those of this process, if it is the other one.
pub(crate) fn orders() -> Option<Orders> {
    env::var(ORDERS).ok().map(|text| serde_json::from_str(&text).unwrap())
}

pub(crate) fn security(cookie_file: Option<PathBuf>, tls: Option<[PathBuf; 3]>) -> Security {
    let tls = tls.map(|[cert, key, ca]| TlsFiles { cert, key, ca });
    Security::load(&ClusterSettings { cookie_file, tls, ..ClusterSettings::default() }).unwrap()
}

/// Runs until its standard input ends: it does not outlive the test.
pub(crate) fn run(orders: &Orders) {
    let _log = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
    here::run(async {
        let security = security(orders.cookie_file.clone(), orders.tls.clone());
        let here = here::Here::start_at(orders.node, security, orders.port).await;
        println!("\n{SAYS}{}", here.address());
        let (send, mut commands) = tokio::sync::mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                if line.is_ok_and(|line| send.send(line).is_ok()) {
                    continue;
                }
                return;
            }
        });
        while let Some(command) = commands.recv().await {
            match command.split_once(' ') {
                Some(("want", address)) => here.link.want(HostPort::parse(address).unwrap()),
                Some(("voter", voter)) => {
                    let (node, address) = voter.split_once('=').unwrap();
                    here.name_voters([(node.parse().unwrap(), HostPort::parse(address).unwrap())]);
                }
                _ => panic!("unknown command {command:?}"),
            }
        }
    });
}

/// The other process, as a test holds it.
pub(crate) struct OtherNode {
    child: Child,
    orders: Orders,
    stdin: Option<ChildStdin>,
    address: HostPort,
}

impl OtherNode {
    pub(crate) fn start(node: i32) -> Self {
        Self::start_with(Orders { node, ..Orders::default() })
    }

    pub(crate) fn start_with(orders: Orders) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "a_link_starts_without_peers_and_stops", "--nocapture"])
            .env(ORDERS, serde_json::to_string(&orders).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let address = first_word(child.stdout.take().unwrap());
        let address = address.recv_timeout(WITHIN).expect("the other node says where it listens");
        Self { child, orders, stdin, address: HostPort::parse(&address).unwrap() }
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId::new(self.orders.node)
    }

    pub(crate) fn address(&self) -> HostPort {
        self.address.clone()
    }

    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _gone_already = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Another start of the same node at the same address.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        let orders = Orders { port: self.address.port, ..self.orders.clone() };
        *self = Self::start_with(orders);
    }
}

impl Drop for OtherNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the process says first; the rest of what it prints is read and forgotten.
fn first_word(stdout: std::process::ChildStdout) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(word) = line.strip_prefix(SAYS) {
                let _test_gone = send.send(word.to_owned());
            }
        }
    });
    receive
}
