//! Offsets in transactions, as text:
//!
//! ```text
//!   txn 7 t-0=5      producer 7 commits in its transaction; also gen=3, member=x
//!   commit t-0=5     outside of any
//!   end 7 commit     the marker of 7's transaction
//!   fetch t-0 | stable t-0
//!   hold | release | reload | pass 1000
//! ```
//!
//! After each step the log replays to the state that is.

use model::{Millis, Offset, ProducerId, Timestamp, Uuid};
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use wire::messages::{ProducerId as WireProducerId, *};

use super::*;
use crate::{Caller, Client, Now, Record, Settings, Shard, Token};

/// What stands in the log.
enum Written {
    Record(Option<ProducerId>, Record),
    End(ProducerId, bool),
}

struct Life {
    shard: Shard,
    log: Vec<Written>,
    high_watermark: usize,
    held: bool,
    clock: u64,
    transcript: Vec<String>,
}

#[track_caller]
fn check(script: &str) {
    let lines = || script.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut shard = Shard::new(Settings::default(), Offset::ZERO);
    shard.loaded(Now::default());
    let mut life =
        Life { shard, log: Vec::new(), high_watermark: 0, held: false, clock: 0, transcript: Vec::new() };
    for line in lines().filter(|line| !line.starts_with('>')) {
        life.run(line);
    }
    let expected: Vec<&str> = lines().collect();
    assert_eq!(life.transcript.join("\n"), expected.join("\n"));
}

fn offset(at: usize) -> Offset {
    Offset::new(i64::try_from(at).expect("a test ends"))
}

/// `t-0=5` as topic, partition, offset.
fn place(word: &str) -> (TopicName, i32, i64) {
    let (place, offset) = word.split_once('=').unwrap_or((word, "0"));
    let (name, index) = place.rsplit_once('-').expect("topic-partition");
    (topic(name), index.parse().expect("a partition"), offset.parse().expect("an offset"))
}

impl Life {
    fn now(&self) -> Now {
        let time = i64::try_from(self.clock).expect("a test ends");
        Now { clock: Millis::new(self.clock), time: Timestamp::new(time) }
    }

    fn run(&mut self, line: &str) {
        self.transcript.push(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "hold" => self.held = true,
            "release" => self.held = false,
            "pass" => self.pass(words[1].parse().expect("milliseconds")),
            "reload" => {
                self.shard = self.replayed(self.high_watermark);
                let now = self.now();
                self.shard.loaded(now);
            }
            "end" => {
                let producer = ProducerId::new(words[1].parse().expect("an id"));
                let (at, commit) = (offset(self.log.len()), words[2] == "commit");
                self.log.push(Written::End(producer, commit));
                self.shard.end_transaction(self.now(), producer, commit, at);
            }
            _ => self.ask(&words),
        }
        self.settle();
        let replayed = self.replayed(self.log.len());
        assert_eq!(replayed.hard(), self.shard.hard(), "after {line}");
        if self.high_watermark == self.log.len() {
            assert_eq!(replayed.hard().offsets(), self.shard.committed_offsets(), "after {line}");
        }
    }

    /// A shard that was told the log.
    fn replayed(&self, high_watermark: usize) -> Shard {
        let mut shard = Shard::new(Settings::default(), offset(high_watermark));
        for (at, written) in self.log.iter().enumerate() {
            let at = offset(at);
            let outcome = match written {
                Written::Record(None, record) => shard.replay(&record.key, record.value.as_deref(), at),
                Written::Record(Some(producer), record) => {
                    shard.replay_transactional(*producer, &record.key, record.value.as_deref(), at)
                }
                Written::End(producer, commit) => {
                    shard.replay_end(*producer, *commit, at);
                    Ok(())
                }
            };
            outcome.expect("we wrote it");
        }
        shard
    }

    fn ask(&mut self, words: &[&str]) {
        let group = GroupId(text("g"));
        let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let request: RequestKind = match words[0] {
            "txn" => {
                let (name, index, offset) = place(words[2]);
                let partition = TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset);
                let topic = TxnOffsetCommitRequestTopic::default().with_name(name);
                TxnOffsetCommitRequest::default()
                    .with_group_id(group)
                    .with_producer_id(WireProducerId(words[1].parse().expect("an id")))
                    .with_generation_id(value("gen").map_or(-1, |text| text.parse().expect("a generation")))
                    .with_member_id(text(value("member").unwrap_or_default()))
                    .with_topics(vec![topic.with_partitions(vec![partition])])
                    .into()
            }
            "commit" => {
                let (name, index, offset) = place(words[1]);
                let partition = OffsetCommitRequestPartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset);
                let topic = OffsetCommitRequestTopic::default().with_name(name);
                OffsetCommitRequest::default()
                    .with_group_id(group)
                    .with_generation_id_or_member_epoch(-1)
                    .with_topics(vec![topic.with_partitions(vec![partition])])
                    .into()
            }
            _ => {
                let (name, index, _) = place(words[1]);
                let topic = OffsetFetchRequestTopics::default().with_name(name);
                let topics = vec![topic.with_partition_indexes(vec![index])];
                let group = OffsetFetchRequestGroup::default().with_group_id(group).with_topics(Some(topics));
                OffsetFetchRequest::default()
                    .with_groups(vec![group])
                    .with_require_stable(words[0] == "stable")
                    .into()
            }
        };
        let producer = producer_of(&request).map(|(id, _)| id);
        let caller = Caller { token: Token(1), version: if producer.is_some() { 5 } else { 9 } };
        let call = Call { caller, client: Client::default(), chance: Uuid::from_u128(1), request };
        let records = self.shard.handle(self.now(), &call).expect("a request of ours");
        self.append(producer, records);
    }

    fn append(&mut self, producer: Option<ProducerId>, records: Vec<Record>) -> bool {
        if records.is_empty() {
            return false;
        }
        self.log.extend(records.into_iter().map(|record| Written::Record(producer, record)));
        self.shard.appended(offset(self.log.len() - 1));
        true
    }

    fn settle(&mut self) {
        if !self.held {
            self.high_watermark = self.log.len();
        }
        self.shard.committed(offset(self.high_watermark));
        for reply in self.shard.replies() {
            let code = |code| ErrorCode::from_code(code);
            let told = match &reply.response {
                ResponseKind::TxnOffsetCommit(r) => {
                    format!("txn {}", code(r.topics[0].partitions[0].error_code))
                }
                ResponseKind::OffsetCommit(r) => {
                    format!("commit {}", code(r.topics[0].partitions[0].error_code))
                }
                ResponseKind::OffsetFetch(r) => {
                    let found = &r.groups[0].topics[0].partitions[0];
                    format!("fetch {} {}", code(found.error_code), found.committed_offset)
                }
                other => panic!("nobody asked for {other:?}"),
            };
            self.transcript.push(format!("> {told}"));
        }
    }

    fn pass(&mut self, millis: u64) {
        let end = self.clock + millis;
        while self.clock < end {
            let next = self.shard.next_deadline().map_or(end, Millis::get);
            self.clock = next.clamp(self.clock + 1, end);
            loop {
                let records = self.shard.tick(self.now());
                if !self.append(None, records) {
                    break;
                }
                self.settle();
            }
        }
    }
}

#[test]
fn an_offset_counts_when_its_transaction_is_committed() {
    check(
        "
        commit t-0=1
        > commit NONE
        txn 7 t-0=5
        > txn NONE
        fetch t-0
        > fetch NONE 1
        stable t-0
        > fetch UNSTABLE_OFFSET_COMMIT -1
        stable t-1
        > fetch NONE -1
        end 7 commit
        fetch t-0
        > fetch NONE 5
        stable t-0
        > fetch NONE 5
        ",
    );
}

#[test]
fn an_offset_vanishes_when_its_transaction_is_aborted() {
    check(
        "
        txn 7 t-0=5
        > txn NONE
        end 7 abort
        stable t-0
        > fetch NONE -1
        txn 7 t-0=6
        > txn NONE
        end 8 commit
        stable t-0
        > fetch UNSTABLE_OFFSET_COMMIT -1
        end 7 commit
        stable t-0
        > fetch NONE 6
        ",
    );
}

#[test]
fn what_was_committed_later_wins() {
    check(
        "
        txn 7 t-0=5
        > txn NONE
        commit t-0=9
        > commit NONE
        stable t-0
        > fetch UNSTABLE_OFFSET_COMMIT -1
        end 7 commit
        stable t-0
        > fetch NONE 9
        txn 7 t-0=10
        > txn NONE
        txn 8 t-0=11
        > txn NONE
        end 8 commit
        end 7 commit
        fetch t-0
        > fetch NONE 11
        txn 7 t-0=12
        > txn NONE
        txn 8 t-0=13
        > txn NONE
        end 7 commit
        fetch t-0
        > fetch NONE 12
        end 8 commit
        fetch t-0
        > fetch NONE 13
        ",
    );
}

#[test]
fn the_end_counts_once_its_marker_is_committed() {
    check(
        "
        txn 7 t-0=5
        > txn NONE
        hold
        end 7 commit
        fetch t-0
        > fetch NONE -1
        stable t-0
        release
        > fetch NONE 5
        fetch t-0
        > fetch NONE 5
        ",
    );
}

#[test]
fn open_transactions_survive_a_load() {
    check(
        "
        txn 7 t-0=5
        > txn NONE
        reload
        stable t-0
        > fetch UNSTABLE_OFFSET_COMMIT -1
        end 7 commit
        reload
        stable t-0
        > fetch NONE 5
        ",
    );
}

#[test]
fn who_names_a_member_or_a_generation_has_to_be_one() {
    check(
        "
        txn 7 t-0=5 gen=3
        > txn ILLEGAL_GENERATION
        txn 7 t-0=5
        > txn NONE
        txn 7 t-0=5 gen=3 member=x
        > txn UNKNOWN_MEMBER_ID
        txn 7 t-0=5 member=x
        > txn NONE
        ",
    );
}

#[test]
fn what_an_open_transaction_is_about_to_commit_does_not_expire() {
    let week = 7 * 24 * 3_600_000_u64;
    check(&format!(
        "
        commit t-0=1
        > commit NONE
        commit t-1=1
        > commit NONE
        txn 7 t-0=5
        > txn NONE
        pass {}
        fetch t-0
        > fetch NONE 1
        fetch t-1
        > fetch NONE -1
        end 7 abort
        pass 700000
        fetch t-0
        > fetch NONE -1
        ",
        week + 700_000
    ));
}
