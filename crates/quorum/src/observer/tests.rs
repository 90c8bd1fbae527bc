//! Observers behind three voters: they see what the voters see, whoever dies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::disk::{Crash, MemDisk};
use model::{NodeId, Offset, Uuid};
use net::SystemClock;
use net::pipe::PipeNetwork;

use super::{ControllerSource, Observer, ObserverOptions};
use crate::options::{Blocking, Tuning};
use crate::testbed::{THREE, Toy, Trio, run, small};
use crate::voters::Voters;

/// An observer whose disk outlives it.
struct Watcher {
    disk: MemDisk,
    network: PipeNetwork,
    controllers: ControllerSource,
    tuning: Tuning,
}

impl Watcher {
    fn of(trio: &Trio, controllers: ControllerSource) -> Self {
        let (network, tuning) = (trio.nodes[0].network.clone(), trio.nodes[0].tuning.clone());
        Self { disk: MemDisk::new(), network, controllers, tuning }
    }

    async fn start(&self) -> (Observer, Toy) {
        let options = ObserverOptions {
            node: NodeId::new(9),
            directory: Uuid::from_u128(9),
            cluster: Uuid::from_u128(77).into(),
            log_dir: PathBuf::from("/data"),
            controllers: self.controllers.clone(),
            listener: "CONTROLLER".to_owned(),
            disk: Arc::new(self.disk.clone()),
            network: Arc::new(self.network.host("n9")),
            clock: Arc::new(SystemClock::new()),
            blocking: Blocking::Inline,
            tuning: self.tuning.clone(),
        };
        let toy = Toy::default();
        (Observer::open(options, toy.clone()).await.expect("opens"), toy)
    }
}

async fn settle(observer: &Observer, offset: Offset) {
    let mut status = observer.status();
    let there = status.wait_for(|status| status.high_watermark > offset);
    let there = tokio::time::timeout(Duration::from_secs(30), there).await;
    there.expect("catches up within 30 s").expect("runs");
}

fn bootstrap() -> ControllerSource {
    ControllerSource::Bootstrap((1..=3).map(|id| (format!("n{id}"), 9093)).collect())
}

#[test]
fn an_observer_follows_through_the_deaths_of_leaders_and_its_own() {
    run(async {
        let mut trio = Trio::start(Tuning::default()).await;
        let watcher = Watcher::of(&trio, bootstrap());
        let (mut observer, mut toy) = watcher.start().await;
        let mut written = Vec::new();
        for round in 0..4 {
            for number in 0..5 {
                let last = trio.append(round * 10 + number).await;
                written.push(round * 10 + number);
                if number == 4 {
                    settle(&observer, last).await;
                }
            }
            assert_eq!(toy.ids(), written);
            let (leader, _) = trio.leader().await;
            trio.kill(leader).await;
            if round % 2 == 0 {
                observer.shutdown().await;
                watcher.disk.crash(Crash::Power);
                (observer, toy) = watcher.start().await;
            }
            trio.leader().await;
            trio.revive(leader).await;
        }
        let last = trio.append(99).await;
        written.push(99);
        settle(&observer, last).await;
        assert_eq!(toy.ids(), written);
        let led = observer.status().borrow().leader;
        assert_eq!(led.map(NodeId::get), Some(trio.leader().await.0 as i32 + 1));
    });
}

#[test]
fn an_observer_that_comes_late_gets_a_snapshot_and_makes_its_own() {
    run(async {
        let trio = Trio::start(small()).await;
        for number in 0..100 {
            trio.append(number).await;
        }
        let voters = Voters::parse_static(THREE, "CONTROLLER").expect("well formed");
        let watcher = Watcher::of(&trio, ControllerSource::Static(voters));
        let (observer, toy) = watcher.start().await;
        let mut last = Offset::ZERO;
        for number in 100..160 {
            last = trio.append(number).await;
        }
        settle(&observer, last).await;
        assert_eq!(toy.ids(), (0..160).collect::<Vec<i64>>());
        assert!(observer.status().borrow().log_start > Offset::ZERO);
        observer.shutdown().await;
        let (observer, toy) = watcher.start().await;
        let last = trio.append(160).await;
        settle(&observer, last).await;
        assert_eq!(toy.ids(), (0..=160).collect::<Vec<i64>>());
    });
}
