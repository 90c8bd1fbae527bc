//! Formatting on a disk in memory: what is written where, and what a failure leaves.

use std::path::{Path, PathBuf};

use broker::identity::MetaProperties;
use config::{NodeConfig, Properties};
use log::Disk;
use log::disk::MemDisk;
use model::Uuid;
use quorum::Voters;

use super::{Plan, VotersOf, format};

const CLUSTER: Uuid = Uuid::from_u128(1_000);

fn node(extra: &str) -> NodeConfig {
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
         listeners=PLAINTEXT://h:9092,CONTROLLER://h:9093\ncontroller.listener.names=CONTROLLER\n\
         log.dirs=/a,/b\n{extra}"
    );
    let properties = Properties::parse("f", text.as_bytes()).expect("well-formed");
    NodeConfig::from_properties(&properties).expect("sound")
}

fn files(disk: &dyn Disk, dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in disk.list(Path::new(dir)).unwrap_or_default() {
        let path = format!("{dir}/{}", entry.name);
        found.push(path.clone());
        if entry.is_dir {
            found.extend(files(disk, &path));
        }
    }
    found
}

fn check(disk: &MemDisk, plan: &Plan<'_>, outcome: &[(&str, &str)]) {
    let written = format(disk, plan).expect("it formats");
    let shown: Vec<(&str, &str)> =
        written.iter().map(|(dir, what)| (dir.to_str().expect("ours"), *what)).collect();
    assert_eq!(shown, outcome);
}

#[test]
fn a_standalone_node_votes_alone() {
    let (disk, config) = (MemDisk::new(), node(""));
    let plan = Plan { voters: VotersOf::Standalone, ..Plan::latest(&config, CLUSTER.into()) };
    check(&disk, &plan, &[("/b", "data directory"), ("/a", "dynamic metadata voter directory")]);
    let meta = MetaProperties::read(&disk, Path::new("/a")).expect("readable").expect("formatted");
    let voters = quorum::format::read_voters(&disk, Path::new("/a")).expect("readable").expect("written");
    assert_eq!(voters.to_string(), "1@h:9093");
    assert_eq!(voters.0.values().next().map(|voter| voter.directory), Some(meta.directory));
    assert_eq!(
        files(&disk, "/a"),
        [
            "/a/__cluster_metadata-0",
            "/a/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint",
            "/a/bootstrap.checkpoint",
            "/a/meta.properties"
        ]
    );
    assert_eq!(files(&disk, "/b"), ["/b/bootstrap.checkpoint", "/b/meta.properties"]);
    let records = quorum::format::read_bootstrap(&disk, Path::new("/b")).expect("readable").expect("written");
    assert_eq!(records.len(), 6);
}

#[test]
fn a_listed_voter_takes_the_directory_id_of_the_list() {
    let (disk, config) = (MemDisk::new(), node(""));
    let list = "1@h:9093:JEXY6aqzQY-32P5TStzaFg,2@i:9093:KEXY6aqzQY-32P5TStzaFg";
    let voters = VotersOf::Listed(Voters::parse_initial(list, "CONTROLLER").expect("well-formed"));
    let plan = Plan { voters: voters.clone(), ..Plan::latest(&config, CLUSTER.into()) };
    check(&disk, &plan, &[("/b", "data directory"), ("/a", "dynamic metadata voter directory")]);
    let meta = MetaProperties::read(&disk, Path::new("/a")).expect("readable").expect("formatted");
    assert_eq!(meta.directory.to_string(), "JEXY6aqzQY-32P5TStzaFg");
    let stranger = NodeConfig { node_id: model::NodeId::new(7), ..config };
    let (disk, plan) = (MemDisk::new(), Plan { voters, ..Plan::latest(&stranger, CLUSTER.into()) });
    check(&disk, &plan, &[("/b", "data directory"), ("/a", "dynamic metadata directory")]);
}

#[test]
fn only_what_is_missing_is_written_and_only_where_it_belongs() {
    let (disk, config) = (MemDisk::new(), node(""));
    let plan = Plan::latest(&config, CLUSTER.into());
    check(&disk, &plan, &[("/b", "data directory"), ("/a", "metadata directory")]);
    check(&disk, &plan, &[]);
    disk.remove_dir_all(Path::new("/b")).expect("no fault");
    check(&disk, &plan, &[("/b", "data directory")]);
    let refusal = |plan: Plan<'_>| format(&disk, &plan).expect_err("refused").to_string();
    let again = refusal(Plan { ignore_formatted: false, ..Plan::latest(&config, CLUSTER.into()) });
    assert!(again.contains("Log directory /a is already formatted. Use --ignore-formatted"), "{again}");
    let other = refusal(Plan::latest(&config, Uuid::from_u128(2_000).into()));
    assert!(other.contains("Invalid cluster.id in: /a/meta.properties. Expected"), "{other}");
    let stranger = NodeConfig { node_id: model::NodeId::new(7), ..config.clone() };
    let other = refusal(Plan::latest(&stranger, CLUSTER.into()));
    assert!(other.contains("Invalid node.id in: /a/meta.properties. Expected 7, but read 1"), "{other}");
}

#[test]
fn a_failed_format_leaves_nothing_behind() {
    let (disk, config) = (MemDisk::new(), node("metadata.log.dir=/c"));
    // A file where the last directory should be.
    let file = disk.open(Path::new("/c"), log::disk::OpenMode::ReadWrite);
    if file.is_err() {
        disk.create_dir_all(Path::new("/")).expect("no fault");
        disk.open(Path::new("/c"), log::disk::OpenMode::ReadWrite).expect("no fault");
    }
    let plan = Plan { voters: VotersOf::Standalone, ..Plan::latest(&config, CLUSTER.into()) };
    let failure = format(&disk, &plan).expect_err("/c is a file").to_string();
    assert!(failure.contains("/c"), "{failure}");
    for dir in ["/a", "/b"] {
        assert!(
            !disk.exists(&PathBuf::from(dir)).expect("no fault"),
            "{dir} stayed: {:?}",
            files(&disk, dir)
        );
    }
}
