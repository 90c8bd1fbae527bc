//! The client side of a Kafka connection.
//!
//! Requests are pipelined and matched to responses by correlation id. A request
//! that is cancelled or times out closes the connection: its late response must
//! never answer another request. Once closed, every waiter fails and the caller
//! dials again; there is no hidden reconnect.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::api::ApiKey;
use wire::messages::{RequestKind, ResponseKind, StrBytes};

use crate::frames::FrameReader;
use crate::seams::{Network, Stream, WriteHalf};
use crate::task;

/// Requests written or waiting for their response at one time; further ones wait their turn.
const IN_FLIGHT_MAX: usize = 256;
/// Small frames that wait together leave in one write up to this size.
const WRITE_BYTES: usize = 64 << 10;

/// How a connection is made and bounded.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// What the requests' headers say who is asking.
    pub client_id: String,
    /// For the dial, name resolution included.
    pub connect_timeout: Duration,
    /// The largest response accepted.
    pub response_bytes_max: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            client_id: "kastle".to_owned(),
            connect_timeout: Duration::from_secs(10),
            response_bytes_max: 256 << 20,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network said no.
    #[error("cannot connect to {host}:{port}: {source}")]
    Io {
        /// Whom it dialled.
        host: String,
        /// At which port.
        port: u16,
        /// What the network said.
        source: io::Error,
    },
    /// Nobody answered.
    #[error("cannot connect to {host}:{port}: no answer within {} ms", .after.as_millis())]
    TimedOut {
        /// Whom it dialled.
        host: String,
        /// At which port.
        port: u16,
        /// How long it waited.
        after: Duration,
    },
}

impl ConnectError {
    /// Whether the host is there and nothing listens: the process is gone.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Why a request has no response, or could not be sent. All but `Encode` leave the connection closed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection closed before the response came.
    #[error("the connection to {peer} is closed: {reason}")]
    Closed {
        /// The other end.
        peer: String,
        /// Why.
        reason: Arc<str>,
    },
    /// The response did not come in time.
    #[error("{peer} did not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// The other end.
        peer: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The request cannot be written in that version.
    #[error("the request cannot be encoded: {0}")]
    Encode(String),
    /// The response cannot be read.
    #[error("the response of {peer} cannot be decoded: {reason}")]
    Decode {
        /// The other end.
        peer: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One connection. Requests may be sent from many tasks at once.
pub struct Connection {
    shared: Arc<Shared>,
    /// Ends when the connection does; aborted with the last handle.
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.close("it was dropped");
        self.task.abort();
    }
}

struct Shared {
    peer: String,
    client_id: StrBytes,
    next_id: AtomicI32,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    /// Bounds both `outgoing` and `waiting`.
    in_flight: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    closing: CancellationToken,
}

/// A frame on its way to the wire.
struct Outgoing {
    frame: Vec<u8>,
    /// Where no response will come: who hears that the frame was written.
    one_way: Option<OneWay>,
}

struct OneWay {
    written: oneshot::Sender<()>,
    /// Held by the frame and not by its sender, who may give up while it still waits in the queue.
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Waiting {
    closed: Option<Arc<str>>,
    by_id: BTreeMap<i32, oneshot::Sender<Bytes>>,
}

impl Connection {
    /// Dials `host:port`.
    pub async fn connect(
        network: &dyn Network,
        host: &str,
        port: u16,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let after = options.connect_timeout;
        let Ok(connected) = tokio::time::timeout(after, network.connect(host, port)).await else {
            return Err(ConnectError::TimedOut { host: host.to_owned(), port, after });
        };
        connected
            .and_then(|stream| Self::over(stream, format!("{host}:{port}"), options))
            .map_err(|source| ConnectError::Io { host: host.to_owned(), port, source })
    }

    /// Speaks over `stream`, whose other end messages call `peer`.
    pub fn over(stream: Box<dyn Stream>, peer: String, options: &ConnectOptions) -> io::Result<Self> {
        let (read, write) = stream.split()?;
        let (outgoing, queued) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            peer,
            client_id: StrBytes::from_string(options.client_id.clone()),
            next_id: AtomicI32::new(0),
            outgoing,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            waiting: Mutex::default(),
            closing: CancellationToken::new(),
        });
        let frames = FrameReader::new(read, options.response_bytes_max);
        let task = task::spawn(run(shared.clone(), frames, write, queued));
        Ok(Self { shared, task })
    }

    /// Sends `request` in `version` and awaits its response.
    pub async fn send(
        &self,
        version: i16,
        request: impl Into<RequestKind>,
        timeout: Duration,
    ) -> Result<ResponseKind, SendError> {
        let request = request.into();
        let api = api_of(&request)?;
        let encode = |id: i32, client_id: &StrBytes| encode(id, client_id, version, &request);
        let body = self.exchange(encode, timeout).await?;
        wire::client::decode_response_body(api, version, body).map_err(|error| {
            let reason = error.to_string();
            self.shared.close(&reason);
            SendError::Decode { peer: self.shared.peer.clone(), reason }
        })
    }

    /// Sends `request` in `version`, to which no response will come (Produce with `acks=0`). Returns once
    /// its bytes were handed to the network; what becomes of them nobody says, unless the other end
    /// closes the connection. Waits its turn among the requests in flight like any other.
    pub async fn send_one_way(
        &self,
        version: i16,
        request: impl Into<RequestKind>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        let request = request.into();
        let encode = |id: i32, client_id: &StrBytes| encode(id, client_id, version, &request);
        self.within(timeout, self.shared.one_way(encode)).await
    }

    /// Sends `body` under a version-1 header, the one of inflexible requests, and awaits the
    /// response's body. For APIs that no message type exists for.
    pub async fn send_raw(
        &self,
        api_key: i16,
        version: i16,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Bytes, SendError> {
        let encode = |id: i32, client_id: &StrBytes| Ok(raw_frame(api_key, version, id, client_id, body));
        self.exchange(encode, timeout).await
    }

    /// Sends what `encode` makes of a correlation id and the client id, a whole frame; awaits the
    /// response frame after its correlation id.
    async fn exchange(
        &self,
        encode: impl FnOnce(i32, &StrBytes) -> Result<Vec<u8>, SendError>,
        timeout: Duration,
    ) -> Result<Bytes, SendError> {
        self.within(timeout, self.shared.exchange(encode)).await
    }

    /// Awaits `sending`; closes the connection when that takes too long.
    async fn within<T>(
        &self,
        timeout: Duration,
        sending: impl Future<Output = Result<T, SendError>>,
    ) -> Result<T, SendError> {
        let mut sending = std::pin::pin!(sending);
        let sent = tokio::time::timeout(timeout, sending.as_mut()).await;
        sent.unwrap_or_else(|_| {
            // Before the exchange is dropped, so that others hear the cause and not "cancelled".
            self.shared.close("a request timed out");
            Err(SendError::TimedOut { peer: self.shared.peer.clone(), after: timeout })
        })
    }

    /// Whom it speaks to, `host:port`.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// Whether it has closed.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed.is_some()
    }

    /// Returns once it has closed, from either end.
    pub async fn closed(&self) {
        self.shared.closing.cancelled().await;
    }

    /// Closes it; every waiter fails.
    pub fn close(&self) {
        self.shared.close("it was closed by this end");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of this lock panics")
    }

    fn close(&self, reason: &str) {
        let mut waiting = self.lock();
        waiting.closed.get_or_insert_with(|| reason.into());
        // Dropping the senders is what fails the waiters.
        waiting.by_id.clear();
        drop(waiting);
        self.closing.cancel();
    }

    fn closed_error(&self) -> SendError {
        let reason = self.lock().closed.clone().unwrap_or_else(|| "unknown".into());
        SendError::Closed { peer: self.peer.clone(), reason }
    }

    /// Has the response to `id` go to `answer`; false once closed.
    fn wait_for(&self, id: i32, answer: oneshot::Sender<Bytes>) -> bool {
        let mut waiting = self.lock();
        let open = waiting.closed.is_none();
        if open {
            waiting.by_id.insert(id, answer);
        }
        open
    }

    async fn exchange(
        &self,
        encode: impl FnOnce(i32, &StrBytes) -> Result<Vec<u8>, SendError>,
    ) -> Result<Bytes, SendError> {
        let _permit = self.in_flight.acquire().await.expect("the semaphore is never closed");
        let id = self.next_id();
        let frame = encode(id, &self.client_id)?;
        let (answer, answered) = oneshot::channel();
        if !self.wait_for(id, answer) {
            return Err(self.closed_error());
        }
        let mut unanswered = Unanswered { shared: Some(self) };
        if self.outgoing.send(Outgoing { frame, one_way: None }).is_err() {
            unanswered.shared = None;
            return Err(self.closed_error());
        }
        let outcome = answered.await;
        unanswered.shared = None;
        outcome.map_err(|_| self.closed_error())
    }

    async fn one_way(
        &self,
        encode: impl FnOnce(i32, &StrBytes) -> Result<Vec<u8>, SendError>,
    ) -> Result<(), SendError> {
        let permit = self.in_flight.clone().acquire_owned().await.expect("the semaphore is never closed");
        let frame = encode(self.next_id(), &self.client_id)?;
        if self.lock().closed.is_some() {
            return Err(self.closed_error());
        }
        let (written, heard) = oneshot::channel();
        let one_way = Some(OneWay { written, _permit: permit });
        // A frame that cannot be queued is dropped, and its sender hears so below.
        let _ = self.outgoing.send(Outgoing { frame, one_way });
        heard.await.map_err(|_| self.closed_error())
    }

    fn next_id(&self) -> i32 {
        self.next_id.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }
}

fn api_of(request: &RequestKind) -> Result<ApiKey, SendError> {
    wire::request::api_of(request)
        .ok_or_else(|| SendError::Encode("no API of this kind is spoken here".to_owned()))
}

fn encode(id: i32, client_id: &StrBytes, version: i16, request: &RequestKind) -> Result<Vec<u8>, SendError> {
    let mut frame = Vec::new();
    wire::client::encode_request(id, Some(client_id), api_of(request)?, version, request, &mut frame)
        .map_err(|error| SendError::Encode(error.to_string()))?;
    Ok(frame)
}

/// Closes the connection when a request is given up before its response came.
struct Unanswered<'a> {
    shared: Option<&'a Shared>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared {
            shared.close("a request was cancelled");
        }
    }
}

fn raw_frame(api_key: i16, version: i16, id: i32, client_id: &str, body: &[u8]) -> Vec<u8> {
    let client = client_id.as_bytes();
    let client_length = i16::try_from(client.len()).expect("client ids are our own and short");
    let length = 2 + 2 + 4 + 2 + client.len() + body.len();
    let mut frame = Vec::with_capacity(4 + length);
    frame.extend_from_slice(&u32::try_from(length).expect("requests are below 2 GiB").to_be_bytes());
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&id.to_be_bytes());
    frame.extend_from_slice(&client_length.to_be_bytes());
    frame.extend_from_slice(client);
    frame.extend_from_slice(body);
    frame
}

async fn run(
    shared: Arc<Shared>,
    frames: FrameReader,
    write: Box<dyn WriteHalf>,
    queued: mpsc::UnboundedReceiver<Outgoing>,
) {
    let reason = tokio::select! {
        reason = receive(&shared, frames) => reason,
        error = transmit(write, queued) => error.to_string(),
        () = shared.closing.cancelled() => return,
    };
    shared.close(&reason);
}

/// Hands responses to their waiters; answers why it ended.
async fn receive(shared: &Shared, mut frames: FrameReader) -> String {
    loop {
        let mut frame = match frames.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return "the other end closed it".to_owned(),
            Err(error) => return error.to_string(),
        };
        if frame.len() < 4 {
            return format!("a response of {} bytes has no correlation id", frame.len());
        }
        let id = frame.get_i32();
        let Some(waiter) = shared.lock().by_id.remove(&id) else {
            return format!("a response came for correlation id {id}, which nobody waits for");
        };
        // A waiter that just gave up has closed the connection already.
        let _ = waiter.send(frame);
    }
}

/// Writes what is queued; answers why it ended.
async fn transmit(mut write: Box<dyn WriteHalf>, mut queued: mpsc::UnboundedReceiver<Outgoing>) -> io::Error {
    while let Some(Outgoing { frame: mut frames, one_way }) = queued.recv().await {
        let mut one_ways: Vec<OneWay> = one_way.into_iter().collect();
        while frames.len() < WRITE_BYTES {
            let Ok(more) = queued.try_recv() else { break };
            frames.extend_from_slice(&more.frame);
            one_ways.extend(more.one_way);
        }
        if let Err(error) = write.write_all(&frames).await {
            return error;
        }
        for one_way in one_ways {
            // Whoever gave up meanwhile has closed the connection, or does not care.
            let _ = one_way.written.send(());
        }
    }
    io::ErrorKind::BrokenPipe.into()
}

#[cfg(test)]
mod tests;
