//! What a consumer is subscribed to, as it tells the others: only the topics' names are read here.

use std::collections::BTreeSet;

use proto::DecodeError;
use proto::codec::Reader;

/// Most bytes that one name takes beside its text: its length.
const NAME_OVERHEAD: usize = 2;

/// The topics of a consumer's metadata. All versions begin alike: version, names.
pub fn topics(metadata: &[u8]) -> Result<BTreeSet<String>, DecodeError> {
    let mut reader = Reader::new(metadata);
    let version = i16::from_be_bytes(reader.take_array()?);
    if version < 0 {
        return Err(DecodeError::Negative { at: 0, length: version.into() });
    }
    let at = reader.at();
    let count = i32::from_be_bytes(reader.take_array()?);
    let fits = reader.left() / NAME_OVERHEAD;
    let count = usize::try_from(count).map_err(|_| DecodeError::Negative { at, length: count.into() })?;
    if count > fits {
        return Err(DecodeError::Count { at, count, max: fits });
    }
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let at = reader.at();
        let length = i16::from_be_bytes(reader.take_array()?);
        let length =
            usize::try_from(length).map_err(|_| DecodeError::Negative { at, length: length.into() })?;
        let name = std::str::from_utf8(reader.take(length)?).map_err(|_| DecodeError::Utf8 { at })?;
        topics.insert(name.to_owned());
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::topics;

    /// The topics read, or what is wrong.
    fn check(metadata: &[u8], outcome: &str) {
        let read = topics(metadata).map(|topics| topics.into_iter().collect::<Vec<_>>().join(","));
        assert_eq!(read.unwrap_or_else(|error| error.to_string()), outcome);
    }

    #[test]
    fn names_are_read_and_what_follows_is_not_looked_at() {
        check(&[0, 1, 0, 0, 0, 2, 0, 1, b'b', 0, 1, b'a', 9, 9], "a,b");
        check(&[0, 0, 0, 0, 0, 0], "");
    }

    #[test]
    fn what_is_no_subscription_is_refused() {
        check(&[], "at byte 0: needs 2 more bytes, 0 are left");
        check(&[0xff, 0xff, 0, 0, 0, 0], "at byte 0: a length of -1");
        check(&[0, 0, 0xff, 0xff, 0xff, 0xff], "at byte 2: a length of -1");
        check(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0], "at byte 2: a count of 2147483647 where at most 1 fit");
        check(&[0, 0, 0, 0, 0, 1, 0, 2, b'a'], "at byte 8: needs 2 more bytes, 1 are left");
    }
}
