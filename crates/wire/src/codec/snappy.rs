//! Snappy as Kafka's clients write it: blocks in the framing of xerial's library.
//!
//! ```text
//! 0x82 "SNAPPY" 0x00 | version i32 | compatible version i32 | { length i32 | raw snappy block }*
//! ```
//!
//! Some clients send one bare block instead; both are read.

use crate::codec::{Codec, CodecError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
const HEADER_BYTES: usize = 16;
/// Uncompressed size of each block written; that of the Java library.
const BLOCK_BYTES: usize = 32 << 10;

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(|error| damaged(error.to_string()))?;
        let length = i32::try_from(compressed.len()).expect("a block of 32 KiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

pub(super) fn decompress(input: &[u8], output_max: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    if !input.starts_with(&MAGIC) {
        append_block(input, output_max, &mut out)?;
        return Ok(out);
    }
    let mut rest = input.get(HEADER_BYTES..).ok_or_else(|| damaged("its header is cut off"))?;
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk().ok_or_else(|| damaged("a block's length is cut off"))?;
        let length =
            usize::try_from(i32::from_be_bytes(*length)).map_err(|_| damaged("a negative length"))?;
        let (block, after) = after.split_at_checked(length).ok_or_else(|| damaged("a block is cut off"))?;
        append_block(block, output_max, &mut out)?;
        rest = after;
    }
    Ok(out)
}

/// What a block claims to expand to costs nothing until this much of it was there: snappy
/// reaches at most 21 to 1 (a 3-byte copy yields 64 bytes).
const EXPANSION_MAX: usize = 22;

fn append_block(block: &[u8], output_max: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let claimed = snap::raw::decompress_len(block).map_err(|error| damaged(error.to_string()))?;
    if claimed > output_max - out.len() {
        return Err(CodecError::TooLarge { codec: Codec::Snappy, output_max });
    }
    if claimed > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(damaged("a block claims more than its bytes can hold"));
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|error| damaged(error.to_string()))?;
    Ok(())
}

fn damaged(reason: impl Into<String>) -> CodecError {
    CodecError::Damaged { codec: Codec::Snappy, reason: reason.into() }
}
