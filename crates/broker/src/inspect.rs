//! What a node holds at this moment, for a metrics endpoint and for checks.
//!
//! [`Node::inspect`] is a plain picture of what is in memory: no IO, nothing waits,
//! nothing changes. Who looks often keeps the picture and brings it up to date with
//! [`Node::inspect_into`], which tells what is new and skips what stands still. What
//! costs (an image's digest, the bytes of a log) is asked for apart.

use std::io;
use std::sync::Arc;

use model::{NodeId, Offset, PartitionIndex, TopicId};
use quorum::QuorumInspection;

use crate::data::PartitionInspection;
use crate::lifecycle::Registration;
use crate::node::Node;
use crate::publish::Picture;

/// What a node holds.
#[derive(Clone)]
pub struct Inspection {
    /// The node.
    pub node: NodeId,
    /// The metadata as it has replayed it.
    pub metadata: Arc<Picture>,
    /// Its part in the metadata log.
    pub quorum: QuorumInspection,
    /// Its registration as a broker, as it knows it; without an epoch before the first, and on a
    /// node that is no broker.
    pub broker: Registration,
    /// Whether its logs were closed in order before this start; `None` where it is no broker.
    pub was_clean: Option<bool>,
    /// Its partitions, by topic id and number.
    pub partitions: Vec<PartitionInspection>,
    /// What the last look found new.
    pub news: News,
}

/// What differs from the look before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The metadata.
    pub metadata: bool,
    /// The part in the quorum.
    pub quorum: bool,
    /// The registration.
    pub broker: bool,
    /// Partitions came or went; then all places are listed below.
    pub hosted: bool,
    /// Places in [`Inspection::partitions`] that may have changed.
    pub partitions: Vec<usize>,
}

impl News {
    /// Whether nothing is new.
    pub fn is_empty(&self) -> bool {
        !(self.metadata || self.quorum || self.broker || self.hosted) && self.partitions.is_empty()
    }
}

impl Node {
    /// What this node holds now; everything counts as new.
    pub fn inspect(&self) -> Inspection {
        let mut inspection = Inspection {
            node: self.context().node,
            metadata: Arc::default(),
            quorum: QuorumInspection::default(),
            broker: Registration::default(),
            was_clean: self.context().data.as_ref().map(|data| data.was_clean()),
            partitions: Vec::new(),
            news: News::default(),
        };
        self.inspect_into(&mut inspection);
        let news = &mut inspection.news;
        (news.metadata, news.quorum, news.broker, news.hosted) = (true, true, true, true);
        inspection
    }

    /// Brings an inspection of this same node up to date, and says in `news` what changed.
    pub fn inspect_into(&self, known: &mut Inspection) {
        let context = self.context();
        let metadata = context.published.get();
        known.news.metadata = !Arc::ptr_eq(&metadata, &known.metadata);
        known.metadata = metadata;
        let quorum = self.inspect_quorum();
        known.news.quorum = quorum != known.quorum;
        known.quorum = quorum;
        let broker = context.broker.get();
        known.news.broker = broker != known.broker;
        known.broker = broker;
        known.news.partitions.clear();
        known.news.hosted = match &context.data {
            Some(data) => data.inspect_into(&mut known.partitions, &mut known.news.partitions),
            None => false,
        };
    }

    /// Whole batches of a partition's log on this node, committed or not, from the one that holds `from`
    /// up to `upto`, within `bytes_max` but at least one. Empty when there is nothing between the two.
    pub fn read_log(
        &self,
        partition: (TopicId, PartitionIndex),
        from: Offset,
        upto: Offset,
        bytes_max: usize,
    ) -> io::Result<Vec<u8>> {
        match &self.context().data {
            Some(data) => data.read_log(partition, from, upto, bytes_max),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "this node is no broker")),
        }
    }

    /// The same of the metadata log, on a voter.
    pub fn read_metadata_log(&self, from: Offset, upto: Offset, bytes_max: usize) -> io::Result<Vec<u8>> {
        match &self.context().quorum {
            Some(quorum) => quorum.read_log(from, upto, bytes_max),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "this node does not vote")),
        }
    }

    fn inspect_quorum(&self) -> QuorumInspection {
        match (&self.context().quorum, self.observer()) {
            (Some(quorum), _) => quorum.inspect(),
            (None, Some(observer)) => observer.inspect(),
            (None, None) => QuorumInspection::default(),
        }
    }
}
