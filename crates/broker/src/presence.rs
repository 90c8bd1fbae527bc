//! Notices that a broker's process is gone, faster than its session expires.
//!
//! The active controller holds a connection to every unfenced broker. When the
//! broker's process dies its kernel closes that connection; if then a new one to
//! the same port is refused, nothing lives there any more and the broker is
//! reported. Silence proves nothing (a cut cable, a paused machine): a timeout is
//! never reported, it is left to `broker.session.timeout.ms`.
//!
//! A refusal counts only where this watch was connected before, or where nothing
//! was heard of the broker since this controller took office. Otherwise a broker
//! whose advertised address does not lead to it would be fenced again and again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{BrokerEpoch, NodeId};
use net::task::Tasks;
use net::{FrameReader, Network};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between two dials that did not end in a connection or a refusal.
const REDIAL: Duration = Duration::from_millis(500);
/// Before the redial of a lost connection: the kernel of a dying process closes one socket after
/// another, and a host that accepts and closes at once must not make this a busy loop.
const LOST_PAUSE: Duration = Duration::from_millis(5);
/// A dial that takes longer says nothing.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// A broker sends nothing unasked: whatever comes, there is no need to hold much of it.
const BYTES_MAX: usize = 1 << 10;

/// A broker whose process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The broker.
    pub broker: NodeId,
    /// The registration that was watched: a newer one is another process.
    pub epoch: BrokerEpoch,
}

/// A broker to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// Where it listens.
    pub host: String,
    /// At which port.
    pub port: u16,
}

/// The watches of one controller's time in office. Ends them when dropped.
pub struct Presence {
    network: Arc<dyn Network>,
    gone: mpsc::Sender<Gone>,
    watches: BTreeMap<NodeId, Watch>,
    tasks: Tasks,
}

struct Watch {
    watched: Watched,
    heard: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Drop for Presence {
    fn drop(&mut self) {
        for watch in self.watches.values() {
            watch.stop.cancel();
        }
    }
}

impl Presence {
    /// No watches yet; findings go to `gone`, tasks belong to `tasks`.
    pub fn new(network: Arc<dyn Network>, gone: mpsc::Sender<Gone>, tasks: Tasks) -> Self {
        Self { network, gone, watches: BTreeMap::new(), tasks }
    }

    /// Watches exactly `brokers` from now on.
    pub fn watch(&mut self, brokers: BTreeMap<NodeId, Watched>) {
        self.watches.retain(|node, watch| {
            let stays = brokers.get(node) == Some(&watch.watched);
            if !stays {
                watch.stop.cancel();
            }
            stays
        });
        for (node, watched) in brokers {
            self.watches.entry(node).or_insert_with(|| {
                let (heard, stop) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
                let look =
                    look(self.network.clone(), node, watched.clone(), heard.clone(), self.gone.clone());
                let ended = stop.clone();
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = ended.cancelled() => {}
                        () = look => {}
                    }
                });
                Watch { watched, heard, stop }
            });
        }
    }

    /// `broker` was heard of: a port that refuses is no proof against it from now on, unless it
    /// accepted before.
    pub fn heard(&self, broker: NodeId) {
        if let Some(watch) = self.watches.get(&broker) {
            watch.heard.store(true, Ordering::Relaxed);
        }
    }
}

async fn look(
    network: Arc<dyn Network>,
    broker: NodeId,
    watched: Watched,
    heard: Arc<AtomicBool>,
    gone: mpsc::Sender<Gone>,
) {
    let mut was_connected = false;
    loop {
        let dial = async { network.connect(&watched.host, watched.port).await?.split() };
        match tokio::time::timeout(DIAL_MAX, dial).await {
            Ok(Ok((read, _write))) => {
                was_connected = true;
                // The write half is held, or the broker would see the connection end.
                let mut frames = FrameReader::new(read, BYTES_MAX);
                while matches!(frames.next().await, Ok(Some(_))) {}
                tokio::time::sleep(LOST_PAUSE).await;
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                if was_connected || !heard.load(Ordering::Relaxed) {
                    // Fails only when the office has ended.
                    let _ = gone.send(Gone { broker, epoch: watched.epoch }).await;
                    return;
                }
                tokio::time::sleep(REDIAL).await;
            }
            Ok(Err(_)) | Err(_) => tokio::time::sleep(REDIAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use model::{BrokerEpoch, NodeId};
    use net::Network;
    use net::pipe::PipeNetwork;
    use net::task::Tasks;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::{Gone, Presence, Watched};

    const BROKER: NodeId = NodeId::new(2);

    struct Office {
        network: PipeNetwork,
        presence: Presence,
        gone: mpsc::Receiver<Gone>,
    }

    fn office() -> Office {
        let network = PipeNetwork::new();
        let (found, gone) = mpsc::channel(4);
        let presence = Presence::new(Arc::new(network.host("controller")), found, Tasks::new());
        network.host("broker");
        Office { network, presence, gone }
    }

    impl Office {
        fn watch(&mut self) {
            let watched = Watched { epoch: BrokerEpoch::new(7), host: "broker".to_owned(), port: 9092 };
            self.presence.watch(BTreeMap::from([(BROKER, watched)]));
        }

        async fn check_found(&mut self, expected: Option<Gone>) {
            let found = timeout(Duration::from_secs(30), self.gone.recv()).await;
            assert_eq!(found.ok().flatten(), expected);
        }
    }

    const GONE: Option<Gone> = Some(Gone { broker: BROKER, epoch: BrokerEpoch::new(7) });

    #[tokio::test(start_paused = true)]
    async fn a_process_that_died_is_reported() {
        let mut office = office();
        let mut listener = office.network.host("broker").bind(":9092").await.expect("a free port");
        office.watch();
        let held = listener.accept().await.expect("the watch connects");
        office.check_found(None).await;
        office.network.kill("broker");
        office.check_found(GONE).await;
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_is_not_reported() {
        let mut office = office();
        let _listener = office.network.host("broker").bind(":9092").await.expect("a free port");
        office.watch();
        office.check_found(None).await;
        office.network.cut("broker");
        office.check_found(None).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_was_dead_before_the_office_began_is_reported() {
        let mut office = office();
        office.watch();
        office.check_found(GONE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_heard_but_cannot_be_dialled_is_not_reported() {
        let mut office = office();
        office.watch();
        office.presence.heard(BROKER);
        office.check_found(None).await;
    }
}
