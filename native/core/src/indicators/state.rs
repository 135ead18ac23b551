//! Snapshots of indicators: every parameter and every running bit, so that a restored one goes on as if nothing had happened.
//!
//! `TKIN`, u16 kind, u16 version, fields little-endian in declared order, crc32 of all before. The numpy twin writes the
//! same bytes, so a snapshot may change its backend. It knows no indicator.

use crate::error::{Error, Reason, Result};

const MAGIC: &[u8; 4] = b"TKIN";
const HEAD_BYTES: usize = 8;
const CHECK_BYTES: usize = 4;

/// Something that can be written down and read back, bit by bit.
pub trait Saved: Sized {
    /// Appends it.
    fn save(&self, out: &mut Vec<u8>);
    /// Reads it.
    fn load(input: &mut Reader<'_>) -> Result<Self>;
}

/// A position in the bytes of a snapshot.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next `N` bytes.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(found) = rest.first_chunk::<N>() else {
            return Err(Error::new(Reason::Truncated, self.at));
        };
        self.at += N;
        Ok(*found)
    }

    /// How many bytes are left: no honest list is longer.
    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// A refusal of what was just read.
    pub fn malformed<T>(&self) -> Result<T> {
        Err(Error::new(Reason::Malformed, self.at))
    }
}

macro_rules! saved_number {
    ($($number:ty),*) => {$(
        impl Saved for $number {
            fn save(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn load(input: &mut Reader<'_>) -> Result<Self> {
                Ok(<$number>::from_le_bytes(input.take()?))
            }
        }
    )*};
}

saved_number!(u8, u64, i64, f64);

impl Saved for bool {
    fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn load(input: &mut Reader<'_>) -> Result<Self> {
        match u8::load(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => input.malformed(),
        }
    }
}

impl<T: Saved> Saved for Vec<T> {
    fn save(&self, out: &mut Vec<u8>) {
        (self.len() as u64).save(out);
        self.iter().for_each(|each| each.save(out));
    }

    fn load(input: &mut Reader<'_>) -> Result<Self> {
        let length = u64::load(input)?;
        if length > input.left() as u64 {
            return Err(Error::new(Reason::Truncated, input.at));
        }
        (0..length).map(|_| T::load(input)).collect()
    }
}

impl<T: Saved, const N: usize> Saved for [T; N] {
    fn save(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|each| each.save(out));
    }

    fn load(input: &mut Reader<'_>) -> Result<Self> {
        let list = (0..N).map(|_| T::load(input)).collect::<Result<Vec<T>>>()?;
        list.try_into().or_else(|_| input.malformed())
    }
}

/// Implements `Saved` for a struct by naming its fields in order; the last word names a method that refuses nonsense.
#[macro_export]
macro_rules! saved_fields {
    ($name:ty { $($field:ident),* $(,)? } $sound:ident) => {
        impl $crate::indicators::state::Saved for $name {
            fn save(&self, out: &mut Vec<u8>) {
                $(self.$field.save(out);)*
            }

            fn load(input: &mut $crate::indicators::state::Reader<'_>) -> $crate::error::Result<Self> {
                let loaded = Self { $($field: $crate::indicators::state::Saved::load(input)?),* };
                if loaded.$sound() { Ok(loaded) } else { input.malformed() }
            }
        }
    };
}

/// The snapshot of `what`.
pub fn write<T: Saved>(kind: u16, version: u16, what: &T) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&version.to_le_bytes());
    what.save(&mut out);
    let check = crc32fast::hash(&out);
    out.extend_from_slice(&check.to_le_bytes());
    out
}

/// What a snapshot of this kind and version holds. Refuses other kinds and versions (`Unsupported`), damaged or foreign bytes.
pub fn read<T: Saved>(kind: u16, version: u16, bytes: &[u8]) -> Result<T> {
    let Some((body, check)) = bytes.split_last_chunk::<CHECK_BYTES>() else {
        return Err(Error::new(Reason::Truncated, bytes.len()));
    };
    let mut input = Reader { bytes: body, at: 0 };
    if input.take::<4>()? != *MAGIC {
        return Err(Error::new(Reason::Malformed, 0));
    }
    let (found_kind, found_version) = (u16::from_le_bytes(input.take()?), u16::from_le_bytes(input.take()?));
    if crc32fast::hash(body) != u32::from_le_bytes(*check) {
        return Err(Error::new(Reason::Checksum, body.len()));
    }
    if (found_kind, found_version) != (kind, version) {
        return Err(Error::new(Reason::Unsupported, HEAD_BYTES));
    }
    let loaded = T::load(&mut input)?;
    if input.left() > 0 {
        return input.malformed();
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_is_refused() {
        let whole = write(3, 1, &vec![1.5_f64, f64::NAN]);
        assert_eq!(write(3, 1, &read::<Vec<f64>>(3, 1, &whole).unwrap()), whole);
        for end in 0..whole.len() {
            assert!(read::<Vec<f64>>(3, 1, &whole[..end]).is_err());
        }
        for i in 0..whole.len() {
            let mut bent = whole.clone();
            bent[i] ^= 4;
            assert!(read::<Vec<f64>>(3, 1, &bent).is_err(), "byte {i}");
        }
        assert_eq!(read::<Vec<f64>>(4, 1, &whole).unwrap_err().reason, Reason::Unsupported);
        assert_eq!(read::<Vec<f64>>(3, 2, &whole).unwrap_err().reason, Reason::Unsupported);
        assert_eq!(read::<f64>(3, 1, &whole).unwrap_err().reason, Reason::Malformed);
    }

    #[test]
    fn a_lying_length_reserves_nothing() {
        assert!(read::<Vec<f64>>(1, 1, &write(1, 1, &u64::MAX)).is_err());
    }
}
