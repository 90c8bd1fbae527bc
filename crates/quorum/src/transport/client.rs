//! The asking side: one `Peer` for each target and purpose, each with its own connection.
//!
//! Heartbeats, entries and snapshots never share a connection, so that a long transfer
//! delays no heartbeat. Appends are pipelined: responses come back in the order of the
//! requests, and the first that is no plain success ends the stream.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesOrdered, Stream, StreamExt, unfold};
use model::NodeId;
use net::Connection;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;
use proto::quorum as wire_messages;
use wire::api::quorum as keys;

use super::convert::{ConvertError, from_log_id, from_optional, from_vote, to_log_id, to_vote};
use super::peers::Peers;
use crate::raft::types::{LogId, Types, Vote, VoterId};
use crate::snapshot::SnapshotFile;
use crate::voters::Voter;

/// Append requests sent and not yet answered, of at most a chunk each.
const PIPELINE_MAX: usize = 16;
/// One piece of a snapshot.
const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// How soon an unreachable peer is tried again; it is a connect to a port, no burden.
const RETRY_AFTER: Duration = Duration::from_millis(100);

type RpcError = RPCError<Types>;

/// Makes peers.
#[derive(Clone)]
pub(crate) struct PeerFactory(pub(crate) Arc<Peers>);

impl RaftNetworkFactory<Types> for PeerFactory {
    type Network = Peer;

    async fn new_client(&mut self, target: VoterId, voter: &Voter) -> Peer {
        Peer { peers: self.0.clone(), target: target.node(), voter: voter.clone(), connection: None }
    }
}

/// One voter, for one purpose.
pub(crate) struct Peer {
    peers: Arc<Peers>,
    target: NodeId,
    voter: Voter,
    connection: Option<Arc<Connection>>,
}

impl Peer {
    async fn connected(&mut self) -> Result<Arc<Connection>, RpcError> {
        if let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let dialled = self.peers.dial(self.target, Some(&self.voter)).await;
        let connection = Arc::new(dialled.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?);
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn ask<R: Message + Default>(&mut self, key: i16, request: &impl Message) -> Result<R, RpcError> {
        let connection = self.connected().await?;
        ask(&self.peers, self.target, &connection, key, request.encode_to_vec()).await
    }

    async fn ask_for_vote(
        &mut self,
        request: VoteRequest<Types>,
        pre_vote: bool,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let epoch = model::LeaderEpoch::new(request.vote.leader_id().term.0);
        let message = wire_messages::VoteRequest {
            route: Some(self.peers.route_to(self.target)),
            vote: Some(to_vote(&request.vote)),
            last_log_id: request.last_log_id.as_ref().map(to_log_id),
            pre_vote,
            // The lease protects a living leader. This one is dead.
            leadership_transfer: request.leadership_transfer || self.peers.follows_dead_leader(epoch),
        };
        let response: wire_messages::VoteResponse = self.ask(keys::VOTE, &message).await?;
        refused(self.target, response.refusal)?;
        let vote = from_vote(response.vote).map_err(garbled)?;
        let last_log_id = from_optional(response.last_log_id).map_err(garbled)?;
        Ok(VoteResponse { vote, vote_granted: response.granted, last_log_id })
    }
}

async fn ask<R: Message + Default>(
    peers: &Peers,
    target: NodeId,
    connection: &Connection,
    key: i16,
    body: Vec<u8>,
) -> Result<R, RpcError> {
    let sent = connection.send_raw(key, keys::VERSION, &body, peers.timeout).await;
    let response = sent.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?;
    peers.note_heard(target);
    R::decode(response).map_err(|error| garbled(ConvertError::Decode(error)))
}

/// Every failure is "unreachable": openraft retries the other kinds at once, and a peer that accepts and
/// closes would keep both nodes busy.
fn garbled(error: ConvertError) -> RpcError {
    RPCError::Unreachable(Unreachable::new(&error))
}

/// The peer would not look at the request. Said once here, where an operator sees it on either end.
fn refused(target: NodeId, refusal: Option<wire_messages::Refusal>) -> Result<(), RpcError> {
    let Some(refusal) = refusal else { return Ok(()) };
    tracing::warn!(node = %target, reason = refusal.reason, "a peer of the metadata quorum refuses this node");
    Err(RPCError::Unreachable(Unreachable::from_string(refusal.reason)))
}

fn append_message(peers: &Peers, target: NodeId, request: &AppendEntriesRequest<Types>) -> Vec<u8> {
    let entries = &request.entries;
    let bytes = entries.iter().map(|entry| entry.batch.as_ref().map_or(0, bytes::Bytes::len)).sum();
    let mut batches = Vec::with_capacity(bytes);
    for entry in entries {
        batches.extend_from_slice(entry.batch.as_ref().expect("an entry read from the log has its batch"));
    }
    let message = wire_messages::AppendRequest {
        route: Some(peers.route_to(target)),
        vote: Some(to_vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(to_log_id),
        batches,
        committed: request.leader_commit.as_ref().map(to_log_id),
    };
    message.encode_to_vec()
}

fn append_outcome(
    target: NodeId,
    response: wire_messages::AppendResponse,
) -> Result<AppendEntriesResponse<Types>, RpcError> {
    refused(target, response.refusal)?;
    match wire_messages::Outcome::try_from(response.outcome) {
        Ok(wire_messages::Outcome::Success) => Ok(AppendEntriesResponse::Success),
        Ok(wire_messages::Outcome::Partial) => {
            let stored = response.stored.map(from_log_id).transpose().map_err(garbled)?;
            Ok(AppendEntriesResponse::PartialSuccess(stored))
        }
        Ok(wire_messages::Outcome::Conflict) => Ok(AppendEntriesResponse::Conflict),
        Ok(wire_messages::Outcome::HigherVote) => {
            from_vote(response.vote).map(AppendEntriesResponse::HigherVote).map_err(garbled)
        }
        Ok(wire_messages::Outcome::Unknown) | Err(_) => Err(garbled(ConvertError::Missing("outcome"))),
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        let body = append_message(&self.peers, self.target, &request);
        let connection = self.connected().await?;
        let response = ask(&self.peers, self.target, &connection, keys::APPEND_ENTRIES, body).await?;
        append_outcome(self.target, response)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            // Not connected yet: openraft sleeps off a failure when the first request is asked for, and an
            // error before that would be tried again at once, for ever.
            let pipeline = Pipeline {
                peer: self,
                connection: None,
                input: Some(input),
                in_flight: FuturesOrdered::new(),
                ranges: VecDeque::new(),
            };
            let stream: BoxStream<'s, _> = Box::pin(unfold(Some(pipeline), |pipeline| async move {
                let mut pipeline = pipeline?;
                let (item, more) = pipeline.next().await?;
                Some((item, more.then_some(pipeline)))
            }));
            Ok(stream)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_for_vote(request, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ask_for_vote(request, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(&vote, &snapshot.snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let message = wire_messages::TransferRequest {
            route: Some(self.peers.route_to(self.target)),
            from_leader: Some(to_vote(request.from_leader())),
            last_log_id: request.last_log_id().map(to_log_id),
        };
        let response: wire_messages::TransferResponse = self.ask(keys::TRANSFER_LEADER, &message).await?;
        refused(self.target, response.refusal)?;
        Ok(Ok(()))
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_AFTER)))
    }
}

impl Peer {
    async fn send_snapshot(
        &mut self,
        vote: &Vote,
        file: &SnapshotFile,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let mut position = 0;
        loop {
            let bytes = file
                .read(position, SNAPSHOT_CHUNK_BYTES)
                .map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
            let message = wire_messages::SnapshotRequest {
                route: Some(self.peers.route_to(self.target)),
                vote: Some(to_vote(vote)),
                end_offset: file.id.end_offset.get(),
                epoch: file.id.epoch.get(),
                size: file.size,
                position,
                bytes: bytes.clone(),
            };
            position += bytes.len() as u64;
            let response: wire_messages::SnapshotResponse =
                self.ask(keys::INSTALL_SNAPSHOT, &message).await?;
            refused(self.target, response.refusal)?;
            if position >= file.size || response.vote.is_some() {
                let vote = from_vote(response.vote).map_err(garbled)?;
                return Ok(SnapshotResponse::new(vote));
            }
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<wire_messages::AppendResponse, RpcError>> + Send>>;

/// Appends on their way to one follower.
struct Pipeline<'s, S> {
    peer: &'s mut Peer,
    /// The one that all of them use; a new one would lose their order.
    connection: Option<Arc<Connection>>,
    /// `None` once the leader has no more to say.
    input: Option<S>,
    in_flight: FuturesOrdered<Answer>,
    /// What each request in flight covers: the entry before it and its last.
    ranges: VecDeque<(Option<LogId>, Option<LogId>)>,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin> Pipeline<'_, S> {
    /// The next answer, and whether more may follow.
    async fn next(&mut self) -> Option<(Result<StreamAppendResult<Types>, RpcError>, bool)> {
        loop {
            let may_send = self.in_flight.len() < PIPELINE_MAX;
            match self.input.as_mut().filter(|_| may_send) {
                None => return self.in_flight.next().await.map(|answer| self.finish(answer)),
                Some(input) => tokio::select! {
                    biased;
                    Some(answer) = self.in_flight.next() => return Some(self.finish(answer)),
                    request = input.next() => match request {
                        Some(request) => if let Err(error) = self.send(&request).await {
                            return Some((Err(error), false));
                        },
                        None => self.input = None,
                    },
                },
            }
        }
    }

    async fn send(&mut self, request: &AppendEntriesRequest<Types>) -> Result<(), RpcError> {
        let connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => self.connection.insert(self.peer.connected().await?).clone(),
        };
        let last = request.entries.last().map(|entry| entry.id).or(request.prev_log_id);
        self.ranges.push_back((request.prev_log_id, last));
        let (peers, target) = (self.peer.peers.clone(), self.peer.target);
        let body = append_message(&peers, target, request);
        self.in_flight.push_back(Box::pin(async move {
            ask(&peers, target, &connection, keys::APPEND_ENTRIES, body).await
        }));
        Ok(())
    }

    fn finish(
        &mut self,
        answer: Result<wire_messages::AppendResponse, RpcError>,
    ) -> (Result<StreamAppendResult<Types>, RpcError>, bool) {
        let (previous, last) = self.ranges.pop_front().expect("each answer has its request");
        match answer.and_then(|response| append_outcome(self.peer.target, response)) {
            Ok(AppendEntriesResponse::Conflict) if previous.is_none() => {
                (Err(garbled(ConvertError::Missing("entry that could conflict"))), false)
            }
            Ok(response) => {
                let result = response.into_stream_result(previous, last);
                // A follower that stored only a part, or none, makes what is in flight useless.
                let more = matches!(&result, Ok(stored) if *stored == last);
                (Ok(result), more)
            }
            Err(error) => (Err(error), false),
        }
    }
}
