//! Which node coordinates a group or a transactional id, as far as a client knows.

use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, NodeId};
use wire::api::ApiKey;
use wire::messages::{FindCoordinatorRequest, RequestKind, ResponseKind, text};

use crate::workload::client::{Client, Link, begin, finish};
use crate::workload::record::Recorder;

/// From this version on several are asked for at once.
const FIND_MANY_FROM: i16 = 4;

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinated {
    /// A group.
    Group,
    /// A transactional id.
    Transaction,
}

/// Who coordinates one of them.
#[derive(Clone, Debug)]
pub struct Coordinator {
    kind: Coordinated,
    key: String,
    node: Option<i32>,
}

impl Coordinator {
    /// Nobody is known yet.
    pub fn new(kind: Coordinated, key: &str) -> Self {
        Self { kind, key: key.to_owned(), node: None }
    }

    /// The node, for what it answers to be held against.
    pub fn node(&self) -> Option<NodeId> {
        self.node.map(NodeId::new)
    }

    /// It is another one by now, or cannot be reached.
    pub fn forget(&mut self) {
        self.node = None;
    }

    /// A connection to it; it is looked for when it is not known.
    pub async fn link(&mut self, client: &mut Client, recorder: &Recorder) -> Option<Arc<Link>> {
        if self.node.is_none() {
            self.node = self.find(client, recorder).await;
        }
        let link = client.link_to(self.node?).await;
        if link.is_err() {
            self.forget();
            client.distrust();
        }
        link.ok()
    }

    async fn find(&self, client: &mut Client, recorder: &Recorder) -> Option<i32> {
        let address = client.any_address();
        let link = client.link(&address).await.ok()?;
        // Version 0 knows groups alone.
        let (at_least, kind) = match self.kind {
            Coordinated::Group => (0, 0),
            Coordinated::Transaction => (1, 1),
        };
        let version = link.version(ApiKey::FindCoordinator, at_least, i16::MAX)?;
        let request = FindCoordinatorRequest::default().with_key_type(kind);
        let request = if version < FIND_MANY_FROM {
            request.with_key(text(&self.key))
        } else {
            request.with_coordinator_keys(vec![text(&self.key)])
        };
        let answer = finish(begin(&link, version, request, client.request_timeout)).await.ok()?;
        let ResponseKind::FindCoordinator(found) = answer else { return None };
        let (code, node) = match found.coordinators.first() {
            Some(one) => (one.error_code, one.node_id.0),
            None => (found.error_code, found.node_id.0),
        };
        recorder.refused_unless_ok(ErrorCode::from_code(code));
        (code == 0).then_some(node)
    }

    /// Asks it, in a version between the two; `None` when there was no answer.
    pub async fn ask(
        &mut self,
        client: &mut Client,
        recorder: &Recorder,
        (api, at_least, at_most): (ApiKey, i16, i16),
        timeout: Option<Duration>,
        request: impl FnOnce(i16) -> RequestKind,
    ) -> Option<ResponseKind> {
        let link = self.link(client, recorder).await?;
        let version = link.version(api, at_least, at_most)?;
        let timeout = timeout.unwrap_or(client.request_timeout);
        let answer = finish(begin(&link, version, request(version), timeout)).await;
        if answer.is_err() {
            self.forget();
        }
        answer.ok()
    }
}
