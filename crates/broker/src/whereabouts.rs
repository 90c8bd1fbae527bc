//! Where the active controller is, kept up to date for everyone who asks it.
//!
//! The quorum (or the observer) knows which node leads; its address comes from the
//! controllers' registrations, and until those are there from the list of voters.

use metadata::Image;
use model::NodeId;
use quorum::{QuorumStatus, Voters};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controller_link::Office;
use crate::publish::Published;

/// What is needed to find the controller.
pub struct Whereabouts {
    /// This node.
    pub node: NodeId,
    /// Who leads, as far as this node knows.
    pub status: watch::Receiver<QuorumStatus>,
    /// The controllers' registrations.
    pub published: Published,
    /// The voters as configured.
    pub voters: Voters,
    /// The controller listener that nodes dial.
    pub listener: String,
}

impl Whereabouts {
    /// Tells `office` of every move until told to stop.
    pub async fn follow(mut self, office: watch::Sender<Office>, stop: CancellationToken) {
        let following = async {
            loop {
                let now = self.find();
                office.send_if_modified(|had| {
                    let moved = *had != now;
                    *had = now;
                    moved
                });
                tokio::select! {
                    Ok(()) = self.status.changed() => {}
                    Some(()) = self.published.changed() => {}
                    else => return,
                }
            }
        };
        tokio::select! {
            () = following => {}
            () = stop.cancelled() => {}
        }
    }

    fn find(&mut self) -> Office {
        let (leader, ready) = {
            let status = self.status.borrow_and_update();
            (status.leader, status.is_leader_ready)
        };
        match leader {
            None => Office::Vacant,
            Some(node) if node == self.node => {
                if ready {
                    Office::Here
                } else {
                    Office::Vacant
                }
            }
            Some(node) => {
                let address = self.address(node, &self.published.get().image);
                address.map_or(Office::Vacant, |(host, port)| Office::At { node, host, port })
            }
        }
    }

    fn address(&self, node: NodeId, image: &Image) -> Option<(String, u16)> {
        let registered = image.controllers().find(|controller| controller.id == node);
        let endpoint = registered.and_then(|controller| {
            let named = controller.listeners.iter().find(|endpoint| endpoint.name == self.listener);
            named.or(controller.listeners.first())
        });
        if let Some(endpoint) = endpoint {
            return Some((endpoint.host.clone(), endpoint.port));
        }
        let endpoint = self.voters.0.get(&node)?.endpoint(&self.listener)?;
        Some((endpoint.host.clone(), endpoint.port))
    }
}
