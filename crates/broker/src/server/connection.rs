//! One client's connection: frames in, frames out, in the same order.
//!
//! Any bytes may arrive. What is no request closes the connection, and nothing else
//! happens. While the client does not read its answers nothing more is read from it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use net::{FrameError, FrameReader, Stream, WriteHalf};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::dispatch::{self, RequestContext};
use crate::server::{Answer, Limits, ListenerSpec, Reply};

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

/// Serves `stream` until it ends.
pub(super) async fn serve(stream: Box<dyn Stream>, terms: Terms) {
    let peer = stream.peer_addr();
    let (read, write) = stream.split();
    let mut connection = Connection {
        frames: FrameReader::new(read, terms.limits.request_bytes_max),
        write,
        pending: FuturesOrdered::new(),
        last_active: Instant::now(),
        peer,
        terms,
    };
    let ended = connection.run().await;
    let listener = connection.terms.listener.name.as_str();
    match ended {
        Ended::Frame(FrameError::Length { .. }) | Ended::Request(_) => {
            tracing::info!(%peer, listener, reason = %ended, "closed a connection");
        }
        _ => tracing::debug!(%peer, listener, reason = %ended, "a connection ended"),
    }
}

struct Connection {
    frames: FrameReader,
    write: Box<dyn WriteHalf>,
    /// Second stages under way, in the order of their requests.
    pending: FuturesOrdered<BoxFuture<'static, (Envelope, Reply)>>,
    last_active: Instant,
    peer: SocketAddr,
    terms: Terms,
}

/// What a response needs to know of its request.
#[derive(Clone, Copy)]
struct Envelope {
    correlation_id: i32,
    api_key: i16,
    version: i16,
}

impl Connection {
    async fn run(&mut self) -> Ended {
        let draining = self.terms.draining.clone();
        // Registered once: a registration a request would meet all connections at one lock.
        let drained = draining.cancelled();
        tokio::pin!(drained);
        let idle_max = self.terms.limits.idle_max;
        let reaper = tokio::time::sleep(idle_max);
        tokio::pin!(reaper);
        loop {
            let room = self.pending.len() < self.terms.limits.pipelined_max && !draining.is_cancelled();
            let step = tokio::select! {
                Some((envelope, reply)) = self.pending.next() => self.send(envelope, reply).await,
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
                return ended;
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
        match dispatch::answer(&self.terms.context, asker, request.correlation_id, request.body).await {
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

    async fn send(&mut self, to: Envelope, reply: Reply) -> Result<(), Ended> {
        self.last_active = Instant::now();
        match reply {
            Reply::Silent => Ok(()),
            Reply::Close(reason) => Err(Ended::Refused(reason)),
            Reply::Message(message) => {
                let frame = dispatch::encode(to.correlation_id, to.api_key, to.version, &message)
                    .map_err(Ended::Request)?;
                Ok(self.write.write_all(&frame).await?)
            }
            Reply::Frame(frame) => Ok(self.write.write_all(&frame).await?),
            Reply::Body(chunks) => {
                let length = chunks.iter().map(super::Chunk::len).sum();
                let head = dispatch::encode_head(to.correlation_id, to.api_key, to.version, length)
                    .ok_or(Ended::Refused("the response is longer than a frame can be"))?;
                self.write.write_all(&head).await?;
                for chunk in &chunks {
                    chunk.write(self.write.as_mut()).await?;
                }
                Ok(())
            }
        }
    }
}
