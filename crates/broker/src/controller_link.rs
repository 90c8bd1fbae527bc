//! The way to the active controller, wherever it is.
//!
//! When this node is the controller, requests go to its loop in process; else over
//! one connection that everybody shares. A controller that lost its office says
//! NOT_CONTROLLER, a dead one closes the connection: both are retried with whoever
//! leads next, until the request's deadline. Requests must bear being sent twice;
//! Kafka's do.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use model::{ErrorCode, NodeId};
use net::{ConnectError, ConnectOptions, Connection, Network, SendError};
use tokio::sync::watch;
use tokio::time::Instant;
use wire::messages::{EnvelopeRequest, RequestKind, ResponseKind};

use crate::controller_loop::ControllerHandle;
use crate::dispatch::RequestContext;

const ENVELOPE_VERSION: i16 = 0;
/// Before asking again after a refusal, unless the leader changes first.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// Where the active controller is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Office {
    /// Nobody knows at the moment.
    #[default]
    Vacant,
    /// In this process.
    Here,
    /// At another node's controller listener.
    At {
        /// The node.
        node: NodeId,
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// Why the controller did not answer in time.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No controller was there.
    #[error("no active controller is known")]
    Vacant,
    /// The one asked is none, or none any more.
    #[error("the controller that was asked is not active")]
    NotController,
    /// It could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It did not answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The request cannot be forwarded, or its answer not be read: no use in trying again.
    #[error("the request cannot be forwarded: {0}")]
    Unreadable(String),
    /// The node stops.
    #[error("this node stops")]
    Stopping,
}

impl LinkError {
    /// What a client is told when it waited in vain.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Vacant | Self::NotController | Self::Connect(_) | Self::Send(_) => {
                ErrorCode::RequestTimedOut
            }
            Self::Unreadable(_) => ErrorCode::UnknownServerError,
            Self::Stopping => ErrorCode::NotController,
        }
    }
}

/// Sends requests to the active controller. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct ControllerLink {
    inner: Arc<Inner>,
}

struct Inner {
    network: Arc<dyn Network>,
    options: ConnectOptions,
    office: watch::Receiver<Office>,
    local: Option<ControllerHandle>,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl ControllerLink {
    /// A link that follows `office`; `local` is the controller loop of this node, if it has one.
    pub fn new(
        network: Arc<dyn Network>,
        options: ConnectOptions,
        office: watch::Receiver<Office>,
        local: Option<ControllerHandle>,
    ) -> Self {
        Self { inner: Arc::new(Inner { network, options, office, local, connection: Mutex::default() }) }
    }

    /// A link with a connection of its own: its requests wait behind nobody else's.
    pub fn separate(&self) -> Self {
        let Inner { network, options, office, local, .. } = self.inner.as_ref();
        Self::new(network.clone(), options.clone(), office.clone(), local.clone())
    }

    /// Where the controller is now.
    pub fn office(&self) -> Office {
        self.inner.office.borrow().clone()
    }

    /// Returns when the controller has moved.
    pub async fn moved(&self) {
        let mut office = self.inner.office.clone();
        office.mark_unchanged();
        if office.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Asks the active controller, whoever that is or becomes, until `deadline`.
    pub async fn request(
        &self,
        version: i16,
        request: impl Into<RequestKind>,
        deadline: Instant,
    ) -> Result<ResponseKind, LinkError> {
        let request = request.into();
        self.retry(deadline, || self.attempt(version, &request, None, deadline)).await
    }

    /// Has the active controller answer a client's request (KIP-590), until `deadline`.
    pub async fn forward(
        &self,
        asker: &RequestContext,
        request: RequestKind,
        deadline: Instant,
    ) -> Result<ResponseKind, LinkError> {
        self.retry(deadline, || self.attempt(asker.version, &request, Some(asker), deadline)).await
    }

    async fn retry<'a, F>(
        &'a self,
        deadline: Instant,
        attempt: impl Fn() -> F,
    ) -> Result<ResponseKind, LinkError>
    where
        F: Future<Output = Result<ResponseKind, LinkError>> + 'a,
    {
        loop {
            let mut office = self.inner.office.clone();
            office.mark_unchanged();
            let error = match attempt().await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if Instant::now() >= deadline || matches!(error, LinkError::Unreadable(_)) {
                return Err(error);
            }
            let pause = match error {
                LinkError::Vacant => deadline,
                _ => deadline.min(Instant::now() + RETRY_PAUSE),
            };
            if let Ok(Err(_)) = tokio::time::timeout_at(pause, office.changed()).await {
                return Err(LinkError::Stopping);
            }
        }
    }

    /// Asks whoever is the controller now, once; in an envelope when it is for a client.
    async fn attempt(
        &self,
        version: i16,
        request: &RequestKind,
        client: Option<&RequestContext>,
        deadline: Instant,
    ) -> Result<ResponseKind, LinkError> {
        match self.office() {
            Office::Vacant => Err(LinkError::Vacant),
            Office::Here => {
                let local = self.inner.local.as_ref().ok_or(LinkError::NotController)?;
                let decided = local.decide(version, request.clone());
                match tokio::time::timeout_at(deadline, decided).await {
                    Ok(answer) => answer.map_err(|_| LinkError::NotController),
                    Err(_) => Err(LinkError::Vacant),
                }
            }
            Office::At { host, port, .. } => {
                let left = deadline.saturating_duration_since(Instant::now());
                let connection = self.connection(&host, port, left).await?;
                match client {
                    Some(client) => enveloped(&connection, client, request, left).await,
                    None => {
                        let response = connection.send(version, request.clone(), left).await?;
                        if is_refusal(&response) { Err(LinkError::NotController) } else { Ok(response) }
                    }
                }
            }
        }
    }

    async fn connection(
        &self,
        host: &str,
        port: u16,
        within: Duration,
    ) -> Result<Arc<Connection>, LinkError> {
        let there = format!("{host}:{port}");
        let shared = self.inner.connection.lock().expect("no holder of this lock panics").clone();
        if let Some(open) = shared.filter(|open| open.peer() == there && !open.is_closed()) {
            return Ok(open);
        }
        let mut options = self.inner.options.clone();
        options.connect_timeout = options.connect_timeout.min(within);
        let dialled = Connection::connect(self.inner.network.as_ref(), host, port, &options).await?;
        let dialled = Arc::new(dialled);
        // Two may dial at once; each is served by the one it made, the later one stays.
        *self.inner.connection.lock().expect("no holder of this lock panics") = Some(dialled.clone());
        Ok(dialled)
    }
}

/// The principal of a connection without authentication, as Kafka's brokers write it: version 0,
/// type "User", name "ANONYMOUS", no token.
const ANONYMOUS: &[u8] = b"\0\0\x05User\x0aANONYMOUS\0\0";

async fn enveloped(
    connection: &Connection,
    client: &RequestContext,
    request: &RequestKind,
    within: Duration,
) -> Result<ResponseKind, LinkError> {
    let api = wire::request::api_of(request).ok_or(LinkError::Unreadable("no such API".to_owned()))?;
    let mut frame = Vec::new();
    wire::client::encode_request(0, client.client_id.as_ref(), api, client.version, request, &mut frame)
        .map_err(|error| LinkError::Unreadable(error.to_string()))?;
    let address = match client.peer.ip() {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    };
    let envelope = EnvelopeRequest::default()
        .with_request_data(Bytes::from(frame).slice(wire::frame::LENGTH_BYTES..))
        .with_request_principal(Some(Bytes::from_static(ANONYMOUS)))
        .with_client_host_address(address);
    let ResponseKind::Envelope(response) = connection.send(ENVELOPE_VERSION, envelope, within).await? else {
        return Err(LinkError::Unreadable("the envelope came back as something else".to_owned()));
    };
    match (ErrorCode::from_code(response.error_code), response.response_data) {
        (ErrorCode::None, Some(data)) => {
            let decoded = wire::client::decode_response(api, client.version, data);
            decoded.map(|(_, response)| response).map_err(|error| LinkError::Unreadable(error.to_string()))
        }
        (ErrorCode::NotController, _) => Err(LinkError::NotController),
        (code, _) => Err(LinkError::Unreadable(format!("the envelope was refused: {code}"))),
    }
}

/// Whether a response says nothing but "not me".
fn is_refusal(response: &ResponseKind) -> bool {
    let code = match response {
        ResponseKind::Envelope(response) => response.error_code,
        ResponseKind::BrokerRegistration(response) => response.error_code,
        ResponseKind::BrokerHeartbeat(response) => response.error_code,
        ResponseKind::AlterPartition(response) => response.error_code,
        ResponseKind::AllocateProducerIds(response) => response.error_code,
        ResponseKind::ControllerRegistration(response) => response.error_code,
        ResponseKind::AssignReplicasToDirs(response) => response.error_code,
        _ => return false,
    };
    code == ErrorCode::NotController.code()
}
