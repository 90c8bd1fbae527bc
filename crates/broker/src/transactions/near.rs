//! Verification by this node's own coordinator: the same question as another node's, without the network.
//!
//! With one node that is every transaction's, and the way over a connection to ourselves is longer than what is
//! asked there. Any other coordinator is asked as before.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use model::{ErrorCode, NodeId};
use tokio::time::Instant;
use wire::api::{ApiKey, ListenerKind};
use wire::messages::{ResponseKind, StrBytes};

use crate::data::{
    ADD_PARTITIONS_VERSION, Coordinators, Data, Lookup, TxnVerifier, Verified, question, read,
};
use crate::dispatch::RequestContext;
use crate::server::{Answer, ListenerSpec, Reply};
use crate::transactions::Transactions;

impl Transactions {
    /// Has `data`, the partitions of `node`, ask here first.
    pub fn verify_for(self: &Arc<Self>, data: &Data, node: NodeId) {
        let near = Near {
            node,
            own: Arc::downgrade(self),
            far: data.coordinators(),
            listener: Arc::new(ListenerSpec {
                name: String::new(),
                kind: ListenerKind::Broker,
                address: String::new(),
            }),
        };
        data.verify_with(Arc::new(near));
    }
}

/// Asks this node's coordinator, or another's.
struct Near {
    node: NodeId,
    own: Weak<Transactions>,
    far: Coordinators,
    /// Where nothing came in: it was asked within the node.
    listener: Arc<ListenerSpec>,
}

impl TxnVerifier for Near {
    fn verify(&self, lookup: Lookup, deadline: Instant) -> BoxFuture<'static, Verified> {
        if self.far.coordinator(&lookup.transactional_id) != Some(self.node) {
            return self.far.verify(lookup, deadline);
        }
        let Some(own) = self.own.upgrade() else {
            return Box::pin(async { Err(ErrorCode::NotCoordinator) });
        };
        let answer = match own.answer(&self.asker(), question(&lookup).into()) {
            Ok(answer) => answer,
            Err(_) => unreachable!("it is about a transaction"),
        };
        Box::pin(async move {
            let reply = match answer {
                Answer::Now(reply) => reply,
                Answer::Later(later) => {
                    let waited = tokio::time::timeout_at(deadline, later).await;
                    waited.map_err(|_| ErrorCode::NetworkException)?
                }
            };
            match reply {
                Reply::Message(response) => match *response {
                    ResponseKind::AddPartitionsToTxn(response) => read(&response, &lookup.transactional_id),
                    _ => Err(ErrorCode::NetworkException),
                },
                _ => Err(ErrorCode::NetworkException),
            }
        })
    }
}

impl Near {
    fn asker(&self) -> RequestContext {
        RequestContext {
            api_key: ApiKey::AddPartitionsToTxn as i16,
            version: ADD_PARTITIONS_VERSION,
            client_id: Some(StrBytes::from_static_str("kastle-verifies-transactions")),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            listener: self.listener.clone(),
        }
    }
}
