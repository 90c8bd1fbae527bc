//! The binary as an operator meets it: what it prints, and with which status it ends.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const KASTLE: &str = env!("CARGO_BIN_EXE_kastle");

fn run(dir: &Path, arguments: &str, input: &str) -> Output {
    let mut child = Command::new(KASTLE)
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A command that ends early closes its stdin; that is its good right.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// Runs a command; `status` is how it ends, each of `parts` is in its output.
fn check(dir: &Path, arguments: &str, status: i32, parts: &[&str]) -> String {
    check_with(dir, arguments, "", status, parts)
}

fn check_with(dir: &Path, arguments: &str, input: &str, status: i32, parts: &[&str]) -> String {
    let output = run(dir, arguments, input);
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(status), "kastle {arguments}\n{text}");
    for part in parts {
        assert!(text.contains(part), "kastle {arguments}\nmissing: {part}\nin: {text}");
    }
    text
}

/// A directory with a `server.properties` of a combined node on ports of its own.
fn node_files(extra: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let port = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let (client, controller, data) = (port(), port(), dir.path().join("data"));
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\n{extra}",
        data.display()
    );
    std::fs::write(dir.path().join("server.properties"), text).expect("writable");
    dir
}

const ID: &str = "JEXY6aqzQY-32P5TStzaFg";

#[test]
fn storage_formats_once_and_says_what_is_there() {
    let dir = node_files("");
    let at = dir.path();
    check(at, "storage info -c server.properties", 1, &["Found problem:", "data does not exist"]);
    check(
        at,
        &format!("storage format -t {ID} -c server.properties"),
        1,
        &["--standalone", "--no-initial-controllers"],
    );
    check(
        at,
        &format!("storage format -t {} -c server.properties -s", "x".repeat(250)),
        1,
        &["--cluster-id: a cluster id of 250 bytes; at most 249", "random-uuid"],
    );
    check(
        at,
        &format!("storage format -t {ID} -c server.properties -s -r 9.9"),
        1,
        &["Unknown metadata.version '9.9'"],
    );
    check(at, &format!("storage format -t {ID} -c server.properties -s -N"), 1, &["cannot be used with"]);
    assert!(!at.join("data").exists(), "refusals leave nothing behind");
    let format = format!("storage format -t {ID} -c server.properties -s");
    check(at, &format, 0, &["Formatting dynamic metadata voter directory", "with metadata.version 4.3-IV0."]);
    check(at, &format, 1, &["is already formatted. Use --ignore-formatted"]);
    check(
        at,
        &format!("{format} --ignore-formatted"),
        0,
        &["All of the log directories are already formatted."],
    );
    check(at, "storage info -c server.properties", 0, &["Found log directory:", &format!("cluster.id={ID}")]);
    check(at, "storage", 1, &[]);
    let example = format.replace(ID, "MkU3OEVBNTcwNTJENDM2Qk");
    check(at, &example, 1, &["Invalid cluster.id in", "Expected MkU3OEVBNTcwNTJENDM2Qk, but read"]);
    check(
        at,
        "log dump data/bootstrap.checkpoint data/meta.properties",
        0,
        &["FeatureLevelRecord", "node.id=1"],
    );
    check(at, "log dump data/nothing.log", 1, &["cannot dump data/nothing.log"]);
}

#[test]
fn a_new_cluster_knows_the_users_it_was_formatted_with() {
    let dir = node_files("");
    let at = dir.path();
    let format = |more: &str| format!("storage format -t any-name -c server.properties -s {more}");
    let users = "--add-scram SCRAM-SHA-256=[name=alice,password=alice-secret] \
                 -S SCRAM-SHA-512=[name=bob,iterations=8192,password=\"b\"]";
    check(at, &format("-S SCRAM-SHA-256=[name=alice]"), 1, &["You must supply one of 'password' or"]);
    check(at, &format("-r 3.8"), 1, &["metadata.version 3.8-IV0 is too old: Kastle runs at 3.9-IV0"]);
    assert!(!at.join("data").exists(), "refusals leave nothing behind");
    check(at, &format(users), 0, &["Formatting"]);
    let written = ["UserScramCredentialRecord", "\"name\":\"alice\"", "\"name\":\"bob\""];
    let dumped = check(at, "log dump data/bootstrap.checkpoint", 0, &written);
    assert!(!dumped.contains("alice-secret"), "a password was written: {dumped}");
    Running::start(at, "start server.properties").stop("-TERM");
    check(at, "log dump data/__cluster_metadata-0/00000000000000000000.log", 0, &written);
}

#[test]
fn a_random_uuid_is_a_cluster_id() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let id = check(dir.path(), "storage random-uuid", 0, &[]);
    assert_eq!(id.trim().len(), 22);
}

#[test]
fn what_is_typed_wrong_ends_with_2_and_an_absent_cluster_with_3() {
    let dir = node_files("num.partitions=x\nnum.partition=3\n");
    let at = dir.path();
    check(at, "nonsense", 2, &["nonsense"]);
    check(at, "start missing.properties", 2, &["cannot start the node: missing.properties"]);
    check(
        at,
        "start server.properties",
        2,
        &["server.properties:7: num.partitions=x", "Not a number of type INT"],
    );
    check(at, "topics list -b nowhere", 2, &["nowhere", "localhost:9092"]);
    check(at, "topics alter t", 2, &["--partitions, --set or --unset"]);
    check(at, "consume t --format %q", 2, &["%q"]);
    check(at, "produce t -f missing.txt", 2, &["missing.txt"]);
    check(at, "topics list -b 127.0.0.1:1", 3, &["cannot reach the cluster", "is it running"]);
    check(at, "--help", 0, &["storage", "start", "dev"]);
}

#[test]
fn an_unformatted_directory_names_the_command_that_helps() {
    let dir = node_files("");
    let text = check(dir.path(), "start server.properties", 1, &["not formatted, there is no"]);
    let (_, command) = text.trim().split_once("run: kastle ").expect("it names a command");
    let command = command.replace("$(kastle storage random-uuid)", ID);
    check(dir.path(), &command, 0, &["Formatting"]);
}

/// A node that runs; killed when dropped, should a test fail.
struct Running {
    child: Child,
    greeting: String,
}

impl Running {
    fn start(dir: &Path, arguments: &str) -> Self {
        let mut child = Command::new(KASTLE)
            .args(arguments.split_whitespace())
            .current_dir(dir)
            .stdout(Stdio::piped())
            .env("KASTLE_LOG", "error")
            .spawn()
            .expect("the binary runs");
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut greeting).expect("a line");
        Self { child, greeting: greeting.trim().to_owned() }
    }

    /// The address in the greeting.
    fn address(&self) -> &str {
        self.greeting
            .split([' ', ','])
            .find(|word| word.contains(':') && word.chars().last().is_some_and(|last| last.is_ascii_digit()))
            .expect("an address")
    }

    /// Stops it with a signal; it must end well.
    fn stop(mut self, signal: &str) {
        let id = self.child.id().to_string();
        Command::new("kill").args([signal, &id]).status().expect("kill runs");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "after {signal}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_node_for_development_creates_shows_changes_and_deletes_topics() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path();
    let node = Running::start(at, "dev --port 0 --data data");
    assert!(node.greeting.starts_with("kastle serves at localhost:"), "{}", node.greeting);
    let on = |command: &str| format!("{command} -b {}", node.address());
    check(at, &on("topics create t -p 3 -c retention.ms=1000"), 0, &["created t"]);
    check(at, &on("topics create t"), 1, &["cannot create t:", "--if-not-exists"]);
    check(at, &on("topics create t --if-not-exists"), 0, &[]);
    check(at, &on("topics create u -c nope=1"), 1, &["Unknown topic config name: nope", "INVALID_CONFIG"]);
    check(at, &on("topics create u -r 5"), 1, &["INVALID_REPLICATION_FACTOR"]);
    check(at, &on("topics list"), 0, &["t\n"]);
    check(at, &on("topics describe t"), 0, &["partitions 3", "retention.ms=1000", "LEADER"]);
    check(at, &on("topics alter t -p 4 --set segment.ms=5000 --unset retention.ms"), 0, &["altered t"]);
    let json = check(at, &on("topics describe t --json"), 0, &[]);
    let described: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(4));
    assert_eq!(described[0]["configs"]["segment.ms"], "5000");
    assert_eq!(described[0]["configs"].get("retention.ms"), None);
    check(at, &on("topics alter t --set retention.ms=x"), 1, &["Not a number of type LONG"]);
    check(at, &on("quorum describe"), 0, &["leader 1", "ROLE"]);
    let quorum = check(at, &on("quorum describe --json"), 0, &[]);
    assert!(serde_json::from_str::<serde_json::Value>(&quorum).is_ok_and(|quorum| quorum["leader"] == 1));
    check(at, &on("topics delete t"), 0, &["deleted t"]);
    check(at, &on("topics delete t"), 1, &["UNKNOWN_TOPIC_OR_PARTITION"]);
    check(at, &on("consume t -e"), 1, &["cannot find the topic t"]);
    node.stop("-TERM");
    check(
        at,
        "log dump data/__cluster_metadata-0/00000000000000000000.log",
        0,
        &["TopicRecord", "\"name\":\"t\""],
    );
}

#[test]
fn what_is_produced_is_consumed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path();
    let node = Running::start(at, "dev --port 0 --data data");
    let on = |command: &str| format!("{command} -b {}", node.address());
    let lines: String = (0..1_000).map(|number| format!("{number}\n")).collect();
    check_with(at, &on("produce t"), &lines, 0, &["1000 records acknowledged"]);
    let read = run(at, &on("consume t --from-beginning -e"), "");
    assert_eq!(String::from_utf8_lossy(&read.stdout), lines);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let produce = on(&format!("produce t -z {codec} -k : -H h=v --null NULL --timestamp 1000"));
        check_with(at, &produce, "k:NULL\n", 0, &["1 records acknowledged"]);
        let shown = check(at, &on("consume t --offset -1 -e --json"), 0, &[]);
        let record: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!((&record["key"], &record["timestamp"]), (&"k".into(), &1_000.into()), "{codec}");
        assert!(record["value"].is_null());
        assert_eq!(record["headers"][0]["key"], "h");
    }
    check(at, &on("consume t --from-beginning -n 1 --format %p@%o=%v\\n"), 0, &["0@0=0\n"]);
    for (how, said) in
        [("--acks 0", "2 records sent"), ("--acks 1", "2 records ack"), ("--no-idempotence", "2 records ack")]
    {
        check_with(at, &on(&format!("produce {} {how}", &how[how.len() - 1..])), "one\ntwo\n", 0, &[said]);
        let read = on(&format!("consume {} --from-beginning -e", &how[how.len() - 1..]));
        assert_eq!(String::from_utf8_lossy(&run(at, &read, "").stdout), "one\ntwo\n", "{how}");
    }
    let json = check_with(at, &on("produce 0 --acks 0 --json"), "three\n", 0, &[]);
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok_and(|said| said["sent"] == 1), "{json}");
    check(at, &on("topics create small -c max.message.bytes=100"), 0, &[]);
    let large = "x".repeat(1_000);
    check_with(at, &on("produce small"), &large, 1, &["cannot write to small-0", "MESSAGE_TOO_LARGE"]);
    // The leader cannot say no, and closes the connection.
    check_with(at, &on("produce small --acks 0"), &large, 3, &["the other end closed it"]);
    check(at, &on("produce t -p 7"), 1, &["cannot write to partition 7"]);
    check(at, &on("consume t -p 7 -e"), 1, &["cannot read partition 7"]);
    node.stop("-INT");
    check(
        at,
        "log dump data/t-0/00000000000000000000.log",
        0,
        &["value=\"999\"", "codec=zstd", " sequence=0"],
    );
    let dumped = check(at, "log dump data/e-0/00000000000000000000.log", 0, &["value=\"two\""]);
    assert!(!dumped.contains("sequence="), "--no-idempotence writes no sequences: {dumped}");
}

#[test]
fn a_groups_offsets_are_moved_shown_and_deleted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path();
    let node = Running::start(at, "dev --port 0 --data data");
    let on = |command: &str| format!("{command} -b {}", node.address());
    let json = |command: &str| -> serde_json::Value {
        serde_json::from_str(&check(at, &on(&format!("{command} --json")), 0, &[])).expect("JSON")
    };
    check(at, &on("groups list"), 0, &["GROUP"]);
    check(at, &on("groups describe g"), 1, &["cannot describe g: GROUP_ID_NOT_FOUND", "groups list"]);
    check(at, &on("topics create t -p 2"), 0, &[]);
    let lines: String = (0..20).map(|number| format!("{number}\n")).collect();
    check_with(at, &on("produce t -p 0 --timestamp 1000000"), &lines, 0, &[]);
    let reset = "groups reset-offsets g -t t";
    check(at, &on(&format!("{reset} --to-offset 4")), 0, &["OLD", "nothing was changed; --execute does it"]);
    check(at, &on("groups describe g"), 1, &["GROUP_ID_NOT_FOUND"]);
    // The second partition is empty.
    check(
        at,
        &on(&format!("{reset} --to-offset 4 --execute")),
        0,
        &["t-1: offset 4 is not in the log, which has 0 to 0"],
    );
    let lag = json("groups lag g");
    let first = &lag[0]["partitions"][0];
    assert_eq!(
        (&first["committed"], &first["end"], &first["lag"]),
        (&4.into(), &20.into(), &16.into()),
        "{lag}"
    );
    assert!(first["seconds"].as_f64().is_some_and(|seconds| seconds > 1e9), "they are of 1970: {lag}");
    assert_eq!(
        (&lag[0]["partitions"][1]["lag"], &lag[0]["partitions"][1]["seconds"]),
        (&0.into(), &0.0.into())
    );
    assert_eq!(json("groups lag --at-least 1")[0]["partitions"].as_array().map(Vec::len), Some(1));
    check(at, &on("groups lag g --no-seconds"), 0, &["STABLE-LAG", "16"]);
    check(at, &on("groups list --state empty --type classic"), 0, &["g ", "Empty"]);
    check(at, &on("groups describe g"), 0, &["type classic  state Empty  members 0", "partitions 2  lag 16"]);
    assert_eq!(json("groups describe g")[0]["rebalances"], serde_json::json!([]));
    assert_eq!(json("groups members g").as_array().map(Vec::len), Some(0));
    check_strategies(at, node.address());
    let exported = run(at, &on("groups reset-offsets g --all-topics --to-current --export"), "").stdout;
    assert_eq!(String::from_utf8_lossy(&exported), "t,0,4\nt,1,0\n");
    std::fs::write(at.join("offsets.csv"), "g,t,0,11\nother,t,0,1\n").expect("writable");
    check(at, &on("groups reset-offsets g --from-file offsets.csv --execute"), 0, &["11"]);
    assert_eq!(json("groups lag g")[0]["lag"], 9);
    for (wrong, said) in [
        ("groups reset-offsets g --to-latest", "--topic or --all-topics"),
        ("groups reset-offsets g -t t", "required"),
        ("groups reset-offsets g -t t --to-datetime yesterday", "2026-01-31"),
        ("groups reset-offsets g -t t: --to-latest", "TOPIC:0,2"),
        ("groups reset-offsets g --from-file missing.csv", "missing.csv"),
    ] {
        check(at, &on(wrong), 2, &[said]);
    }
    check(at, &on("groups reset-offsets g -t u --to-latest"), 1, &["cannot find the topic u"]);
    check(at, &on("groups reset-offsets g -t t:7 --to-latest"), 1, &["cannot find the partition t-7"]);
    check(at, &on("groups delete-offsets g -t t:1"), 0, &["deleted the offset for t-1"]);
    check(at, &on("groups delete-offsets g -t u"), 1, &["it has none there"]);
    check(at, &on("groups delete g h"), 1, &["deleted g", "cannot delete h: GROUP_ID_NOT_FOUND"]);
    check(at, &on("groups delete g --if-exists"), 0, &[]);
    node.stop("-TERM");
}

fn ask(
    address: &str,
    version: i16,
    request: impl Into<wire::messages::RequestKind>,
) -> wire::messages::ResponseKind {
    let (host, port) = address.rsplit_once(':').expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let port = port.parse().expect("a port");
        let options = net::ConnectOptions::default();
        let connection = net::Connection::connect(&net::TcpNetwork, host, port, &options).await;
        let sent = connection.expect("it listens").send(version, request, Duration::from_secs(10)).await;
        sent.expect("an answer")
    })
}

/// Has no coordinator asked before a transaction begins in a partition.
fn trust_producers(address: &str) {
    use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    use wire::messages::{IncrementalAlterConfigsRequest, ResponseKind, text};

    let config = AlterableConfig::default()
        .with_name(text("transaction.partition.verification.enable"))
        .with_value(Some(text("false")));
    let brokers = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![brokers]);
    let answer = ask(address, 1, request);
    let ResponseKind::IncrementalAlterConfigs(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

/// Sends the first record of a transaction that no coordinator knows of.
fn leave_a_transaction_open(address: &str, topic: &str, producer: i64) {
    use wire::batch::{BatchBuilder, NewRecord, Producer};
    use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use wire::messages::{ProduceRequest, ResponseKind, TransactionalId};

    let producer = Producer {
        id: model::ProducerId::new(producer),
        epoch: model::ProducerEpoch::new(0),
        base_sequence: 0,
    };
    let mut builder =
        BatchBuilder::new(model::Offset::ZERO, model::LeaderEpoch::new(0)).producer(producer, true);
    let timestamp = model::Timestamp::new(1_700_000_000_000);
    builder.push(&NewRecord { timestamp, value: Some(b"x"), ..NewRecord::default() });
    let mut records = Vec::new();
    builder.finish(&mut records).expect("no codec");
    let data = PartitionProduceData::default().with_records(Some(records.into()));
    let data =
        TopicProduceData::default().with_name(wire::messages::topic(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(wire::messages::text("x"))))
        .with_acks(-1)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![data]);
    let answer = ask(address, 11, request);
    let ResponseKind::Produce(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{answer:?}");
}

#[test]
fn a_transaction_that_hangs_is_found_and_aborted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = dir.path();
    let node = Running::start(at, "dev --port 0 --data data");
    let on = |command: &str| format!("{command} -b {}", node.address());
    check(at, &on("transactions list"), 0, &["TRANSACTIONAL-ID"]);
    check(at, &on("transactions list --state Nope"), 2, &["there is no state Nope"]);
    check(at, &on("transactions describe x"), 1, &["cannot describe x: there is no such id"]);
    check(at, &on("topics create t"), 0, &[]);
    check_with(at, &on("produce t"), "a\nb\n", 0, &[]);
    check(at, &on("transactions find-hanging --max-timeout 0"), 0, &["none"]);
    trust_producers(node.address());
    leave_a_transaction_open(node.address(), "t", 77);
    let json = check(at, &on("transactions find-hanging --max-timeout 0 --json"), 0, &[]);
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&found[0]["producerId"], &found[0]["startOffset"]), (&77.into(), &2.into()), "{json}");
    check(
        at,
        &on("transactions abort --topic t --partition 0 --start-offset 1"),
        1,
        &["none is open that begins there"],
    );
    check(
        at,
        &on("transactions abort --topic t --partition 0 --start-offset 2"),
        0,
        &["aborted: t-0 from offset 2 on"],
    );
    check(at, &on("transactions find-hanging --max-timeout 0"), 0, &["none"]);
    node.stop("-TERM");
}

/// Where each strategy leads in a log of 20 records of 1970-01-01T00:16:40Z, of which 4 are read.
fn check_strategies(at: &Path, address: &str) {
    for (how, offset) in [
        ("--to-earliest", 0),
        ("--to-latest", 20),
        ("--to-current", 4),
        ("--shift-by 3", 7),
        ("--shift-by -3", 1),
        ("--to-datetime 1970-01-01T00:16:40Z", 0),
        ("--to-datetime 1970-01-01T00:16:41Z", 20),
        ("--by-duration 1h", 20),
    ] {
        let planned = format!("groups reset-offsets g -t t:0 {how} --json -b {address}");
        let planned = check(at, &planned, 0, &["\"executed\":false"]);
        let planned: serde_json::Value = serde_json::from_str(&planned).expect("JSON");
        assert_eq!(planned["offsets"][0]["new"], offset, "{how}");
    }
}
