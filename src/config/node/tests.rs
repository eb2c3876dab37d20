use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::{
    HostPort, NodeConfig, NodeConfigError, NodeFlags, QuorumPace, SETTINGS, Surroundings, raw::Raw,
    variable_of,
};
use crate::{
    config::{broker::DynamicConfigs, topic::ConfigSource},
    model::NodeId,
};

fn around(environment: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        host_name: Some("machine".to_owned()),
    }
}

fn from_file(text: &str) -> Result<NodeConfig, NodeConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    fs::write(&path, text).unwrap();
    NodeConfig::load(&NodeFlags::default(), Some(&path), &around(&[]))
}

fn from_flags(flags: &NodeFlags) -> Result<NodeConfig, NodeConfigError> {
    NodeConfig::load(flags, None, &around(&[]))
}

fn with(key: &str, value: &str) -> NodeFlags {
    NodeFlags { settings: vec![(key.to_owned(), value.to_owned())], ..NodeFlags::default() }
}

#[test]
fn nothing_given_is_a_node_on_loopback_without_warnings() {
    let config = from_flags(&NodeFlags::default()).unwrap();
    assert_eq!(config.node_id, NodeId::new(1));
    assert_eq!(config.data_dir, Path::new("./polylogue-data"));
    assert_eq!(config.kafka_listen.to_string(), "127.0.0.1:9092");
    assert_eq!(config.kafka_advertise, config.kafka_listen);
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:8092");
    assert_eq!(config.cluster_listen.to_string(), "127.0.0.1:7092");
    assert_eq!(config.limits.request_bytes, 100 << 20);
    assert!(config.auto_create_topics);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    fs::write(&path, "node-id = 7\ndefault-partitions = 7\nshutdown-grace = \"7s\"\n").unwrap();
    let environment = [("POLYLOGUE_NODE_ID", "8"), ("POLYLOGUE_DEFAULT_PARTITIONS", "8")];
    let flags = NodeFlags { node_id: Some(9), ..NodeFlags::default() };
    let config = NodeConfig::load(&flags, Some(&path), &around(&environment)).unwrap();
    assert_eq!(config.node_id, NodeId::new(9));
    assert_eq!(config.default_partitions, 8);
    assert_eq!(config.shutdown_grace, Duration::from_secs(7));
}

#[test]
fn topic_defaults_are_the_same_with_and_without_quotes_and_from_the_environment() {
    let quoted = from_file("[topic.defaults]\n\"retention.ms\" = 5000\n").unwrap();
    let bare = from_file("[topic.defaults]\nretention.ms = \"5000\"\n").unwrap();
    let environment = around(&[("POLYLOGUE_TOPIC_DEFAULTS_RETENTION_MS", "5000")]);
    let variable = NodeConfig::load(&NodeFlags::default(), None, &environment).unwrap();
    assert_eq!(quoted.topic_defaults, bare.topic_defaults);
    assert_eq!(quoted.topic_defaults, variable.topic_defaults);
    let config = quoted.topic_defaults.resolve(&BTreeMap::new()).unwrap();
    assert_eq!(config.retention_time, Some(Duration::from_secs(5)));
}

#[test]
fn a_misspelt_setting_is_refused_with_its_name_its_origin_and_what_was_meant() {
    let text = from_file("[limits]\nrequest-byte = 5\n").unwrap_err().to_string();
    assert!(text.starts_with("unknown setting \"limits.request-byte\" (file "), "{text}");
    assert!(text.ends_with("did you mean \"limits.request-bytes\"?"), "{text}");
    let text = from_file("[topic.defaults]\nretention.sm = 5\n").unwrap_err().to_string();
    assert!(text.contains("unknown topic config \"retention.sm\"") && text.contains("node.toml"), "{text}");
}

#[test]
fn a_value_of_another_kind_is_refused_with_its_name_and_origin() {
    let wrong = [
        ("node-id", "x"),
        ("limits.request-bytes", "lots"),
        ("limits.idle-timeout", "10"),
        ("auto-create-topics", "perhaps"),
        ("kafka-listen", "9092"),
    ];
    for (key, value) in wrong {
        let text = from_flags(&with(key, value)).unwrap_err().to_string();
        assert!(text.starts_with(&format!("setting {key} (command line): ")), "{text}");
    }
    let text = from_file("node-id = \"x\"").unwrap_err().to_string();
    assert!(text.starts_with("setting node-id (file "), "{text}");
    let text = from_file("node-id = 3000000000").unwrap_err().to_string();
    assert!(text.starts_with("setting node-id (file "), "{text}");
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    for (key, value) in [
        ("node-id", "-1"),
        ("default-partitions", "0"),
        ("default-partitions", "10001"),
        ("limits.connections", "0"),
        ("limits.request-bytes", "2 GiB"),
        ("limits.in-flight-bytes", "99 MiB"),
        ("shutdown-grace", "0s"),
        ("data-dir", ""),
    ] {
        let text = from_flags(&with(key, value)).unwrap_err().to_string();
        assert!(text.starts_with(&format!("setting {key} (command line): ")), "{text}");
    }
}

#[test]
fn seeds_are_addresses_each_once_and_voters_an_odd_number() {
    let seeds = vec!["other:7092".to_owned(), "[::1]:7092".to_owned(), "other:7092".to_owned()];
    let flags = NodeFlags { seeds, ..NodeFlags::default() };
    let config = from_flags(&flags).unwrap();
    assert_eq!(config.seeds, [HostPort::new("other", 7092), HostPort::new("::1", 7092)]);
    let text = from_file("seeds = [\"a\"]").unwrap_err().to_string();
    assert!(text.contains("seeds") && text.contains("is not host:port"), "{text}");
    let text = from_file("[cluster]\nvoters = 4").unwrap_err().to_string();
    assert!(text.contains("cluster.voters") && text.contains("odd"), "{text}");
}

#[test]
fn listening_for_other_machines_is_said_aloud() {
    let flags = NodeFlags { kafka_listen: Some("10.0.0.1:9092".to_owned()), ..NodeFlags::default() };
    let config = from_flags(&flags).unwrap();
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("no authentication"), "{:?}", config.warnings);
}

#[test]
fn a_cluster_listener_for_other_machines_needs_a_cookie_or_certificates() {
    let listen = ("cluster-listen".to_owned(), "10.0.0.1:7092".to_owned());
    let with = |more: &[(&str, &str)]| {
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings = std::iter::once(listen.clone()).chain(more).collect();
        from_flags(&NodeFlags { settings, ..NodeFlags::default() })
    };
    let text = with(&[]).unwrap_err().to_string();
    assert!(
        text.starts_with("setting cluster-listen (command line): 10.0.0.1:7092 can be reached"),
        "{text}"
    );
    assert!(text.contains("--cluster-cookie-file") && text.contains("cluster.tls-cert"), "{text}");
    let config = with(&[("cluster.cookie-file", "/etc/cookie")]).unwrap();
    assert_eq!(config.cluster.cookie_file.as_deref(), Some(Path::new("/etc/cookie")));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let text = with(&[("cluster.tls-cert", "/c"), ("cluster.tls-ca", "/a")]).unwrap_err().to_string();
    assert!(text.contains("setting cluster.tls-cert (command line): needs cluster.tls-key too"), "{text}");
    let config =
        with(&[("cluster.tls-cert", "/c"), ("cluster.tls-ca", "/a"), ("cluster.tls-key", "/k")]).unwrap();
    assert_eq!(config.cluster.tls.unwrap().key, Path::new("/k"));
}

#[test]
fn the_cookie_file_has_a_flag_and_its_origin_names_it() {
    let flags = NodeFlags { cluster_cookie_file: Some("".into()), ..NodeFlags::default() };
    let text = from_flags(&flags).unwrap_err().to_string();
    assert_eq!(text, "setting cluster.cookie-file (flag --cluster-cookie-file): an empty path");
}

#[test]
fn three_heartbeats_fit_into_a_lease() {
    let text = from_flags(&with("cluster.lease", "299ms")).unwrap_err().to_string();
    assert!(text.starts_with("setting cluster.lease (command line): three heartbeats"), "{text}");
    let text = from_flags(&with("cluster.heartbeat-interval", "1s")).unwrap_err().to_string();
    assert!(text.starts_with("setting cluster.heartbeat-interval (command line)"), "{text}");
    let config = from_flags(&with("cluster.lease", "300ms")).unwrap();
    assert_eq!(config.cluster.lease, Duration::from_millis(300));
}

#[test]
fn three_heartbeats_of_the_quorum_fit_into_an_election() {
    let (heartbeat, election) = ("cluster.quorum-heartbeat-interval", "cluster.quorum-election-timeout");
    let pace = |flags: &NodeFlags| from_flags(flags).map(|config| config.cluster.quorum);
    let ms = |heartbeat, election| QuorumPace {
        heartbeat_interval: Duration::from_millis(heartbeat),
        election_timeout: Duration::from_millis(election),
    };
    assert_eq!(pace(&NodeFlags::default()).unwrap(), ms(50, 200));
    assert_eq!(pace(&with(heartbeat, "300ms")).unwrap(), ms(300, 1_200), "the other one follows");
    assert_eq!(pace(&with(election, "150ms")).unwrap(), ms(50, 150));
    let blamed = |key, value, begin: &str| {
        let text = pace(&with(key, value)).unwrap_err().to_string();
        assert!(text.starts_with(begin), "{text}");
    };
    blamed(election, "149ms", "setting cluster.quorum-election-timeout (command line): three heartbeats");
    blamed(election, "61s", "setting cluster.quorum-election-timeout (command line)");
    blamed(heartbeat, "9ms", "setting cluster.quorum-heartbeat-interval (command line)");
    blamed(heartbeat, "16s", "setting cluster.quorum-heartbeat-interval (command line)");
}

#[test]
fn a_replica_is_given_a_second_to_catch_up() {
    let key = "cluster.replica-lag-time-max";
    let text = from_flags(&with(key, "999ms")).unwrap_err().to_string();
    assert!(text.starts_with("setting cluster.replica-lag-time-max (command line)"), "{text}");
    assert_eq!(from_flags(&with(key, "1s")).unwrap().cluster.replica_lag_time_max, Duration::from_secs(1));
    assert_eq!(
        from_flags(&NodeFlags::default()).unwrap().cluster.replica_lag_time_max,
        Duration::from_secs(10)
    );
}

#[test]
fn a_wildcard_is_never_advertised() {
    let listen = NodeFlags { kafka_listen: Some("0.0.0.0:9092".to_owned()), ..NodeFlags::default() };
    let config = from_flags(&listen).unwrap();
    assert_eq!(config.kafka_advertise, HostPort::new("machine", 9092));
    assert!(config.warnings.iter().any(|text| text.contains("machine")), "{:?}", config.warnings);

    let nameless = Surroundings::default();
    let text = NodeConfig::load(&listen, None, &nameless).unwrap_err().to_string();
    assert!(text.starts_with("setting kafka-advertise"), "{text}");

    let advertised = NodeFlags { kafka_advertise: Some("[::]:9092".to_owned()), ..listen };
    assert!(from_flags(&advertised).is_err());
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    let flags = NodeFlags { admin_listen: Some("127.0.0.1:9092".to_owned()), ..NodeFlags::default() };
    let text = from_flags(&flags).unwrap_err().to_string();
    assert!(text.contains("already taken by kafka-listen"), "{text}");
    let any = |key: &str| (key.to_owned(), "127.0.0.1:0".to_owned());
    let settings = vec![any("kafka-listen"), any("admin-listen"), any("cluster-listen")];
    assert!(from_flags(&NodeFlags { settings, ..NodeFlags::default() }).is_ok());
}

#[test]
fn a_variable_that_names_no_setting_is_refused_unless_it_is_named_as_foreign() {
    let load = |variables: &[(&str, &str)]| {
        NodeConfig::load(&NodeFlags::default(), None, &around(variables)).map_err(|error| error.to_string())
    };
    let text = load(&[("POLYLOGUE_LIMITS_CONECTIONS", "5")]).unwrap_err();
    assert!(text.starts_with("environment variable POLYLOGUE_LIMITS_CONECTIONS names no setting"), "{text}");
    assert!(text.contains("did you mean \"POLYLOGUE_LIMITS_CONNECTIONS\"?"), "{text}");
    assert!(load(&[("POLYLOGUE_SERVICE_HOST", "10.0.0.1"), ("PATH", "/bin")]).is_err());
    let foreign = ("POLYLOGUE_IGNORE_VARIABLES", "POLYLOGUE_SERVICE_*, POLYLOGUE_PORT");
    let left_alone = [foreign, ("POLYLOGUE_SERVICE_HOST", "10.0.0.1"), ("POLYLOGUE_PORT", "tcp://x")];
    assert!(load(&left_alone).unwrap().warnings.is_empty());
    assert!(load(&[foreign, ("POLYLOGUE_PORTS", "1")]).is_err());
    assert!(
        load(&[("POLYLOGUE_LOG", "debug"), ("POLYLOGUE_BIN", "/x"), ("POLYLOGUE_CLIENTS", "all")]).is_ok()
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once_each_with_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    fs::write(&path, "node-id = -3\nnode-ids = 3\n[topic.defaults]\nretention.ms = \"x\"\n").unwrap();
    let environment = around(&[("POLYLOGUE_SHUTDOWN_GRACE", "soon"), ("POLYLOGUE_NO_SUCH", "1")]);
    let error = NodeConfig::load(&with("limits.connections", "0"), Some(&path), &environment).unwrap_err();
    let said: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    for (what, origin) in [
        ("node-ids", "node.toml"),
        ("node-id (", "node.toml"),
        ("topic.defaults", "node.toml"),
        ("shutdown-grace", "POLYLOGUE_SHUTDOWN_GRACE"),
        ("POLYLOGUE_NO_SUCH", "environment variable"),
        ("limits.connections", "command line"),
    ] {
        assert!(said.iter().any(|text| text.contains(what) && text.contains(origin)), "{what}: {said:#?}");
    }
    assert_eq!(said.len(), 6, "{said:#?}");
}

#[test]
fn listeners_come_from_every_source_and_inherit_what_they_do_not_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let text = "[limits]\nconnections = 50\n[listeners.internal]\nlisten = \"10.0.0.1:9093\"\n\
                advertise = \"inside:9093\"\nconnections-per-address = 7\n";
    fs::write(&path, text).unwrap();
    let environment = around(&[("POLYLOGUE_LISTENERS_FAR_AWAY_LISTEN", "127.0.0.1:9094")]);
    let flags = with("listeners.internal.advertise", "elsewhere:1");
    let config = NodeConfig::load(&flags, Some(&path), &environment).unwrap();
    let shown: Vec<_> = config
        .kafka_listeners()
        .iter()
        .map(|l| (l.name.clone(), l.listen.to_string(), l.advertise.to_string(), l.connections_per_address))
        .collect();
    let expected = [
        ("kafka", "127.0.0.1:9092", "127.0.0.1:9092", 2000),
        ("far-away", "127.0.0.1:9094", "127.0.0.1:9094", 2000),
        ("internal", "10.0.0.1:9093", "elsewhere:1", 7),
    ];
    let expected = expected.map(|(n, l, a, c)| (n.to_owned(), l.to_owned(), a.to_owned(), c));
    assert_eq!(shown, expected);
    assert!(config.kafka_listeners().iter().all(|listener| listener.connections == 50));
    assert!(config.warnings.iter().any(|text| text.contains("listeners.internal.listen 10.0.0.1:9093")));
}

#[test]
fn a_listener_that_cannot_be_is_refused_by_the_name_of_its_setting() {
    let refused = |settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        from_flags(&NodeFlags { settings, ..NodeFlags::default() }).unwrap_err().to_string()
    };
    let text = refused(&[("listeners.a.listen", "127.0.0.1:9092")]);
    assert!(text.contains("setting listeners.a.listen") && text.contains("taken by kafka-listen"), "{text}");
    let text = refused(&[("listeners.a.listen", "h:1"), ("listeners.b.listen", "h:1")]);
    assert!(text.contains("setting listeners.b.listen") && text.contains("taken by listeners.a"), "{text}");
    let text = refused(&[("listeners.a.listen", "0.0.0.0:8092")]);
    assert!(text.contains("already taken by admin-listen"), "a wildcard takes it too: {text}");
    let text = refused(&[("listeners.A_b.listen", "h:1")]);
    assert!(text.contains("listeners.A_b.listen") && text.contains("a-z 0-9 -"), "{text}");
    let text = refused(&[("listeners.kafka.listen", "h:1")]);
    assert!(text.contains("kafka-listen"), "{text}");
    let text = refused(&[("listeners.a.listen", "h:1"), ("listeners.a.advertise", "0.0.0.0:1")]);
    assert!(text.contains("listeners.a.advertise") && text.contains("cannot be connected to"), "{text}");
    let text = refused(&[("listeners.a.advertise", "h:1")]);
    assert!(text.contains("set listeners.a.listen"), "{text}");
    let text = refused(&[("listeners.a.listen", "h:1"), ("listeners.a.connections", "0")]);
    assert!(text.contains("setting listeners.a.connections"), "{text}");
    let twice = from_file("[listeners.a]\nlisten = \"h:1\"\n[listeners.a]\nlisten = \"h:2\"\n");
    assert!(matches!(twice, Err(NodeConfigError::File { .. })), "{twice:?}");
}

#[test]
fn a_file_that_is_missing_or_not_toml_is_refused_with_its_path() {
    let missing = NodeConfig::load(&NodeFlags::default(), Some(Path::new("no/such.toml")), &around(&[]));
    assert!(missing.unwrap_err().to_string().starts_with("config file no/such.toml: "));
    assert!(matches!(from_file("node-id = = 1"), Err(NodeConfigError::File { .. })));
}

#[test]
fn a_broker_describes_itself_under_kafkas_names_with_every_default_as_it_is() {
    let entries = from_flags(&NodeFlags::default()).unwrap().describe(DynamicConfigs::NONE);
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
    for entry in &entries {
        assert_eq!(entry.source, ConfigSource::Default, "{}", entry.name);
    }
    let read_only = |name| entries.iter().find(|entry| entry.name == name).unwrap().read_only;
    assert!(read_only("broker.id") && !read_only("max.connections") && !read_only("log.retention.ms"));
    let text = "[topic.defaults]\nretention.ms = 5000\n[limits]\nconnections = 17\n";
    let entries = from_file(text).unwrap().describe(DynamicConfigs::NONE);
    let given: Vec<_> = entries
        .iter()
        .filter(|e| e.source == ConfigSource::Node)
        .map(|e| (e.name, e.value.as_str()))
        .collect();
    assert_eq!(given, [("log.retention.ms", "5000"), ("max.connections", "17")]);
}

#[test]
fn every_listed_setting_is_one_that_the_raw_form_takes() {
    for key in SETTINGS.iter().map(|setting| &setting.key) {
        let value = match *key {
            "node-id"
            | "default-partitions"
            | "default-replication-factor"
            | "limits.connections"
            | "limits.connections-per-address"
            | "limits.partitions"
            | "groups.offsets-partitions"
            | "groups.offsets-replication-factor"
            | "groups.max-size"
            | "groups.consumer-max-size"
            | "groups.lag-metrics-max"
            | "cluster.voters" => "5",
            "auto-create-topics" => "true",
            key if key.ends_with("bytes") || key.ends_with("second") => "128 MiB",
            key if ["timeout", "interval", "grace", "delay", "retention", "lease", "time-max"]
                .iter()
                .any(|end| key.ends_with(end)) =>
            {
                "5s"
            }
            _ => "host:1",
        };
        let environment = around(&[(variable_of(key).as_str(), value)]);
        let mut settings =
            super::sources::Settings::gather(&NodeFlags::default(), None, &environment).unwrap();
        assert!(settings.take_problems().is_empty(), "{key}");
        let raw: Result<Raw, _> = settings.raw();
        assert!(raw.is_ok(), "{key}: {raw:?}");
    }
}

#[test]
fn settings_of_server_side_groups_are_read_from_every_source() {
    let file = from_file("[groups]\nconsumer-assignors = [\"range\", \"uniform\"]\n").unwrap();
    assert_eq!(file.groups.consumer.assignors, ["range", "uniform"]);
    let flag = from_flags(&with("groups.consumer-assignors", "exclusive, range")).unwrap();
    assert_eq!(flag.groups.consumer.assignors, ["exclusive", "range"]);
    let environment = around(&[("POLYLOGUE_GROUPS_CONSUMER_SESSION_TIMEOUT", "10s")]);
    let variable = NodeConfig::load(&NodeFlags::default(), None, &environment).unwrap();
    assert_eq!(variable.groups.consumer.session_timeout.default, Duration::from_secs(10));
}

#[test]
fn settings_of_server_side_groups_that_do_not_fit_are_refused_with_the_one_that_was_given() {
    for (key, value) in [
        ("groups.consumer-heartbeat-interval", "500ms"),
        ("groups.consumer-heartbeat-interval", "16s"),
        ("groups.consumer-min-heartbeat-interval", "6s"),
        ("groups.consumer-max-heartbeat-interval", "900ms"),
        ("groups.consumer-session-timeout", "61s"),
        ("groups.consumer-max-size", "0"),
        ("groups.consumer-assignors", "sticky"),
        ("groups.consumer-assignors", "range,range"),
        ("groups.consumer-assignors", ""),
    ] {
        let text = from_flags(&with(key, value)).unwrap_err().to_string();
        assert!(text.starts_with(&format!("setting {key} (command line): ")), "{text}");
    }
    let text =
        from_file("[groups]\nconsumer-heartbeat-interval = \"10s\"\nconsumer-session-timeout = \"9s\"\n");
    let text = text.unwrap_err().to_string();
    assert!(text.contains("groups.consumer-session-timeout") && text.contains("is not above"), "{text}");
}
