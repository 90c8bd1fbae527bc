//! `quorum-state`: the vote, in Kafka's own file.
//!
//! One small JSON object, replaced as a whole. Raft's safety rests on it: a voter
//! that forgets its vote can vote twice, so the file is synced before the vote
//! counts. Kafka keeps the leader and the vote of an epoch apart; openraft knows one
//! of the two, "this node asked" or "this node was elected", and so the other is -1.

use std::path::{Path, PathBuf};

use log::Disk;
use log::disk::{read_file, write_atomically};
use model::{DirectoryId, NodeId};
use openraft::vote::{RaftVote, leader_id_std};

use crate::raft::types::{Term, Vote, VoterId};

const FILE: &str = "quorum-state";
/// The format of Kafka 3.9 and later, the one that names the voted directory.
const DATA_VERSION: i64 = 1;
/// Far above what the format can fill; a larger file is not ours to read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Why the vote could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuorumStateError {
    #[error("cannot read or write {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} does not hold a vote: {cause}; a voter without its vote can vote twice, so it does not \
         start: restore the file, or remove this node from the voters, format its directory and add it again"
    )]
    Malformed { path: PathBuf, cause: String },
}

/// The vote on disk; `None` where this node never voted.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Vote>, QuorumStateError> {
    let path = dir.join(FILE);
    let io = |source| QuorumStateError::Io { path: path.clone(), source };
    if !disk.exists(&path).map_err(io)? {
        return Ok(None);
    }
    let bytes = read_file(disk, &path, FILE_BYTES_MAX).map_err(io)?;
    parse(&bytes).map(Some).map_err(|cause| QuorumStateError::Malformed { path, cause })
}

/// Replaces the vote on disk; it is durable when this returns.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    vote: &Vote,
    directory: DirectoryId,
) -> Result<(), QuorumStateError> {
    let path = dir.join(FILE);
    write_atomically(disk, &path, text(vote, directory).as_bytes())
        .map_err(|source| QuorumStateError::Io { path, source })
}

fn parse(bytes: &[u8]) -> Result<Vote, String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let number = |field: &str| {
        let number = value.get(field).and_then(serde_json::Value::as_i64);
        number
            .and_then(|number| i32::try_from(number).ok())
            .ok_or_else(|| format!("'{field}' is missing or no number"))
    };
    let epoch = number("leaderEpoch")?;
    if epoch < 0 {
        return Err(format!("'leaderEpoch' is {epoch}"));
    }
    let (leader, voted) = (number("leaderId")?, number("votedId")?);
    let (node, elected) = if leader >= 0 { (leader, true) } else { (voted, false) };
    // An epoch without a vote: only Kafka writes that. No node has id -1, so this vote blocks nobody
    // from a higher epoch, and nobody from this one either gets a second vote out of us.
    let leader_id = leader_id_std::LeaderId { term: Term(epoch), voted_for: VoterId(node) };
    Ok(Vote::from_leader_id(leader_id, elected))
}

fn text(vote: &Vote, directory: DirectoryId) -> String {
    let leader_id = vote.leader_id();
    let (leader, voted) =
        if vote.is_committed() { (leader_id.voted_for.0, -1) } else { (-1, leader_id.voted_for.0) };
    let directory = if voted < 0 { DirectoryId::ZERO } else { directory };
    format!(
        "{{\"leaderId\":{leader},\"leaderEpoch\":{},\"votedId\":{voted},\"votedDirectoryId\":\"{directory}\",\
         \"data_version\":{DATA_VERSION}}}",
        leader_id.term.0
    )
}

/// The node that a vote is for.
pub(crate) fn voted_for(vote: &Vote) -> NodeId {
    vote.leader_id().voted_for.node()
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::{parse, text};

    fn check(file: &str, outcome: &str) {
        let outcome_of = parse(file.as_bytes()).map_or_else(|cause| cause, |vote| vote.to_string());
        assert!(outcome_of.contains(outcome), "{outcome_of}");
    }

    #[test]
    fn kafkas_file_is_read_and_ours_is_kafkas() {
        let elected = r#"{"leaderId":1,"leaderEpoch":3,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        let asked = r#"{"leaderId":-1,"leaderEpoch":4,"votedId":2,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAABw","data_version":1}"#;
        for file in [elected, asked] {
            let vote = parse(file.as_bytes()).expect("Kafka's own");
            assert_eq!(text(&vote, Uuid::from_u128(7)), file);
        }
        check(
            r#"{"clusterId":"","leaderId":-1,"leaderEpoch":0,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#,
            "T0-N-1",
        );
    }

    #[test]
    fn a_damaged_file_is_named_for_what_is_wrong() {
        check("{", "EOF");
        check("{}", "'leaderEpoch' is missing");
        check(r#"{"leaderEpoch":-4,"leaderId":1,"votedId":1}"#, "'leaderEpoch' is -4");
        check(r#"{"leaderEpoch":99999999999,"leaderId":1,"votedId":1}"#, "no number");
    }
}
