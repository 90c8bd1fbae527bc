//! Which of a leader's fetchers takes a partition: Kafka's rule.
//!
//! Only the spread matters to this node, and it is the same here as there: a topic's
//! partitions go to the fetchers in turn, beginning at one that its name draws. So
//! whoever tuned `num.replica.fetchers` for a cluster finds the load where it was.

use model::TopicPartition;

/// The fetcher among `fetchers` that follows `partition`.
pub(super) fn fetcher_of(partition: &TopicPartition, fetchers: u32) -> u32 {
    let hash = java_hash(partition.topic.as_str());
    let mixed = hash.wrapping_mul(31).wrapping_add(partition.partition.get());
    // Java has no absolute value of its least number; Kafka takes zero for it.
    mixed.checked_abs().map_or(0, i32::unsigned_abs) % fetchers.max(1)
}

/// `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use model::{PartitionIndex, TopicName, TopicPartition};

    use super::{fetcher_of, java_hash};

    fn check(topic: &str, partition: i32, fetchers: u32, outcome: u32) {
        let topic = TopicName::new(topic).expect("legal");
        let partition = TopicPartition { topic, partition: PartitionIndex::new(partition) };
        assert_eq!(fetcher_of(&partition, fetchers), outcome, "{partition} of {fetchers}");
    }

    #[test]
    fn a_name_hashes_as_in_java() {
        assert_eq!((java_hash("orders"), java_hash("t")), (-1_008_770_331, 116));
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn partitions_go_to_the_fetchers_in_turn_from_where_the_name_says() {
        for (partition, outcome) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 0)] {
            check("t", partition, 4, outcome);
        }
        for (partition, outcome) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
            check("orders", partition, 4, outcome);
        }
    }

    #[test]
    fn one_fetcher_takes_all_and_the_least_number_is_no_trap() {
        check("orders", 7, 1, 0);
        check("orders", 7, 0, 0);
        // 31 times the least number is the least number again.
        check("polygenelubricants", 0, 4, 0);
    }
}
