//! What shards have done elsewhere: partitions told how transactions ended, producer ids drawn.
//!
//! Markers go to the leaders of their partitions, this node among them, many in one request. For each
//! partition the shard hears once what became of it, whatever that is: a leader that is gone, that is no
//! leader any more, that does not answer. It has markers sent again by itself, so nothing here repeats.

mod plan;

use std::sync::{Arc, Weak};
use std::time::Duration;

use coordinator::transactions::{Marked, Marker, Outcome, Place};
use metadata::Image;
use model::{ErrorCode, NodeId, Offset};
use net::task::Tasks;
use tokio_util::sync::CancellationToken;
use wire::markers;
use wire::messages::{ResponseKind, WriteTxnMarkersRequest};

use crate::data::Data;
use crate::groups::shell::Shell;
use crate::peers::Peers;
use crate::publish::Published;
use crate::server::{Answer, Reply};
use crate::transactions::errands::plan::{Plan, leader_of};
use crate::transactions::hosting::{Errand, Hosting};

/// A leader answers within 30 seconds, or is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// A partition that the metadata does not know is waited for as long: whoever added it may have seen more of
/// the metadata than this node. Without its marker its readers would wait for ever.
const UNKNOWN_WAIT: Duration = Duration::from_secs(5);

/// Does errands, a task each.
pub struct Errands {
    node: NodeId,
    data: Arc<Data>,
    published: Published,
    peers: Peers,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Errands {
    /// For the shards of node `node`.
    pub fn new(node: NodeId, data: Arc<Data>, published: Published, peers: Peers) -> Self {
        Self { node, data, published, peers, tasks: Tasks::new(), stop: CancellationToken::new() }
    }

    /// Ends all of them.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.ended().await;
    }

    /// Begins an errand.
    pub fn run(self: &Arc<Self>, shell: Weak<Shell<Hosting>>, errand: Errand) {
        match errand {
            Errand::ProducerIds(count) => self.spawn(self.clone().draw(shell, count)),
            Errand::Markers(markers) => self.send(&shell, markers),
        }
    }

    fn spawn(&self, errand: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = errand => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn draw(self: Arc<Self>, shell: Weak<Shell<Hosting>>, count: usize) {
        let mut ids = Vec::new();
        while ids.len() < count
            && let Some(id) = self.data.producer_id().await
        {
            ids.push(id);
        }
        if let Some(shell) = shell.upgrade() {
            shell.tell(|hosting, _| hosting.take_producer_ids(ids));
        }
    }

    fn send(self: &Arc<Self>, shell: &Weak<Shell<Hosting>>, markers: Vec<Marker>) {
        let picture = self.published.get();
        let Plan { led, leaderless, unknown } = Plan::of(&picture.image, markers);
        for (leader, markers) in led {
            self.spawn(self.clone().tell_leader(shell.clone(), leader, markers));
        }
        if !leaderless.is_empty() {
            let marked = plan::reports(&leaderless, |_, _| Outcome::Retry);
            // Not now: the shell is at work, and this is called under its lock.
            let shell = shell.clone();
            self.spawn(async move { report(&shell, &marked) });
        }
        if !unknown.is_empty() {
            self.spawn(self.clone().look_again(shell.clone(), unknown, picture.end));
        }
    }

    /// Partitions that the metadata does not know: they are gone, unless they turn up.
    async fn look_again(self: Arc<Self>, shell: Weak<Shell<Hosting>>, markers: Vec<Marker>, seen: Offset) {
        let mut published = self.published.clone();
        let exists = |image: &Image, place: &Place| plan::exists(image, place);
        let all_there = |image: &Image| {
            markers.iter().flat_map(|marker| &marker.places).all(|place| exists(image, place))
        };
        let waited = published.wait_for(|picture| picture.end > seen && all_there(&picture.image));
        // In time or not: what is there now counts.
        let _ = tokio::time::timeout(UNKNOWN_WAIT, waited).await;
        let picture = self.published.get();
        let marked = plan::reports(&markers, |_, place| match exists(&picture.image, place) {
            true => Outcome::Retry,
            false => Outcome::Gone,
        });
        for marked in marked.iter().filter(|marked| marked.outcome == Outcome::Gone) {
            let (topic, partition) = (&marked.place.topic, marked.place.partition);
            tracing::info!(
                node = %self.node, id = %marked.transactional_id, %topic, partition,
                "a transaction's partition is gone, and needs no marker"
            );
        }
        report(&shell, &marked);
    }

    async fn tell_leader(self: Arc<Self>, shell: Weak<Shell<Hosting>>, leader: NodeId, markers: Vec<Marker>) {
        let mut published = self.published.clone();
        let moved = published.wait_for(|picture| {
            let mut places = markers.iter().flat_map(|marker| &marker.places);
            places.any(|place| leader_of(&picture.image, place) != Some(leader))
        });
        let answer = tokio::select! {
            answer = self.ask(leader, plan::request(&markers)) => answer,
            // A leader that is deposed may not answer for long.
            _ = moved => None,
        };
        let codes = answer.map(|answer| plan::codes(&answer)).unwrap_or_default();
        let marked = plan::reports(&markers, |producer, place| {
            let code = codes.get(&(producer, place.topic.to_string(), place.partition));
            code.map_or(Outcome::Retry, |code| {
                if *code != ErrorCode::None {
                    let Place { topic, partition } = place;
                    tracing::debug!(node = %self.node, %leader, %topic, partition, %code, "a marker was refused");
                }
                Outcome::of(*code)
            })
        });
        report(&shell, &marked);
    }

    async fn ask(
        &self,
        leader: NodeId,
        request: WriteTxnMarkersRequest,
    ) -> Option<wire::messages::WriteTxnMarkersResponse> {
        let response = if leader == self.node {
            let reply = match self.data.write_txn_markers(request).await {
                Answer::Now(reply) => reply,
                Answer::Later(later) => later.await,
            };
            let Reply::Message(response) = reply else { return None };
            *response
        } else {
            let picture = self.published.get();
            let link = self.peers.link(&picture.image, leader).await;
            let link = link.inspect_err(|error| {
                tracing::debug!(node = %self.node, %leader, %error, "markers cannot be sent");
            });
            let version = match picture.image.metadata_version().has_markers_with_versions() {
                true => markers::VERSION,
                false => markers::MESSAGE_VERSION,
            };
            let sent = link.ok()?.send(version, request, ANSWER_TIMEOUT).await;
            let sent = sent.inspect_err(|error| {
                tracing::debug!(node = %self.node, %leader, %error, "markers may not have come through");
            });
            sent.ok()?
        };
        match response {
            ResponseKind::WriteTxnMarkers(response) => Some(response),
            _ => None,
        }
    }
}

fn report(shell: &Weak<Shell<Hosting>>, marked: &[Marked]) {
    if let Some(shell) = shell.upgrade() {
        shell.tell(|hosting, now| hosting.hear(now, marked));
    }
}
