//! Topic and broker values: what is taken, what is refused in which words, what is described.

use std::time::Duration;

use kastle_config::describe::{self, ConfigEntry};
use kastle_config::{Compression, Layers, NodeConfig, Overrides, Scope, Source, TopicConfig, alter};
use model::ErrorCode;

fn overrides(text: &str) -> Overrides {
    let lines = text.split(';').filter_map(|pair| pair.split_once('='));
    lines.map(|(key, value)| (key.trim().to_owned(), value.to_owned())).collect()
}

/// A change of a topic and Kafka's answer, `ok` or its words.
fn check(change: &str, answer: &str) {
    let outcome =
        alter::topic(&overrides(change)).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    assert_eq!(outcome, answer, "{change}");
}

#[test]
fn topic_values_are_judged_in_kafkas_words() {
    check("nope=1", "Unknown topic config name: nope");
    check("retention.ms=x", "Invalid value x for configuration retention.ms: Not a number of type LONG");
    check("retention.ms=-5", "Invalid value -5 for configuration retention.ms: Value must be at least -1");
    check("retention.ms= 5 ", "ok");
    check("retention.bytes=-7", "ok");
    check(
        "cleanup.policy=foo",
        "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
    );
    check("cleanup.policy=", "ok");
    check("cleanup.policy=compact, delete", "ok");
    check("cleanup.policy=compact,delete,compact", "ok");
    check("cleanup.policy=,", "Configuration 'cleanup.policy' values must not be empty.");
    check(
        "compression.type=bzip",
        "Invalid value bzip for configuration compression.type: String must be one of: uncompressed, zstd, lz4, \
         snappy, gzip, producer",
    );
    check(
        "min.insync.replicas=0",
        "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1",
    );
    check(
        "segment.bytes=1",
        "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576",
    );
    check("segment.bytes=", "Invalid value  for configuration segment.bytes: Not a number of type INT");
    check(
        "preallocate=yes",
        "Invalid value yes for configuration preallocate: Expected value to be either true or false",
    );
    check("preallocate=TRUE", "ok");
    check(
        "min.cleanable.dirty.ratio=2",
        "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
    );
    check(
        "min.cleanable.dirty.ratio=abc",
        "Invalid value abc for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE",
    );
    check(
        "max.message.bytes=99999999999",
        "Invalid value 99999999999 for configuration max.message.bytes: Not a number of type INT",
    );
    check(
        "compression.gzip.level=0",
        "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
    );
    check("compression.gzip.level=-1", "ok");
    check(
        "leader.replication.throttled.replicas=bla",
        "Invalid value [bla] for configuration leader.replication.throttled.replicas: \
         leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],...",
    );
    check("leader.replication.throttled.replicas=*", "ok");
    check("leader.replication.throttled.replicas=0:1,1:2", "ok");
    check(
        "max.compaction.lag.ms=5;min.compaction.lag.ms=50",
        "conflict topic config setting min.compaction.lag.ms (50) > max.compaction.lag.ms (5)",
    );
    check(
        "remote.storage.enable=true",
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
    );
    let nulls = alter::topic_nulls(["b", "a"]).expect("two nulls");
    assert_eq!(nulls.to_string(), "Null value not supported for topic configs: a,b");
    assert_eq!(nulls.code(), ErrorCode::InvalidConfig);
}

/// A change of one broker or of all, and Kafka's answer.
fn check_broker(for_all: bool, change: &str, answer: &str) {
    let outcome = alter::broker(&overrides(change), for_all);
    assert!(outcome.as_ref().err().is_none_or(|error| error.code() == ErrorCode::InvalidRequest));
    assert_eq!(outcome.map_or_else(|error| error.to_string(), |()| "ok".to_owned()), answer, "{change}");
}

#[test]
fn broker_values_change_at_run_time_only_where_kafka_lets_them() {
    check_broker(false, "node.id=4", "Cannot update these configs dynamically: [node.id]");
    check_broker(
        false,
        "log.retention.hours=1",
        "Cannot update these configs dynamically: [log.retention.hours]",
    );
    check_broker(
        true,
        "listeners=x;background.threads=5",
        "Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
    );
    check_broker(
        true,
        "background.threads=0",
        "Invalid value 0 for configuration background.threads: Value must be at least 1",
    );
    check_broker(true, "nope=x", "ok");
    check_broker(true, "leader.replication.throttled.rate=10", "ok");
    check_broker(
        false,
        "ssl.keystore.location=x",
        "These security configs can be dynamically updated only per-listener using the listener prefix: \
         [ssl.keystore.location]",
    );
    check_broker(false, "listener.name.foo.ssl.keystore.location=x", "ok");
    check_broker(false, "sasl.kerberos.min.time.before.relogin=58000;ssl.client.auth=none", "ok");
    check_broker(
        true,
        "sasl.kerberos.min.time.before.relogin=58000",
        "Cannot update these configs at default cluster level, broker id must be specified: \
         [sasl.kerberos.min.time.before.relogin]",
    );
    check_broker(
        false,
        "listener.name.foo.max.connections=x",
        "Invalid value x for configuration max.connections: Not a number of type INT",
    );
    assert_eq!(alter::broker_name(""), Ok(None));
    assert_eq!(alter::broker_name("7"), Ok(Some(7)));
    let error = alter::broker_name("x").expect_err("no number");
    assert_eq!(error.to_string(), "Unable to parse broker name as a base 10 number.");
}

/// What a group's overrides are told where brokers were started with `file`.
fn check_group(changed: &str, file: &str, expected: &str) {
    let told = alter::group(&overrides(changed), &overrides(file));
    assert_eq!(told.map_or_else(|error| error.to_string(), |()| "ok".to_owned()), expected, "{changed}");
}

#[test]
fn a_group_may_set_for_itself_what_the_operator_allows() {
    let below =
        "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms";
    check_group("consumer.session.timeout.ms=44999", "", below);
    check_group("consumer.session.timeout.ms=44999", "group.consumer.min.session.timeout.ms=6000", "ok");
    let above = "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms";
    check_group("consumer.heartbeat.interval.ms=15001", "", above);
    check_group("consumer.heartbeat.interval.ms=15000", "", "ok");
    let above = "consumer.assignment.interval.ms must be less than or equal to group.consumer.max.assignment.interval.ms";
    check_group("consumer.assignment.interval.ms=15001", "", above);
    check_group("consumer.assignment.interval.ms=0", "", "ok");
    let above =
        "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas";
    check_group("streams.num.standby.replicas=3", "", above);
    check_group(
        "consumer.session.timeout.ms=6000;consumer.heartbeat.interval.ms=6000",
        "group.consumer.min.session.timeout.ms=6000",
        "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms",
    );
}

#[test]
fn groups_and_metrics_subscriptions_have_keys_of_their_own() {
    check_group("consumer.session.timeout.ms=50000", "", "ok");
    check_group("retention.ms=1", "", "Unknown group config name: retention.ms");
    check_group("share.auto.offset.reset=by_duration:PT1H", "", "ok");
    assert!(alter::group(&overrides("share.auto.offset.reset=by_duration:soon"), &overrides("")).is_err());
    assert_eq!(alter::client(&overrides("interval.ms=1000;metrics=a,b")), Ok(()));
    let unknown = alter::client(&overrides("x=1")).expect_err("nobody's key");
    assert_eq!(unknown.to_string(), "Unknown client metrics configuration: x");
}

#[test]
fn every_default_is_a_value_of_its_key() {
    for scope in [Scope::Broker, Scope::Topic, Scope::Group, Scope::Client] {
        for key in kastle_config::keys(scope) {
            if let kastle_config::Default::Text(text) = key.default {
                // Two kinds of empty default stand for "not set" and would not be taken from a file.
                let unset = text.is_empty() || key.name == "broker.id";
                assert!(unset || key.parse(text).is_ok(), "{}: {:?}", key.name, key.parse(text));
                let _ = key.default_value();
            }
            assert_eq!(
                key.kept,
                !key.doc.is_empty(),
                "{}: what is kept has a line of documentation",
                key.name
            );
        }
    }
}

/// Those that Kafka does not have.
const OWN_KEYS: [&str; 1] = ["log.dir.reserve.bytes"];

#[test]
fn the_table_holds_kafkas_keys() {
    let kafkas = |scope: Scope| kastle_config::keys(scope).filter(|key| !OWN_KEYS.contains(&key.name));
    let count = |scope: Scope| kafkas(scope).count();
    assert_eq!([Scope::Broker, Scope::Topic, Scope::Group, Scope::Client].map(count), [363, 34, 17, 3]);
    let dynamic = kafkas(Scope::Broker).filter(|key| key.update != kastle_config::Update::Fixed).count();
    assert_eq!(dynamic, 102, "those that Kafka's DynamicBrokerConfig lists, three of them dynamic only");
    assert_eq!(
        kastle_config::nearest(Scope::Broker, "log.retention.hour").map(|key| key.name),
        Some("log.retention.hours")
    );
    assert!(kastle_config::nearest(Scope::Broker, "something.else.entirely").is_none());
}

#[test]
fn a_topic_takes_its_own_values_then_the_brokers_then_the_defaults() {
    let defaults = TopicConfig::default();
    assert_eq!(defaults.retention, Some(Duration::from_hours(168)));
    assert_eq!(defaults.retention_bytes, None);
    assert_eq!(defaults.segment_bytes, 1 << 30);
    assert_eq!(defaults.compression, Compression::Producer);
    assert!(defaults.cleanup.delete && !defaults.cleanup.compact);
    let resolve = |topic: &str, broker: &str, cluster: &str, file: &str| {
        let (broker, cluster, file) = (overrides(broker), overrides(cluster), overrides(file));
        let layers = Layers { broker: &broker, cluster: &cluster, file: &file };
        TopicConfig::resolve(&overrides(topic), &layers)
    };
    let millis = |config: TopicConfig| config.retention.map(|retention| retention.as_millis());
    assert_eq!(millis(resolve("", "", "", "log.retention.hours=1")), Some(3_600_000));
    assert_eq!(millis(resolve("", "", "", "log.retention.hours=1;log.retention.minutes=1")), Some(60_000));
    assert_eq!(millis(resolve("", "", "log.retention.ms=7", "log.retention.minutes=1")), Some(7));
    assert_eq!(millis(resolve("", "log.retention.ms=8", "log.retention.ms=7", "")), Some(8));
    assert_eq!(millis(resolve("retention.ms=9", "log.retention.ms=8", "", "")), Some(9));
    assert_eq!(millis(resolve("retention.ms=-1", "", "", "")), None);
    assert_eq!(millis(resolve("", "", "", "log.retention.hours=-1")), None);
    assert_eq!(
        millis(resolve("retention.ms=junk", "", "", "log.retention.ms=5")),
        Some(5),
        "junk counts as unset"
    );
    let zstd = resolve("compression.type=zstd", "", "compression.zstd.level=7", "");
    assert_eq!(zstd.compression, Compression::Zstd(7));
    let tiny = resolve("internal.segment.bytes=1000;cleanup.policy=compact,delete", "", "", "");
    assert_eq!((tiny.segment_bytes, tiny.cleanup.compact), (1000, true));
}

fn entry<'a>(entries: &'a [ConfigEntry], name: &str) -> &'a ConfigEntry {
    entries.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name} is not described"))
}

#[test]
fn a_described_topic_lists_every_key_with_its_sources() {
    let (cluster, file) = (overrides("log.retention.ms=7"), overrides("log.retention.hours=1"));
    let none = Overrides::new();
    let layers = Layers { broker: &none, cluster: &cluster, file: &file };
    let entries = describe::topic(&overrides("retention.ms=9"), &layers);
    assert_eq!(entries.len(), 33, "every key but the internal one");
    let retention = entry(&entries, "retention.ms");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("9"), Source::DynamicTopic));
    let places: Vec<(&str, &str, Source)> = retention
        .synonyms
        .iter()
        .map(|synonym| (synonym.name, synonym.value.as_deref().unwrap_or(""), synonym.source))
        .collect();
    assert_eq!(
        places,
        [
            ("retention.ms", "9", Source::DynamicTopic),
            ("log.retention.ms", "7", Source::DynamicDefaultBroker),
            ("log.retention.hours", "1", Source::StaticBroker),
            ("log.retention.hours", "168", Source::Default),
        ]
    );
    let inherited = describe::topic(&none, &Layers::of_file(&file));
    let retention = entry(&inherited, "retention.ms");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("3600000"), Source::StaticBroker));
    assert!(!retention.read_only);
}

#[test]
fn a_described_group_shows_what_its_broker_gives_it() {
    let file = overrides("group.consumer.session.timeout.ms=6000");
    let told = |own: &str, name: &str| {
        let entries = describe::group(&overrides(own), &Layers::of_file(&file));
        let entry = entry(&entries, name);
        let places = entry
            .synonyms
            .iter()
            .map(|it| format!("{:?}:{}={}", it.source, it.name, it.value.as_deref().unwrap_or("")));
        (entry.value.clone().unwrap_or_default(), places.collect::<Vec<_>>().join(" "))
    };
    let timeout = "consumer.session.timeout.ms";
    let of_brokers = format!("StaticBroker:group.{timeout}=6000 Default:group.{timeout}=45000");
    assert_eq!(told("", timeout), ("6000".to_owned(), of_brokers.clone()));
    let own = format!("Group:{timeout}=7000 {of_brokers}");
    assert_eq!(told(&format!("{timeout}=7000"), timeout), ("7000".to_owned(), own));
    let (value, places) = told("", "share.isolation.level");
    assert_eq!(
        (value.as_str(), places.as_str()),
        ("read_uncommitted", "Default:share.isolation.level=read_uncommitted")
    );
}

#[test]
fn a_described_broker_hides_secrets_and_tells_what_cannot_change() {
    let file = overrides("node.id=3;ssl.keystore.password=hunter2;log.segment.bytes= 2000000 ");
    let entries = describe::broker(&Layers::of_file(&file));
    assert!(entries.len() > 330, "every key that Kafka documents: {}", entries.len());
    let secret = entry(&entries, "ssl.keystore.password");
    assert!(secret.sensitive && secret.value.is_none() && secret.synonyms[0].value.is_none());
    assert!(entry(&entries, "node.id").read_only);
    let segment = entry(&entries, "log.segment.bytes");
    assert_eq!((segment.value.as_deref(), segment.read_only), (Some("2000000"), false));
    assert_eq!(entry(&entries, "log.retention.ms").value, None);
    assert!(entry(&entries, "log.retention.ms").synonyms.is_empty());
    let set = overrides("log.retention.ms=7");
    let behind = describe::broker(&Layers { cluster: &set, ..Layers::of_file(&file) });
    let behind = &entry(&behind, "log.retention.ms").synonyms;
    let names: Vec<&str> = behind.iter().map(|synonym| synonym.name).collect();
    assert_eq!(names, ["log.retention.ms", "log.retention.hours"], "a set value shows what stands behind it");
    let cluster = describe::cluster(&overrides("log.retention.ms=7"));
    assert_eq!((cluster.len(), cluster[0].source), (1, Source::DynamicDefaultBroker));
    assert_eq!(describe::client(&Overrides::new()).len(), 3);
}

#[test]
fn the_file_is_the_static_layer_of_a_node() {
    let text = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@h:2\n\
                controller.listener.names=C\nlisteners=PLAINTEXT://h:1,C://h:2\nlog.retention.minutes=2\n";
    let properties = kastle_config::Properties::parse("f", text.as_bytes()).expect("well-formed");
    let node = NodeConfig::from_properties(&properties).expect("sound");
    let topic = TopicConfig::resolve(&Overrides::new(), &Layers::of_file(&node.file));
    assert_eq!(topic.retention, Some(Duration::from_mins(2)));
}

#[test]
fn a_brokers_own_value_counts_before_the_clusters_and_the_files() {
    let set = |name: &str, value: &str| Overrides::from([(name.to_owned(), value.to_owned())]);
    let (own, all) = (set("num.replica.fetchers", "4"), set("num.replica.fetchers", "3"));
    let (file, none) = (set("num.replica.fetchers", "2"), Overrides::new());
    let value = |layers: Layers<'_>| layers.value("num.replica.fetchers").map(|value| value.to_string());
    let counted = [
        value(Layers { broker: &own, cluster: &all, file: &file }),
        value(Layers { broker: &none, cluster: &all, file: &file }),
        value(Layers { broker: &none, cluster: &none, file: &file }),
        value(Layers::defaults()),
    ];
    assert_eq!(counted.map(|it| it.expect("it has a default")), ["4", "3", "2", "1"]);
    assert_eq!(Layers::defaults().value("broker.rack"), None);
}
