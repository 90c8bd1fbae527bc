//! Zstandard in one call over whole buffers, with contexts that each thread keeps.
//!
//! A streaming decoder allocates the window that a frame asks for, up to 128 MiB, and
//! Java's level 22 asks for all of it however small the batch. With the whole output in
//! one buffer there is no window: memory is bound by the output alone.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, DCtx, get_error_name, get_frame_content_size};

use crate::codec::{Codec, CodecError, EXPANSION_USUAL, Level};

const LEVEL: i32 = 3;
/// `ZSTD_error_dstSize_tooSmall`; zstd promises that this number does not change.
const OUTPUT_TOO_SMALL: usize = 0usize.wrapping_sub(70);
/// A claimed content size is believed up to this multiple of the input; beyond, the output grows.
const EXPANSION_BELIEVED: usize = 32;
/// Growing from less is not worth another round.
const FIRST_OUTPUT_BYTES: usize = 4 << 10;

thread_local! {
    // Buffers only: nothing of one call is seen by the next.
    static READING: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
    static WRITING: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
}

pub(super) fn decompress(input: &[u8], output_max: usize) -> Result<Vec<u8>, CodecError> {
    let mut room = first_room(input).min(output_max);
    loop {
        // A fresh buffer, as nothing of a failed round is worth a copy.
        let mut out = Vec::with_capacity(room);
        match READING.with_borrow_mut(|context| context.decompress(&mut out, input)) {
            Ok(_) if out.len() > output_max => return Err(too_large(output_max)),
            Ok(_) => return Ok(out),
            Err(OUTPUT_TOO_SMALL) if room >= output_max => return Err(too_large(output_max)),
            Err(OUTPUT_TOO_SMALL) => room = room.saturating_mul(2).min(output_max),
            Err(code) => return Err(damaged(code)),
        }
    }
}

pub(super) fn compress(level: Level, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut compressed = Vec::with_capacity(zstd::zstd_safe::compress_bound(input.len()));
    WRITING
        .with_borrow_mut(|context| context.compress(&mut compressed, input, level.unwrap_or(LEVEL)))
        .map_err(damaged)?;
    out.extend_from_slice(&compressed);
    Ok(())
}

/// What the frame claims, where its bytes can be expected to hold it; Java's client claims nothing.
fn first_room(input: &[u8]) -> usize {
    let usual = input.len().saturating_mul(EXPANSION_USUAL).max(FIRST_OUTPUT_BYTES);
    let believed = input.len().saturating_mul(EXPANSION_BELIEVED).max(FIRST_OUTPUT_BYTES);
    let claimed = get_frame_content_size(input).ok().flatten();
    let claimed = claimed.and_then(|claimed| usize::try_from(claimed).ok());
    claimed.filter(|&claimed| claimed <= believed).unwrap_or(usual)
}

fn too_large(output_max: usize) -> CodecError {
    CodecError::TooLarge { codec: Codec::Zstd, output_max }
}

fn damaged(code: usize) -> CodecError {
    CodecError::Damaged { codec: Codec::Zstd, reason: get_error_name(code).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::decompress;
    use crate::codec::CodecError;

    /// An RLE block of `size` zeroes in a frame whose window is 128 MiB and whose content size is unknown.
    fn frame_with_the_largest_window(size: u32) -> Vec<u8> {
        let block = (size << 3) | 0b011;
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3];
        frame.extend_from_slice(&block.to_le_bytes()[..3]);
        frame.push(0);
        frame
    }

    #[test]
    fn a_frame_with_the_largest_window_takes_only_its_output() {
        let frame = frame_with_the_largest_window(5_000);
        let out = decompress(&frame, 1 << 20).expect("level 22 of a Java client looks like this");
        assert_eq!(out, [0; 5_000]);
        assert!(out.capacity() <= 10_000, "{} bytes were reserved", out.capacity());
    }

    #[test]
    fn an_output_that_ends_at_the_bound_is_taken_and_one_byte_more_is_not() {
        let frame = frame_with_the_largest_window(5_000);
        assert!(decompress(&frame, 5_000).is_ok());
        let refused = decompress(&frame, 4_999);
        assert!(matches!(refused, Err(CodecError::TooLarge { output_max: 4_999, .. })), "{refused:?}");
    }

    #[test]
    fn a_claimed_content_size_reserves_nothing() {
        // A single segment with eight bytes of content size, 64 GiB, over an empty last block.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        frame.extend_from_slice(&(64u64 << 30).to_le_bytes());
        frame.extend_from_slice(&[1, 0, 0]);
        assert!(super::first_room(&frame) <= super::FIRST_OUTPUT_BYTES);
        assert!(decompress(&frame, 1 << 20).is_err());
    }
}
