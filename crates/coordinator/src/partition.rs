//! Which partition of `__consumer_offsets` a group lives in: clients and brokers of any kind must agree on it.

/// The partition of `group` among `partitions`: Java's hash of its text.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka takes 0 for the one number that has no absolute value.
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    fn check(group: &str, partition: i32) {
        assert_eq!(partition_of(group, 50), partition, "{group}");
    }

    #[test]
    fn groups_lie_where_kafka_puts_them() {
        check("", 0);
        check("a", 97 % 50);
        check("console-consumer-12345", 6);
        check("test-group", 12);
        // Its hash is the smallest number there is.
        check("polygenelubricants", 0);
        check("größe-\u{1f980}", 24);
    }
}
