//! The node's listeners: accept, bound, serve, and stop in order.
//!
//! One task a listener, one a connection; the server owns them all and awaits
//! their end. What a request means is decided in `dispatch` and `handlers`.

mod connection;
mod limits;
mod reply;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::task::Tasks;
use net::{Listener, Network, Place, Threads};
use tokio_util::sync::CancellationToken;
use wire::api::ListenerKind;

use crate::context::Context;
use crate::server::connection::{Connection, Terms};
use crate::server::limits::Census;

pub use limits::Limits;
pub use reply::{Answer, Chunk, Reply};

/// A listener as configured.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// Its name in `listeners`.
    pub name: String,
    /// Whom it serves.
    pub kind: ListenerKind,
    /// The address to bind, `host:port`; no host is every interface.
    pub address: String,
}

/// A listener that is bound.
pub struct BoundListener {
    /// What was asked for.
    pub spec: ListenerSpec,
    /// Where it is.
    pub local_addr: SocketAddr,
    listener: Box<dyn Listener>,
}

impl BoundListener {
    /// Binds `spec`. Nothing is accepted before [`Server::serve`].
    pub async fn bind(network: &dyn Network, spec: ListenerSpec) -> io::Result<Self> {
        let listener = network.bind(&spec.address).await?;
        let local_addr = listener.local_addr()?;
        Ok(Self { spec, local_addr, listener })
    }
}

/// The tasks that serve connections. Clones are one server.
#[derive(Clone)]
pub struct Server {
    tasks: Tasks,
    /// Connections of clients and brokers live on them.
    threads: Threads,
    census: Arc<Census>,
    limits: Arc<Limits>,
    /// No further connections or requests; what is under way is answered.
    draining: CancellationToken,
    /// Everything ends now.
    ended: CancellationToken,
}

/// After a failed accept (usually: no file descriptor is free), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    /// A server without listeners.
    pub fn new(limits: Limits, threads: Threads) -> Self {
        Self {
            tasks: Tasks::new(),
            threads,
            census: Arc::new(Census::new(&limits)),
            limits: Arc::new(limits),
            draining: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Accepts connections of `bound` from now on.
    pub fn serve(&self, bound: BoundListener, context: Arc<Context>) {
        let accepting = self.clone().accept(
            bound.listener,
            Terms {
                listener: Arc::new(bound.spec),
                context,
                limits: self.limits.clone(),
                draining: self.draining.clone(),
            },
        );
        self.tasks.spawn(accepting);
    }

    /// Accepts no more, lets answers under way finish for a while, then closes everything.
    pub async fn stop(&self) {
        self.draining.cancel();
        if tokio::time::timeout(self.limits.drain_max, self.tasks.ended()).await.is_err() {
            self.ended.cancel();
            self.tasks.ended().await;
        }
    }

    async fn accept(self, mut listener: Box<dyn Listener>, terms: Terms) {
        loop {
            let accepted = tokio::select! {
                () = self.draining.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(listener = terms.listener.name, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let peer = stream.peer_addr();
            let Some(admission) = self.census.admit(peer.ip()) else {
                tracing::warn!(listener = terms.listener.name, %peer, "too many connections: closed at once");
                continue;
            };
            // Votes and heartbeats do not wait behind clients.
            let place = match terms.listener.kind {
                ListenerKind::Controller => Place::default(),
                _ => self.threads.place(),
            };
            match Connection::new(stream, terms.clone(), place, admission) {
                Ok(connection) => self.keep(connection),
                Err(error) => tracing::warn!(listener = terms.listener.name, %peer, %error, "cannot serve"),
            }
        }
    }

    /// Serves a connection in a task of its own, wherever it goes.
    fn keep(&self, connection: Connection) {
        let (server, place) = (self.clone(), connection.place().clone());
        self.tasks.spawn_at(&place, async move {
            let moved = tokio::select! {
                moved = connection.serve() => moved,
                () = server.ended.cancelled() => None,
            };
            if let Some(connection) = moved {
                server.keep(connection);
            }
        });
    }
}
