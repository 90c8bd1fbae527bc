//! The set of voters: who they are, which directory holds their log, where they listen.

use std::collections::BTreeMap;
use std::fmt;

use model::{DirectoryId, NodeId};

/// One of a voter's addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: String,
    /// Host name or address; resolved anew at each dial.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A node that votes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voter {
    /// Directory of its metadata log; zero where the voters are static and nobody knows it.
    pub directory: DirectoryId,
    /// Its controller listeners.
    pub endpoints: Vec<Endpoint>,
}

impl Voter {
    /// Its address on `listener`, else its first.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener).or(self.endpoints.first())
    }
}

/// Every voter by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters(pub BTreeMap<NodeId, Voter>);

/// What is wrong with a list of voters in text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VotersError {
    /// Neither `id@host:port` nor `id@host:port:directory`.
    #[error("'{0}' is no voter; write {1}")]
    Shape(String, &'static str),
    /// The same id twice.
    #[error("node {0} appears twice among the voters")]
    Twice(NodeId),
    /// No voters at all.
    #[error("the list of voters is empty")]
    Empty,
}

const STATIC_SHAPE: &str = "ID@HOST:PORT, for example 1@controller-1:9093";
const INITIAL_SHAPE: &str =
    "ID@HOST:PORT:DIRECTORY-ID, for example 1@controller-1:9093:JEXY6aqzQY-32P5TStzaFg";

impl Voters {
    /// Reads `controller.quorum.voters`: `1@host:9093,2@host:9093`.
    pub fn parse_static(text: &str, listener: &str) -> Result<Self, VotersError> {
        Self::parse(text, |part| parse_voter(part, listener, false))
    }

    /// Reads `--initial-controllers`: `1@host:9093:directory,...`.
    pub fn parse_initial(text: &str, listener: &str) -> Result<Self, VotersError> {
        Self::parse(text, |part| parse_voter(part, listener, true))
    }

    fn parse(
        text: &str,
        mut read: impl FnMut(&str) -> Result<(NodeId, Voter), VotersError>,
    ) -> Result<Self, VotersError> {
        let mut voters = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (id, voter) = read(part)?;
            if voters.insert(id, voter).is_some() {
                return Err(VotersError::Twice(id));
            }
        }
        if voters.is_empty() { Err(VotersError::Empty) } else { Ok(Self(voters)) }
    }
}

fn parse_voter(text: &str, listener: &str, with_directory: bool) -> Result<(NodeId, Voter), VotersError> {
    let shape = if with_directory { INITIAL_SHAPE } else { STATIC_SHAPE };
    let parsed = || {
        let (id, address) = text.split_once('@')?;
        let id = NodeId::from_wire(id.trim().parse().ok()?)?;
        let (address, directory) = if with_directory {
            let (address, directory) = address.rsplit_once(':')?;
            (address, directory.parse().ok()?)
        } else {
            (address, DirectoryId::ZERO)
        };
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let endpoint = Endpoint { listener: listener.to_owned(), host, port: port.trim().parse().ok()? };
        (!endpoint.host.is_empty()).then_some((id, Voter { directory, endpoints: vec![endpoint] }))
    };
    parsed().ok_or_else(|| VotersError::Shape(text.to_owned(), shape))
}

impl fmt::Display for Voters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (id, voter)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{id}")?;
            if let Some(endpoint) = voter.endpoints.first() {
                write!(f, "@{}:{}", endpoint.host, endpoint.port)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Voters, VotersError};

    fn check(parsed: Result<Voters, VotersError>, outcome: &str) {
        let text = parsed.map_or_else(|error| error.to_string(), |voters| voters.to_string());
        assert!(text.contains(outcome), "{text}");
    }

    #[test]
    fn static_voters_are_an_id_and_an_address() {
        check(Voters::parse_static("2@b:1, 1@[::1]:9093", "C"), "1@::1:9093,2@b:1");
        check(Voters::parse_static("1@a", "C"), "'1@a' is no voter; write ID@HOST:PORT");
        check(Voters::parse_static("1@a:1,1@b:1", "C"), "node 1 appears twice");
        check(Voters::parse_static("", "C"), "empty");
        check(Voters::parse_static("-1@a:1", "C"), "no voter");
    }

    #[test]
    fn initial_voters_name_their_directory_too() {
        check(Voters::parse_initial("1@a:9093:JEXY6aqzQY-32P5TStzaFg", "C"), "1@a:9093");
        check(Voters::parse_initial("1@a:9093", "C"), "write ID@HOST:PORT:DIRECTORY-ID");
    }
}
