//! What `super` counts, from views put in by hand.

use std::collections::BTreeMap;

use model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, Uuid};

use super::{Coverage, Event, Minimums};
use crate::view::{AssignmentView, BrokerView, LogView, NodeView, Part, PartitionView};

fn key() -> crate::view::Key {
    (Uuid::from_u128(1), PartitionIndex::new(0))
}

/// An image that ends at `end`: leader and epoch of the one partition, its ISR, node 1 fenced or not.
fn image(end: i64, leader: i32, epochs: (i32, i32), isr: &[i32], fenced: bool) -> NodeView {
    let mut view = NodeView::new(NodeId::new(1));
    view.news.metadata = true;
    view.metadata.end = Offset::new(end);
    let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId::new).collect();
    let assignment = AssignmentView {
        name: "t-0".to_owned(),
        replicas: nodes(&[1, 2]),
        isr: nodes(isr),
        elr: Vec::new(),
        leader: NodeId::from_wire(leader),
        leader_epoch: LeaderEpoch::new(epochs.0),
        partition_epoch: PartitionEpoch::new(epochs.1),
    };
    view.metadata.assignments = BTreeMap::from([(key(), assignment)]);
    let broker = BrokerView { epoch: BrokerEpoch::new(5), fenced, shutting_down: false };
    view.metadata.brokers = BTreeMap::from([(NodeId::new(1), broker)]);
    view
}

fn log(end: i64, segments: usize) -> NodeView {
    let mut view = NodeView::new(NodeId::new(1));
    let log = LogView { end: Offset::new(end), segments, ..LogView::default() };
    let partition = PartitionView {
        name: "t-0".to_owned(),
        part: Part::Follower(NodeId::new(2)),
        leader_epoch: None,
        partition_epoch: None,
        isr: Vec::new(),
        min_isr: 1,
        high_watermark: Offset::ZERO,
        log: Some(log),
    };
    view.partitions.insert(key(), partition);
    view.news.partitions.push(key());
    view
}

fn check(views: &[NodeView], outcome: &[(Event, u64)]) {
    let mut coverage = Coverage::default();
    views.iter().for_each(|view| coverage.observe(view));
    let counted: Vec<(Event, u64)> =
        Event::ALL.into_iter().map(|event| (event, coverage.of(event))).collect();
    let counted: Vec<(Event, u64)> = counted.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, outcome);
}

#[test]
fn what_the_cluster_does_is_counted_once_from_the_longest_image() {
    let first = image(4, 1, (0, 0), &[1, 2], false);
    let second = image(6, 2, (1, 1), &[2], true);
    let views = [first.clone(), second.clone(), first, second];
    check(
        &views,
        &[
            (Event::PartitionElection, 1),
            (Event::IsrShrink, 1),
            (Event::Fence, 1),
            (Event::Unfence, 1),
            (Event::Registration, 1),
            (Event::PartitionCreated, 1),
        ],
    );
}

#[test]
fn a_log_that_is_cut_or_begins_another_file_is_counted() {
    check(&[log(9, 1), log(12, 2), log(7, 2)], &[(Event::Truncation, 1), (Event::SegmentRolled, 1)]);
}

#[test]
fn too_little_is_said_item_by_item_and_runs_add_up() {
    let mut run = Coverage::default();
    run.count(Event::Poll);
    run.fault_bit("pause");
    run.operation(true, true);
    run.operation(false, true);
    run.operation(true, false);
    let minimums = Minimums {
        events: vec![(Event::Poll, 2)],
        faults: vec!["pause".to_owned(), "kill".to_owned()],
        percent_ok_under_faults: 30,
        operations_under_faults: 4,
    };
    let short = run.require(&minimums).expect_err("one run is too little");
    assert_eq!(
        short,
        [
            "polls: 1 seen, 2 asked for",
            "the fault kill never had an effect",
            "operations under faults: 2 tried, 4 asked for"
        ]
    );
    let mut all = run.clone();
    run.fault_bit("kill");
    all.merge(&run);
    assert_eq!(all.require(&minimums), Ok(()));
    assert_eq!(all.percent_ok_under_faults(), Some(50));
    assert!(all.to_string().contains("fault pause"), "{all}");
}
