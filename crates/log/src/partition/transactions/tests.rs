//! Random transactions beside a plain list of them: how far the log is stable and what was aborted, through
//! restarts, crashes, power cuts, truncation and damaged index files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, NewRecord, Producer, Rules};

use crate::disk::{Crash, Disk, MemDisk};
use crate::producers::{Origin, TransactionEnd, Verification};
use crate::{LeaderRules, Log, LogOptions, Opening};

const DIR: &str = "/data/t-0";
const RULES: LeaderRules = LeaderRules {
    batch: Rules {
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 1 << 20,
        needs_keys: false,
        timestamps: None,
        is_rewritten: false,
    },
    log_append_time: false,
};

/// What a batch of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Plain,
    Part,
    Commit,
    Abort,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first: i64,
    next: i64,
    producer: i64,
    what: What,
}

/// A transaction of the list: its first record, and its marker and what that says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    producer: i64,
    first: i64,
    end: Option<(i64, What)>,
}

/// A log, and the list of what is in it.
struct Pair {
    disk: MemDisk,
    log: Log,
    list: Vec<Entry>,
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 700, index_interval_bytes: 150, ..LogOptions::default() }
}

fn open(disk: &MemDisk, opening: Opening) -> Log {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open(disk, PathBuf::from(DIR), options(), opening).expect("opens").0
}

impl Pair {
    fn new() -> Self {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new(DIR)).expect("an empty disk takes directories");
        disk.sync_dir(Path::new(DIR)).expect("no fault");
        let log = Log::create(Arc::new(disk.clone()), PathBuf::from(DIR), options(), None).expect("no fault");
        Self { disk, log, list: Vec::new() }
    }

    fn write(&mut self, producer: i64, records: usize, what: What) {
        let sequence: i64 = self.list.iter().filter(|it| it.producer == producer).map(Self::sequences).sum();
        let (id, epoch) = (ProducerId::new(producer), ProducerEpoch::new(0));
        let base_sequence = i32::try_from(sequence).expect("few");
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0))
            .producer(Producer { id, epoch, base_sequence }, what == What::Part);
        (0..records).for_each(|_| builder.push(&NewRecord::default()));
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("no codec");
        let origin = Origin::Client(Verification::Off);
        let appended = self.log.append_from(origin, &bytes, LeaderEpoch::new(0), Timestamp::new(0), &RULES);
        let appended = appended.expect("in order");
        self.list.push(Entry { first: appended.first.get(), next: appended.last.get() + 1, producer, what });
    }

    fn sequences(entry: &Entry) -> i64 {
        if matches!(entry.what, What::Plain | What::Part) { entry.next - entry.first } else { 0 }
    }

    fn end(&mut self, producer: i64, what: What) {
        let (commit, id) = (what == What::Commit, ProducerId::new(producer));
        let epoch = ProducerEpoch::new(0);
        let end = TransactionEnd { producer: id, epoch, commit, coordinator_epoch: 1, version: 1 };
        let appended = self.log.append_end(&end, LeaderEpoch::new(0), Timestamp::new(0)).expect("no fault");
        self.list.push(Entry { first: appended.first.get(), next: appended.first.get() + 1, producer, what });
    }

    fn is_open(&self, producer: i64) -> bool {
        self.transactions().iter().any(|it| it.producer == producer && it.end.is_none())
    }

    /// Something of one of four producers.
    fn act(&mut self, random: &mut Rng) {
        let producer = random.i64(0..4);
        let records = random.usize(1..4);
        match (self.is_open(producer), random.u8(0..10)) {
            (false, 0..6) | (true, 0..5) => self.write(producer, records, What::Part),
            (false, 6..9) => self.write(producer, records, What::Plain),
            (_, number) => self.end(producer, if number == 5 { What::Commit } else { What::Abort }),
        }
    }

    fn transactions(&self) -> Vec<Listed> {
        let mut found: Vec<Listed> = Vec::new();
        for entry in &self.list {
            let open = found.iter_mut().find(|it| it.producer == entry.producer && it.end.is_none());
            match (open, entry.what) {
                (None, What::Part) => {
                    found.push(Listed { producer: entry.producer, first: entry.first, end: None })
                }
                (Some(open), What::Commit | What::Abort) => open.end = Some((entry.first, entry.what)),
                _ => {}
            }
        }
        found
    }

    /// Says the same of log and list.
    fn check(&mut self, random: &mut Rng, told: &str) {
        let (start, end) = (self.log.start().get(), self.log.end().get());
        assert_eq!(end, self.list.last().map_or(0, |entry| entry.next), "{told}");
        let transactions = self.transactions();
        let open = transactions.iter().filter(|it| it.end.is_none()).map(|it| it.first).min();
        let expected = open.map_or(end, |first| first.max(start));
        assert_eq!(self.log.last_stable(Offset::new(end)).get(), expected, "{told}");
        for _ in 0..5 {
            let from = random.i64(start..=end);
            let upper = random.i64(from..=end);
            let mut expected: Vec<(i64, i64)> = transactions
                .iter()
                .filter(|it| it.first < upper)
                .filter_map(|it| match it.end {
                    Some((last, What::Abort)) if last >= from => Some((it.producer, it.first)),
                    _ => None,
                })
                .collect();
            let aborted = self.log.aborted_between(Offset::new(from), Offset::new(upper)).expect("in range");
            let mut found: Vec<(i64, i64)> =
                aborted.iter().map(|it| (it.producer.get(), it.first.get())).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{told}: from {from} to {upper}");
        }
    }

    fn reopen(&mut self, is_clean: bool) {
        let opening = Opening {
            is_clean,
            recovery_point: self.log.recovery_point(),
            start: self.log.start(),
            ..Opening::default()
        };
        self.log = open(&self.disk, opening);
        let end = self.log.end().get();
        self.list.retain(|entry| entry.next <= end);
    }

    fn disturb(&mut self, random: &mut Rng, loses_power: bool) {
        match random.u8(0..6) {
            0 => {
                self.log.close().expect("no fault");
                self.disk.crash(if loses_power { Crash::Power } else { Crash::Process });
                self.reopen(true);
            }
            1 => {
                self.disk.crash(if loses_power { Crash::Power } else { Crash::Process });
                self.reopen(false);
            }
            2 => self.log.flush().expect("no fault"),
            3 => self.log.release(),
            4 if loses_power => {
                let end = self.log.end().get();
                let to = random.i64((end - 12).max(0)..=end);
                self.log.truncate_to(Offset::new(to)).expect("no fault");
                let end = self.log.end().get();
                self.list.retain(|entry| entry.next <= end);
            }
            4 => {
                let to = random.i64(self.log.start().get()..=self.log.end().get());
                self.log.advance_start(Offset::new(to)).expect("in range");
            }
            _ => {
                let watermark = random.i64(0..=self.log.end().get());
                self.log.last_stable(Offset::new(watermark));
            }
        }
    }
}

#[test]
fn random_transactions_agree_with_a_plain_list() {
    let mut aborted = 0;
    for seed in 0..120 {
        let mut random = Rng::with_seed(seed);
        let mut pair = Pair::new();
        for step in 0..90 {
            if random.u8(0..8) == 0 {
                pair.disturb(&mut random, seed % 2 == 0);
            } else {
                pair.act(&mut random);
            }
            pair.check(&mut random, &format!("seed {seed}, step {step}"));
        }
        aborted +=
            pair.transactions().iter().filter(|it| it.end.is_some_and(|it| it.1 == What::Abort)).count();
    }
    assert!(aborted > 400, "only {aborted} transactions were aborted");
}

#[test]
fn the_log_is_stable_to_the_first_transaction_that_is_open_or_whose_marker_may_go() {
    for seed in 0..40 {
        let mut random = Rng::with_seed(seed);
        let mut pair = Pair::new();
        (0..60).for_each(|_| pair.act(&mut random));
        let end = pair.log.end().get();
        for watermark in 0..=end {
            let is_unstable = |it: &&Listed| it.end.is_none_or(|(marker, _)| marker >= watermark);
            let transactions = pair.transactions();
            let first = transactions.iter().filter(is_unstable).map(|it| it.first).min();
            let expected = first.map_or(watermark, |first| first.min(watermark));
            let stable = pair.log.last_stable(Offset::new(watermark)).get();
            assert_eq!(stable, expected, "seed {seed}, watermark {watermark}");
        }
    }
}

/// A log of many aborted transactions, closed in order, and its transaction index files.
fn closed(seed: u64) -> (Pair, Vec<PathBuf>) {
    let mut random = Rng::with_seed(seed);
    let mut pair = Pair::new();
    for _ in 0..60 {
        pair.act(&mut random);
    }
    pair.log.close().expect("no fault");
    let names = pair.disk.list(Path::new(DIR)).expect("no fault");
    let files = names.iter().filter(|it| it.name.ends_with(".txnindex"));
    let files: Vec<PathBuf> = files.map(|it| Path::new(DIR).join(&it.name)).collect();
    assert!(files.len() > 1, "nothing was aborted");
    (pair, files)
}

#[test]
fn a_transaction_index_that_was_flipped_anywhere_is_built_anew() {
    let (_, files) = closed(3);
    for file in 0..files.len() {
        let mut at = 0;
        loop {
            let (mut pair, files) = closed(3);
            if at >= pair.disk.file_len(&files[file]).expect("exists") {
                break;
            }
            pair.disk.flip(&files[file], at, 1 << (at % 8)).expect("exists");
            pair.reopen(true);
            pair.check(&mut Rng::with_seed(at), &format!("file {file}, byte {at}"));
            at += 1;
        }
    }
}

#[test]
fn a_transaction_index_that_was_cut_within_an_entry_is_built_anew() {
    let (pair, files) = closed(5);
    let len = pair.disk.file_len(&files[0]).expect("exists");
    for cut in (1..len).filter(|cut| cut % 34 != 0) {
        let (mut pair, files) = closed(5);
        let file = pair.disk.open(&files[0], crate::disk::OpenMode::ReadWrite).expect("exists");
        file.truncate(cut).expect("no fault");
        pair.reopen(true);
        pair.check(&mut Rng::with_seed(cut), &format!("cut at {cut}"));
    }
}

#[test]
fn a_read_of_committed_data_says_what_was_aborted_of_it() {
    let (mut pair, _) = closed(7);
    pair.reopen(true);
    let end = pair.log.end();
    let stable = pair.log.last_stable(end);
    let mut from = Offset::ZERO;
    let mut seen = 0;
    while let Some((slice, aborted)) = pair.log.read_stable(from, 200, stable, true).expect("in range") {
        let bytes = slice.read().expect("no fault");
        for batch in wire::batch::Batches::new(&bytes) {
            let header = batch.expect("whole").header;
            let is_aborted = pair.transactions().iter().any(|it| {
                let range = it.end.map(|(last, what)| (it.first..last, what));
                it.producer == header.producer_id
                    && header.is_transactional()
                    && !header.is_control()
                    && range.is_some_and(|(range, what)| {
                        what == What::Abort && range.contains(&header.base_offset.get())
                    })
            });
            let is_told = aborted.iter().any(|it| {
                it.producer.get() == header.producer_id
                    && it.first <= header.base_offset
                    && header.base_offset < it.last
                    && header.is_transactional()
            });
            assert_eq!(is_told, is_aborted, "at {}", header.base_offset);
            seen += usize::from(is_aborted);
            from = header.next_offset();
        }
    }
    assert!(seen > 3, "only {seen} batches were aborted");
}
