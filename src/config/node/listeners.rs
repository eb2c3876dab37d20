//! Further listeners for clients, each with the address that its clients are told.
//!
//! Who comes from outside reaches a node under another name than who is beside it, and has to be told
//! that name in every answer: so an address that is told belongs to the listener that is asked.

use super::{HostPort, NodeConfigError, sources::Settings, validate::Advertise};
use super::{raw::RawListener, validate};

/// The listener that `kafka-listen` and `kafka-advertise` describe.
pub const KAFKA: &str = "kafka";
/// What the names of further listeners stand behind.
pub(super) const LISTENERS: &str = "listeners.";
/// What can be set for each of them.
pub(super) const FIELDS: &[&str] = &["listen", "advertise", "connections", "connections-per-address"];
/// Names that mean something else already, here or to Kafka's tools.
const TAKEN: &[&str] = &[KAFKA, "admin", "cluster", "controller", "plaintext", "ssl"];
/// The longest name, so that it fits into paths, metrics and log lines.
const NAME_LEN: usize = 32;

/// A port for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaListener {
    /// 1 to 32 of `a-z 0-9 -`; unique in its node.
    pub name: String,
    /// Where it listens. Port 0: the system chooses.
    pub listen: HostPort,
    /// What its clients are told to connect to. Port 0 stands for the port that was bound.
    pub advertise: HostPort,
    /// Connections open at once.
    pub connections: u32,
    /// Connections open at once from one address.
    pub connections_per_address: u32,
}

impl KafkaListener {
    /// The setting that says where it listens.
    pub fn listen_key(&self) -> String {
        if self.name == KAFKA { "kafka-listen".to_owned() } else { key_of(&self.name, "listen") }
    }
}

/// The full name of a listener's setting.
pub(super) fn key_of(name: &str, field: &str) -> String {
    format!("{LISTENERS}{name}.{field}")
}

/// Name and field of a key such as `listeners.internal.listen`.
pub(super) fn parts_of(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(LISTENERS)?.rsplit_once('.').filter(|(_, field)| FIELDS.contains(field))
}

/// The key that a variable stands for: `LISTENERS_FAR_AWAY_LISTEN` is `listeners.far-away.listen`.
pub(super) fn key_of_variable(rest: &str) -> Option<String> {
    let rest = rest.strip_prefix("LISTENERS_")?;
    let by_length = FIELDS.iter().rev();
    let mut found = by_length.filter_map(|field| {
        let suffix = format!("_{}", field.replace('-', "_").to_ascii_uppercase());
        Some((rest.strip_suffix(&suffix)?, *field))
    });
    let (name, field) = found.find(|(name, _)| !name.is_empty())?;
    Some(key_of(&name.replace('_', "-").to_ascii_lowercase(), field))
}

/// What is wrong with a name.
pub(super) fn name_problem(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > NAME_LEN || !name.chars().all(allowed) {
        return Some(format!(
            "a listener's name is 1 to {NAME_LEN} of the characters a-z 0-9 -, not {name:?}"
        ));
    }
    if name == KAFKA {
        return Some("the listener kafka is set by kafka-listen and kafka-advertise".to_owned());
    }
    TAKEN.contains(&name).then(|| format!("a listener cannot be named {name:?}: the name is taken"))
}

/// Checks one of them.
pub(super) fn listener(
    given: &Settings,
    advertise: &Advertise<'_>,
    name: &str,
    raw: &RawListener,
    defaults: (u32, u32),
    warnings: &mut Vec<String>,
) -> Result<KafkaListener, NodeConfigError> {
    let key = |field| key_of(name, field);
    if raw.listen.is_none() {
        let blamed = FIELDS.iter().map(|field| key(field)).find(|key| given.is_given(key));
        let problem = format!("the listener has no address: set {}", key("listen"));
        return Err(given.invalid(&blamed.unwrap_or_else(|| key("listen")), problem));
    }
    let listen = validate::address(given, &key("listen"), raw.listen.as_ref(), 0)?;
    warnings.extend(validate::exposure(&key("listen"), &listen));
    let advertise = advertise.of(&key("advertise"), raw.advertise.as_ref(), &listen, warnings)?;
    let count = |field, value: Option<u32>, default| {
        validate::in_range(given, &key(field), value.unwrap_or(default), 1, 1_000_000)
    };
    Ok(KafkaListener {
        name: name.to_owned(),
        listen,
        advertise,
        connections: count("connections", raw.connections, defaults.0)?,
        connections_per_address: count("connections-per-address", raw.connections_per_address, defaults.1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{key_of_variable, name_problem, parts_of};

    #[test]
    fn a_variable_names_the_listener_and_the_longest_field_that_fits() {
        let key = |rest| key_of_variable(rest);
        assert_eq!(key("LISTENERS_FAR_AWAY_LISTEN").as_deref(), Some("listeners.far-away.listen"));
        assert_eq!(
            key("LISTENERS_IN_CONNECTIONS_PER_ADDRESS").as_deref(),
            Some("listeners.in.connections-per-address")
        );
        assert_eq!(key("LISTENERS_IN_NOTHING"), None);
        assert_eq!(key("LISTENERS__LISTEN"), None);
    }

    #[test]
    fn a_key_has_a_name_and_a_field() {
        assert_eq!(parts_of("listeners.in.listen"), Some(("in", "listen")));
        assert_eq!(parts_of("listeners.in.lisen"), None);
        assert_eq!(parts_of("listeners.listen"), None);
    }

    #[test]
    fn a_name_is_lower_case_short_and_not_taken() {
        for name in ["internal", "a", "dc-2"] {
            assert_eq!(name_problem(name), None);
        }
        for name in ["", "Internal", "in.ternal", "in_ternal", "kafka", "admin", "cluster", &"a".repeat(33)] {
            assert!(name_problem(name).is_some(), "{name:?}");
        }
    }
}
