//! Why a group rebalanced lately, as a tagged field of our own in Kafka's answers.
//!
//! Kafka has no API for it. A client that knows of it puts the tag, with nothing in it, into its DescribeGroups or
//! ConsumerGroupDescribe request; Kafka skips that, and a node of ours adds the tag with [`Rebalances`] to each
//! group of its answer. Without the question the answer is Kafka's, byte for byte.

use std::ops::RangeInclusive;

#[cfg(test)]
use crate::codec::tests::draw::{Draw, Random};
#[allow(unused_imports, reason = "what generated code needs differs by file")]
use crate::codec::{
    DecodeError, EncodeError, Form, Message, Reader, Tags, Wire, get_null_from, put_null_from,
};

include!(concat!(env!("OUT_DIR"), "/rebalances.rs"));

/// The tag, in the question and in the answer: `KS`. Kafka counts its own up from 0.
pub const TAG: i32 = 0x4b53;

/// The only version.
const VERSION: i16 = 0;

impl Rebalances {
    /// As the tagged field of an answer.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode(VERSION, &mut out)?;
        Ok(out)
    }

    /// Of an answer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(VERSION, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Rebalance, Rebalances};

    #[test]
    fn what_is_told_is_read_back_and_half_of_it_is_refused() {
        let one = Rebalance {
            at: 7,
            epoch: 3,
            member: "m".to_owned(),
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            reason: "a member left".repeat(100),
        };
        let told = Rebalances { rebalances: vec![one.clone(), one] };
        let bytes = told.to_bytes().expect("it has bytes");
        assert_eq!(Rebalances::from_bytes(&bytes), Ok(told));
        for end in 0..bytes.len() {
            assert!(Rebalances::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }
}
