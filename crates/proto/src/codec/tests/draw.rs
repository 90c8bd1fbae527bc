//! Random values for tests: anything a version can carry, small ones most often.

use model::Uuid;

use crate::codec::{Float64, Form, Message, Wire};

/// Where values come from: the same seed gives the same.
pub(crate) type Random = fastrand::Rng;

/// Draws a value that `form` can carry.
pub(crate) trait Draw {
    fn draw(form: Form, random: &mut Random) -> Self;
}

/// A random record in `version`.
pub(crate) fn record<T: Message + Draw>(version: i16, seed: u64) -> T {
    let form = T::form(version).expect("tests draw known versions");
    T::draw(form, &mut Random::with_seed(seed))
}

macro_rules! number {
    ($($type:ident)*) => {$(
        impl Draw for $type {
            fn draw(_: Form, random: &mut Random) -> Self {
                match random.u8(..4) {
                    0 => 0,
                    1 => $type::MAX,
                    2 => $type::MIN,
                    _ => random.$type(..),
                }
            }
        }
    )*};
}

number!(i8 i16 u16 i32 i64);

impl Draw for bool {
    fn draw(_: Form, random: &mut Random) -> Self {
        random.bool()
    }
}

impl Draw for Float64 {
    fn draw(_: Form, random: &mut Random) -> Self {
        Self::new(f64::from_bits(random.u64(..)))
    }
}

impl Draw for Uuid {
    fn draw(_: Form, random: &mut Random) -> Self {
        Self::from_u128(if random.bool() { 0 } else { random.u128(..) })
    }
}

impl Draw for String {
    fn draw(_: Form, random: &mut Random) -> Self {
        // Past 127 a length takes two bytes.
        let length = if random.u8(..8) == 0 { random.usize(100..200) } else { random.usize(..8) };
        (0..length).map(|_| if random.u8(..8) == 0 { 'ß' } else { random.alphanumeric() }).collect()
    }
}

impl Draw for Vec<u8> {
    fn draw(_: Form, random: &mut Random) -> Self {
        (0..random.usize(..20)).map(|_| random.u8(..)).collect()
    }
}

impl<T: Draw + Wire> Draw for Vec<T> {
    fn draw(form: Form, random: &mut Random) -> Self {
        let count = if random.u8(..16) == 0 { random.usize(100..200) } else { random.usize(..4) };
        (0..count).map(|_| T::draw(form, random)).collect()
    }
}

impl<T: Draw> Draw for Option<T> {
    fn draw(form: Form, random: &mut Random) -> Self {
        random.bool().then(|| T::draw(form, random))
    }
}
