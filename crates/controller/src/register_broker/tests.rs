//! Registrations taken and refused, as text.

use model::{NodeId, Uuid};
use wire::messages::broker_registration_request::{Feature, Listener};
use wire::messages::{BrokerId, BrokerRegistrationRequest, text, to_wire_uuid};

use super::{decide, refuse};
use crate::testing::{TestCluster, assert_lines, cluster, directory, fields, ids, incarnation};

const THREE: &str = "
    broker 1
    broker 2
    broker 3
    t-0 replicas=1,2,3 isr=1,2,3 leader=1
    t-1 replicas=2,3,1 isr=2 leader=2 elr=1
";

/// `id=1 run=7 cluster=x dirs=1,2 previous=101 level=30`; run 0 is the one registered.
fn request(text_of: &str) -> BrokerRegistrationRequest {
    let fields = fields(text_of);
    let number =
        |name: &str, default: i64| fields.get(name).map_or(default, |text| text.parse().expect(name));
    let id = i32::try_from(number("id", 1)).expect("an id");
    let run = number("run", 7).unsigned_abs();
    let incarnation = if run == 0 { incarnation(id) } else { Uuid::from_u128(u128::from(run) << 70) };
    let dirs = fields.get("dirs").map_or(vec![id], |dirs| ids(dirs));
    let level = i16::try_from(number("level", 30)).expect("a level");
    let metadata = Feature::default()
        .with_name(text("metadata.version"))
        .with_min_supported_version(7)
        .with_max_supported_version(level);
    let elr =
        Feature::default().with_name(text("eligible.leader.replicas.version")).with_max_supported_version(1);
    let listener = Listener::default().with_name(text("PLAINTEXT")).with_host(text("here")).with_port(9092);
    BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(id))
        .with_cluster_id(text(fields.get("cluster").unwrap_or(&"cluster")))
        .with_incarnation_id(to_wire_uuid(incarnation))
        .with_log_dirs(dirs.into_iter().map(|dir| to_wire_uuid(directory(dir))).collect())
        .with_previous_broker_epoch(number("previous", -1))
        .with_listeners(vec![listener])
        .with_features(if level > 0 { vec![metadata, elr] } else { Vec::new() })
        .with_is_migrating_zk_broker(fields.contains_key("zk"))
}

fn register(cluster: &mut TestCluster, asked: &str) -> String {
    let request = request(asked);
    match decide(&cluster.view(), &request) {
        Ok(decision) => {
            let (records, response) = cluster.take(decision);
            assert!(cluster.sessions.is_alive(
                NodeId::new(request.broker_id.0),
                model::BrokerEpoch::new(response.broker_epoch),
                cluster.settings.session_timeout,
                cluster.now
            ));
            records
        }
        Err(error) => {
            assert_eq!(refuse(&error).broker_epoch, -1);
            format!("{}: {error}", error.code())
        }
    }
}

#[track_caller]
fn check(spec: &str, asked: &str, outcome: &str) {
    assert_lines(&register(&mut cluster(spec), asked), outcome);
}

#[test]
fn a_first_registration_is_fenced_and_gets_the_logs_end_as_its_epoch() {
    check("", "id=1", "+broker 1 epoch=1000 fenced");
    check(THREE, "id=9", "+broker 9 epoch=1000 fenced");
}

#[test]
fn an_unclean_restart_leaves_every_set_and_every_eligibility() {
    let elr = format!(
        "feature eligible.leader.replicas.version=1\n config broker - min.insync.replicas=2\n{THREE}"
    );
    check(
        &elr,
        "id=1",
        "
        +broker 1 epoch=1000 fenced
        t-0 leader=2 isr=2,3
        t-1 elr=
        ",
    );
}

#[test]
fn a_broker_that_can_name_its_last_epoch_stopped_in_order_and_stays_eligible() {
    let elr = format!(
        "feature eligible.leader.replicas.version=1\n config broker - min.insync.replicas=2\n{THREE}"
    );
    check(
        &elr,
        "id=1 previous=101",
        "
        +broker 1 epoch=1000 fenced
        t-0 leader=2 isr=2,3
        ",
    );
}

#[test]
fn the_same_run_keeps_its_epoch_and_standing() {
    check(THREE, "id=1 run=0", "+broker 1 epoch=101 unfenced");
    check("broker 1 fenced", "id=1 run=0", "+broker 1 epoch=101 fenced");
}

#[test]
fn a_second_process_is_refused_while_the_first_is_heard() {
    let mut cluster = cluster("broker 1");
    cluster.hear(1, 5);
    let refused = "DUPLICATE_BROKER_REGISTRATION: Another broker is registered with that broker id. If the broker was \
                   recently restarted this should self-resolve once the heartbeat manager expires the broker's session.";
    assert_lines(&register(&mut cluster, "id=1"), refused);
    assert_lines(&register(&mut cluster, "id=1 run=0"), "+broker 1 epoch=101 unfenced");
    let later = cluster.now.after(cluster.settings.session_timeout);
    cluster.now = later;
    assert_lines(&register(&mut cluster, "id=1"), "+broker 1 epoch=1001 fenced");
}

#[test]
fn a_process_that_is_gone_stopping_or_knows_the_last_epoch_is_succeeded_at_once() {
    let mut heard = cluster("broker 1");
    heard.hear(1, 5);
    assert_lines(&register(&mut heard, "id=1 previous=101"), "+broker 1 epoch=1000 fenced");

    let mut stopping = cluster("broker 1 stopping");
    stopping.hear(1, 5);
    assert_lines(&register(&mut stopping, "id=1"), "+broker 1 epoch=1000 fenced");

    let mut gone = cluster("broker 1");
    gone.hear(1, 5);
    let fenced = crate::gone(&gone.view(), NodeId::new(1), crate::testing::broker_epoch(&gone, 1));
    assert_lines(&gone.take(fenced).0, "broker 1 fenced");
    assert_lines(&register(&mut gone, "id=1"), "+broker 1 epoch=1001 fenced");
}

#[test]
fn after_a_change_of_controller_a_restarted_broker_returns_at_once() {
    check("broker 1", "id=1", "+broker 1 epoch=1000 fenced");
}

#[test]
fn what_does_not_fit_the_cluster_is_refused() {
    check("", "id=1 cluster=x", "INCONSISTENT_CLUSTER_ID: Expected cluster ID cluster, but got cluster ID x");
    check("", "id=1 zk=1", "BROKER_ID_NOT_REGISTERED: Controller does not support registering ZK brokers.");
    check("", "id=-1", "INVALID_REQUEST: Invalid broker ID -1");
    check("", "id=1 level=0", "INVALID_REGISTRATION: Request features do not contain 'metadata.version'");
    check(
        "",
        "id=1 level=29",
        "UNSUPPORTED_VERSION: Unable to register because the broker does not support finalized version 30 of \
         metadata.version. The broker wants a version between 7 and 29, inclusive.",
    );
    check(
        "feature share.version=1",
        "id=1",
        "UNSUPPORTED_VERSION: Unable to register because the broker does not support finalized version 1 of \
         share.version. The broker wants a version between 0 and 0, inclusive.",
    );
}

#[test]
fn directories_are_there_once_and_belong_to_one_broker() {
    check("", "id=1 dirs=", "INVALID_REQUEST: No directories specified in request");
    check("", "id=1 dirs=4,4", "INVALID_REQUEST: Duplicate directory ID in request");
    check("", "id=1 dirs=0", "INVALID_REQUEST: Reserved directory ID in request");
    let taken = format!("INVALID_REQUEST: Broker 2 is already registered with directory {}", directory(2));
    check("broker 2", "id=1 dirs=1,2", &taken);
}
