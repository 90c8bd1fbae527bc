//! What holds of any run of records that a controller could write.

use proptest::prelude::*;
use proto::metadata::*;

use super::*;

/// Writes records that can be true of the image as it grows.
struct Writer {
    random: fastrand::Rng,
    image: Image,
    records: Vec<MetadataRecord>,
}

impl Writer {
    fn run(seed: u64, steps: usize) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let mut writer = Self { random, image: Image::default(), records: Vec::new() };
        let level = FeatureLevelRecord { name: MetadataVersion::FEATURE.to_owned(), feature_level: 30 };
        writer.write(level);
        (0..steps).for_each(|step| writer.step(step));
        writer
    }

    fn write(&mut self, record: impl Into<MetadataRecord>) {
        let record = record.into();
        let mut changes = Changes::default();
        let replayed = self.image.replay(Offset::new(self.records.len() as i64), &record, &mut changes);
        replayed.unwrap_or_else(|error| panic!("{error}: {record:?}"));
        self.image.check(&changes);
        self.records.push(record);
    }

    fn step(&mut self, step: usize) {
        match self.random.u8(..16) {
            0 => self.create_topic(step),
            1..4 => self.put_partition(),
            4..9 => self.change_partition(),
            9 => self.remove_topic(),
            10 => self.register(step),
            11 => self.change_broker(),
            12 => self.set_config(),
            13 => self.small(step),
            14 => self.transaction(),
            _ => self.write(NoOpRecord::default()),
        }
    }

    fn a_topic(&mut self) -> Option<Topic> {
        self.random.choice(self.image.topics().cloned().collect::<Vec<_>>())
    }

    fn some_of(&mut self, ids: &[i32]) -> Vec<i32> {
        ids.iter().copied().filter(|_| self.random.bool()).collect()
    }

    fn three_brokers(&mut self) -> Vec<i32> {
        let mut ids: Vec<i32> = (0..6).collect();
        self.random.shuffle(&mut ids);
        ids.truncate(3);
        ids
    }

    fn directories(&mut self, count: usize) -> Vec<Uuid> {
        (0..count).map(|_| Uuid::from_u128(self.random.u128(1..9))).collect()
    }

    fn create_topic(&mut self, step: usize) {
        // A transaction may hold one of this name already.
        if !self.image.is_in_transaction() {
            let topic_id = Uuid::from_u128(self.random.u128(..));
            self.write(TopicRecord { name: format!("t{step}"), topic_id });
        }
    }

    fn put_partition(&mut self) {
        let Some(topic) = self.a_topic().filter(|_| !self.image.is_in_transaction()) else { return };
        let replicas = self.three_brokers();
        let isr = self.some_of(&replicas);
        let (leader, elr) = (isr.first().copied().unwrap_or(-1), self.some_of(&replicas));
        let eligible_leader_replicas = self.random.bool().then_some(elr);
        let directories = self.directories(3);
        self.write(PartitionRecord {
            partition_id: topic.partition_count() as i32,
            topic_id: topic.id,
            replicas,
            isr,
            leader,
            leader_epoch: 0,
            partition_epoch: 0,
            directories,
            eligible_leader_replicas,
            ..PartitionRecord::default()
        });
    }

    fn change_partition(&mut self) {
        let Some(topic) = self.a_topic().filter(|_| !self.image.is_in_transaction()) else { return };
        let Some((index, partition)) = self.random.choice(topic.partitions().collect::<Vec<_>>()) else {
            return;
        };
        let replicas: Vec<i32> = partition.replicas.iter().map(|node| node.get()).collect();
        let mut change = PartitionChangeRecord {
            partition_id: index.get(),
            topic_id: topic.id,
            ..PartitionChangeRecord::default()
        };
        match self.random.u8(..4) {
            0 => change.isr = Some(self.some_of(&replicas)),
            1 => change.leader = self.random.choice(replicas).unwrap_or(-1),
            2 => change.last_known_elr = Some(self.some_of(&replicas)),
            _ => {
                let replicas = self.three_brokers();
                change.isr = Some(self.some_of(&replicas));
                change.leader = replicas[0];
                change.directories = Some(self.directories(3));
                change.replicas = Some(replicas);
            }
        }
        self.write(change);
    }

    fn remove_topic(&mut self) {
        let Some(topic) = self.a_topic().filter(|_| !self.image.is_in_transaction()) else { return };
        self.write(RemoveTopicRecord { topic_id: topic.id });
    }

    fn register(&mut self, step: usize) {
        let broker_id = self.random.i32(..6);
        let log_dirs = self.directories(2);
        let rack = self.random.bool().then(|| "r".to_owned());
        // Others may follow within a transaction, and must match.
        if !self.image.is_in_transaction() {
            let broker_epoch = step as i64;
            self.write(RegisterBrokerRecord {
                broker_id,
                broker_epoch,
                log_dirs,
                rack,
                ..RegisterBrokerRecord::default()
            });
        }
    }

    fn change_broker(&mut self) {
        let Some(broker) = self.random.choice(self.image.brokers().cloned().collect::<Vec<_>>()) else {
            return;
        };
        let fenced = self.random.i8(-1..=1);
        let change = BrokerRegistrationChangeRecord {
            broker_id: broker.id.get(),
            broker_epoch: broker.epoch.get(),
            fenced,
            in_controlled_shutdown: self.random.i8(0..=1),
            log_dirs: Vec::new(),
            cordoned_log_dirs: self.random.bool().then(Vec::new),
        };
        self.write(change);
    }

    fn set_config(&mut self) {
        let record = ConfigRecord {
            resource_type: self.random.choice([2, 4, 16]).unwrap_or(2),
            resource_name: self.random.choice(["", "1", "t1"]).unwrap_or_default().to_owned(),
            name: self.random.choice(["a", "b", "c"]).unwrap_or_default().to_owned(),
            value: self.random.bool().then(|| "v".to_owned()),
        };
        self.write(record);
    }

    fn small(&mut self, step: usize) {
        let lines = [
            format!("producer-ids {}", step * 1000),
            "scram 1 ann".to_owned(),
            "scram-gone 1 ann".to_owned(),
            format!("token id User:{step}"),
            format!("quota rate {step} user=*"),
            "quota rate user=*".to_owned(),
            format!("acl {step} User:ann"),
            format!("controller {}", step % 3),
            "level group.version 1".to_owned(),
            format!("zk {}", step % 3),
        ];
        let line = self.random.choice(lines).unwrap_or_default();
        text::records(&line).into_iter().for_each(|record| self.write(record));
    }

    fn transaction(&mut self) {
        if !self.image.is_in_transaction() {
            self.write(BeginTransactionRecord::default());
        } else if self.random.bool() {
            self.write(EndTransactionRecord::default());
        } else {
            self.write(AbortTransactionRecord::default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_snapshot_makes_the_same_image(seed in any::<u64>()) {
        let image = Writer::run(seed, 150).image;
        let records = image.to_records();
        let (restored, _) = replay_all(&records);
        check_whole(&restored);
        assert_eq!(restored.to_records(), records);
        assert_eq!(restored.digest(), image.digest());
        assert_eq!(restored, image);
    }

    #[test]
    fn changes_of_two_runs_together_are_those_of_the_whole(seed in any::<u64>(), cut in 0.0..1.0_f64) {
        let records = Writer::run(seed, 100).records;
        let (first, second) = records.split_at((records.len() as f64 * cut) as usize);
        let (mut image, mut merged) = replay_all(first);
        let mut later = Changes::default();
        for record in second {
            image.replay(Offset::ZERO, record, &mut later).expect("replayed before");
        }
        merged.merge(later);
        let (whole, changes) = replay_all(&records);
        assert_eq!(merged, changes);
        assert_eq!(image, whole);
    }

    #[test]
    fn whatever_differs_between_two_images_was_told(seed in any::<u64>(), cut in 0.0..1.0_f64) {
        let records = Writer::run(seed, 100).records;
        let (first, second) = records.split_at((records.len() as f64 * cut) as usize);
        let (old, _) = replay_all(first);
        let (mut new, mut told) = (old.clone(), Changes::default());
        for record in second {
            new.replay(Offset::ZERO, record, &mut told).expect("replayed before");
        }
        let differing = Changes::between(&old, &new);
        assert!(differing.topics_created.iter().all(|(id, name)| told.topics_created.get(id) == Some(name)));
        assert!(differing.topics_deleted.iter().all(|(id, name)| told.topics_deleted.get(id) == Some(name)));
        assert!(differing.partitions.is_subset(&told.partitions));
        assert!(differing.brokers.is_subset(&told.brokers));
        assert!(differing.configs.is_subset(&told.configs));
        assert!(differing.quotas.is_subset(&told.quotas));
        assert!(Changes::between(&new, &new.clone()).is_empty());
    }

    #[test]
    fn different_content_has_another_digest(seed in any::<u64>()) {
        let writer = Writer::run(seed, 60);
        let mut image = writer.image.clone();
        let record = TopicRecord { name: "one.more".to_owned(), topic_id: Uuid::from_u128(1) };
        if !image.is_in_transaction() {
            image.replay(Offset::ZERO, &record.into(), &mut Changes::default()).expect("a new topic");
            assert_ne!(image.digest(), writer.image.digest());
        }
    }
}
