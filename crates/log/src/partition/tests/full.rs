//! A log on a disk that fills up at any moment: what did not fit is refused, the rest goes on.

use super::*;

/// One log, and what it should hold.
struct Trial {
    disk: MemDisk,
    log: Log,
    rng: fastrand::Rng,
    epoch: i32,
    /// Operations that found no room.
    refused: u32,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let disk = MemDisk::new();
        let log = new_log(&disk, 600);
        Self { disk, log, rng: fastrand::Rng::with_seed(seed), epoch: 0, refused: 0 }
    }

    /// One random operation, on a disk with little room or much.
    fn step(&mut self) {
        let room = [None, Some(0), Some(self.rng.u64(..400))][self.rng.usize(..3)];
        self.disk.set_capacity(room.map(|room| self.disk.used_bytes() + room));
        let (start, end) = (self.log.start(), self.log.end());
        let somewhere = Offset::new(self.rng.i64(start.get()..=end.get()));
        match self.rng.u32(..20) {
            0..12 => {
                let (count, epoch) = (self.rng.i64(1..6), self.epoch);
                match append(&mut self.log, count, epoch) {
                    Ok(()) => assert_eq!(self.log.end(), end.plus(count)),
                    Err(error) => {
                        assert!(error.is_full(), "{error}");
                        assert_eq!(self.log.end(), end, "what is refused is not there");
                        self.refused += 1;
                    }
                }
            }
            12 => {
                self.epoch += 1;
                self.log.begin_epoch(LeaderEpoch::new(self.epoch));
            }
            13 => {
                let done = self.log.truncate_to(somewhere);
                self.take(done);
            }
            14 => {
                let done = self.log.advance_start(somewhere);
                self.take(done);
            }
            15 => {
                let small = Retention { bytes: Some(1_500), age: None };
                let done = self.log.retain(&small, Timestamp::new(0), end);
                self.take(done);
                self.log.take_retired().iter().for_each(|path| self.disk.remove_file(path).expect("there"));
            }
            16..19 => {
                let done = self.log.flush();
                self.take(done);
            }
            _ => self.restart(),
        }
        assert!(!self.log.is_poisoned(), "a full disk is no broken one");
        assert_whole(&mut self.log);
    }

    fn take<T>(&mut self, done: Result<T, LogError>) {
        if let Err(error) = done {
            assert!(error.is_full(), "{error}");
            self.refused += 1;
        }
    }

    /// The process ends, in order if there is room for it, and the next one opens what it left.
    fn restart(&mut self) {
        let is_clean = self.rng.bool() && self.log.close().is_ok();
        let (start, end, recovery_point) = (self.log.start(), self.log.end(), self.log.recovery_point());
        self.log = reopen(&self.disk, 600, Opening { is_clean, recovery_point, start, ..Opening::default() });
        assert_eq!((self.log.start(), self.log.end()), (start, end), "clean: {is_clean}");
    }

    /// There is room again.
    fn end(mut self) -> u32 {
        self.disk.set_capacity(None);
        append(&mut self.log, 3, self.epoch).expect("there is room");
        self.log.flush().expect("there is room");
        let (start, end) = (self.log.start(), self.log.end());
        self.disk.crash(Crash::Power);
        let mut log = reopen(
            &self.disk,
            600,
            Opening { is_clean: false, recovery_point: end, start, ..Opening::default() },
        );
        assert_eq!((log.start(), log.end()), (start, end));
        assert_whole(&mut log);
        self.refused
    }
}

/// Every record is there once; the first batch may begin below the log's start.
fn assert_whole(log: &mut Log) {
    let (start, end) = (log.start().get(), log.end().get());
    let mut values = read_all(log, start);
    values.retain(|value| *value >= start);
    assert_eq!(values, (start..end).collect::<Vec<_>>());
}

#[test]
fn a_log_goes_on_by_itself_whenever_a_full_disk_has_room_again() {
    let mut refused = 0;
    for seed in 0..300 {
        let mut trial = Trial::new(seed);
        (0..60).for_each(|_| trial.step());
        refused += trial.end();
    }
    assert!(refused > 2_000, "only {refused} operations found no room");
}
