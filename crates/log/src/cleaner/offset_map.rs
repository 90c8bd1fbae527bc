//! The last offset of each key, in a bounded table.
//!
//! Keys are kept as 16 bytes of their SHA-256, as Kafka keeps 16 bytes of MD5: a key is
//! never compared, so one that was made to collide with another would delete it. Entries
//! of 24 bytes stand in one array, each at the first free place from where its hash says.

use model::Offset;
use sha2::{Digest, Sha256};

/// Bytes of an entry, as Kafka counts them for `log.cleaner.dedupe.buffer.size`.
const ENTRY_BYTES: usize = size_of::<Entry>();
/// No offset: the place is free.
const FREE: i64 = -1;

#[derive(Clone, Copy)]
struct Entry {
    key: [u64; 2],
    offset: i64,
}

/// Offsets by key.
pub(super) struct OffsetMap {
    entries: Vec<Entry>,
    used: usize,
    used_max: usize,
    latest: Option<Offset>,
}

impl OffsetMap {
    /// A map in at most `bytes`, and no more than `keys` keys need; filled up to `load_factor`.
    pub(super) fn new(bytes: usize, load_factor: f64, keys: u64) -> Self {
        let load_factor = load_factor.clamp(0.01, 0.99);
        let wanted = (keys as f64 / load_factor).ceil().min(usize::MAX as f64) as usize;
        let places = (bytes / ENTRY_BYTES).min(wanted.saturating_add(1)).max(2);
        let entries = vec![Entry { key: [0; 2], offset: FREE }; places];
        let used_max = ((places as f64 * load_factor).ceil() as usize).clamp(1, places - 1);
        Self { entries, used: 0, used_max, latest: None }
    }

    /// Notes that `key` is at `offset`, behind every offset noted before. False when the map is full
    /// and does not know the key.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let key = digest(key);
        let place = self.place(key);
        let entry = &mut self.entries[place];
        if entry.offset == FREE {
            if self.used == self.used_max {
                return false;
            }
            self.used += 1;
        }
        *entry = Entry { key, offset: offset.get() };
        self.note_latest(offset);
        true
    }

    /// The last offset of `key`, if it was noted.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        let entry = self.entries[self.place(digest(key))];
        (entry.offset != FREE).then(|| Offset::new(entry.offset))
    }

    /// All up to `offset` is in the map, as far as it has a key.
    pub(super) fn note_latest(&mut self, offset: Offset) {
        self.latest = self.latest.max(Some(offset));
    }

    /// Records above are not known.
    pub(super) fn latest(&self) -> Option<Offset> {
        self.latest
    }

    /// How many keys it holds.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Where `key` is, or would be. There is always a free place, so the search ends.
    fn place(&self, key: [u64; 2]) -> usize {
        let mut place = (key[0] % self.entries.len() as u64) as usize;
        while self.entries[place].offset != FREE && self.entries[place].key != key {
            place = (place + 1) % self.entries.len();
        }
        place
    }
}

fn digest(key: &[u8]) -> [u64; 2] {
    let hash = Sha256::digest(key);
    let half = |at: usize| u64::from_be_bytes(*hash[at..].first_chunk().expect("32 bytes"));
    [half(0), half(8)]
}

#[cfg(test)]
mod tests {
    use model::Offset;

    use super::{ENTRY_BYTES, OffsetMap};

    fn put(map: &mut OffsetMap, key: i64, offset: i64) -> bool {
        map.put(&key.to_be_bytes(), Offset::new(offset))
    }

    #[test]
    fn the_last_offset_of_a_key_is_found_also_when_the_map_is_full() {
        let mut map = OffsetMap::new(100 * ENTRY_BYTES, 0.9, u64::MAX);
        let known = (0..1_000).take_while(|&key| put(&mut map, key, key)).count() as i64;
        assert_eq!(known, 90);
        for key in 0..known {
            assert!(put(&mut map, key, 1_000 + key), "a key that it knows needs no place");
        }
        for key in 0..1_000 {
            let expected = (key < known).then(|| Offset::new(1_000 + key));
            assert_eq!(map.get(&key.to_be_bytes()), expected, "{key}");
        }
        assert_eq!((map.len(), map.latest()), (90, Some(Offset::new(1_089))));
    }

    #[test]
    fn a_map_is_no_larger_than_its_keys_need_and_has_room_for_all_of_them() {
        for keys in [0, 1, 2, 10, 1_000] {
            let mut map = OffsetMap::new(1 << 30, 0.9, keys);
            assert!(map.entries.len() as u64 <= 2 * keys + 2, "{keys}");
            assert!((0..keys as i64).all(|key| put(&mut map, key, key)), "{keys}");
        }
    }
}
