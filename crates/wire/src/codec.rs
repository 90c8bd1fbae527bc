//! The four codecs of a record batch, each with a bound on what it may grow to.
//!
//! Decompression never reserves what a frame claims: the output grows with what
//! was really produced, and stops at the caller's bound. A bomb of 1,000 to 1 ends
//! in [`CodecError::TooLarge`] and costs no more than the bound.

mod snappy;
mod zstandard;

use std::fmt;
use std::io::{self, Read, Write};

use model::ErrorCode;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in the framing of xerial's Java library.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878 (KIP-110).
    Zstd,
}

/// Why bytes cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A codec number that means none.
    #[error("compression codec {0} does not exist")]
    Unknown(i16),
    /// Not what the codec writes.
    #[error("the {codec} data is damaged: {reason}")]
    Damaged {
        /// The codec.
        codec: Codec,
        /// What its library says.
        reason: String,
    },
    /// The output passed the bound.
    #[error("the {codec} data expands to more than {output_max} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The bound.
        output_max: usize,
    },
}

impl CodecError {
    /// The code a client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown(_) => ErrorCode::UnsupportedCompressionType,
            Self::Damaged { .. } => ErrorCode::CorruptMessage,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
        }
    }
}

/// What one codec's own settings are, from the topic's `compression.*.level`.
pub type Level = Option<i32>;

const GZIP_LEVEL: u32 = 6;

impl Codec {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of a batch's attribute bits.
    pub fn from_bits(bits: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(bits).ok()?).copied()
    }

    /// The attribute bits.
    pub const fn bits(self) -> i16 {
        self as i16
    }

    /// As `compression.type` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Decompresses `input` into at most `output_max` bytes.
pub fn decompress(codec: Codec, input: &[u8], output_max: usize) -> Result<Vec<u8>, CodecError> {
    match codec {
        Codec::None if input.len() <= output_max => Ok(input.to_vec()),
        Codec::None => Err(CodecError::TooLarge { codec, output_max }),
        Codec::Gzip => read_bounded(codec, flate2::read::MultiGzDecoder::new(input), input.len(), output_max),
        Codec::Snappy => snappy::decompress(input, output_max),
        Codec::Lz4 => read_bounded(codec, lz4_flex::frame::FrameDecoder::new(input), input.len(), output_max),
        Codec::Zstd => zstandard::decompress(input, output_max),
    }
}

/// Compresses `input` and appends it to `out`. `level` is the codec's own; `None` is Kafka's default.
/// Snappy has no levels, and the LZ4 encoder knows only its fast one: both ignore `level`.
pub fn compress(codec: Codec, level: Level, input: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let damaged = |error: io::Error| CodecError::Damaged { codec, reason: error.to_string() };
    match codec {
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => {
            let level = level.and_then(|level| u32::try_from(level).ok()).unwrap_or(GZIP_LEVEL);
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(level.min(9)));
            encoder.write_all(input).map_err(damaged)?;
            encoder.finish().map_err(damaged)?;
        }
        Codec::Snappy => snappy::compress(input, out)?,
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
            encoder.write_all(input).map_err(damaged)?;
            encoder.finish().map_err(|error| damaged(error.into()))?;
        }
        Codec::Zstd => zstandard::compress(level, input, out)?,
    }
    Ok(())
}

/// The first guess at an output's size, as a multiple of the input's; it grows from there.
const EXPANSION_USUAL: usize = 4;

fn read_bounded(
    codec: Codec,
    decoder: impl Read,
    input_len: usize,
    output_max: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(input_len.saturating_mul(EXPANSION_USUAL).min(output_max));
    // One byte beyond the bound tells an output that ends at it from one that goes on.
    let limit = u64::try_from(output_max).unwrap_or(u64::MAX).saturating_add(1);
    match decoder.take(limit).read_to_end(&mut out) {
        Ok(_) if out.len() > output_max => Err(CodecError::TooLarge { codec, output_max }),
        Ok(_) => Ok(out),
        Err(error) => Err(CodecError::Damaged { codec, reason: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Codec, CodecError, compress, decompress};

    fn compressed(codec: Codec, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, None, input, &mut out).expect("compresses");
        out
    }

    fn sample(len: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..len).map(|index| if index % 3 == 0 { random.u8(..) } else { b'a' }).collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for codec in Codec::ALL {
            for len in [0, 1, 100, 32 << 10, 200_000] {
                let input = sample(len);
                assert_eq!(decompress(codec, &compressed(codec, &input), len), Ok(input), "{codec} of {len}");
            }
        }
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        let zeroes = vec![0; 20 << 20];
        for codec in Codec::ALL.into_iter().skip(1) {
            let bomb = compressed(codec, &zeroes);
            let output_max = 1 << 20;
            assert_eq!(decompress(codec, &bomb, output_max), Err(CodecError::TooLarge { codec, output_max }));
        }
    }

    #[test]
    fn data_cut_or_changed_anywhere_is_an_error_or_harmless() {
        let input = sample(5_000);
        for codec in Codec::ALL.into_iter().skip(1) {
            let whole = compressed(codec, &input);
            for cut in 0..whole.len() {
                // A decoder may take a clean block boundary for the end; it never invents bytes.
                if let Ok(got) = decompress(codec, &whole[..cut], 1 << 20) {
                    assert!(input.starts_with(&got), "{codec} cut at {cut}");
                }
            }
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] ^= 0x55;
                if let Ok(got) = decompress(codec, &changed, 1 << 20) {
                    assert!(got.len() <= 1 << 20, "{codec} changed at {at}");
                }
            }
        }
    }
}
