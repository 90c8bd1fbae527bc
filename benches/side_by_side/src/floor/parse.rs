//! What the floor reads of requests and batches: positions and bounds, nothing else.

use anyhow::{Context, Result, ensure};

const BATCH_HEADER_BYTES: usize = 61;

/// A request's header.
pub struct Header {
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
}

/// A cursor over borrowed bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).context("a message ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (&taken, rest) = self.bytes.split_first_chunk().context("a message ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    fn varint(&mut self) -> Result<u32> {
        let mut value = 0;
        for shift in (0..32).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        anyhow::bail!("a number is too long")
    }

    fn zigzag(&mut self) -> Result<i32> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A nullable string with a length of 16 bits.
    fn string(&mut self) -> Result<&'a [u8]> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    /// A nullable compact string or run of bytes.
    fn compact(&mut self) -> Result<&'a [u8]> {
        let length = self.varint()?.saturating_sub(1);
        self.take(length as usize)
    }

    fn no_tags(&mut self) -> Result<()> {
        ensure!(self.varint()? == 0, "tagged fields");
        Ok(())
    }
}

/// Appends an unsigned varint.
pub fn write_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Header {
    /// The header and what follows it.
    pub fn parse(frame: &mut [u8]) -> Result<(Self, &mut [u8])> {
        let mut cursor = Cursor { bytes: frame };
        let header = Self { api_key: cursor.i16()?, version: cursor.i16()?, correlation_id: cursor.i32()? };
        cursor.string()?;
        if header.api_key == 0 {
            cursor.no_tags()?;
        }
        let at = frame.len() - cursor.bytes.len();
        Ok((header, &mut frame[at..]))
    }
}

/// A Produce request of version 12, read from front to back.
pub struct Produce<'a> {
    body: &'a mut [u8],
    at: usize,
    /// How many topics it has.
    pub topics: u32,
}

impl<'a> Produce<'a> {
    /// Up to the first topic.
    pub fn parse(body: &'a mut [u8]) -> Result<Self> {
        let mut produce = Self { body, at: 0, topics: 0 };
        let (_, topics) = produce.step(|cursor| {
            cursor.compact()?;
            let _acks = cursor.i16()?;
            let _timeout = cursor.i32()?;
            cursor.varint()
        })?;
        produce.topics = topics.saturating_sub(1);
        Ok(produce)
    }

    fn step<T>(&mut self, read: impl FnOnce(&mut Cursor<'_>) -> Result<T>) -> Result<(usize, T)> {
        let mut cursor = Cursor { bytes: &self.body[self.at..] };
        let value = read(&mut cursor)?;
        self.at = self.body.len() - cursor.bytes.len();
        Ok((self.at, value))
    }

    /// The next topic's name and how many partitions it has.
    pub fn topic(&mut self) -> Result<(&[u8], u32)> {
        let (end, length) = self.step(|cursor| Ok(cursor.compact()?.len()))?;
        let (_, partitions) = self.step(|cursor| cursor.varint())?;
        Ok((&self.body[end - length..end], partitions.saturating_sub(1)))
    }

    /// The next partition's number and its batch.
    pub fn partition(&mut self) -> Result<(i32, &mut [u8])> {
        let (_, index) = self.step(|cursor| cursor.i32())?;
        let (end, length) = self.step(|cursor| Ok(cursor.compact()?.len()))?;
        self.step(|cursor| cursor.no_tags())?;
        Ok((index, &mut self.body[end - length..end]))
    }

    /// What closes a topic.
    pub fn end_topic(&mut self) -> Result<()> {
        self.step(|cursor| cursor.no_tags()).map(drop)
    }
}

/// A Fetch request of version 11 for one partition.
pub struct FetchAsked<'a> {
    pub topic: &'a [u8],
    pub index: i32,
    pub offset: i64,
    pub bytes_max: u64,
}

impl<'a> FetchAsked<'a> {
    /// Its first partition; it has no other.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor { bytes: body };
        // Replica, longest wait, bytes at least and most, isolation, session and its epoch.
        cursor.take(4 + 4 + 4 + 4 + 1 + 4 + 4)?;
        ensure!(cursor.i32()? == 1, "the floor answers for one topic");
        let topic = cursor.string()?;
        ensure!(cursor.i32()? == 1, "the floor answers for one partition");
        let index = cursor.i32()?;
        let _leader_epoch = cursor.i32()?;
        let offset = cursor.i64()?;
        let _log_start = cursor.i64()?;
        let bytes_max = u64::try_from(cursor.i32()?)?;
        Ok(Self { topic, index, offset, bytes_max })
    }
}

/// Checks a batch's CRC, and that its records fill it exactly.
pub fn check_batch(batch: &[u8]) -> Result<()> {
    ensure!(batch.len() > BATCH_HEADER_BYTES, "a batch of {} bytes", batch.len());
    let length = i32::from_be_bytes(*batch[8..].first_chunk().context("a length")?);
    ensure!(usize::try_from(length)? == batch.len() - 12, "a batch that is not its length");
    ensure!(batch[16] == 2, "a batch of version {}", batch[16]);
    let crc = u32::from_be_bytes(*batch[17..].first_chunk().context("a CRC")?);
    ensure!(crc == crc32c::crc32c(&batch[21..]), "a CRC that is not the batch's");
    let count = i32::from_be_bytes(*batch[57..].first_chunk().context("a count")?);
    let mut records = Cursor { bytes: &batch[BATCH_HEADER_BYTES..] };
    for _ in 0..count {
        let length = records.zigzag()?;
        let mut record = Cursor { bytes: records.take(usize::try_from(length)?)? };
        record.take(1)?;
        record.zigzag()?;
        record.zigzag()?;
        for _field in ["key", "value"] {
            let length = record.zigzag()?;
            record.take(usize::try_from(length).unwrap_or(0))?;
        }
        ensure!(record.zigzag()? == 0 && record.bytes.is_empty(), "a record with more than it says");
    }
    ensure!(records.bytes.is_empty(), "bytes behind the last record");
    Ok(())
}
