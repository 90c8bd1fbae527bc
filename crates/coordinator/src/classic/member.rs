//! A member of a classic group.

use std::sync::Arc;
use std::time::Duration;

use proto::offsets::MemberMetadata;
use wire::messages::{Bytes, JoinGroupRequest, StrBytes, text};

use crate::alarm::Alarm;
use crate::call::{Caller, Client};

/// A way to divide what there is, and what the member has to say to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name.
    pub name: StrBytes,
    /// The member's own bytes: a consumer's subscription.
    pub metadata: Bytes,
}

/// What a member waits for; both at once cannot be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing.
    #[default]
    Nothing,
    /// That all have joined.
    Join(Caller),
    /// Its assignment.
    Sync(Caller),
}

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its id.
    pub id: StrBytes,
    /// Its instance, when it is a static member (KIP-345).
    pub instance: Option<StrBytes>,
    /// Who it said it is.
    pub client: Client,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// How long it needs to come back in a rebalance.
    pub rebalance_timeout_ms: i32,
    /// What it can do, what it likes best first.
    pub protocols: Arc<[Protocol]>,
    /// What it was given.
    pub assignment: Bytes,
    pub(crate) waiting: Waiting,
    /// It joins for the first time and cannot heartbeat yet, so it may time out while it waits.
    pub(crate) is_new: bool,
    pub(crate) alarm: Alarm,
}

/// A copy that does not pin the frame it came in.
pub(crate) fn own(value: &StrBytes) -> StrBytes {
    text(value.as_str())
}

/// The request's protocols, copied.
pub(crate) fn protocols(request: &JoinGroupRequest) -> Arc<[Protocol]> {
    let copy =
        |name: &StrBytes, metadata| Protocol { name: own(name), metadata: Bytes::copy_from_slice(metadata) };
    request.protocols.iter().map(|protocol| copy(&protocol.name, &protocol.metadata)).collect()
}

/// The request's rebalance timeout; version 0 has none, and the session's counts.
pub(crate) fn rebalance_timeout_ms(request: &JoinGroupRequest) -> i32 {
    match request.rebalance_timeout_ms {
        -1 => request.session_timeout_ms,
        timeout => timeout.max(0),
    }
}

impl Member {
    /// Who joins with `request` under `id`.
    pub(crate) fn joining(id: StrBytes, client: &Client, request: &JoinGroupRequest, caller: Caller) -> Self {
        Self {
            id,
            instance: request.group_instance_id.as_ref().map(own),
            client: Client { id: own(&client.id), host: own(&client.host) },
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: rebalance_timeout_ms(request),
            protocols: protocols(request),
            assignment: Bytes::new(),
            waiting: Waiting::Join(caller),
            is_new: true,
            alarm: Alarm::default(),
        }
    }

    /// A member as it was written. Of its protocols only the group's is known.
    pub(crate) fn from_value(value: &MemberMetadata, protocol: &str) -> Self {
        let metadata = Bytes::copy_from_slice(&value.subscription);
        let rebalance_timeout_ms = match value.rebalance_timeout {
            -1 => value.session_timeout,
            timeout => timeout,
        };
        Self {
            id: text(&value.member_id),
            instance: value.group_instance_id.as_deref().map(text),
            client: Client { id: text(&value.client_id), host: text(&value.client_host) },
            session_timeout_ms: value.session_timeout,
            rebalance_timeout_ms,
            protocols: Arc::new([Protocol { name: text(protocol), metadata }]),
            assignment: Bytes::copy_from_slice(&value.assignment),
            waiting: Waiting::Nothing,
            is_new: false,
            alarm: Alarm::default(),
        }
    }

    /// What it told of `protocol`; nothing when it does not know it.
    pub fn metadata(&self, protocol: &StrBytes) -> &Bytes {
        static NOTHING: Bytes = Bytes::new();
        let known = self.protocols.iter().find(|known| known.name == *protocol);
        known.map_or(&NOTHING, |known| &known.metadata)
    }

    /// Whether it comes back unchanged.
    pub(crate) fn matches(&self, request: &JoinGroupRequest) -> bool {
        let same =
            |(own, asked): (&Protocol, &wire::messages::join_group_request::JoinGroupRequestProtocol)| {
                own.name == asked.name && own.metadata == asked.metadata
            };
        self.protocols.len() == request.protocols.len()
            && self.protocols.iter().zip(&request.protocols).all(same)
    }

    /// How long it may be silent.
    pub(crate) fn session_timeout(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.session_timeout_ms).unwrap_or(0))
    }
}
