//! Quorums of one and three: what survives which fault.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use log::Disk;
use log::disk::{Crash, MemDisk};
use model::{LeaderEpoch, NodeId, Offset, Uuid};
use net::pipe::PipeNetwork;

use super::Quorum;
use crate::options::Tuning;
use crate::testbed::{Node, Running, Toy, Trio, checkpoints, copy_of, record, run, small, until_ready};

#[test]
fn one_node_appends_applies_and_finds_it_all_after_a_crash() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node::new(1, "1@n1:9093", &network);
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        for number in 0..10 {
            let offset = running.quorum.append(epoch, None, vec![record(number), record(number + 100)]).await;
            // Two voter records and one leader change stand before.
            assert_eq!(offset, Ok(Offset::new(4 + 2 * number)));
        }
        let seen = running.toy.ids();
        assert_eq!(seen.len(), 20);
        node.kill(running).await;
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        assert_eq!((running.toy.ids(), epoch.get()), (seen, 2));
    });
}

#[test]
fn a_wrong_epoch_is_told_who_leads() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node::new(1, "1@n1:9093", &network);
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        let answer = running.quorum.append(epoch.next(), None, vec![record(1)]).await;
        let leader = Some(NodeId::new(1));
        assert_eq!(answer, Err(super::AppendError::NotLeader { leader, epoch }));
    });
}

#[test]
fn records_for_another_end_of_the_log_are_not_taken() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node::new(1, "1@n1:9093", &network);
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        let first = running.quorum.append(epoch, None, vec![record(1), record(2)]).await.expect("appends");
        let (missed, here) = (first.plus(3), first.next());
        let displaced = running.quorum.append(epoch, Some(missed), vec![record(3)]).await;
        assert_eq!(displaced, Err(super::AppendError::Displaced { expected: missed, got: here }));
        let end = running.quorum.status().borrow().log_end;
        let last = running.quorum.append(epoch, Some(end), vec![record(4), record(5)]).await;
        assert_eq!(last, Ok(end.next()));
        assert_eq!(running.toy.ids(), [1, 2, 4, 5]);
        node.kill(running).await;
        let running = node.start().await;
        until_ready(&running.quorum).await;
        assert_eq!(running.toy.ids(), [1, 2, 4, 5], "nor after a restart");
    });
}

#[test]
fn three_nodes_agree_while_each_dies_in_turn() {
    run(async {
        let mut trio = Trio::start(Tuning::default()).await;
        let mut written = Vec::new();
        for round in 0..6 {
            let (leader, _) = trio.leader().await;
            let victim = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
            for number in 0..5 {
                trio.append(round * 100 + number).await;
                written.push(round * 100 + number);
            }
            trio.kill(victim).await;
            trio.append(round * 100 + 50).await;
            written.push(round * 100 + 50);
            trio.revive(victim).await;
        }
        let last = trio.append(1000).await;
        written.push(1000);
        trio.settle(last).await;
        trio.check_equal(&written);
    });
}

#[test]
fn a_killed_leader_is_replaced_within_half_a_second() {
    run(async {
        let mut trio = Trio::start(Tuning::default()).await;
        for _ in 0..5 {
            let last = trio.append(1).await;
            trio.settle(last).await;
            let (leader, epoch) = trio.leader().await;
            let killed = tokio::time::Instant::now();
            trio.kill(leader).await;
            let (next, next_epoch) = trio.leader().await;
            let took = killed.elapsed();
            assert!(next != leader && next_epoch > epoch && took < Duration::from_millis(500), "{took:?}");
            trio.revive(leader).await;
        }
    });
}

#[test]
fn one_that_was_away_for_long_gets_a_snapshot_and_the_tail() {
    run(async {
        let mut trio = Trio::start(small()).await;
        trio.append(0).await;
        let (leader, _) = trio.leader().await;
        let away = (leader + 1) % 3;
        trio.kill(away).await;
        for number in 1..100 {
            trio.append(number).await;
        }
        trio.revive(away).await;
        let last = trio.append(100).await;
        trio.settle(last).await;
        let written: Vec<i64> = (0..=100).collect();
        trio.check_equal(&written);
        for node in &trio.nodes {
            assert!((1..=2).contains(&checkpoints(node).len()), "{:?}", checkpoints(node));
        }
        // The log behind the older snapshot is gone; all of them start again from snapshot and tail.
        for at in 0..3 {
            assert!(trio.running[at].as_ref().expect("up").quorum.status().borrow().log_start > Offset::ZERO);
            trio.kill(at).await;
        }
        for at in 0..3 {
            trio.revive(at).await;
        }
        let last = trio.append(101).await;
        trio.settle(last).await;
        trio.check_equal(&(0..=101).collect::<Vec<i64>>());
    });
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before_and_without_any_the_error_says_what_to_do() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node { tuning: small(), ..Node::new(1, "1@n1:9093", &network) };
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        for number in 0..100 {
            running.quorum.append(epoch, None, vec![record(number)]).await.expect("appends");
        }
        node.kill(running).await;
        let dir = Path::new("/data/__cluster_metadata-0");
        let names = checkpoints(&node);
        assert_eq!(names.len(), 2);
        node.disk.flip(&dir.join(&names[1]), 150, 4).expect("there is such a byte");
        let running = node.start().await;
        until_ready(&running.quorum).await;
        assert_eq!(running.toy.ids(), (0..100).collect::<Vec<i64>>());
        node.kill(running).await;
        for name in checkpoints(&node) {
            node.disk.remove_file(&dir.join(name)).expect("it is there");
        }
        let error = Quorum::open(node.options(), Toy::default()).await.err().expect("refused").to_string();
        assert!(error.contains("no readable snapshot") && error.contains("restore the missing"), "{error}");
    });
}

#[test]
fn a_leader_that_resigns_hands_over_without_an_election_timeout() {
    run(async {
        let trio = Trio::start(Tuning::default()).await;
        let last = trio.append(1).await;
        trio.settle(last).await;
        let (leader, epoch) = trio.leader().await;
        let asked = tokio::time::Instant::now();
        trio.running[leader].as_ref().expect("up").quorum.resign().await;
        let (next, next_epoch) = trio.leader().await;
        assert!(next != leader && next_epoch > epoch);
        assert!(asked.elapsed() < Duration::from_millis(300), "{:?}", asked.elapsed());
    });
}

/// Found by the simulation, seed 33: the controller took office again and again, at one instant, in an
/// epoch that it had given away to nobody.
#[test]
fn a_leader_that_resigns_is_not_ready_any_more_also_where_nobody_takes_over() {
    run(async {
        let trio = Trio::start(Tuning::default()).await;
        let last = trio.append(1).await;
        trio.settle(last).await;
        let (leader, epoch) = trio.leader().await;
        trio.nodes[leader].network.cut(&format!("n{}", leader + 1));
        let quorum = trio.running[leader].as_ref().expect("up").quorum.clone();
        quorum.resign().await;
        let status = quorum.status().borrow().clone();
        assert_eq!((status.epoch, status.is_leader_ready), (epoch, false));
        let refused = quorum.append(epoch, None, vec![record(2)]).await;
        assert!(matches!(refused, Err(super::AppendError::NotLeader { .. })), "{refused:?}");
    });
}

#[test]
fn without_a_majority_an_append_ends_at_its_deadline() {
    run(async {
        let mut trio = Trio::start(Tuning::default()).await;
        trio.append(1).await;
        let (leader, epoch) = trio.leader().await;
        trio.kill((leader + 1) % 3).await;
        trio.kill((leader + 2) % 3).await;
        let quorum = &trio.running[leader].as_ref().expect("up").quorum;
        let asked = tokio::time::Instant::now();
        let answer = quorum.append(epoch, None, vec![record(2)]).await;
        assert!(matches!(answer, Err(super::AppendError::TimedOut { .. })), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(11));
    });
}

#[test]
fn observers_read_what_is_committed_and_are_described() {
    run(async {
        let trio = Trio::start(Tuning::default()).await;
        let last = trio.append(1).await;
        trio.settle(last).await;
        let (leader, epoch) = trio.leader().await;
        let quorum = &trio.running[leader].as_ref().expect("up").quorum;
        let from = |offset, fetched: Option<i32>| super::ReadFrom {
            offset: Offset::new(offset),
            last_fetched_epoch: fetched.map(LeaderEpoch::new),
            current_leader_epoch: None,
            bytes_max: 1 << 20,
            replica: Some((NodeId::new(9), Uuid::from_u128(9))),
        };
        let read = quorum.read(&from(0, None)).expect("this node leads");
        let super::ReadOutcome::Batches(bytes) = read.outcome else { panic!("{read:?}") };
        let batches =
            wire::batch::Batches::new(&bytes).map(|batch| batch.expect("well formed").header.next_offset());
        assert_eq!(batches.last(), Some(read.high_watermark));
        let diverging = quorum.read(&from(2, Some(epoch.get() + 7))).expect("this node leads").outcome;
        assert!(matches!(diverging, super::ReadOutcome::Diverging { .. }), "{diverging:?}");
        let end = quorum.read(&from(last.get() + 1, Some(epoch.get()))).expect("this node leads").outcome;
        assert_eq!(end, super::ReadOutcome::Batches(Bytes::new()));
        let described = quorum.describe().await.expect("this node leads");
        assert_eq!(
            described.voters.iter().map(|voter| voter.log_end).collect::<Vec<_>>(),
            vec![Some(last.next()); 3]
        );
        assert_eq!((described.observers.len(), described.observers[0].log_end), (1, Some(last.next())));
        let other = &trio.running[(leader + 1) % 3].as_ref().expect("up").quorum;
        let refused = other.read(&from(0, None)).expect_err("it follows");
        assert_eq!(refused.code(), model::ErrorCode::NotLeaderOrFollower);
    });
}

/// Appends until the disk stops; answers how many were acknowledged.
async fn append_until_the_disk_stops(node: &mut Node) -> i64 {
    let Ok(quorum) = Quorum::open(node.options(), Toy::default()).await else { return 0 };
    let mut status = quorum.status();
    let ready = status.wait_for(|status| status.is_leader_ready || status.failure.is_some()).await;
    let Ok(epoch) = ready.map(|status| status.epoch) else { return 0 };
    let mut acknowledged = 0;
    while acknowledged < 60 && quorum.append(epoch, None, vec![record(acknowledged)]).await.is_ok() {
        acknowledged += 1;
    }
    quorum.shutdown().await;
    acknowledged
}

/// Votes, appends, snapshots, purges: the disk stops after every possible number of changes, power goes,
/// and the next start has all that was acknowledged.
#[test]
fn power_lost_at_any_step_of_a_life_with_snapshots_loses_nothing_acknowledged() {
    run(async {
        let mut finished = false;
        for stop in 0.. {
            if finished {
                assert!(stop > 100, "the life was too short to tell anything");
                return;
            }
            let network = PipeNetwork::new();
            let mut node = Node { tuning: small(), ..Node::new(1, "1@n1:9093", &network) };
            for dir in ["/data", "/"] {
                node.disk.create_dir_all(Path::new(dir)).expect("memory");
                node.disk.sync_dir(Path::new(dir)).expect("memory");
            }
            node.disk.stop_after(stop);
            let acknowledged = append_until_the_disk_stops(&mut node).await;
            finished = acknowledged == 60;
            let torn = usize::try_from(stop % 97).expect("small");
            node.disk.crash(if stop % 2 == 0 { Crash::Power } else { Crash::TornPower { keep: torn } });
            let running = node.start().await;
            until_ready(&running.quorum).await;
            let seen = running.toy.ids();
            let whole: Vec<i64> = (0..seen.len() as i64).collect();
            assert_eq!(seen, whole, "stop {stop}");
            assert!(seen.len() as i64 >= acknowledged, "stop {stop}: {} of {acknowledged}", seen.len());
            node.kill(running).await;
        }
    });
}

/// Starts `node` on a disk that stops after `stop` changes, and waits until it has applied `last` or
/// died of it; ends it with `crash`. Whether the disk stopped.
async fn follow_until_the_disk_stops(node: &mut Node, stop: u64, crash: Crash, last: Offset) -> bool {
    node.disk.stop_after(stop);
    let mut is_over = true;
    if let Ok(running) = node.try_start().await {
        let mut status = running.quorum.status();
        let over = status.wait_for(|status| status.high_watermark > last || status.failure.is_some());
        let over = tokio::time::timeout(Duration::from_secs(30), over).await;
        // One that cannot store the leader's snapshot says so to the leader, which tries on.
        is_over = over.is_ok();
        node.end(running).await;
    }
    let stopped = node.disk.create_dir_all(Path::new("/probe")).is_err();
    assert!(is_over || stopped, "it did not catch up within 30 s");
    node.disk.crash(crash);
    stopped
}

/// The disks of three nodes, of which the last was away while the others wrote and purged; and what they
/// wrote.
async fn disks_of_a_laggard() -> (Vec<MemDisk>, Vec<i64>) {
    let mut trio = Trio::start(small()).await;
    let last = trio.append(0).await;
    trio.settle(last).await;
    trio.kill(2).await;
    let mut written = vec![0];
    for round in 1..10 {
        for number in round * 100..round * 100 + 40 {
            trio.append(number).await;
            written.push(number);
        }
        let purged = |running: &Running| running.quorum.status().borrow().log_start > Offset::new(20);
        if trio.up().all(purged) {
            trio.kill(0).await;
            trio.kill(1).await;
            return (trio.nodes.iter().map(|node| copy_of(&node.disk)).collect(), written);
        }
        // A leader keeps what it still streams to a dead follower; the next one does not.
        let (leader, _) = trio.leader().await;
        trio.kill(leader).await;
        trio.revive(leader).await;
    }
    panic!("the log was never purged");
}

/// A follower takes the leader's snapshot in place of a log that lags behind: its disk stops after every
/// possible number of changes, power goes, and the next start has what all have.
#[test]
fn power_lost_at_any_step_of_taking_a_leaders_snapshot_leaves_the_same_image() {
    run(async {
        let (disks, mut written) = disks_of_a_laggard().await;
        written.push(-1);
        let torn = |keep| Crash::TornPower { keep };
        for crashes in [[Crash::Power; 3], [torn(20), torn(usize::MAX), Crash::Process]] {
            let mut stop = 0;
            loop {
                let mut trio = Trio::on(&disks, small());
                trio.revive(0).await;
                trio.revive(1).await;
                let last = trio.append(-1).await;
                let crash = crashes[usize::try_from(stop % 3).expect("small")];
                let stopped = follow_until_the_disk_stops(&mut trio.nodes[2], stop, crash, last).await;
                trio.revive(2).await;
                trio.settle(last).await;
                trio.check_equal(&written);
                let log_start = trio.running[2].as_ref().expect("up").quorum.status().borrow().log_start;
                assert!(
                    log_start > Offset::new(20),
                    "stop {stop} {crash:?}: it caught up without a snapshot"
                );
                for at in 0..3 {
                    trio.kill(at).await;
                }
                if !stopped {
                    break;
                }
                stop += 1;
            }
            assert!(stop > 20, "{crashes:?}: {stop} steps are too few for a snapshot");
        }
    });
}

#[test]
fn bytes_that_mean_nothing_get_an_answer_and_harm_nobody() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node::new(1, "1@n1:9093", &network);
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        fastrand::seed(7);
        for round in 0..2_000 {
            let key = 20_000 + round % 5;
            let body: Vec<u8> = (0..fastrand::usize(..200)).map(|_| fastrand::u8(..)).collect();
            running.quorum.handle_rpc(key, body.into()).await.expect("it runs");
        }
        assert!(running.quorum.append(epoch, None, vec![record(1)]).await.is_ok());
        node.kill(running).await;
    });
}

#[test]
fn a_leader_whose_cable_is_out_is_replaced_and_gives_way_when_it_returns() {
    run(async {
        let trio = Trio::start(Tuning::default()).await;
        let last = trio.append(1).await;
        trio.settle(last).await;
        let (old, old_epoch) = trio.leader().await;
        let network = trio.nodes[old].network.clone();
        network.cut(&format!("n{}", old + 1));
        let lost = trio.running[old].as_ref().expect("up").quorum.clone();
        let waiting =
            tokio::task::spawn_local(async move { lost.append(old_epoch, None, vec![record(2)]).await });
        let others = [(old + 1) % 3, (old + 2) % 3];
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let new = loop {
            assert!(tokio::time::Instant::now() < deadline, "nobody took over");
            tokio::time::sleep(Duration::from_millis(10)).await;
            let leads = |at: &&usize| {
                trio.running[**at].as_ref().expect("up").quorum.status().borrow().is_leader_ready
            };
            if let Some(new) = others.iter().find(leads) {
                break *new;
            }
        };
        let quorum = &trio.running[new].as_ref().expect("up").quorum;
        let epoch = quorum.status().borrow().epoch;
        assert!(epoch > old_epoch);
        let last = quorum.append(epoch, None, vec![record(3)]).await.expect("two of three are a majority");
        network.heal(&format!("n{}", old + 1));
        trio.settle(last).await;
        trio.check_equal(&[1, 3]);
        let unacknowledged = waiting.await.expect("it ends");
        assert!(unacknowledged.is_err(), "{unacknowledged:?}");
    });
}

#[test]
fn a_follower_whose_cable_was_out_disturbs_nobody_when_it_returns() {
    run(async {
        let trio = Trio::start(Tuning::default()).await;
        let last = trio.append(1).await;
        trio.settle(last).await;
        let (leader, epoch) = trio.leader().await;
        let away = (leader + 1) % 3;
        let network = trio.nodes[away].network.clone();
        network.cut(&format!("n{}", away + 1));
        tokio::time::sleep(Duration::from_secs(30)).await;
        network.heal(&format!("n{}", away + 1));
        let last = trio.append(2).await;
        trio.settle(last).await;
        assert_eq!(trio.leader().await, (leader, epoch));
        trio.check_equal(&[1, 2]);
    });
}

#[test]
fn a_follower_whose_disk_fails_stops_and_says_why() {
    run(async {
        for delay in 0..60 {
            let trio = Trio::start(small()).await;
            let last = trio.append(0).await;
            trio.settle(last).await;
            let (leader, epoch) = trio.leader().await;
            let follower = (leader + 1) % 3;
            let quorum = trio.running[follower].as_ref().expect("up").quorum.clone();
            let leading = trio.running[leader].as_ref().expect("up").quorum.clone();
            // Many at once, so that some are committed by the others before they are synced here.
            let appending = (1..20).map(|number| {
                let leading = leading.clone();
                tokio::task::spawn_local(
                    async move { leading.append(epoch, None, vec![record(number)]).await },
                )
            });
            let appending: Vec<_> = appending.collect();
            for _ in 0..delay {
                tokio::task::yield_now().await;
            }
            trio.nodes[follower].disk.fail_next_sync();
            for append in appending {
                append.await.expect("it ends").expect("two of three are a majority");
            }
            trio.append(20).await;
            let stopped = tokio::time::timeout(Duration::from_secs(10), quorum.stopped()).await;
            stopped.expect("nothing is taken after a failed sync");
            let failure = quorum.status().borrow().failure.clone();
            assert!(failure.is_some(), "after {delay} steps: its node would live on");
        }
    });
}
