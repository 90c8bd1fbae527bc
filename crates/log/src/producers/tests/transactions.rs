//! Transactions one step after the other: what is refused with which code, and how far the log is stable.

use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, BatchHeader, BatchRef, EndMarker, NewRecord, Producer};

use super::super::{Entrant, Guard, Origin, Producers, TransactionEnd, Verification, Verifications};

/// A log as far as producers see it.
#[derive(Default)]
struct Steps {
    producers: Producers,
    verifications: Verifications,
    guards: Vec<Guard>,
    end: i64,
    verifies: bool,
}

/// `PRODUCER.EPOCH.NUMBER`, where the number is a sequence or a coordinator's epoch.
fn numbers(text: &str) -> (ProducerId, ProducerEpoch, i32) {
    let numbers: Vec<i64> = text.split('.').map(|number| number.parse().expect("a number")).collect();
    let [id, epoch, number] = numbers[..] else { panic!("{text}") };
    let epoch = i16::try_from(epoch).expect("an epoch");
    (ProducerId::new(id), ProducerEpoch::new(epoch), i32::try_from(number).expect("a number"))
}

impl Steps {
    /// `t P.E.S`, a record of a transaction, `d P.E.S`, one of none, `g P.E.-1`, one of the group
    /// coordinator; each may name a guard. `c`, `a`: markers of version 1; `C`, `A`: of version 2.
    /// `ask P.E.S`, `ASK` the same in version 2: a guard, by its number.
    fn step(&mut self, step: &str) -> Result<String, ErrorCode> {
        let words: Vec<&str> = step.split(' ').collect();
        let (producer, epoch, number) = numbers(words[1]);
        match words[0] {
            "ask" | "ASK" => {
                let bumps_epoch = words[0] == "ASK";
                let entrant = Entrant { producer, epoch, sequence: number, bumps_epoch };
                if !self.producers.needs_verification(&entrant).map_err(|error| error.code())? {
                    return Ok("open".to_owned());
                }
                let guard = self.verifications.begin(&entrant, Timestamp::new(0));
                if !self.guards.contains(&guard) {
                    self.guards.push(guard);
                }
                Ok(format!("g{}", self.guards.iter().position(|it| *it == guard).expect("kept")))
            }
            "t" | "d" | "g" => {
                let guard =
                    words.get(2).map(|name| self.guards[name[1..].parse::<usize>().expect("a number")]);
                self.data(words[0], producer, epoch, number, guard)
            }
            kind => self.end(kind, producer, epoch, number),
        }
    }

    fn data(
        &mut self,
        kind: &str,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: i32,
        guard: Option<Guard>,
    ) -> Result<String, ErrorCode> {
        let mut builder = BatchBuilder::new(Offset::new(self.end), LeaderEpoch::new(0))
            .producer(Producer { id, epoch, base_sequence }, kind != "d");
        builder.push(&NewRecord::default());
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("no codec");
        let header = BatchHeader::parse(&bytes).expect("a batch");
        let verification = if self.verifies { Verification::Needed(guard) } else { Verification::Off };
        let origin =
            if kind == "g" { Origin::Coordinator(verification) } else { Origin::Client(verification) };
        let judged = self.producers.judge(&header, origin, &self.verifications);
        match judged.map_err(|error| error.code())? {
            Some(written) => return Ok(format!("at {}", written.first_offset)),
            None => self.note(&header, None),
        }
        Ok("ok".to_owned())
    }

    fn end(
        &mut self,
        kind: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
    ) -> Result<String, ErrorCode> {
        let commit = kind.eq_ignore_ascii_case("c");
        let version = if kind == "C" || kind == "A" { 2 } else { 1 };
        let end = TransactionEnd { producer, epoch, commit, coordinator_epoch, version };
        self.producers.judge_end(&end).map_err(|error| error.code())?;
        let marker = EndMarker { commit, coordinator_epoch };
        let place = (Offset::new(self.end), LeaderEpoch::new(0));
        let bytes = marker.batch(producer, epoch, Timestamp::new(0), place);
        let batch = BatchRef::parse(&bytes).expect("a batch");
        self.note(&batch.header, EndMarker::read(&batch));
        Ok("ok".to_owned())
    }

    fn note(&mut self, header: &BatchHeader, marker: Option<EndMarker>) {
        self.verifications.note(header);
        self.producers.note(header, marker);
        self.end = header.next_offset().get();
    }
}

/// Runs the steps; each says what became of it and, where something is unstable, from where on.
fn check_with(verifies: bool, steps: &str, outcome: &str) {
    let mut log = Steps { verifies, ..Steps::default() };
    let mut said = Vec::new();
    for step in steps.split(", ") {
        let became = log.step(step).unwrap_or_else(|code| code.name().to_owned());
        let unstable = log.producers.first_unstable(Offset::new(log.end));
        said.push(unstable.map_or(became.clone(), |offset| format!("{became}<{offset}")));
        let again = Producers::decode(&log.producers.encode()).expect("fresh");
        assert_eq!(again.encode(), log.producers.encode());
        assert_eq!(again.first_open_transaction(), log.producers.first_open_transaction());
    }
    assert_eq!(said.join(", "), outcome, "of {steps}");
}

fn check(steps: &str, outcome: &str) {
    check_with(false, steps, outcome);
}

#[test]
fn a_transaction_is_unstable_from_its_first_record_to_its_marker() {
    check("d 9.0.0, t 7.0.0, t 7.0.1, c 7.0.1, d 9.0.1", "ok, ok<1, ok<1, ok, ok");
    check("t 1.0.0, t 2.0.0, a 1.0.0, a 2.0.0", "ok<0, ok<0, ok<1, ok");
    check("t 1.0.0, c 2.0.0, a 1.0.0", "ok<0, ok<0, ok");
}

#[test]
fn an_old_epoch_neither_writes_nor_ends() {
    check(
        "t 1.4.0, t 1.3.0, c 1.3.0, c 1.4.0",
        "ok<0, INVALID_PRODUCER_EPOCH<0, INVALID_PRODUCER_EPOCH<0, ok",
    );
    check("t 1.4.0, a 1.5.0, t 1.4.1, t 1.5.0", "ok<0, ok, INVALID_PRODUCER_EPOCH, ok<2");
}

#[test]
fn a_coordinator_that_was_deposed_ends_nothing() {
    check(
        "t 1.0.0, c 1.0.5, t 1.0.1, c 1.0.4, c 1.0.5",
        "ok<0, ok, ok<2, TRANSACTION_COORDINATOR_FENCED<2, ok",
    );
}

#[test]
fn sequences_go_on_behind_a_marker_and_begin_anew_with_an_epoch() {
    check("t 1.0.0, c 1.0.0, t 1.0.2, t 1.0.1, c 1.0.0", "ok<0, ok, OUT_OF_ORDER_SEQUENCE_NUMBER, ok<2, ok");
    check("t 1.0.0, C 1.1.0, t 1.1.1, t 1.1.0", "ok<0, ok, OUT_OF_ORDER_SEQUENCE_NUMBER, ok<2");
    check("t 1.0.0, t 1.0.0, t 1.0.1", "ok<0, at 0<0, ok<0");
}

#[test]
fn a_marker_of_version_2_is_above_its_transaction_unless_it_comes_again() {
    check("t 1.0.0, C 1.0.0, C 1.1.0, C 1.1.0", "ok<0, INVALID_PRODUCER_EPOCH<0, ok, ok");
    check("t 1.0.0, C 1.1.0, t 1.1.0, C 1.1.0", "ok<0, ok, ok<2, INVALID_PRODUCER_EPOCH<2");
}

#[test]
fn a_record_of_none_does_not_go_between_those_of_a_transaction() {
    check("t 1.0.0, d 1.0.1, c 1.0.0, d 1.0.1", "ok<0, INVALID_TXN_STATE<0, ok, ok");
}

#[test]
fn a_group_coordinators_offsets_have_no_sequence_but_an_epoch() {
    check(
        "g 1.3.-1, g 1.3.-1, g 1.2.-1, c 1.3.0, g 1.2.-1",
        "ok<0, ok<0, INVALID_PRODUCER_EPOCH<0, ok, INVALID_PRODUCER_EPOCH",
    );
}

#[test]
fn a_transaction_opens_only_under_the_guard_it_was_looked_up_with() {
    check_with(true, "t 1.0.0", "INVALID_TXN_STATE");
    check_with(
        true,
        "ask 1.0.0, t 1.0.0 g0, t 1.0.1, ask 1.0.2, c 1.0.0, t 1.0.2 g0",
        "g0, ok<0, ok<0, open<0, ok, INVALID_TXN_STATE",
    );
    check_with(true, "d 1.0.0, g 2.0.-1, ask 2.0.-1, g 2.0.-1 g0", "ok, INVALID_TXN_STATE, g0, ok<1");
}

#[test]
fn a_marker_takes_the_guard_away_unless_it_is_of_the_transaction_before() {
    check_with(true, "ask 1.0.0, a 1.0.0, t 1.0.0 g0", "g0, ok, INVALID_TXN_STATE");
    check_with(
        true,
        "ASK 1.0.0, t 1.0.0 g0, ASK 1.1.0, A 1.1.0, t 1.1.0",
        "g0, ok<0, g1<0, ok, INVALID_TXN_STATE",
    );
    check_with(true, "ASK 1.0.0, t 1.0.0 g0, ASK 1.1.0, A 1.1.0, t 1.1.0 g1", "g0, ok<0, g1<0, ok, ok<2");
    check_with(true, "c 1.5.0, ask 1.4.0, ask 1.5.0", "ok, INVALID_PRODUCER_EPOCH, g0");
}

#[test]
fn while_looked_up_the_lowest_sequence_seen_comes_first() {
    check_with(
        true,
        "ask 1.0.4, ask 1.0.0, t 1.0.4 g0, t 1.0.0 g0",
        "g0, g0, OUT_OF_ORDER_SEQUENCE_NUMBER, ok<0",
    );
    check_with(true, "ask 1.0.4, t 1.0.4 g0", "g0, ok<0");
    check_with(true, "ASK 1.0.4, t 1.0.4 g0", "g0, OUT_OF_ORDER_SEQUENCE_NUMBER");
}

#[test]
fn a_transaction_is_unstable_until_its_marker_is_committed() {
    let mut log = Steps::default();
    for step in ["t 1.0.0", "c 1.0.0", "t 2.0.0"] {
        assert_eq!(log.step(step).as_deref(), Ok("ok"));
    }
    let stable =
        |log: &mut Steps, watermark| log.producers.first_unstable(Offset::new(watermark)).map(Offset::get);
    assert_eq!(stable(&mut log, 0), Some(0));
    assert_eq!(stable(&mut log, 1), Some(0));
    assert_eq!(stable(&mut log, 2), Some(2));
}
