//! Which events two successive views tell of.

use std::collections::BTreeMap;
use std::fmt;

use model::{LeaderEpoch, NodeId, Offset};

use crate::view::{AssignmentView, BrokerView, Key, LogView, NodeView};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that happens in a run.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Event { $($(#[$doc])* $name,)* }

        impl Event {
            /// All of them, in the order of the table.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$name),*];
        }

        impl fmt::Display for Event {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

events! {
    /// The quorum got a leader.
    RaftElection = "quorum elections",
    /// A partition got a leader, another one or the same.
    PartitionElection = "partition elections",
    /// A partition lost its leader.
    Leaderless = "partitions without a leader",
    /// A replica cut its log.
    Truncation = "truncations",
    /// An in-sync set lost a member.
    IsrShrink = "ISR shrinks",
    /// An in-sync set got a member.
    IsrExpand = "ISR expansions",
    /// Who may lead without being in sync changed.
    ElrChange = "ELR changes",
    /// A node took a snapshot of the metadata.
    SnapshotTaken = "snapshots taken",
    /// A voter got a snapshot from its leader.
    SnapshotInstalled = "snapshots installed",
    /// A broker opened logs that were closed in order.
    CleanStart = "clean log recoveries",
    /// A broker opened logs that were not.
    UncleanStart = "unclean log recoveries",
    /// A log began another file.
    SegmentRolled = "segments rolled",
    /// A record of a coordinator's log was compacted away.
    RecordCompacted = "records compacted away",
    /// A broker was fenced.
    Fence = "brokers fenced",
    /// A broker was let in.
    Unfence = "brokers let in",
    /// A broker registered, for the first time or again.
    Registration = "broker registrations",
    /// A broker asked to be let go.
    ControlledShutdown = "controlled shutdowns",
    /// A process ended.
    Restart = "restarts",
    /// A topic was created, or got more partitions: one for each partition.
    PartitionCreated = "partitions created",
    /// A partition was deleted with its topic.
    PartitionDeleted = "partitions deleted",
    /// A send was acknowledged.
    AckedSend = "acknowledged sends",
    /// A poll gave records.
    Poll = "polls",
    /// A member of a group got its share of the partitions.
    GroupAssigned = "group assignments",
    /// A group's coordinator took an offset.
    OffsetCommitted = "committed offsets",
    /// A coordinator took a commit.
    TransactionCommitted = "committed transactions",
    /// A coordinator took an abort, or refused a commit.
    TransactionAborted = "aborted transactions",
}

/// What was last seen of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    snapshot: Option<Offset>,
    committed: Offset,
    logs: BTreeMap<Key, LogView>,
}

/// What was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    nodes: BTreeMap<NodeId, Seen>,
    /// The longest image.
    end: Offset,
    assignments: BTreeMap<Key, AssignmentView>,
    brokers: BTreeMap<NodeId, BrokerView>,
    term: LeaderEpoch,
}

impl Watch {
    pub(super) fn observe(&mut self, view: &NodeView, count: &mut dyn FnMut(Event)) {
        if view.news.metadata && view.metadata.end > self.end {
            self.end = view.metadata.end;
            self.follow_assignments(view, count);
            self.follow_brokers(view, count);
        }
        let elected = view.quorum.log.and_then(|log| log.vote).filter(|vote| vote.elected);
        if let Some(vote) = elected.filter(|vote| vote.term > self.term) {
            self.term = vote.term;
            count(Event::RaftElection);
        }
        if !self.nodes.contains_key(&view.node)
            && let Some(clean) = view.was_clean
        {
            count(if clean { Event::CleanStart } else { Event::UncleanStart });
        }
        let is_first = !self.nodes.contains_key(&view.node);
        let seen = self.nodes.entry(view.node).or_default();
        seen.follow_snapshots(view, is_first, count);
        seen.follow_logs(view, count);
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// All of the longest image: other nodes' news are not those since the image before it.
    fn follow_assignments(&mut self, view: &NodeView, count: &mut dyn FnMut(Event)) {
        let now = &view.metadata.assignments;
        for (key, assignment) in now {
            match self.assignments.get(key) {
                None => count(Event::PartitionCreated),
                Some(had) if had.partition_epoch == assignment.partition_epoch => continue,
                Some(had) => compare(had, assignment, count),
            }
            self.assignments.insert(*key, assignment.clone());
        }
        self.assignments.retain(|key, _| {
            let stays = now.contains_key(key);
            if !stays {
                count(Event::PartitionDeleted);
            }
            stays
        });
    }

    fn follow_brokers(&mut self, view: &NodeView, count: &mut dyn FnMut(Event)) {
        for (id, now) in &view.metadata.brokers {
            let had = self.brokers.insert(*id, *now);
            let (epoch, fenced, leaving) =
                had.map_or((None, true, false), |had| (Some(had.epoch), had.fenced, had.shutting_down));
            if epoch != Some(now.epoch) {
                count(Event::Registration);
            }
            match (fenced, now.fenced) {
                (false, true) => count(Event::Fence),
                (true, false) => count(Event::Unfence),
                _ => {}
            }
            if now.shutting_down && !leaving {
                count(Event::ControlledShutdown);
            }
        }
    }
}

fn compare(had: &AssignmentView, now: &AssignmentView, count: &mut dyn FnMut(Event)) {
    if had.leader_epoch != now.leader_epoch {
        count(if now.leader.is_some() { Event::PartitionElection } else { Event::Leaderless });
    }
    if had.isr.iter().any(|node| !now.isr.contains(node)) {
        count(Event::IsrShrink);
    }
    if now.isr.iter().any(|node| !had.isr.contains(node)) {
        count(Event::IsrExpand);
    }
    if had.elr != now.elr {
        count(Event::ElrChange);
    }
}

impl Seen {
    fn follow_snapshots(&mut self, view: &NodeView, is_first: bool, count: &mut dyn FnMut(Event)) {
        let Some(log) = view.quorum.log.filter(|_| view.news.quorum) else { return };
        if let Some(end) = log.snapshot.filter(|end| self.snapshot != Some(*end) && !is_first) {
            // One that holds more than this node had, and with which its log began anew, came to it.
            let came = end > self.committed && log.start >= end;
            count(if came { Event::SnapshotInstalled } else { Event::SnapshotTaken });
        }
        (self.snapshot, self.committed) = (log.snapshot, view.quorum.committed);
    }

    fn follow_logs(&mut self, view: &NodeView, count: &mut dyn FnMut(Event)) {
        for key in &view.news.partitions {
            let Some(log) = view.partitions.get(key).and_then(|seen| seen.log) else {
                self.logs.remove(key);
                continue;
            };
            if let Some(had) = self.logs.insert(*key, log) {
                if log.end < had.end {
                    count(Event::Truncation);
                }
                if log.segments > had.segments {
                    count(Event::SegmentRolled);
                }
            }
        }
    }
}
