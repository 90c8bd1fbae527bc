//! Looks at a node for the judges: an inspection becomes a view, and logs are read for them.
//!
//! Done after every step of a node, so what did not change costs nothing. Digests of
//! images are computed at some offsets only, the same ones on every node.

use broker::{Inspection, Node};
use judge::view::{
    AssignmentView, Ballot, BrokerView, Key, LogView, Logs, NodeView, Part, PartitionView, QuorumView,
    RaftLogView,
};
use model::{NodeId, Offset, PartitionIndex};

/// An image is hashed where its end is a multiple of this: it costs more than all else here.
const DIGEST_EVERY: i64 = 4;
/// Read of a log at one time.
const READ_BYTES_MAX: usize = 1 << 20;

/// Looks at the process of one node, from its start to its end.
pub struct Observer {
    inspection: Inspection,
    view: NodeView,
    is_first: bool,
}

/// The logs of a living node.
pub struct LogsOf<'a>(pub &'a Node);

impl Logs for LogsOf<'_> {
    fn records(&self, key: Key, from: Offset, upto: Offset) -> Option<Vec<u8>> {
        self.0.read_log(key, from, upto, READ_BYTES_MAX).ok()
    }

    fn metadata(&self, from: Offset, upto: Offset) -> Option<Vec<u8>> {
        self.0.read_metadata_log(from, upto, READ_BYTES_MAX).ok()
    }
}

impl Observer {
    /// Of a process that just started.
    pub fn new(id: NodeId, node: &Node) -> Self {
        Self { inspection: node.inspect(), view: NodeView::new(id), is_first: true }
    }

    /// What the node holds now, if anything changed since the last call.
    pub fn look(&mut self, node: &Node) -> Option<&NodeView> {
        if !std::mem::take(&mut self.is_first) {
            node.inspect_into(&mut self.inspection);
        }
        if self.inspection.news.is_empty() {
            return None;
        }
        self.view.news.clear();
        self.take_metadata();
        self.take_quorum();
        self.take_partitions();
        Some(&self.view)
    }

    /// The view as of the last look.
    pub fn view(&self) -> &NodeView {
        &self.view
    }

    /// The view with its image's digest, wherever it ends: for the end of a run.
    pub fn look_closely(&mut self, node: &Node) -> &NodeView {
        self.look(node);
        self.view.news.metadata = true;
        self.view.metadata.digest = Some(self.inspection.metadata.image.digest());
        &self.view
    }

    fn take_metadata(&mut self) {
        if !self.inspection.news.metadata {
            return;
        }
        let picture = &self.inspection.metadata;
        let view = &mut self.view.metadata;
        self.view.news.metadata = true;
        view.end = picture.end;
        let worth_it = picture.end > Offset::ZERO && picture.end.get() % DIGEST_EVERY == 0;
        view.digest = worth_it.then(|| picture.image.digest());
        view.brokers.clear();
        view.brokers.extend(picture.image.brokers().map(|broker| {
            let (epoch, fenced) = (broker.epoch, broker.fenced);
            (broker.id, BrokerView { epoch, fenced, shutting_down: broker.in_controlled_shutdown })
        }));
        self.take_assignments();
    }

    fn take_assignments(&mut self) {
        let image = &self.inspection.metadata.image;
        let (known, news) = (&mut self.view.metadata.assignments, &mut self.view.news.assignments);
        known.retain(|&(topic, index), _| {
            let stays = image.partition(topic, index).is_some();
            if !stays {
                news.push((topic, index));
            }
            stays
        });
        for topic in image.topics() {
            for (index, partition) in topic.partitions() {
                let key = (topic.id, index);
                let seen = known.get(&key).map(|seen| seen.partition_epoch);
                if seen == Some(partition.partition_epoch) {
                    continue;
                }
                news.push(key);
                let view = AssignmentView {
                    name: name(topic.name.as_str(), index),
                    replicas: partition.replicas.to_vec(),
                    isr: partition.isr.to_vec(),
                    elr: partition.elr.to_vec(),
                    leader: partition.leader,
                    leader_epoch: partition.leader_epoch,
                    partition_epoch: partition.partition_epoch,
                };
                known.insert(key, view);
            }
        }
    }

    fn take_quorum(&mut self) {
        let inspection = &self.inspection;
        if inspection.news.broker {
            self.view.news.broker = true;
            self.view.broker_epoch = inspection.broker.epoch;
            self.view.unfenced = inspection.broker.unfenced;
        }
        self.view.was_clean = inspection.was_clean;
        if !inspection.news.quorum {
            return;
        }
        self.view.news.quorum = true;
        let status = &inspection.quorum.status;
        let log = inspection.quorum.log.map(|log| RaftLogView {
            vote: log.vote.map(|vote| Ballot { term: vote.epoch, node: vote.node, elected: vote.elected }),
            start: log.start,
            end: log.end,
            snapshot: log.snapshot.map(|id| id.end_offset),
        });
        self.view.quorum =
            QuorumView { term: status.epoch, leader: status.leader, committed: status.high_watermark, log };
    }

    fn take_partitions(&mut self) {
        let inspection = &self.inspection;
        let (known, news) = (&mut self.view.partitions, &mut self.view.news.partitions);
        if inspection.news.hosted {
            known.retain(|key, _| {
                let stays = inspection.partitions.binary_search_by(|seen| seen.key.cmp(key)).is_ok();
                if !stays {
                    news.push(*key);
                }
                stays
            });
        }
        for &place in &inspection.news.partitions {
            let seen = &inspection.partitions[place];
            let view = known.entry(seen.key).or_insert_with(|| PartitionView {
                name: name(seen.name.topic.as_str(), seen.key.1),
                part: Part::Offline,
                leader_epoch: None,
                partition_epoch: None,
                isr: Vec::new(),
                min_isr: 0,
                high_watermark: Offset::ZERO,
                log: None,
            });
            take(view, seen);
            news.push(seen.key);
        }
    }
}

fn take(view: &mut PartitionView, seen: &broker::PartitionInspection) {
    view.part = match seen.part {
        broker::Part::Leader => Part::Leader,
        broker::Part::Follower(leader) => Part::Follower(leader),
        broker::Part::Offline => Part::Offline,
    };
    view.leader_epoch = seen.leader_epoch;
    view.partition_epoch = seen.partition_epoch;
    view.isr.clear();
    view.isr.extend_from_slice(&seen.isr);
    view.min_isr = seen.min_isr;
    view.high_watermark = seen.high_watermark;
    view.log = seen.log.map(|log| LogView {
        start: log.start,
        end: log.end,
        recovery_point: log.recovery_point,
        segments: log.segments,
    });
}

fn name(topic: &str, index: PartitionIndex) -> String {
    format!("{topic}-{index}")
}
