//! A log that loses nothing, and clients with everything that is legal: answers that get lost,
//! appends that come late, copies made by resending, seeks, several batches under way.

use std::collections::VecDeque;

use fastrand::Rng;
use model::{ErrorCode, LeaderEpoch, Millis, Offset, TopicPartition};

use super::super::super::script::partition;
use crate::history::{
    Assign, Batch, History, Kind, Mode, OpId, Place, Poll, ProcessId, Producer, Read, Run, SendOutcome,
    Session,
};

/// Records of one leader epoch.
const EPOCH_RECORDS: usize = 40;

/// One run.
pub(super) struct Perfect {
    rng: Rng,
    history: History,
    now: u64,
    logs: Vec<(TopicPartition, Vec<u64>)>,
    last_value: u64,
    last_session: u32,
    producers: Vec<Sender>,
    consumers: Vec<Reader>,
    /// Batches whose producer gave up, and which may still arrive.
    late: Vec<(usize, Vec<u64>)>,
}

struct Sender {
    process: ProcessId,
    producer: Producer,
    flights: VecDeque<Flight>,
}

struct Flight {
    op: OpId,
    log: usize,
    values: Vec<u64>,
    base: Option<usize>,
}

struct Reader {
    process: ProcessId,
    positions: Vec<usize>,
    flight: Option<(OpId, Option<Vec<Run>>)>,
}

impl Perfect {
    pub(super) fn new(seed: u64) -> Self {
        let mut history = History::default();
        let session = |number| Producer::Idempotent(Session(number));
        let kinds = [session(1), session(2), Producer::OneInFlight, Producer::ManyInFlight];
        let sender = |(number, producer)| {
            let process = history.process(&format!("p{number}"));
            Sender { process, producer, flights: VecDeque::new() }
        };
        let producers = kinds.into_iter().enumerate().map(sender).collect();
        let reader = |number| {
            let process = history.process(&format!("c{number}"));
            Reader { process, positions: vec![0; 3], flight: None }
        };
        let consumers = (0..2).map(reader).collect();
        Self {
            rng: Rng::with_seed(seed),
            history,
            now: 0,
            logs: ["t", "u", "v"].map(|topic| (partition(topic), Vec::new())).into(),
            last_value: 0,
            last_session: 2,
            producers,
            consumers,
            late: Vec::new(),
        }
    }

    /// At least that many operations, and the final phase.
    pub(super) fn run(mut self, ops: usize) -> History {
        for reader in 0..self.consumers.len() {
            self.assign(reader, true);
        }
        while self.history.ops().len() < ops {
            self.now += self.rng.u64(..3);
            match self.rng.usize(..8) {
                0..=3 => self.step_sender(),
                4..=6 => self.step_reader(),
                _ => self.arrive_late(),
            }
        }
        self.finish();
        self.history
    }

    fn at(&self) -> Millis {
        Millis::new(self.now)
    }

    fn step_sender(&mut self) {
        let at = self.rng.usize(..self.producers.len());
        let sender = &mut self.producers[at];
        let most = if sender.producer == Producer::OneInFlight { 1 } else { 3 };
        let unsent = sender.flights.iter().position(|flight| flight.base.is_none());
        match (self.rng.usize(..3), unsent) {
            (0, _) if sender.flights.len() < most => self.send(at),
            (1, Some(flight)) => self.append(at, flight),
            _ if !self.producers[at].flights.is_empty() => self.answer(at),
            _ => {}
        }
    }

    fn send(&mut self, at: usize) {
        let log = self.rng.usize(..self.logs.len());
        let count = self.rng.u64(1..=3);
        let values: Vec<u64> = (1..=count).map(|more| self.last_value + more).collect();
        self.last_value += count;
        let sender = &mut self.producers[at];
        let mut batch = Batch::new(self.logs[log].0.clone(), values.clone(), sender.producer);
        batch.attempts = 1;
        let op = self.history.invoke(sender.process, Millis::new(self.now), Kind::Send(batch));
        self.producers[at].flights.push_back(Flight { op, log, values, base: None });
    }

    fn append(&mut self, at: usize, flight: usize) {
        let sender = &mut self.producers[at];
        let flight = &mut sender.flights[flight];
        let log = &mut self.logs[flight.log].1;
        if !matches!(sender.producer, Producer::Idempotent(_)) && self.rng.u8(..8) == 0 {
            log.extend(&flight.values);
            self.history.attempted(flight.op);
        }
        flight.base = Some(log.len());
        log.extend(&flight.values);
    }

    /// The first batch under way is answered, or given up.
    fn answer(&mut self, at: usize) {
        let (now, dice) = (self.at(), self.rng.u8(..20));
        let sender = &mut self.producers[at];
        let is_alone = sender.flights.len() == 1;
        let flight = sender.flights.pop_front().expect("the caller looked");
        let unknown = || SendOutcome::Unknown("timed out".to_owned());
        let outcome = match (flight.base, dice) {
            (Some(_), 0) => SendOutcome::Acked(None),
            (Some(_), 1..=3) => unknown(),
            (Some(base), _) => SendOutcome::Acked(Some(Offset::new(base as i64))),
            (None, 0) => SendOutcome::Refused(ErrorCode::NotEnoughReplicas),
            (None, 1) if is_alone => {
                self.late.push((flight.log, flight.values));
                unknown()
            }
            (None, _) => return sender.flights.push_front(flight),
        };
        if matches!(outcome, SendOutcome::Unknown(_)) {
            self.last_session += 1;
            if let Producer::Idempotent(session) = &mut sender.producer {
                *session = Session(self.last_session);
            }
        }
        self.history.end_send(flight.op, now, outcome);
    }

    fn arrive_late(&mut self) {
        if let Some((log, values)) = self.late.pop() {
            self.logs[log].1.extend(values);
        }
    }

    fn step_reader(&mut self) {
        let at = self.rng.usize(..self.consumers.len());
        let dice = self.rng.u8(..40);
        match &self.consumers[at].flight {
            None if dice == 0 => self.assign(at, false),
            None if dice < 4 => self.list(at),
            None => {
                let op =
                    self.history.invoke(self.consumers[at].process, self.at(), Kind::Poll(Poll::default()));
                self.consumers[at].flight = Some((op, None));
            }
            Some((_, None)) => {
                let most = self.rng.usize(..6);
                let seen = self.read(at, most);
                self.consumers[at].flight.as_mut().expect("a poll is under way").1 = Some(seen);
            }
            Some((_, Some(_))) => {
                let (op, seen) = self.consumers[at].flight.take().expect("a poll is under way");
                self.history.end_poll(op, self.at(), seen.expect("it was answered"));
            }
        }
    }

    fn assign(&mut self, at: usize, from_beginning: bool) {
        let reader = &mut self.consumers[at];
        let mut positions = Vec::new();
        for ((name, _), position) in self.logs.iter().zip(&mut reader.positions) {
            if from_beginning || self.rng.u8(..3) == 0 {
                *position = 0;
                positions.push((name.clone(), None));
            } else {
                *position = self.rng.usize(..=*position);
                positions.push((name.clone(), Some(Offset::new(*position as i64))));
            }
        }
        let assign = Kind::Assign(Assign { positions, mode: Mode::Assign });
        self.history.note(reader.process, Millis::new(self.now), assign);
    }

    fn list(&mut self, at: usize) {
        let (name, log) = &self.logs[self.rng.usize(..self.logs.len())];
        let epoch = Some(LeaderEpoch::new(0));
        let offset = Some(Offset::new(log.len() as i64));
        let list = Kind::List { partition: name.clone(), place: Place::Latest, offset, epoch };
        self.history.note(self.consumers[at].process, Millis::new(self.now), list);
    }

    /// Up to `most` records of each partition.
    fn read(&mut self, at: usize, most: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        for ((name, log), position) in self.logs.iter().zip(&mut self.consumers[at].positions) {
            let end = log.len().min(*position + most);
            let read = |offset: usize| Read {
                offset: Offset::new(offset as i64),
                value: log[offset],
                epoch: Some(LeaderEpoch::new((offset / EPOCH_RECORDS) as i32)),
            };
            runs.push(Run {
                partition: name.clone(),
                from: Offset::new(*position as i64),
                high_watermark: Some(Offset::new(log.len() as i64)),
                epoch: Some(LeaderEpoch::new(0)),
                records: (*position..end).map(read).collect(),
            });
            *position = end;
        }
        runs
    }

    /// Whatever is under way ends; then everything is read.
    fn finish(&mut self) {
        for at in 0..self.producers.len() {
            while let Some(unsent) =
                self.producers[at].flights.iter().position(|flight| flight.base.is_none())
            {
                self.append(at, unsent);
            }
            while !self.producers[at].flights.is_empty() {
                self.answer(at);
            }
        }
        while !self.late.is_empty() {
            self.arrive_late();
        }
        for at in 0..self.consumers.len() {
            while self.consumers[at].flight.is_some() {
                self.step_reader();
            }
        }
        let process = self.history.process("final");
        self.now += 1;
        self.history.note(process, self.at(), Kind::FinalPhase);
        self.consumers.push(Reader { process, positions: vec![0; 3], flight: None });
        let last = self.consumers.len() - 1;
        self.assign(last, true);
        loop {
            self.now += 1;
            let op = self.history.invoke(process, self.at(), Kind::Poll(Poll::default()));
            let seen = self.read(last, 30);
            let is_over = seen.iter().all(|run| run.records.is_empty());
            self.history.end_poll(op, self.at(), seen);
            if is_over {
                break;
            }
        }
    }
}
