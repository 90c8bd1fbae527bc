//! Whole files: what a node makes of them, and everything it says about bad ones.

use kastle_config::{NodeConfig, Properties, ReplicaSelector, Roles};

const COMBINED: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
";

fn read(text: &str) -> Result<NodeConfig, String> {
    let properties =
        Properties::parse("server.properties", text.as_bytes()).map_err(|error| error.to_string())?;
    NodeConfig::from_properties(&properties).map_err(|errors| errors.to_string())
}

/// The combined node's file with `changes` made: `key=value` sets, `-key` removes.
fn changed(changes: &str) -> Result<NodeConfig, String> {
    let mut properties = Properties::parse("server.properties", b"").expect("nothing is well-formed");
    let removed = |key: &str| changes.lines().any(|change| change.trim() == format!("-{key}"));
    let base = COMBINED.lines().filter_map(|line| line.split_once('='));
    for (key, value) in base.filter(|(key, _)| !removed(key)) {
        properties.set(key, value);
    }
    for (key, value) in changes.lines().filter_map(|line| line.trim().split_once('=')) {
        properties.set(key, value);
    }
    NodeConfig::from_properties(&properties).map_err(|errors| errors.to_string())
}

/// Each outcome is either `ok` or part of the problems' text.
fn check(changes: &str, outcome: &str) {
    match (changed(changes), outcome) {
        (Ok(_), "ok") => {}
        (Ok(_), _) => panic!("{changes}\nwas accepted, expected: {outcome}"),
        (Err(problems), _) => {
            assert!(problems.contains(outcome), "{changes}\nhad: {problems}\nexpected: {outcome}")
        }
    }
}

#[test]
fn a_combined_node_reads_its_file() {
    let config = read(COMBINED).expect("a sound file");
    assert_eq!((config.node_id.get(), config.roles), (1, Roles::Both));
    let listeners: Vec<String> = config.listeners.iter().map(ToString::to_string).collect();
    assert_eq!(listeners, ["PLAINTEXT://localhost:9092", "CONTROLLER://localhost:9093"]);
    let brokers: Vec<String> = config.advertised.iter().map(ToString::to_string).collect();
    assert_eq!(brokers, ["PLAINTEXT://localhost:9092"]);
    assert_eq!(config.controller_listeners().count(), 1);
    assert_eq!(config.inter_broker_listener, "PLAINTEXT");
    assert_eq!(config.log_dirs, [std::path::Path::new("/tmp/kafka-logs")]);
    assert_eq!(config.metadata_log_dir, config.log_dirs[0]);
    assert_eq!(config.session.timeout.as_millis(), 9_000);
    assert_eq!(config.topics.partitions, 1);
    assert_eq!(config.network.request_bytes_max, 100 << 20);
    assert_eq!(config.quorum.seeds(), [("localhost".to_owned(), 9093)]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

/// In the manner of the file that Kafka's distribution holds.
#[test]
fn a_distributions_file_reads_without_a_complaint_beyond_idle_keys() {
    let config = read(
        "# comment
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
",
    )
    .expect("Kafka takes it");
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(
        config.warnings[0].starts_with("accepted, but without effect in Kastle: num.network.threads, num.io")
    );
    assert_eq!(config.advertised_controllers[0].to_string(), "CONTROLLER://localhost:9093");
    assert_eq!(config.listeners[0].address(), ":9092");
    assert!(config.quorum.voters.is_empty());
}

#[test]
fn a_broker_alone_dials_controllers_it_does_not_listen_for() {
    let broker = "process.roles=broker\nnode.id=2\nlisteners=PLAINTEXT://:9092";
    let mut config = changed(broker).expect("a sound broker");
    assert_eq!((config.roles.is_broker(), config.roles.is_controller()), (true, false));
    assert_eq!(config.advertised[0].host, "");
    config.name_host("here");
    assert_eq!(config.advertised[0].to_string(), "PLAINTEXT://here:9092");
    check(
        "process.roles=broker\nlisteners=PLAINTEXT://:9092",
        "the node id 1 must not be included in the set of voters",
    );
    check("process.roles=broker\nnode.id=2", "must not contain a value appearing in the 'listeners'");
}

#[test]
fn a_controller_alone_has_nothing_for_clients() {
    let config =
        changed("process.roles=controller\nlisteners=CONTROLLER://:9093").expect("a sound controller");
    assert!(config.advertised.is_empty());
    check("process.roles=controller", "must only contain KRaft controller listeners");
    check("process.roles=controller\n-listeners", "must only contain KRaft controller listeners");
}

#[test]
fn missing_and_bad_identities_are_named() {
    check("-process.roles", "Missing required configuration \"process.roles\"");
    check("process.roles=", "must not be empty. Valid values include: [broker, controller]");
    check(
        "process.roles=bla",
        "Invalid value bla for configuration process.roles: String must be one of: broker",
    );
    check("process.roles=broker,broker", "values must not be duplicated");
    check("-node.id", "Missing required configuration \"node.id\"");
    check("node.id=-1", "Invalid value -1 for configuration node.id: Value must be at least 0");
    check("node.id=x", "Not a number of type INT; correct the value");
    check("-node.id\nbroker.id=1", "ok");
    check("broker.id=7", "You must set `node.id` to the same value as `broker.id`");
    check("node.id=2", "the node id 2 must be included in the set of voters controller.quorum.voters=Set(1)");
}

#[test]
fn voters_and_bootstrap_servers_have_their_forms() {
    check("-controller.quorum.voters", "either controller.quorum.bootstrap.servers must contain");
    check("-controller.quorum.voters\ncontroller.quorum.bootstrap.servers=a:1,[::1]:2", "ok");
    check("controller.quorum.bootstrap.servers=a", "Failed to parse host name from a for");
    check("controller.quorum.voters=1@localhost", "Failed to parse host name from entry 1@localhost");
    check("controller.quorum.voters=x@localhost:1", "Failed to parse voter ID as an integer from x");
    check("controller.quorum.voters=localhost:1", "Each entry should be in the form `{id}@{host}:{port}`");
    check("controller.quorum.voters=1@a:1,1@b:1", "node 1 appears twice");
}

#[test]
fn controller_listeners_are_named_and_listened_on() {
    check("-controller.listener.names", "Missing required configuration \"controller.listener.names\"");
    check("controller.listener.names=", "must not be empty. Valid values include: any non-empty value");
    check("controller.listener.names=FOO", "No security protocol defined for listener CONTROLLER");
    check("-listeners", "must contain at least one value appearing in the 'listeners'");
}

#[test]
fn listeners_have_names_ports_and_protocols_of_their_own() {
    let map = "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,B:PLAINTEXT";
    check("listeners=PLAINTEXT://h:1,CONTROLLER://h:1", "must have a different port");
    check("listeners=PLAINTEXT://h:1,PLAINTEXT://h:2,CONTROLLER://h:3", "must have a different name");
    check("listeners=PLAINTEXT://h:0,CONTROLLER://h:0", "ok");
    check(&format!("{map}\nlisteners=PLAINTEXT://127.0.0.1:1,B://[::1]:1,CONTROLLER://h:2"), "ok");
    check("listeners=PLAINTEXT//h:1,CONTROLLER://h:2", "Unable to parse PLAINTEXT//h:1 to a broker endpoint");
    check("listeners=PLAINTEXT://h,CONTROLLER://h:2", "Unable to parse PLAINTEXT://h to a broker endpoint");
    check("listeners=PLAINTEXT://h:99999,CONTROLLER://h:2", "with a port of 0 to 65535");
    check("listeners=plaintext://h:1,controller://h:2", "ok");
    check("listeners= PLAINTEXT://h:1 , CONTROLLER://h:2", "ok");
    check("listeners=FOO://h:1,CONTROLLER://h:2", "add FOO:PLAINTEXT to listener.security.protocol.map");
    check("listener.security.protocol.map=CONTROLLER", "'CONTROLLER' is no NAME:PROTOCOL pair");
    check("listener.security.protocol.map=CONTROLLER:FOO", "Invalid security protocol `FOO`");
    check(
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT",
        "No security protocol defined for listener CONTROLLER",
    );
}

#[test]
fn protection_that_is_not_there_is_refused_and_not_dropped() {
    let map = "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL";
    check(map, "listener PLAINTEXT speaks SASL_SSL, and Kastle serves PLAINTEXT listeners for now");
    check(
        "listener.security.protocol.map=CONTROLLER:SSL,PLAINTEXT:PLAINTEXT",
        "listener CONTROLLER speaks SSL",
    );
    check("authorizer.class.name=org.apache.kafka.X", "Kastle has no access control yet");
    check("config.providers=env", "does not read values through config providers");
    check("remote.log.storage.system.enable=true", "no tiered storage yet");
}

#[test]
fn what_is_advertised_can_be_reached() {
    let all = "listeners=PLAINTEXT://0.0.0.0:1,CONTROLLER://:2";
    check(all, "cannot use the nonroutable meta-address 0.0.0.0");
    check(&format!("{all}\nadvertised.listeners=PLAINTEXT://h:1"), "ok");
    check("advertised.listeners=PLAINTEXT://h:1,CONTROLLER://h:2", "ok");
    check("advertised.listeners=CONTROLLER://h:2", "There must be at least one broker advertised listener");
    check("advertised.listeners=SSL://h:2", "valid options based on currently configured listeners are SSL");
    check("inter.broker.listener.name=FOO", "FOO defined in inter.broker.listener.name not found in");
    check(
        "inter.broker.listener.name=CONTROLLER",
        "The valid options based on currently configured listeners are PLAINTEXT",
    );
    check(
        "inter.broker.listener.name=PLAINTEXT\nsecurity.inter.broker.protocol=PLAINTEXT",
        "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set",
    );
}

#[test]
fn numbers_that_contradict_each_other_are_refused() {
    check("replica.fetch.wait.max.ms=40000", "replica.socket.timeout.ms should always be at least");
    check("replica.lag.time.max.ms=100", "should always be less than or equal to replica.lag.time.max.ms");
    check("log.retention.ms=0", "must be unlimited (-1) or, greater than or equal to 1");
    check("log.retention.hours=0", "must be unlimited (-1) or, greater than or equal to 1");
    check("log.retention.ms=-1", "ok");
    check("max.connections.per.ip=0", "can be set to zero only if");
    check("max.connections.per.ip=0\nmax.connections.per.ip.overrides=h:5", "ok");
    check("max.connections.per.ip.overrides=h", "'h' is no HOST:COUNT pair");
    check("log.dirs=", "Configuration 'log.dirs' must not be empty");
    check("log.dirs=/a,/a", "values must not be duplicated");
}

#[test]
fn a_replica_selector_is_known_by_kafkas_name_and_ours() {
    let selector = |value: &str| {
        changed(&format!("replica.selector.class={value}")).expect("it is known").replication.selector
    };
    assert_eq!(
        selector("org.apache.kafka.common.replica.RackAwareReplicaSelector"),
        ReplicaSelector::RackAware
    );
    assert_eq!(selector("rack-aware"), ReplicaSelector::RackAware);
    assert_eq!(selector("org.apache.kafka.common.replica.LeaderSelector"), ReplicaSelector::Leader);
    assert_eq!((selector("leader"), selector("")), (ReplicaSelector::Leader, ReplicaSelector::Leader));
    check(
        "replica.selector.class=com.example.Mine",
        "Kastle runs no classes; it knows rack-aware and leader",
    );
}

#[test]
fn all_problems_come_together_with_their_lines() {
    let text =
        "process.roles=broker,controller\nnode.id=x\nnum.partitions=0\nauto.create.topics.enable=yes\n";
    let problems = read(text).expect_err("it has problems");
    for expected in [
        "server.properties:2: node.id=x: Invalid value x",
        "server.properties:3: num.partitions=0: Invalid value 0 for configuration num.partitions: Value must be at \
         least 1; correct the value or remove the line (default 1)",
        "server.properties:4: auto.create.topics.enable=yes: Invalid value yes",
        "server.properties: controller.listener.names: Missing required",
        "server.properties: controller.quorum.bootstrap.servers: If using process.roles",
    ] {
        assert!(problems.contains(expected), "missing: {expected}\nin: {problems}");
    }
    assert_eq!(problems.matches("node.id").count(), 2, "one line about node.id: {problems}");
}

#[test]
fn a_secret_is_never_repeated() {
    let config = changed("ssl.keystore.password=hunter2").expect("it is only idle");
    assert!(!config.warnings.join(" ").contains("hunter2"));
}

#[test]
fn odd_keys_are_warnings() {
    let warnings = |changes: &str| changed(changes).expect("odd is not wrong").warnings;
    assert_eq!(
        warnings("num.partition=3"),
        ["--override num.partition: unknown key num.partition; did you mean num.partitions?"]
    );
    assert_eq!(warnings("my.plugins.key=3"), ["--override my.plugins.key: unknown key my.plugins.key"]);
    let zookeeper = warnings("zookeeper.connect=h:2181\ninter.broker.protocol.version=3.9");
    assert_eq!(zookeeper.len(), 1);
    assert!(zookeeper[0].contains("belong to ZooKeeper mode"), "{zookeeper:?}");
    assert!(warnings("listener.name.external.ssl.keystore.type=PEM")[0].contains("without effect"));
}

#[test]
fn a_brokers_file_from_zookeeper_days_is_told_what_it_is() {
    let problems =
        read("broker.id=0\nzookeeper.connect=localhost:2181\nlog.dirs=/tmp/logs").expect_err("no roles");
    assert!(problems.contains("this file is of a broker that runs on ZooKeeper"), "{problems}");
}

#[test]
fn groups_and_transactions_have_kafkas_defaults() {
    let config = changed("").expect("a sound file");
    let (groups, transactions) = (&config.groups, &config.transaction_log);
    assert_eq!((groups.topic.partitions, groups.topic.replication_factor), (50, 3));
    assert_eq!((transactions.topic.partitions, transactions.topic.replication_factor), (50, 3));
    assert_eq!(transactions.min_isr, 2);
    assert_eq!(groups.retention.as_secs(), 7 * 24 * 3600);
    assert_eq!(groups.consumer.session_timeout.default.as_secs(), 45);
    assert_eq!(groups.consumer.assignors, ["uniform", "range"]);
}

#[test]
fn what_contradicts_itself_about_groups_is_refused_in_kafkas_words() {
    check("group.initial.rebalance.delay.ms=0", "ok");
    check("offsets.topic.compression.codec=4", "ok");
    check("offsets.topic.compression.codec=5", "Unknown compression type id");
    check("offsets.topic.compression.codec=-1", "Unknown compression type id");
    check(
        "group.consumer.max.session.timeout.ms=1000",
        "group.consumer.max.session.timeout.ms must be greater than or equal to \
         group.consumer.min.session.timeout.ms",
    );
    check(
        "group.consumer.session.timeout.ms=1000",
        "group.consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
    );
    check(
        "group.consumer.heartbeat.interval.ms=20000",
        "group.consumer.heartbeat.interval.ms must be less than or equal to \
         group.consumer.max.heartbeat.interval.ms",
    );
}
