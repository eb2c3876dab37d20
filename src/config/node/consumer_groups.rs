//! What a node sets for groups of the server-side protocol (KIP-848): there the coordinator says how often a
//! member has to be heard of, not the member.

use std::time::Duration;

use super::{
    NodeConfigError,
    raw::RawGroups,
    sources::Settings,
    validate::{in_range, span},
};
use crate::config::units::Span;

/// The names of the assignors that there are.
pub const ASSIGNORS: [&str; 3] = ["uniform", "range", "exclusive"];

/// A span of time that a group may set for itself within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundedSpan {
    /// Where a group sets none.
    pub default: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// What holds for groups of the server-side protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// `groups.consumer-heartbeat-interval`: what members are told; default 5 s as in Kafka. Bounds for what a group
    /// sets: `groups.consumer-min-heartbeat-interval`, default 1 s (Kafka: 5 s), and
    /// `groups.consumer-max-heartbeat-interval`, default 15 s as in Kafka.
    pub heartbeat_interval: BoundedSpan,
    /// `groups.consumer-session-timeout`: a member that was not heard of for so long is given up; default 15 s (Kafka:
    /// 45 s), which is three heartbeats. Bounds: `groups.consumer-min-session-timeout`, default 6 s (Kafka: 45 s), and
    /// `groups.consumer-max-session-timeout`, default 60 s as in Kafka.
    pub session_timeout: BoundedSpan,
    /// `groups.consumer-max-size`: the most members of a group; default 100,000.
    pub max_size: u32,
    /// `groups.consumer-assignors`: those that members may name, the default first; some of [`ASSIGNORS`].
    pub assignors: Vec<String>,
}

impl Default for ConsumerGroupSettings {
    fn default() -> Self {
        let secs = |default, min, max| BoundedSpan {
            default: Duration::from_secs(default),
            min: Duration::from_secs(min),
            max: Duration::from_secs(max),
        };
        Self {
            heartbeat_interval: secs(5, 1, 15),
            session_timeout: secs(15, 6, 60),
            max_size: 100_000,
            assignors: ASSIGNORS.map(str::to_owned).to_vec(),
        }
    }
}

impl ConsumerGroupSettings {
    pub(super) fn validate(given: &Settings, raw: &RawGroups) -> Result<Self, NodeConfigError> {
        let of_default = Self::default();
        let heartbeat_interval = Keys {
            default: "groups.consumer-heartbeat-interval",
            min: "groups.consumer-min-heartbeat-interval",
            max: "groups.consumer-max-heartbeat-interval",
        };
        let heartbeat_interval = heartbeat_interval.bounded(
            given,
            [
                raw.consumer_heartbeat_interval,
                raw.consumer_min_heartbeat_interval,
                raw.consumer_max_heartbeat_interval,
            ],
            of_default.heartbeat_interval,
        )?;
        let session_timeout = Keys {
            default: "groups.consumer-session-timeout",
            min: "groups.consumer-min-session-timeout",
            max: "groups.consumer-max-session-timeout",
        };
        let session_timeout = session_timeout.bounded(
            given,
            [
                raw.consumer_session_timeout,
                raw.consumer_min_session_timeout,
                raw.consumer_max_session_timeout,
            ],
            of_default.session_timeout,
        )?;
        if session_timeout.default <= heartbeat_interval.default {
            let problem = "is not above groups.consumer-heartbeat-interval: members would be given up between two \
                           heartbeats";
            return Err(given.invalid("groups.consumer-session-timeout", problem));
        }
        let max_size = raw.consumer_max_size.unwrap_or(of_default.max_size);
        Ok(Self {
            heartbeat_interval,
            session_timeout,
            max_size: in_range(given, "groups.consumer-max-size", max_size, 1, 1_000_000)?,
            assignors: assignors(given, &raw.consumer_assignors, of_default.assignors)?,
        })
    }
}

/// The settings of a span with bounds.
struct Keys {
    default: &'static str,
    min: &'static str,
    max: &'static str,
}

impl Keys {
    fn bounded(
        &self,
        given: &Settings,
        [default, min, max]: [Option<Span>; 3],
        otherwise: BoundedSpan,
    ) -> Result<BoundedSpan, NodeConfigError> {
        let min = span(given, self.min, min, otherwise.min)?;
        let max = span(given, self.max, max, otherwise.max)?;
        if max < min {
            return Err(given.invalid(self.max, format!("is below {}", self.min)));
        }
        let default = span(given, self.default, default, otherwise.default)?;
        if default < min || default > max {
            // Blame what was given: a default cannot be wrong.
            let blamed = [self.default, self.min, self.max].into_iter().find(|key| given.is_given(key));
            let problem = format!("{} is not from {} to {}", self.default, self.min, self.max);
            return Err(given.invalid(blamed.unwrap_or(self.default), problem));
        }
        Ok(BoundedSpan { default, min, max })
    }
}

fn assignors(
    given: &Settings,
    named: &[String],
    otherwise: Vec<String>,
) -> Result<Vec<String>, NodeConfigError> {
    let key = "groups.consumer-assignors";
    if !given.is_given(key) {
        return Ok(otherwise);
    }
    if let Some(unknown) = named.iter().find(|name| !ASSIGNORS.contains(&name.as_str())) {
        let problem = format!("{unknown:?} is none of {}", ASSIGNORS.join(", "));
        return Err(given.invalid(key, problem));
    }
    let twice = named.iter().enumerate().any(|(at, name)| named.iter().take(at).any(|other| other == name));
    if named.is_empty() || twice {
        return Err(given.invalid(key, "names each assignor once, and at least one"));
    }
    Ok(named.to_vec())
}
