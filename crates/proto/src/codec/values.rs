//! How each type looks in bytes: numbers big-endian, strings, bytes and arrays behind their length.

use model::Uuid;

use super::{ARRAY_ELEMENTS_MAX, DecodeError, EncodeError, Form, Reader, STRING_BYTES_MAX, Wire};

/// A vector's first room; it grows as elements arrive, so a count alone reserves no more than this.
const ELEMENTS_AT_FIRST: usize = 64;

/// A `float64` that is equal to itself whatever its bits, so that records have `Eq`.
#[derive(Clone, Copy, Default)]
pub struct Float64(f64);

impl Float64 {
    /// Wraps the number.
    pub const fn new(value: f64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl PartialEq for Float64 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Float64 {}

impl std::fmt::Debug for Float64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Appends an unsigned variable-length number: seven bits a byte, the lowest first.
pub fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

macro_rules! number {
    ($($type:ty)*) => {$(
        impl Wire for $type {
            const SIZE_MIN: usize = size_of::<$type>();

            fn put(&self, _: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                out.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }

            fn get(_: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.take_array()?))
            }
        }
    )*};
}

number!(i8 i16 u16 i32 i64);

impl Wire for bool {
    const SIZE_MIN: usize = 1;

    fn put(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        i8::from(*self).put(form, out)
    }

    fn get(form: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(i8::get(form, reader)? != 0)
    }
}

impl Wire for Float64 {
    const SIZE_MIN: usize = 8;

    fn put(&self, _: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(())
    }

    fn get(_: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(f64::from_be_bytes(reader.take_array()?)))
    }
}

impl Wire for Uuid {
    const SIZE_MIN: usize = 16;

    fn put(&self, _: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    fn get(_: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from_bytes(reader.take_array()?))
    }
}

/// What has a length in front, and so can be null.
pub(crate) trait Counted: Sized {
    fn put_null(form: Form, out: &mut Vec<u8>);
    fn put_value(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    fn get_or_null(form: Form, reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError>;
}

impl Counted for String {
    fn put_null(form: Form, out: &mut Vec<u8>) {
        out.extend_from_slice(if form.flexible { &[0] } else { &[0xff, 0xff] });
    }

    fn put_value(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let max = STRING_BYTES_MAX;
        let length = i16::try_from(self.len()).map_err(|_| EncodeError::Long { length: self.len(), max })?;
        if form.flexible {
            put_varint(length as u32 + 1, out)
        } else {
            length.put(form, out)?
        }
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    fn get_or_null(form: Form, reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let at = reader.at();
        let fixed = |reader: &mut Reader<'_>| Ok(i32::from(i16::from_be_bytes(reader.take_array()?)));
        let Some(length) = reader.length(form, fixed)? else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::Count { at, count: length, max: STRING_BYTES_MAX });
        }
        let text = std::str::from_utf8(reader.take(length)?).map_err(|_| DecodeError::Utf8 { at })?;
        Ok(Some(text.to_owned()))
    }
}

impl Counted for Vec<u8> {
    fn put_null(form: Form, out: &mut Vec<u8>) {
        put_array_null(form, out);
    }

    fn put_value(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_length(self.len(), form, out)?;
        out.extend_from_slice(self);
        Ok(())
    }

    fn get_or_null(form: Form, reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let fixed = |reader: &mut Reader<'_>| Ok(i32::from_be_bytes(reader.take_array()?));
        let Some(length) = reader.length(form, fixed)? else { return Ok(None) };
        Ok(Some(reader.take(length)?.to_vec()))
    }
}

impl<T: Wire> Counted for Vec<T> {
    fn put_null(form: Form, out: &mut Vec<u8>) {
        put_array_null(form, out);
    }

    fn put_value(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.len() > ARRAY_ELEMENTS_MAX {
            return Err(EncodeError::Long { length: self.len(), max: ARRAY_ELEMENTS_MAX });
        }
        put_length(self.len(), form, out)?;
        self.iter().try_for_each(|element| element.put(form, out))
    }

    fn get_or_null(form: Form, reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let Some(count) = reader.count(form, T::SIZE_MIN)? else { return Ok(None) };
        let mut elements = Self::with_capacity(count.min(ELEMENTS_AT_FIRST));
        for _ in 0..count {
            elements.push(T::get(form, reader)?);
        }
        Ok(Some(elements))
    }
}

macro_rules! counted {
    ($type:ty $(, $bound:ident)?) => {
        impl$(<$bound: Wire>)? Wire for $type {
            const SIZE_MIN: usize = 1;

            fn put(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                self.put_value(form, out)
            }

            fn get(form: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let at = reader.at();
                Self::get_or_null(form, reader)?.ok_or(DecodeError::Null { at })
            }
        }

        impl$(<$bound: Wire>)? Wire for Option<$type> {
            const SIZE_MIN: usize = 1;

            fn put(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                match self {
                    Some(value) => value.put_value(form, out),
                    None => {
                        <$type as Counted>::put_null(form, out);
                        Ok(())
                    }
                }
            }

            fn get(form: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Counted::get_or_null(form, reader)
            }
        }
    };
}

counted!(String);
counted!(Vec<u8>);
counted!(Vec<T>, T);

/// Writes a field that may be null only from version `from` on.
#[allow(dead_code, reason = "no schema has such a field yet; the notation does")]
pub(crate) fn put_null_from<T: Counted + Wire>(
    from: i16,
    value: &Option<T>,
    form: Form,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    match value {
        Some(value) => value.put(form, out),
        None if form.version >= from => {
            T::put_null(form, out);
            Ok(())
        }
        None => Err(EncodeError::Null { version: form.version }),
    }
}

/// Reads a field that may be null only from version `from` on.
#[allow(dead_code, reason = "no schema has such a field yet; the notation does")]
pub(crate) fn get_null_from<T: Counted + Wire>(
    from: i16,
    form: Form,
    reader: &mut Reader<'_>,
) -> Result<Option<T>, DecodeError> {
    if form.version >= from { T::get_or_null(form, reader) } else { T::get(form, reader).map(Some) }
}

/// A length as a varint can say it.
pub(crate) fn length(length: usize) -> Result<u32, EncodeError> {
    let max = i32::MAX as usize;
    u32::try_from(length).ok().filter(|_| length < max).ok_or(EncodeError::Long { length, max })
}

fn put_length(count: usize, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = length(count)?;
    if form.flexible {
        put_varint(length + 1, out);
    } else {
        out.extend_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn put_array_null(form: Form, out: &mut Vec<u8>) {
    out.extend_from_slice(if form.flexible { &[0] } else { &[0xff; 4] });
}
