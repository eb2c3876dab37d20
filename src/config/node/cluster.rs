//! What a node sets for its connections to other nodes.

use std::{path::PathBuf, time::Duration};

use super::{
    HostPort, NodeConfigError,
    raw::RawCluster,
    sources::Settings,
    validate::{in_range, span},
};
use crate::config::units::Span;

/// More voters only make every change slower.
const VOTERS_MAX: u16 = 15;
/// A replica that is found late by less would go in and out with every flush.
const LAG_TIME_MIN: Duration = Duration::from_secs(1);

/// The files of mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `cluster.tls-cert`: the node's certificate and those between it and the authority.
    pub cert: PathBuf,
    /// `cluster.tls-key`: its private key.
    pub key: PathBuf,
    /// `cluster.tls-ca`: the authority that signs every node's certificate.
    pub ca: PathBuf,
}

/// The quorum's heartbeats take at least this long: a disk's sync lies between two of them.
const QUORUM_HEARTBEAT_MIN: Duration = Duration::from_millis(10);
/// Nobody would wait for an election that takes longer.
const QUORUM_ELECTION_MAX: Duration = Duration::from_mins(1);
/// Heartbeats of the quorum that fit into the shortest wait for a leader, where no other time is given.
const HEARTBEATS_UNTIL_ELECTION: u32 = 4;

/// How fast the quorum of the metadata is: slower than the way from one voter to another and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumPace {
    /// `cluster.quorum-heartbeat-interval`: from one heartbeat of the quorum's leader to the next, and the time in which one is to
    /// be answered; default 50 ms, at least 10 ms.
    pub heartbeat_interval: Duration,
    /// `cluster.quorum-election-timeout`: a leader of the quorum that was silent for so long is missed, by each voter after this
    /// time or up to half as much more; default four heartbeats, at least three, at most a minute.
    pub election_timeout: Duration,
}

impl Default for QuorumPace {
    fn default() -> Self {
        let heartbeat_interval = Duration::from_millis(50);
        Self { heartbeat_interval, election_timeout: heartbeat_interval * HEARTBEATS_UNTIL_ELECTION }
    }
}

/// How a node talks to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// `cluster.cookie-file`: a secret that all nodes know; default none, and then only nodes of this machine are taken,
    /// unless there are certificates.
    pub cookie_file: Option<PathBuf>,
    /// `cluster.tls-cert`, `cluster.tls-key`, `cluster.tls-ca`: all or none; default none.
    pub tls: Option<TlsFiles>,
    /// `cluster.voters`: nodes that vote about the metadata, as soon as there are so many; odd, 1 to 15, default 3.
    pub voters: u16,
    /// `cluster.heartbeat-interval`: to every voter; default 100 ms.
    pub heartbeat_interval: Duration,
    /// `cluster.lease`: a node that was silent for so long is taken for dead; default 1.5 s.
    pub lease: Duration,
    /// How fast the quorum of the metadata is.
    pub quorum: QuorumPace,
    /// `cluster.replica-lag-time-max`: a replica that has not caught up for so long is in sync no more, and holds up no
    /// acknowledgement; default 10 s, at least 1 s.
    pub replica_lag_time_max: Duration,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            cookie_file: None,
            tls: None,
            voters: 3,
            heartbeat_interval: Duration::from_millis(100),
            lease: Duration::from_millis(1500),
            quorum: QuorumPace::default(),
            // Kafka waits 30 s, also for a node that has died. Here its lease tells that; what is left are replicas that live and
            // are too slow, and producers wait for them.
            replica_lag_time_max: Duration::from_secs(10),
        }
    }
}

impl ClusterSettings {
    pub(super) fn validate(
        given: &Settings,
        raw: RawCluster,
        listen: &HostPort,
    ) -> Result<Self, NodeConfigError> {
        let default = Self::default();
        let cookie_file = raw.cookie_file;
        if cookie_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(given.invalid("cluster.cookie-file", "an empty path"));
        }
        let tls = tls_files(given, [raw.tls_cert, raw.tls_key, raw.tls_ca])?;
        if !listen.is_loopback() && cookie_file.is_none() && tls.is_none() {
            let problem = format!(
                "{listen} can be reached from other machines: write a secret into a file on every node and name it \
                 with --cluster-cookie-file, or give certificates (cluster.tls-cert, cluster.tls-key, cluster.tls-ca)"
            );
            return Err(given.invalid("cluster-listen", problem));
        }
        let interval_key = "cluster.heartbeat-interval";
        let heartbeat_interval =
            span(given, interval_key, raw.heartbeat_interval, default.heartbeat_interval)?;
        let lease = span(given, "cluster.lease", raw.lease, default.lease)?;
        if heartbeat_interval.saturating_mul(3) > lease {
            // Blame what was given: a default cannot be wrong.
            let blamed = if given.is_given(interval_key) { interval_key } else { "cluster.lease" };
            let problem = "three heartbeats (cluster.heartbeat-interval) have to fit into cluster.lease: one that is \
                           late must not end it";
            return Err(given.invalid(blamed, problem));
        }
        let voters = in_range(given, "cluster.voters", raw.voters.unwrap_or(default.voters), 1, VOTERS_MAX)?;
        if voters % 2 == 0 {
            let problem = "an even number of voters bears no more losses than one less does: make it odd";
            return Err(given.invalid("cluster.voters", problem));
        }
        let lag_key = "cluster.replica-lag-time-max";
        let replica_lag_time_max =
            span(given, lag_key, raw.replica_lag_time_max, default.replica_lag_time_max)?;
        if replica_lag_time_max < LAG_TIME_MIN {
            return Err(given.invalid(lag_key, "leaders look every half a second: at least 1s"));
        }
        let quorum = QuorumPace::validate(given, raw.quorum_heartbeat_interval, raw.quorum_election_timeout)?;
        Ok(Self { cookie_file, tls, voters, heartbeat_interval, lease, quorum, replica_lag_time_max })
    }
}

impl QuorumPace {
    fn validate(
        given: &Settings,
        heartbeat_interval: Option<Span>,
        election_timeout: Option<Span>,
    ) -> Result<Self, NodeConfigError> {
        let (heartbeat_key, election_key) =
            ("cluster.quorum-heartbeat-interval", "cluster.quorum-election-timeout");
        let heartbeat_interval =
            span(given, heartbeat_key, heartbeat_interval, Self::default().heartbeat_interval)?;
        if heartbeat_interval < QUORUM_HEARTBEAT_MIN {
            return Err(
                given.invalid(heartbeat_key, "voters write to their disks between two: at least 10ms")
            );
        }
        let election_timeout = span(
            given,
            election_key,
            election_timeout,
            heartbeat_interval.saturating_mul(HEARTBEATS_UNTIL_ELECTION),
        )?;
        // Blame what was given: a default cannot be wrong.
        let blamed = if given.is_given(election_key) { election_key } else { heartbeat_key };
        if election_timeout < heartbeat_interval.saturating_mul(3) {
            let problem = "three heartbeats of the quorum (cluster.quorum-heartbeat-interval) have to fit into \
                           cluster.quorum-election-timeout: one that is late must not depose a leader";
            return Err(given.invalid(blamed, problem));
        }
        if election_timeout > QUORUM_ELECTION_MAX {
            return Err(given.invalid(blamed, "no election is waited for longer than 1m"));
        }
        Ok(Self { heartbeat_interval, election_timeout })
    }
}

fn tls_files(given: &Settings, files: [Option<PathBuf>; 3]) -> Result<Option<TlsFiles>, NodeConfigError> {
    match files {
        [None, None, None] => Ok(None),
        [Some(cert), Some(key), Some(ca)] => Ok(Some(TlsFiles { cert, key, ca })),
        some => {
            let keys = ["cluster.tls-cert", "cluster.tls-key", "cluster.tls-ca"];
            let missing = keys.iter().zip(&some).filter(|(_, file)| file.is_none()).map(|(key, _)| *key);
            let missing = missing.collect::<Vec<_>>().join(" and ");
            let blamed = keys.into_iter().zip(&some).find(|(_, file)| file.is_some()).map(|(key, _)| key);
            Err(given.invalid(blamed.unwrap_or(keys[0]), format!("needs {missing} too")))
        }
    }
}
