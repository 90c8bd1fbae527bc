//! Entries to record batches and back.
//!
//! | entry | batch |
//! |---|---|
//! | blank | control: LeaderChangeMessage |
//! | voters | control: KRaftVersionRecord, VotersRecord |
//! | static voters | control: KRaftVersionRecord, LeaderChangeMessage without a leader |
//! | records | data: framed values (KIP-631), no keys |
//! | records that stand elsewhere than their proposer took it | as blank |
//!
//! Kafka dials static voters by its config as long as no VotersRecord tells it otherwise,
//! and takes ids alone from a LeaderChangeMessage: so it follows a log that names no addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use model::{NodeId, Offset, Timestamp};
use proto::control::{
    ControlRecord, KRaftVersionFeature, KRaftVersionRecord, LeaderChangeMessage, LeaderChangeVoter,
    VotersRecord,
};

use super::batch::{self, BatchError, Stamp};
use crate::raft::types::{Entry, Membership, Payload, VoterId, epoch_of, log_id, membership_of, voters_of};
use crate::voters::{Endpoint, Voter, Voters};

/// The highest `kraft.version`: voters are in the log (KIP-853).
const KRAFT_VERSION_MAX: i16 = 1;

/// The leader of an entry that says who votes, not who leads.
const NO_LEADER: i32 = -1;

/// The batch of an entry that was proposed here.
pub(super) fn encode_entry(
    entry: &Entry,
    base_offset: Offset,
    node: NodeId,
    voters: &[NodeId],
    now: Timestamp,
) -> io::Result<Bytes> {
    let stamp = Stamp { base_offset, epoch: epoch_of(&entry.id), timestamp: now };
    match &entry.payload {
        Payload::Blank => Ok(encode_control(&stamp, &[leader_change(Some(node), voters)])),
        // Decided on what the log does not hold: openraft refuses a leader's writes while its lease is
        // out, and takes later ones of the same epoch when it is valid again.
        Payload::Proposed(proposal) if proposal.base_offset.is_some_and(|base| base != base_offset) => {
            Ok(encode_control(&stamp, &[leader_change(Some(node), voters)]))
        }
        Payload::Proposed(proposal) => {
            let stamp = Stamp { timestamp: proposal.timestamp, ..stamp };
            Ok(encode_records(&stamp, &proposal.values))
        }
        Payload::Voters(membership) => {
            if membership.get_joint_config().len() != 1 {
                return Err(io::Error::other("voters change one at a time, a joint set has no record"));
            }
            // Each of the first voters writes the first entry by itself: it must be the same everywhere.
            let timestamp = if entry.id.index() == 0 { Timestamp::new(0) } else { now };
            Ok(encode_control(&Stamp { timestamp, ..stamp }, &voters_records(&voters_of(membership))))
        }
        Payload::Stored => Err(io::Error::other("an entry that was read has lost its batch")),
    }
}

/// The entry that `bytes`, one batch, hold.
pub(super) fn decode_entry(index: u64, bytes: Bytes) -> Result<Entry, BatchError> {
    let header = batch::check(&bytes)?;
    let payload = if header.is_control { control_payload(&bytes)? } else { Payload::Stored };
    Ok(Entry { id: log_id(header.epoch, index), payload, batch: Some(bytes) })
}

fn control_payload(bytes: &[u8]) -> Result<Payload, BatchError> {
    let mut payload = Payload::Blank;
    batch::read(bytes, |key, value| {
        if let Some(voters) = voters_in(decode_control(key, value)?)? {
            payload = Payload::Voters(membership_of(&voters));
        }
        Ok(())
    })?;
    Ok(payload)
}

/// A control record from its key and value.
pub(crate) fn decode_control(key: Option<&[u8]>, value: &[u8]) -> Result<ControlRecord, BatchError> {
    ControlRecord::from_key_value(key.unwrap_or_default(), value)
        .map_err(|error| BatchError::Value(error.to_string()))
}

/// A data batch of framed values.
pub(crate) fn encode_records(stamp: &Stamp, values: &[Vec<u8>]) -> Bytes {
    batch::build(stamp, false, values.iter().map(|value| (None, value.as_slice())))
}

/// A control batch.
pub(crate) fn encode_control(stamp: &Stamp, records: &[ControlRecord]) -> Bytes {
    let pairs: Vec<([u8; 4], Vec<u8>)> = records.iter().map(control_pair).collect();
    encode_pairs(stamp, &pairs)
}

/// A control record's key and value.
pub(crate) fn control_pair(record: &ControlRecord) -> ([u8; 4], Vec<u8>) {
    let mut value = Vec::new();
    record.to_value(&mut value).expect("version 0 holds all that is written here");
    (record.to_key(), value)
}

/// A control batch of keys and values.
pub(crate) fn encode_pairs(stamp: &Stamp, pairs: &[([u8; 4], Vec<u8>)]) -> Bytes {
    batch::build(stamp, true, pairs.iter().map(|(key, value)| (Some(key.as_slice()), value.as_slice())))
}

fn leader_change(leader: Option<NodeId>, voters: &[NodeId]) -> ControlRecord {
    let voter = |id: &NodeId| LeaderChangeVoter { voter_id: id.get(), ..Default::default() };
    ControlRecord::LeaderChange(LeaderChangeMessage {
        version: 0,
        leader_id: leader.map_or(NO_LEADER, NodeId::get),
        voters: voters.iter().map(voter).collect(),
        granting_voters: Vec::new(),
    })
}

/// KRaftVersion and who votes, as they stand in the log and in snapshots.
pub(crate) fn voters_records(voters: &Voters) -> [ControlRecord; 2] {
    // Static voters have no directory, and that is what `kraft.version` 0 means.
    let is_static = voters.0.values().any(|voter| voter.directory.is_zero());
    let version = |kraft_version| KRaftVersionRecord { version: 0, kraft_version };
    if is_static {
        let ids: Vec<NodeId> = voters.0.keys().copied().collect();
        [ControlRecord::KRaftVersion(version(0)), leader_change(None, &ids)]
    } else {
        let version = version(KRAFT_VERSION_MAX);
        [ControlRecord::KRaftVersion(version), ControlRecord::KRaftVoters(voters_record(voters))]
    }
}

fn voters_record(voters: &Voters) -> VotersRecord {
    let endpoint = |endpoint: &Endpoint| proto::control::Endpoint {
        name: endpoint.listener.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
    };
    let voter = |(id, voter): (&NodeId, &Voter)| proto::control::Voter {
        voter_id: id.get(),
        voter_directory_id: voter.directory,
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        kraft_version_feature: KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: KRAFT_VERSION_MAX,
        },
    };
    VotersRecord { version: 0, voters: voters.0.iter().map(voter).collect() }
}

/// The voters, if that is what a record says.
pub(crate) fn voters_in(record: ControlRecord) -> Result<Option<Voters>, BatchError> {
    match record {
        ControlRecord::KRaftVoters(record) => voters_from(record).map(Some),
        ControlRecord::LeaderChange(change) if change.leader_id == NO_LEADER => {
            let ids = change.voters.iter().map(|voter| NodeId::new(voter.voter_id));
            some_voters(ids.map(|id| (id, Voter::default())).collect()).map(Some)
        }
        _ => Ok(None),
    }
}

fn voters_from(record: VotersRecord) -> Result<Voters, BatchError> {
    let mut voters = BTreeMap::new();
    for voter in record.voters {
        let endpoints = voter
            .endpoints
            .into_iter()
            .map(|endpoint| Endpoint { listener: endpoint.name, host: endpoint.host, port: endpoint.port })
            .collect();
        let id = NodeId::new(voter.voter_id);
        voters.insert(id, Voter { directory: voter.voter_directory_id, endpoints });
    }
    some_voters(voters)
}

fn some_voters(voters: BTreeMap<NodeId, Voter>) -> Result<Voters, BatchError> {
    if voters.is_empty() {
        return Err(BatchError::Value("a set of no voters".to_owned()));
    }
    Ok(Voters(voters))
}

/// The voters' ids of a membership.
pub(crate) fn ids_of(membership: &Membership) -> Vec<NodeId> {
    let ids: BTreeSet<VoterId> = membership.voter_ids().collect();
    ids.into_iter().map(VoterId::node).collect()
}

#[cfg(test)]
mod tests {
    use model::{DirectoryId, Uuid};

    use super::{ControlRecord, voters_in, voters_records};
    use crate::voters::{Voter, Voters};

    fn check(text: &str, directory: DirectoryId, kraft_version: i16, has_addresses: bool) {
        let mut voters = Voters::parse_static(text, "CONTROLLER").expect("voters");
        voters.0.values_mut().for_each(|voter| voter.directory = directory);
        let [version, who] = voters_records(&voters);
        assert!(matches!(&version, ControlRecord::KRaftVersion(it) if it.kraft_version == kraft_version));
        assert_eq!(voters_in(version), Ok(None));
        if !has_addresses {
            voters.0.values_mut().for_each(|voter| *voter = Voter::default());
        }
        assert_eq!(voters_in(who), Ok(Some(voters)));
    }

    #[test]
    fn static_voters_are_ids_in_no_voters_record() {
        check("1@a:1,2@b:2", Uuid::from_u128(5), 1, true);
        check("1@a:1,2@b:2", DirectoryId::ZERO, 0, false);
    }
}
