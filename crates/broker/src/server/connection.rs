//! One client's connection: frames in, frames out, in the same order.
//!
//! Any bytes may arrive. What is no request closes the connection, and nothing else
//! happens. While the client does not read its answers nothing more is read from it.
//!
//! Answers to requests that came together leave together: a system call each would be
//! most of what a small request costs. None waits for a request that is still to come,
//! nor for one whose first stage takes time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use net::{FrameError, FrameReader, Place, Stream, WriteHalf};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::dispatch::{self, Body, RequestContext};
use crate::server::limits::Admission;
use crate::server::{Answer, Chunk, Limits, ListenerSpec, Reply};

/// Answers that wait for each other leave when they are as many bytes.
const TOGETHER_BYTES_MAX: usize = 16 << 10;

/// What every connection of a listener shares.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) listener: Arc<ListenerSpec>,
    pub(super) context: Arc<Context>,
    pub(super) limits: Arc<Limits>,
    pub(super) draining: CancellationToken,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client closed it")]
    ByClient,
    #[error("idle for too long")]
    Idle,
    #[error("the node stops")]
    Draining,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("not a request: {0}")]
    Request(String),
    #[error("{0}")]
    Refused(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One client's connection.
pub(super) struct Connection {
    /// Whose task serves it.
    place: Place,
    frames: FrameReader,
    write: Box<dyn WriteHalf>,
    /// Answers that are still to be written.
    outgoing: Vec<u8>,
    /// Second stages under way, in the order of their requests.
    pending: FuturesOrdered<BoxFuture<'static, (Envelope, Reply)>>,
    last_active: Instant,
    peer: SocketAddr,
    terms: Terms,
    /// Its place among all connections.
    _admission: Admission,
}

/// What a response needs to know of its request.
#[derive(Clone, Copy)]
struct Envelope {
    correlation_id: i32,
    api_key: i16,
    version: i16,
}

impl Connection {
    /// A connection that is to be served at `place`.
    pub(super) fn new(
        stream: Box<dyn Stream>,
        terms: Terms,
        place: Place,
        admission: Admission,
    ) -> io::Result<Self> {
        let peer = stream.peer_addr();
        let (read, write) = place.split(stream)?;
        Ok(Self {
            place,
            frames: FrameReader::new(read, terms.limits.request_bytes_max),
            write,
            outgoing: Vec::new(),
            pending: FuturesOrdered::new(),
            last_active: Instant::now(),
            peer,
            terms,
            _admission: admission,
        })
    }

    /// Where it is to be served.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Serves it until it ends, or until it is better served elsewhere.
    pub(super) async fn serve(mut self) -> Option<Self> {
        let (peer, listener) = (self.peer, self.terms.listener.clone());
        let served = match self.run().await {
            Ok(place) => self.moved_to(place),
            Err(ended) => Err(ended),
        };
        let ended = match served {
            Ok(moved) => return Some(moved),
            Err(ended) => ended,
        };
        let listener = listener.name.as_str();
        match ended {
            Ended::Frame(FrameError::Length { .. }) | Ended::Request(_) => {
                tracing::info!(%peer, listener, reason = %ended, "closed a connection");
            }
            _ => tracing::debug!(%peer, listener, reason = %ended, "a connection ended"),
        }
        None
    }

    /// The same connection, requests under way included, for a task at `place`.
    fn moved_to(mut self, place: Place) -> Result<Self, Ended> {
        match self.write.rejoin() {
            Ok(stream) => {
                let (read, write) = place.split(stream)?;
                self.frames.read_through(read);
                Ok(Self { write, place, ..self })
            }
            Err(write) => Ok(Self { write, ..self }),
        }
    }

    /// Answers where to go on, once another place is better.
    async fn run(&mut self) -> Result<Place, Ended> {
        let draining = self.terms.draining.clone();
        // Registered once: a registration a request would meet all connections at one lock.
        let drained = draining.cancelled();
        tokio::pin!(drained);
        let idle_max = self.terms.limits.idle_max;
        let reaper = tokio::time::sleep(idle_max);
        tokio::pin!(reaper);
        loop {
            let room = self.pending.len() < self.terms.limits.pipelined_max && !draining.is_cancelled();
            let better = self.place.better(self.last_active);
            if better.is_some() || !(room && self.frames.has_next()) {
                flush(&mut self.outgoing, self.write.as_mut()).await?;
            }
            if let Some(place) = better {
                return Ok(place);
            }
            let step = tokio::select! {
                Some((envelope, reply)) = self.pending.next() => self.send_ready(envelope, reply).await,
                frame = self.frames.next(), if room => match frame {
                    Ok(Some(frame)) => self.take(frame).await,
                    Ok(None) => Err(Ended::ByClient),
                    Err(error) => Err(error.into()),
                },
                () = &mut drained, if self.pending.is_empty() => Err(Ended::Draining),
                () = &mut reaper => {
                    // The clock is not touched per request: look back when the alarm rings.
                    let idle_since = self.last_active;
                    reaper.as_mut().reset(idle_since + idle_max);
                    let idle = self.pending.is_empty() && idle_since.elapsed() >= idle_max;
                    if idle { Err(Ended::Idle) } else { Ok(()) }
                }
            };
            if let Err(ended) = step {
                // What was answered before stays answered, if the client still listens.
                let _ = flush(&mut self.outgoing, self.write.as_mut()).await;
                return Err(ended);
            }
        }
    }

    /// One request's first stage.
    async fn take(&mut self, frame: Bytes) -> Result<(), Ended> {
        self.last_active = Instant::now();
        let request = dispatch::decode(frame, self.terms.listener.kind).map_err(Ended::Request)?;
        let envelope = Envelope {
            correlation_id: request.correlation_id,
            api_key: request.api_key,
            version: request.version,
        };
        let asker = RequestContext {
            api_key: request.api_key,
            version: request.version,
            client_id: request.client_id,
            peer: self.peer,
            listener: self.terms.listener.clone(),
        };
        match self.answer(asker, request.correlation_id, request.body).await? {
            Answer::Now(reply) if self.pending.is_empty() => self.send(envelope, reply).await,
            Answer::Now(reply) => {
                self.pending.push_back(Box::pin(std::future::ready((envelope, reply))));
                Ok(())
            }
            Answer::Later(later) => {
                self.pending.push_back(Box::pin(async move { (envelope, later.await) }));
                Ok(())
            }
        }
    }

    /// A request's first stage. What was answered before does not wait for one that takes time.
    async fn answer(&mut self, asker: RequestContext, id: i32, body: Body) -> Result<Answer, Ended> {
        let answering = dispatch::answer(&self.terms.context, asker, id, body);
        tokio::pin!(answering);
        if let Some(answer) = answering.as_mut().now_or_never() {
            return Ok(answer);
        }
        flush(&mut self.outgoing, self.write.as_mut()).await?;
        Ok(answering.await)
    }

    /// Sends an answer, and those behind it that are there too.
    async fn send_ready(&mut self, to: Envelope, reply: Reply) -> Result<(), Ended> {
        self.send(to, reply).await?;
        while let Some(Some((to, reply))) = self.pending.next().now_or_never() {
            self.send(to, reply).await?;
        }
        Ok(())
    }

    async fn send(&mut self, to: Envelope, reply: Reply) -> Result<(), Ended> {
        self.last_active = Instant::now();
        match reply {
            Reply::Silent => return Ok(()),
            Reply::Close(reason) => return Err(Ended::Refused(reason)),
            Reply::Message(message) => {
                dispatch::encode(to.correlation_id, to.api_key, to.version, &message, &mut self.outgoing)
                    .map_err(Ended::Request)?;
            }
            Reply::Frame(frame) => self.outgoing.extend_from_slice(&frame),
            Reply::Body(chunks) => self.send_body(to, &chunks).await?,
        }
        if self.outgoing.len() >= TOGETHER_BYTES_MAX {
            flush(&mut self.outgoing, self.write.as_mut()).await?;
        }
        Ok(())
    }

    async fn send_body(&mut self, to: Envelope, chunks: &[Chunk]) -> Result<(), Ended> {
        let length = chunks.iter().map(Chunk::len).sum();
        dispatch::encode_head(to.correlation_id, to.api_key, to.version, length, &mut self.outgoing)
            .ok_or(Ended::Refused("the response is longer than a frame can be"))?;
        for chunk in chunks {
            match chunk {
                Chunk::Bytes(bytes) if self.outgoing.len() + bytes.len() <= TOGETHER_BYTES_MAX => {
                    self.outgoing.extend_from_slice(bytes);
                }
                chunk => {
                    flush(&mut self.outgoing, self.write.as_mut()).await?;
                    chunk.write(self.write.as_mut(), &self.terms.context.blocking).await?;
                }
            }
        }
        Ok(())
    }
}

/// Writes the answers that wait.
async fn flush(outgoing: &mut Vec<u8>, write: &mut dyn WriteHalf) -> io::Result<()> {
    if outgoing.is_empty() {
        return Ok(());
    }
    // Given away, so that an idle connection holds nothing.
    let outgoing = std::mem::take(outgoing);
    write.write_all(&outgoing).await
}
