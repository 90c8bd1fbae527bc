//! Zigzag varints, as record bodies and control frames use them.
//!
//! Reading is bounded: five bytes for 32 bits, ten for 64, and never past the buffer.

/// A varint that does not end within its bound or its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a varint does not end where it must")]
pub struct VarintError;

/// Reads a zigzag varint of 32 bits from the front of `input`, which moves past it.
#[inline]
pub fn read_i32(input: &mut &[u8]) -> Result<i32, VarintError> {
    let raw = read_unsigned(input, 5)?;
    let raw = u32::try_from(raw).map_err(|_| VarintError)?;
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads a zigzag varint of 64 bits from the front of `input`, which moves past it.
#[inline]
pub fn read_i64(input: &mut &[u8]) -> Result<i64, VarintError> {
    let raw = read_unsigned(input, 10)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Reads an unsigned varint of 32 bits from the front of `input`, which moves past it.
#[inline]
pub fn read_u32(input: &mut &[u8]) -> Result<u32, VarintError> {
    u32::try_from(read_unsigned(input, 5)?).map_err(|_| VarintError)
}

/// Appends `value` as a zigzag varint.
pub fn write_i32(value: i32, out: &mut Vec<u8>) {
    write_i64(i64::from(value), out);
}

/// Appends `value` as a zigzag varint.
pub fn write_i64(value: i64, out: &mut Vec<u8>) {
    write_unsigned(zigzag(value), out);
}

/// Appends `value` as an unsigned varint.
pub fn write_u32(value: u32, out: &mut Vec<u8>) {
    write_unsigned(value.into(), out);
}

#[inline]
fn write_unsigned(mut raw: u64, out: &mut Vec<u8>) {
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// How many bytes [`write_i64`] takes for `value`.
pub fn size_of(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// The raw bits of a number of at most `bytes_max` bytes.
#[inline]
fn read_unsigned(input: &mut &[u8], bytes_max: usize) -> Result<u64, VarintError> {
    // Nearly all lengths and deltas are one byte or two: these are read without a loop or a call.
    match **input {
        [first @ ..0x80, ref rest @ ..] => {
            *input = rest;
            Ok(u64::from(first))
        }
        [first, second @ ..0x80, ref rest @ ..] => {
            *input = rest;
            Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
        }
        _ => read_long(input, bytes_max),
    }
}

#[inline(never)]
fn read_long(input: &mut &[u8], bytes_max: usize) -> Result<u64, VarintError> {
    let mut value = 0;
    for (index, &byte) in input.iter().take(bytes_max).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        if shift == 63 && bits > 1 {
            return Err(VarintError);
        }
        value |= bits << shift;
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Ok(value);
        }
    }
    Err(VarintError)
}

#[cfg(test)]
mod tests {
    use super::{read_i32, read_i64, size_of, write_i64};

    #[test]
    fn any_number_survives_and_its_size_is_known() {
        for value in [0, 1, -1, 63, 64, -64, -65, 8_191, 8_192, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            write_i64(value, &mut bytes);
            assert_eq!(bytes.len(), size_of(value), "size of {value}");
            let mut input = &bytes[..];
            assert_eq!(read_i64(&mut input), Ok(value));
            assert!(input.is_empty());
            for cut in 0..bytes.len() {
                assert!(read_i64(&mut &bytes[..cut]).is_err(), "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_varint_without_end_is_refused() {
        assert!(read_i32(&mut &[0xff; 20][..]).is_err());
        assert!(read_i64(&mut &[0xff; 20][..]).is_err());
        assert!(read_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f][..]).is_err(), "35 bits are not 32");
    }
}
