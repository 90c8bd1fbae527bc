//! One number for the whole content: two nodes at one place in the log must have the same.

use proto::metadata::{MetadataRecord, MetadataVersion};

use crate::image::Image;

/// FNV-1a, 128 bits: a fixed function of the bytes on every machine, and enough against accident.
#[derive(Clone, Copy)]
struct Fnv(u128);

impl Fnv {
    const START: Self = Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }
}

impl Image {
    /// A hash of the content, the same on every node and in every run. Walks the whole image.
    pub fn digest(&self) -> u128 {
        let mut hash = Fnv::START;
        let mut bytes = Vec::new();
        let level = MetadataVersion::LATEST;
        self.each_record(level, &mut |record: MetadataRecord| {
            bytes.clear();
            record
                .to_value(level.level(), &mut bytes)
                .expect("the latest level can say whatever was replayed");
            hash.add(&(bytes.len() as u64).to_be_bytes());
            hash.add(&bytes);
        });
        hash.0
    }
}
