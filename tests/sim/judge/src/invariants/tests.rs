//! Each rule of `super` over views that hold and views that do not.

use std::cell::RefCell;
use std::collections::BTreeMap;

use model::{BrokerEpoch, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch, PartitionIndex, Uuid};

use wire::batch::{BatchBuilder, BatchRef, NewRecord};

use super::{Invariants, Restart, Rule};
use crate::view::{
    AssignmentView, Ballot, BrokerView, Key, LogView, Logs, NodeView, Part, PartitionView, RaftLogView,
};

fn key() -> Key {
    (Uuid::from_u128(7), PartitionIndex::new(0))
}

fn ids(nodes: &[i32]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId::new).collect()
}

/// A log as its batches: base offset, records, epoch, and a byte that stands for the records.
#[derive(Default)]
struct Disk(RefCell<Vec<(i64, i32, i32, u8)>>);

impl Disk {
    fn of(batches: &[(i64, i32, i32, u8)]) -> Self {
        Self(RefCell::new(batches.to_vec()))
    }

    fn read(&self, from: Offset, upto: Offset) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for &(base, records, epoch, body) in self.0.borrow().iter() {
            let next = base + i64::from(records);
            if next > from.get() && next <= upto.get() {
                bytes.extend(base.to_be_bytes());
                bytes.extend(16_i32.to_be_bytes());
                bytes.extend(epoch.to_be_bytes());
                bytes.extend([0; 7]);
                bytes.extend((records - 1).to_be_bytes());
                bytes.push(body);
            }
        }
        Some(bytes)
    }
}

impl Logs for Disk {
    fn records(&self, _: Key, from: Offset, upto: Offset) -> Option<Vec<u8>> {
        self.read(from, upto)
    }

    fn metadata(&self, from: Offset, upto: Offset) -> Option<Vec<u8>> {
        self.read(from, upto)
    }
}

/// One thing that happens.
enum Step {
    See(NodeView),
    SeeWith(NodeView, Disk),
    Restart(i32),
    Ack(i64),
    Lossy,
    Damaged(i32),
}
use Step::{Ack, Damaged, Lossy, See, SeeWith};

fn run(steps: Vec<Step>) -> Invariants {
    let mut invariants = Invariants::new();
    for (at, step) in (0..).map(Millis::new).zip(steps) {
        match step {
            See(view) => invariants.observe(at, &view, &Disk::default()),
            SeeWith(view, disk) => invariants.observe(at, &view, &disk),
            Step::Restart(node) => invariants.restarted(at, NodeId::new(node), Restart::Power),
            Ack(offset) => invariants.acked(at, key(), Offset::new(offset)),
            Lossy => invariants.set_lossy(key(), true),
            Damaged(node) => invariants.set_damaged(NodeId::new(node), true),
        }
    }
    invariants
}

fn check(steps: Vec<Step>, outcome: &[Rule]) {
    let invariants = run(steps);
    let broken: Vec<Rule> = invariants.violations().iter().map(|violation| violation.rule).collect();
    assert_eq!(broken, outcome, "{:#?}", invariants.violations());
}

/// Node `node` leads the partition in `epoch`, with its log's end and watermark.
fn leads(node: i32, epoch: i32, end: i64, watermark: i64) -> NodeView {
    has(node, Part::Leader, epoch, end, watermark)
}

fn follows(node: i32, epoch: i32, end: i64, watermark: i64) -> NodeView {
    has(node, Part::Follower(NodeId::new(9)), epoch, end, watermark)
}

fn has(node: i32, part: Part, epoch: i32, end: i64, watermark: i64) -> NodeView {
    let mut view = NodeView::new(NodeId::new(node));
    let partition = PartitionView {
        name: "t-0".to_owned(),
        part,
        leader_epoch: Some(LeaderEpoch::new(epoch)),
        partition_epoch: Some(PartitionEpoch::new(0)),
        isr: ids(&[1, 2]),
        min_isr: 2,
        high_watermark: Offset::new(watermark),
        log: Some(LogView { end: Offset::new(end), ..LogView::default() }),
    };
    view.partitions.insert(key(), partition);
    view.news.partitions.push(key());
    view
}

fn isr(mut view: NodeView, isr: &[i32]) -> NodeView {
    view.partitions.get_mut(&key()).expect("there").isr = ids(isr);
    view
}

fn assigned(leader: i32, epoch: i32, isr: &[i32]) -> NodeView {
    let mut view = NodeView::new(NodeId::new(3));
    let assignment = AssignmentView {
        name: "t-0".to_owned(),
        replicas: ids(&[1, 2, 3]),
        isr: ids(isr),
        elr: Vec::new(),
        leader: NodeId::from_wire(leader),
        leader_epoch: LeaderEpoch::new(epoch),
        partition_epoch: PartitionEpoch::new(0),
    };
    view.metadata.assignments = BTreeMap::from([(key(), assignment)]);
    view.news.assignments.push(key());
    view
}

fn image(node: i32, end: i64, digest: u128) -> NodeView {
    let mut view = NodeView::new(NodeId::new(node));
    view.news.metadata = true;
    (view.metadata.end, view.metadata.digest) = (Offset::new(end), Some(digest));
    view
}

/// A voter with its vote (term, for whom, elected), its log's end and what is committed.
fn voter(node: i32, vote: (i32, i32, bool), end: i64, committed: i64) -> NodeView {
    let mut view = NodeView::new(NodeId::new(node));
    let vote = Ballot { term: LeaderEpoch::new(vote.0), node: NodeId::new(vote.1), elected: vote.2 };
    view.quorum.committed = Offset::new(committed);
    view.quorum.log = Some(RaftLogView { vote: Some(vote), end: Offset::new(end), ..RaftLogView::default() });
    view.news.quorum = true;
    view
}

fn registered(node: i32, epoch: i64) -> NodeView {
    let mut view = NodeView::new(NodeId::new(node));
    (view.broker_epoch, view.news.broker) = (Some(BrokerEpoch::new(epoch)), true);
    view
}

#[test]
fn leaders_of_different_epochs_are_fine() {
    check(vec![See(leads(1, 0, 5, 5)), See(leads(2, 1, 5, 5)), See(leads(1, 2, 5, 5))], &[]);
}

#[test]
fn two_nodes_must_never_lead_the_same_epoch_not_even_after_a_restart() {
    let steps = vec![See(leads(1, 4, 5, 5)), Step::Restart(1), See(leads(2, 4, 5, 5))];
    check(steps, &[Rule::OneLeaderPerEpoch]);
}

#[test]
fn a_node_leads_only_where_the_metadata_names_it() {
    check(vec![See(assigned(1, 4, &[1, 2])), See(leads(1, 4, 5, 5))], &[]);
    check(vec![See(assigned(1, 4, &[1, 2])), See(leads(2, 4, 5, 5))], &[Rule::OneLeaderPerEpoch]);
    check(vec![See(assigned(1, 4, &[1, 2])), See(assigned(2, 4, &[1, 2]))], &[Rule::OneLeaderPerEpoch]);
}

#[test]
fn a_leader_epoch_goes_back_with_a_new_process_only() {
    check(vec![See(follows(1, 4, 5, 5)), Step::Restart(1), See(follows(1, 3, 5, 5))], &[]);
    check(vec![See(follows(1, 4, 5, 5)), See(follows(1, 3, 5, 5))], &[Rule::LeaderEpochGrows]);
}

#[test]
fn a_watermark_goes_back_with_a_new_process_or_epoch_only() {
    check(vec![See(leads(1, 4, 9, 7)), Step::Restart(1), See(follows(1, 4, 9, 3))], &[]);
    check(vec![See(leads(1, 4, 9, 7)), See(follows(1, 5, 6, 6))], &[]);
    check(vec![See(leads(1, 4, 9, 7)), See(leads(1, 4, 9, 6))], &[Rule::WatermarkGrows]);
}

#[test]
fn where_records_may_be_lost_a_followers_watermark_goes_back_but_no_leaders() {
    check(vec![Lossy, See(follows(1, 4, 9, 7)), See(follows(1, 4, 6, 6))], &[]);
    check(vec![Lossy, See(leads(1, 4, 9, 7)), See(leads(1, 4, 9, 6))], &[Rule::WatermarkGrows]);
}

#[test]
fn a_watermark_lies_within_its_log() {
    check(vec![See(leads(1, 4, 9, 9))], &[]);
    check(vec![See(leads(1, 4, 9, 10))], &[Rule::WatermarkWithinLog]);
}

#[test]
fn a_leader_counts_only_the_committed_in_sync_set() {
    check(vec![See(assigned(1, 4, &[2, 1])), See(leads(1, 4, 5, 5))], &[]);
    check(vec![See(assigned(1, 4, &[1, 2, 3])), See(leads(1, 4, 5, 5))], &[Rule::InSyncIsCommitted]);
    check(vec![See(assigned(1, 4, &[1, 8]))], &[Rule::InSyncIsCommitted]);
}

#[test]
fn a_watermark_moves_only_with_enough_in_sync() {
    let alone = |watermark| isr(leads(1, 4, 9, watermark), &[1]);
    check(vec![See(leads(1, 4, 9, 5)), See(alone(6))], &[]);
    check(vec![See(alone(5)), See(alone(6))], &[Rule::EnoughInSync]);
    let later = |mut view: NodeView, epoch| {
        let seen = view.partitions.values_mut().next().expect("one");
        seen.partition_epoch = Some(PartitionEpoch::new(epoch));
        view
    };
    // Two changes in one step: the first may have let enough in, and the second one out again.
    check(vec![See(later(alone(5), 3)), See(later(alone(6), 5))], &[]);
    check(vec![See(later(alone(5), 3)), See(later(alone(6), 4))], &[Rule::EnoughInSync]);
}

#[test]
fn what_was_acknowledged_is_in_the_log_of_each_new_leader() {
    check(vec![See(leads(1, 0, 9, 9)), Ack(8), See(leads(2, 1, 9, 3))], &[]);
    check(vec![See(leads(1, 0, 9, 9)), Ack(8), See(leads(2, 1, 8, 3))], &[Rule::AckedIsKept]);
    check(vec![See(leads(1, 0, 9, 9)), Lossy, Ack(8), See(leads(2, 1, 8, 3))], &[]);
}

#[test]
fn an_acknowledgement_by_a_fenced_leader_counts_for_the_new_one() {
    check(vec![See(leads(2, 1, 8, 3)), See(leads(1, 0, 9, 9)), Ack(7)], &[]);
    check(vec![See(leads(2, 1, 8, 3)), See(leads(1, 0, 9, 9)), Ack(8)], &[Rule::AckedIsKept]);
}

#[test]
fn logs_that_agree_below_the_watermark_may_differ_above() {
    let one = Disk::of(&[(0, 2, 0, b'a'), (2, 1, 0, b'b'), (3, 1, 0, b'c')]);
    let two = Disk::of(&[(0, 2, 0, b'a'), (2, 1, 0, b'b'), (3, 1, 1, b'x')]);
    let steps = vec![SeeWith(leads(1, 0, 4, 3), one), SeeWith(follows(2, 1, 4, 3), two)];
    let invariants = run(steps);
    assert_eq!((invariants.violations(), invariants.compared()), (&[][..], 2));
}

#[test]
fn a_log_that_differs_below_the_watermark_is_found_on_another_node_and_after_a_restart() {
    let one = || Disk::of(&[(0, 2, 0, b'a'), (2, 1, 0, b'b')]);
    let two = || Disk::of(&[(0, 2, 0, b'a'), (2, 1, 1, b'x')]);
    let others = vec![SeeWith(leads(1, 0, 3, 3), one()), SeeWith(follows(2, 1, 3, 3), two())];
    check(others, &[Rule::LogsAgree]);
    let own = vec![SeeWith(leads(1, 0, 3, 3), one()), Step::Restart(1), SeeWith(follows(1, 1, 3, 3), two())];
    check(own, &[Rule::LogsAgree]);
}

/// A log of real batches.
struct Whole(Vec<u8>);

impl Logs for Whole {
    fn records(&self, _: Key, from: Offset, _: Offset) -> Option<Vec<u8>> {
        Some(if from.get() == 0 { self.0.clone() } else { Vec::new() })
    }

    fn metadata(&self, _: Offset, _: Offset) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn a_compacted_log_may_lack_records_and_no_other_may_stand_in_their_place() {
    let batch = |values: [&[u8]; 3]| {
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
        for value in values {
            builder.push(&NewRecord { key: Some(b"key"), value: Some(value), ..NewRecord::default() });
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("not compressed");
        bytes
    };
    let without = |bytes: &[u8], kept: &[bool]| {
        let batch = BatchRef::parse(bytes).expect("a batch");
        let (records, mut out) = (batch.records(1 << 20).expect("not compressed"), Vec::new());
        records.retain(kept, None, &mut out).expect("some are left");
        out
    };
    let (full, other) = (batch([b"a", b"b", b"c"]), batch([b"a", b"b", b"x"]));
    let less = without(&full, &[false, false, true]);
    let wrong = without(&other, &[false, false, true]);
    let look = |name: &str, logs: [Vec<u8>; 2]| {
        let mut invariants = Invariants::new();
        for (at, log) in (0..).zip(logs) {
            let mut view = leads(1 + at, at, 3, 3);
            view.partitions.get_mut(&key()).expect("there").name = name.to_owned();
            invariants.observe(Millis::new(0), &view, &Whole(log));
        }
        let broken: Vec<Rule> = invariants.violations().iter().map(|violation| violation.rule).collect();
        (broken, invariants.compared(), invariants.compacted())
    };
    const COMPACTED: &str = "__consumer_offsets-0";
    assert_eq!(look(COMPACTED, [full.clone(), full.clone()]), (vec![], 3, 0));
    assert_eq!(look(COMPACTED, [full.clone(), less.clone()]), (vec![], 1, 2));
    assert_eq!(look(COMPACTED, [less.clone(), full.clone()]), (vec![], 1, 0));
    assert_eq!(look(COMPACTED, [full.clone(), wrong]).0, [Rule::LogsAgree]);
    assert_eq!(look(COMPACTED, [full.clone(), other]).0, [Rule::LogsAgree]);
    // Elsewhere nothing is ever gone.
    assert_eq!(look("t-0", [full, less]).0, [Rule::LogsAgree]);
}

#[test]
fn a_log_that_was_cut_is_compared_again() {
    let whole = Disk::of(&[(0, 2, 0, b'a'), (2, 1, 0, b'b')]);
    let cut = Disk::of(&[(0, 2, 0, b'a')]);
    let wrong = Disk::of(&[(0, 2, 0, b'a'), (2, 1, 1, b'x')]);
    let steps = vec![
        SeeWith(follows(1, 0, 3, 3), whole),
        SeeWith(follows(1, 1, 2, 2), cut),
        SeeWith(follows(1, 1, 3, 3), wrong),
    ];
    check(steps, &[Rule::LogsAgree]);
}

#[test]
fn where_records_may_be_lost_a_later_epoch_replaces_them_but_the_same_epoch_does_not() {
    let one = || SeeWith(leads(1, 0, 3, 3), Disk::of(&[(0, 2, 0, b'a'), (2, 1, 0, b'b')]));
    let later = || SeeWith(leads(2, 1, 3, 3), Disk::of(&[(0, 2, 0, b'a'), (2, 1, 1, b'x')]));
    let same = SeeWith(follows(3, 1, 3, 3), Disk::of(&[(0, 2, 0, b'a'), (2, 1, 1, b'y')]));
    check(vec![Lossy, one(), later()], &[]);
    check(vec![Lossy, one(), later(), same], &[Rule::LogsAgree]);
}

#[test]
fn the_logs_of_a_damaged_node_are_left_out() {
    let one = SeeWith(leads(1, 0, 2, 2), Disk::of(&[(0, 2, 0, b'a')]));
    let flipped = SeeWith(follows(2, 0, 2, 2), Disk::of(&[(0, 2, 0, b'b')]));
    check(vec![one, Damaged(2), flipped], &[]);
}

#[test]
fn images_at_the_same_offset_are_the_same() {
    check(vec![See(image(1, 4, 11)), See(image(2, 8, 12)), See(image(2, 8, 12))], &[]);
    check(vec![See(image(1, 4, 11)), See(image(2, 4, 12))], &[Rule::ImagesAgree]);
}

#[test]
fn what_is_applied_goes_back_with_a_new_process_only() {
    check(vec![See(image(1, 8, 1)), Step::Restart(1), See(image(1, 4, 2))], &[]);
    check(vec![See(image(1, 8, 1)), See(image(1, 4, 2))], &[Rule::AppliedGrows]);
}

#[test]
fn a_term_has_one_leader_whoever_voted_for_another() {
    check(vec![See(voter(1, (3, 1, false), 0, 0)), See(voter(1, (3, 2, true), 0, 0))], &[]);
    let steps = vec![See(voter(1, (3, 1, true), 0, 0)), See(voter(2, (3, 2, true), 0, 0))];
    check(steps, &[Rule::OneLeaderPerTerm]);
}

#[test]
fn a_vote_survives_a_restart_and_is_given_once() {
    let twice =
        vec![See(voter(1, (3, 1, false), 0, 0)), Step::Restart(1), See(voter(1, (3, 2, false), 0, 0))];
    check(twice, &[Rule::OneVotePerTerm]);
    let forgot =
        vec![See(voter(1, (3, 1, false), 0, 0)), Step::Restart(1), See(voter(1, (2, 1, false), 0, 0))];
    check(forgot, &[Rule::TermGrows]);
}

#[test]
fn a_leader_of_the_quorum_has_everything_committed() {
    let committed = || See(voter(1, (3, 1, true), 9, 7));
    check(vec![committed(), See(voter(2, (4, 2, true), 7, 3))], &[]);
    check(vec![committed(), See(voter(2, (4, 2, true), 6, 3))], &[Rule::LeaderIsComplete]);
}

#[test]
fn committed_batches_of_the_metadata_log_are_never_others_even_where_records_may_be_lost() {
    let one = SeeWith(voter(1, (3, 1, true), 2, 2), Disk::of(&[(0, 2, 3, b'a')]));
    let two = SeeWith(voter(2, (4, 1, false), 2, 2), Disk::of(&[(0, 2, 4, b'b')]));
    check(vec![Lossy, one, two], &[Rule::MetadataAgrees]);
    let one = SeeWith(voter(1, (3, 1, true), 2, 2), Disk::of(&[(0, 2, 3, b'a')]));
    let mut installed = voter(2, (4, 1, false), 2, 9);
    installed.quorum.log.as_mut().expect("a voter").snapshot = Some(Offset::new(9));
    check(vec![one, SeeWith(installed, Disk::of(&[(0, 2, 2, b'b')]))], &[]);
}

#[test]
fn each_registration_of_a_broker_is_a_later_one() {
    check(vec![See(registered(1, 5)), See(registered(1, 5)), Step::Restart(1), See(registered(1, 6))], &[]);
    check(vec![See(registered(1, 5)), Step::Restart(1), See(registered(1, 5))], &[Rule::BrokerEpochGrows]);
    let with = |end, epoch| {
        let mut view = image(1, end, 0);
        let broker = BrokerView { epoch: BrokerEpoch::new(epoch), fenced: false, shutting_down: false };
        view.metadata.digest = None;
        view.metadata.brokers = BTreeMap::from([(NodeId::new(2), broker)]);
        view
    };
    check(vec![See(with(8, 5)), See(with(9, 4))], &[Rule::BrokerEpochGrows]);
}

#[test]
fn a_violation_reads_as_a_sentence_and_is_told_once() {
    let steps = vec![See(leads(1, 4, 9, 10)), See(leads(1, 4, 9, 10))];
    let told: Vec<String> = run(steps).violations().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["       0 ms  node 1  WatermarkWithinLog: t-0: the watermark 10 is not within 0 to 9"]);
}
