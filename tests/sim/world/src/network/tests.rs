//! Each fault bites, and nothing else changes.

use std::io::ErrorKind;
use std::time::Duration;

use net::{Listener, Network, ReadHalf, Stream, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::{LinkQuality, SimHost, SimNetwork};

/// Longer than anything takes on a network without faults.
const MOMENT: Duration = Duration::from_millis(50);
/// Longer than what is lost takes to be sent again after a short fault.
const LONG: Duration = Duration::from_secs(10);
const LOSSY: LinkQuality =
    LinkQuality { latency_min: Duration::ZERO, latency_max: Duration::from_millis(20), loss: 0.2 };

/// A connection's end, as a test uses it.
struct Line {
    read: Box<dyn ReadHalf>,
    write: Box<dyn WriteHalf>,
}

impl Line {
    fn over(stream: Box<dyn Stream>) -> Self {
        let (read, write) = stream.split().expect("a simulated stream needs nothing for it");
        Self { read, write }
    }

    async fn says(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.expect("the connection stands");
    }

    async fn hears(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        timeout(LONG, self.read.read_exact(&mut got)).await.expect("not lost").expect("not broken");
        assert_eq!(got, bytes);
    }

    async fn hears_nothing_for(&mut self, time: Duration) {
        let got = timeout(time, self.read.read_u8()).await;
        assert!(got.is_err(), "{got:?}");
    }

    /// Broken, or ended (`UnexpectedEof`).
    async fn breaks_with(&mut self, kind: ErrorKind, within: Duration) {
        let got = timeout(within, self.read.read_u8()).await.expect("it breaks in time");
        assert_eq!(got.expect_err("it breaks").kind(), kind);
    }
}

/// Hosts `a` and `b`, a connection from `a` to `b`, and `b`'s listener.
struct Pair {
    network: SimNetwork,
    a: SimHost,
    b: SimHost,
    listener: Box<dyn Listener>,
    near: Line,
    far: Line,
}

async fn pair(seed: u64) -> Pair {
    let network = SimNetwork::new(seed, LinkQuality::default());
    tokio::spawn(network.run());
    let (a, b) = (network.host("a"), network.host("b"));
    let mut listener = b.bind("b:9092").await.expect("the port is free");
    let near = a.connect("b", 9092).await.expect("it listens");
    let far = listener.accept().await.expect("it was connected to");
    assert_eq!((near.local_addr(), near.peer_addr()), (far.peer_addr(), far.local_addr()));
    Pair { network, a, b, listener, near: Line::over(near), far: Line::over(far) }
}

async fn connect_error(host: &SimHost, to: &str, port: u16) -> ErrorKind {
    host.connect(to, port).await.err().expect("it cannot be reached").kind()
}

#[tokio::test(start_paused = true)]
async fn bytes_cross_both_ways_and_an_end_is_seen_behind_them() {
    let mut pair = pair(1).await;
    pair.near.says(b"hello").await;
    pair.far.hears(b"hello").await;
    pair.far.says(b"and back").await;
    drop(pair.far.write);
    pair.near.hears(b"and back").await;
    pair.near.breaks_with(ErrorKind::UnexpectedEof, MOMENT).await;
    pair.near.says(b"half open").await;
    let mut got = [0; 9];
    pair.far.read.read_exact(&mut got).await.expect("its reading half stands");
    assert_eq!(pair.network.counts().lost, 0);
}

#[tokio::test(start_paused = true)]
async fn names_addresses_and_oneself_resolve_and_ports_are_drawn() {
    let pair = pair(1).await;
    for own in ["b", "localhost", "127.0.0.1", "10.0.0.2"] {
        pair.b.connect(own, 9092).await.expect("it is itself");
    }
    let drawn = pair.b.bind(":0").await.expect("a port is free").local_addr().expect("bound");
    assert_eq!(pair.a.connect("10.0.0.2", 9092).await.expect("known").peer_addr().ip(), drawn.ip());
    assert_ne!(drawn.port(), 0);
    assert_eq!(connect_error(&pair.a, "b", 1).await, ErrorKind::ConnectionRefused);
    assert_eq!(connect_error(&pair.a, "nowhere", 1).await, ErrorKind::NotFound);
    assert_eq!(pair.b.bind("b:9092").await.err().expect("taken").kind(), ErrorKind::AddrInUse);
    assert_eq!(pair.network.counts().refused, 1);
    drop(pair.listener);
    assert_eq!(connect_error(&pair.a, "b", 9092).await, ErrorKind::ConnectionRefused);
    pair.b.bind("b:9092").await.expect("it is free again");
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_one_way_and_what_it_took_arrives_once_healed() {
    let mut pair = pair(1).await;
    pair.network.cut("a", "b");
    pair.near.says(b"late").await;
    pair.far.says(b"now").await;
    pair.near.hears(b"now").await;
    pair.far.hears_nothing_for(Duration::from_secs(5)).await;
    assert!(timeout(LONG, pair.a.connect("b", 9092)).await.is_err(), "the first step is lost");
    assert!(timeout(LONG, pair.b.connect("a", 1)).await.is_err(), "the answer is lost");
    pair.network.heal("a", "b");
    pair.far.hears(b"late").await;
    pair.a.connect("b", 9092).await.expect("healed");
    let counts = pair.network.counts();
    assert!(counts.lost > 5 && counts.retransmitted > 5 && counts.duplicated > 0, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_hears_no_acknowledgement_gives_up_in_the_end() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let mut pair = pair(1).await;
        pair.network.cut(from, to);
        let start = Instant::now();
        pair.near.says(b"x").await;
        pair.near.breaks_with(ErrorKind::TimedOut, Duration::from_secs(60)).await;
        assert!(start.elapsed() >= Duration::from_secs(30));
        assert_eq!(pair.network.counts().timed_out, 1);
        pair.network.partition(&["a"], &["b"]);
        pair.network.heal_all();
        if from == "b" {
            pair.far.hears(b"x").await;
        }
        // It learns what became of its other end when it speaks to it.
        pair.far.says(b"y").await;
        pair.far.breaks_with(ErrorKind::ConnectionReset, LONG).await;
    }
}

#[tokio::test(start_paused = true)]
async fn loss_slows_but_nothing_is_lost_doubled_or_reordered() {
    let sent: Vec<u8> = (0..2_000_000u32).map(|place| (place % 251) as u8).collect();
    let mut times = Vec::new();
    for quality in [LinkQuality::default(), LOSSY] {
        let mut pair = pair(7).await;
        pair.network.quality_all(quality);
        let start = Instant::now();
        let mut got = Vec::new();
        let writing = async {
            for piece in sent.chunks(3_333) {
                pair.near.says(piece).await;
            }
            drop(pair.near.write);
        };
        let (read, ()) = tokio::join!(pair.far.read.read_to_end(&mut got), writing);
        read.expect("it ends in order");
        assert!(got == sent);
        times.push(start.elapsed());
        let counts = pair.network.counts();
        assert_eq!(counts.lost > 50, quality == LOSSY, "{counts:?}");
        assert_eq!(counts.retransmitted, counts.lost);
        assert_eq!(counts.delayed > 50, quality == LOSSY, "{counts:?}");
        assert!(counts.reordered > 10 && counts.bytes == 2_000_000, "{counts:?}");
    }
    assert!(times[1] > 10 * times[0], "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_is_slow_in_its_direction_until_reset() {
    let mut pair = pair(1).await;
    let second = Duration::from_secs(1);
    pair.network.quality("a", "b", LinkQuality { latency_min: second, latency_max: second, loss: 0.0 });
    for (reset, awaited) in [(false, second), (true, MOMENT)] {
        let start = Instant::now();
        pair.far.says(b"quick").await;
        pair.near.hears(b"quick").await;
        assert!(start.elapsed() < MOMENT);
        pair.near.says(b"slow").await;
        pair.far.hears(b"slow").await;
        assert!(start.elapsed() <= awaited + MOMENT && (reset || start.elapsed() >= awaited));
        pair.network.reset_quality();
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_resets_its_connections_and_its_ports_refuse() {
    let mut pair = pair(1).await;
    pair.far.says(b"last words").await;
    let waiting = pair.a.connect("b", 9092).await.expect("it waits to be accepted");
    pair.network.kill("b");
    pair.near.hears(b"last words").await;
    pair.near.breaks_with(ErrorKind::ConnectionReset, MOMENT).await;
    Line::over(waiting).breaks_with(ErrorKind::ConnectionReset, MOMENT).await;
    let unwritten = pair.near.write.write_all(b"x").await.expect_err("it is broken");
    assert_eq!(unwritten.kind(), ErrorKind::ConnectionReset);
    assert_eq!(connect_error(&pair.a, "b", 9092).await, ErrorKind::ConnectionRefused);
    assert!(pair.b.bind("b:9092").await.is_err(), "a dead process does nothing");
    assert!(timeout(MOMENT, pair.listener.accept()).await.is_err());
    let mut next = pair.network.host("b").bind("b:9092").await.expect("a new process takes the port");
    pair.a.connect("b", 9092).await.expect("it listens");
    next.accept().await.expect("the listener is the new one's");
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_tasks_are_dropped_before_it_is_killed_is_killed_no_less() {
    let mut pair = pair(1).await;
    pair.far.says(b"last words").await;
    drop(pair.far);
    pair.network.kill("b");
    pair.near.hears(b"last words").await;
    pair.near.breaks_with(ErrorKind::ConnectionReset, MOMENT).await;
}

#[tokio::test(start_paused = true)]
async fn a_death_behind_a_cut_link_is_learned_of_by_who_speaks() {
    let mut pair = pair(1).await;
    pair.network.cut("b", "a");
    pair.network.kill("b");
    pair.near.hears_nothing_for(Duration::from_secs(5)).await;
    pair.near.says(b"x").await;
    pair.near.hears_nothing_for(Duration::from_secs(5)).await;
    pair.network.heal_links();
    pair.near.breaks_with(ErrorKind::ConnectionReset, LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_power_is_silent_until_its_next_process() {
    for dropped_first in [false, true] {
        let mut pair = pair(1).await;
        pair.far.says(b"on the wire").await;
        pair.near.hears(b"on the wire").await;
        if dropped_first {
            drop(pair.far);
        }
        pair.network.power_off("b");
        pair.near.says(b"x").await;
        pair.near.hears_nothing_for(Duration::from_secs(5)).await;
        assert!(timeout(LONG, pair.a.connect("b", 9092)).await.is_err(), "nothing refuses");
        pair.network.power_on("b");
        pair.near.breaks_with(ErrorKind::ConnectionReset, LONG).await;
        assert_eq!(connect_error(&pair.a, "b", 9092).await, ErrorKind::ConnectionRefused);
        pair.network.host("b").bind("b:9092").await.expect("a new process");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_process_is_connected_to_and_hears_all_when_it_goes_on() {
    let mut pair = pair(1).await;
    pair.network.pause("b");
    let mut second = Line::over(pair.a.connect("b", 9092).await.expect("its machine answers"));
    pair.near.says(b"first").await;
    second.says(b"second").await;
    pair.far.hears_nothing_for(LONG).await;
    assert!(timeout(LONG, pair.listener.accept()).await.is_err());
    let wrote = timeout(LONG, pair.near.write.write_all(&vec![7; 2 << 20])).await;
    assert!(wrote.is_err(), "the buffers are finite");
    let stuck = pair.network.counts();
    assert_eq!((stuck.lost, stuck.timed_out), (0, 0), "the machine acknowledges");
    let hearing = pair.far.hears(b"first");
    let (network, resume) = (pair.network.clone(), sleep(MOMENT));
    tokio::join!(hearing, async move {
        resume.await;
        network.resume("b");
    });
    let accepted = timeout(MOMENT, pair.listener.accept()).await.expect("it waited").expect("it stands");
    Line::over(accepted).hears(b"second").await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_a_slow_reader_and_goes_on_with_it() {
    let mut pair = pair(1).await;
    let mut written = 0;
    while let Ok(more) = timeout(MOMENT, pair.near.write.write(&[1; 10_000])).await {
        written += more.expect("the connection stands");
    }
    assert!((256 << 10..600 << 10).contains(&written), "{written}");
    let mut got = vec![0; written];
    pair.far.read.read_exact(&mut got).await.expect("all of it");
    timeout(MOMENT, pair.near.says(b"more")).await.expect("there is room");
    pair.far.hears(b"more").await;
}

#[tokio::test(start_paused = true)]
async fn closing_with_bytes_unread_resets_and_speaking_to_the_closed_does_too() {
    let mut first = pair(1).await;
    first.near.says(b"unread").await;
    sleep(MOMENT).await;
    drop(first.far);
    first.near.breaks_with(ErrorKind::ConnectionReset, MOMENT).await;
    let mut second = pair(1).await;
    drop(second.far);
    second.near.breaks_with(ErrorKind::UnexpectedEof, MOMENT).await;
    second.near.says(b"x").await;
    second.near.breaks_with(ErrorKind::UnexpectedEof, MOMENT).await;
    sleep(MOMENT).await;
    second.near.breaks_with(ErrorKind::ConnectionReset, MOMENT).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_nothing_behind() {
    let pair = pair(1).await;
    pair.network.cut("b", "a");
    for _ in 0..100 {
        assert!(timeout(Duration::from_millis(3), pair.a.connect("b", 9092)).await.is_err());
    }
    pair.network.heal_all();
    drop((pair.near, pair.far));
    sleep(LONG).await;
    let left = pair.network.shared.with(|world| world.connections.len());
    assert_eq!(left, 0);
}

/// When each piece arrives, over links that lose and delay, beside a machine that dies.
async fn story(seed: u64) -> (Vec<Duration>, u64) {
    let mut pair = pair(seed).await;
    pair.network.quality_all(LOSSY);
    let start = Instant::now();
    let mut times = Vec::new();
    for piece in 0..50_u8 {
        pair.near.says(&[piece; 100]).await;
        pair.far.hears(&[piece; 100]).await;
        times.push(start.elapsed());
    }
    pair.network.kill("b");
    pair.near.breaks_with(ErrorKind::ConnectionReset, LONG).await;
    times.push(start.elapsed());
    (times, pair.network.fingerprint())
}

#[tokio::test(start_paused = true)]
async fn a_seed_replays_and_another_differs() {
    let (one, again, other) = (story(5).await, story(5).await, story(6).await);
    assert_eq!(one, again);
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
}
